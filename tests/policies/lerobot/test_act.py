"""ACT: one observation, no noise, whole chunks."""

import json

import pytest
import torch

from holdstep.errors import CheckpointError, PolicyError
from holdstep.policies import LeRobotPolicy
from holdstep.policies.chunked.ensemble import TemporalEnsemble
from holdstep.policies.chunked.protocol import ChunkedPolicy
from tests.policies.lerobot.doubles import STATE, TOP, act_config, request_of

NUM_ENVS, LENGTH, DIM = 6, 8, 4
# The env has its state in two groups, and cameras as simulators have them: bytes, channels last.
MAPPING = {STATE: ("joints", "gripper"), TOP: "camera"}


@pytest.fixture(scope="module")
def make_act(lerobot):
    from lerobot.policies.act.modeling_act import ACTPolicy

    def make(seed=0, **options):
        torch.manual_seed(seed)
        config = act_config(LENGTH, DIM, (32, 48, 3), n_action_steps=5, **options)
        return ACTPolicy(config).eval()

    return make


@pytest.fixture(scope="module")
def act(make_act):
    return make_act()


@pytest.fixture(scope="module")
def processors(act):
    from lerobot.policies.factory import make_pre_post_processors

    generator = torch.Generator().manual_seed(3)

    def stats(*shape):
        return {
            "mean": torch.randn(shape, generator=generator),
            "std": torch.rand(shape, generator=generator) + 0.5,
        }

    return make_pre_post_processors(
        act.config, dataset_stats={STATE: stats(5), TOP: stats(3, 1, 1), "action": stats(DIM)}
    )


@pytest.fixture(scope="module")
def obs():
    generator = torch.Generator().manual_seed(1)
    shape = (NUM_ENVS, 32, 48, 3)
    return {
        "joints": torch.randn(NUM_ENVS, 3, generator=generator),
        "gripper": torch.randn(NUM_ENVS, 2, generator=generator),
        "camera": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        "unread": torch.zeros(NUM_ENVS, 1),
    }


@pytest.fixture
def wrap(act, processors):
    preprocessor, postprocessor = processors

    def wrap(policy=act, **options):
        return LeRobotPolicy(
            policy,
            mapping=MAPPING,
            preprocessor=preprocessor,
            postprocessor=postprocessor,
            **options,
        )

    return wrap


def directly(policy, processors, obs, rows):
    """As lerobot's own scripts call it."""
    preprocessor, postprocessor = processors
    batch = {
        STATE: torch.cat([obs["joints"], obs["gripper"]], dim=1)[rows],
        TOP: obs["camera"][rows].permute(0, 3, 1, 2).float() / 255,
    }
    return postprocessor(policy.predict_action_chunk(preprocessor(batch)))


def test_its_spec(wrap):
    policy = wrap()
    assert isinstance(policy, ChunkedPolicy)
    assert (policy.spec.chunk_length, policy.spec.action_dim) == (LENGTH, DIM)
    assert policy.spec.obs_keys == ("joints", "gripper", "camera")
    assert not policy.spec.uses_prefix
    assert not policy.spec.reproducible
    assert policy.execute == 5


def test_equals_lerobot(act, processors, obs, wrap):
    rows = [4, 0, 2]
    actions = wrap().infer(request_of(rows, obs)).actions
    assert actions.shape == (3, LENGTH, DIM)
    assert torch.equal(actions, directly(act, processors, obs, rows))


@pytest.mark.parametrize(
    "options",
    [
        {"batching": "rowwise"},
        {"batching": "pad", "max_batch": NUM_ENVS},
        {"batching": "pad", "max_batch": 4},
    ],
)
def test_a_row_does_not_depend_on_who_else_is_asked_for(obs, wrap, options):
    policy = wrap(**options)
    assert policy.spec.reproducible
    everyone = policy.infer(request_of(range(NUM_ENVS), obs)).actions
    for rows in ([5], [3, 1], [0, 5, 4, 2]):
        assert torch.equal(policy.infer(request_of(rows, obs)).actions, everyone[rows])


def test_what_lerobot_has_queued_is_not_executed(act, processors, obs, wrap):
    preprocessor, _ = processors
    batch = {STATE: torch.ones(2, 5), TOP: torch.zeros(2, 3, 32, 48)}
    act.select_action(preprocessor(batch))
    assert len(act._action_queue) > 0
    actions = wrap().infer(request_of([1, 2], obs)).actions
    assert torch.equal(actions, directly(act, processors, obs, [1, 2]))


def test_it_infers_in_evaluation_mode(make_act, obs, wrap):
    policy = make_act().train()
    actions = wrap(policy).infer(request_of([0], obs)).actions
    assert policy.training
    assert torch.equal(actions, wrap(policy.eval()).infer(request_of([0], obs)).actions)


def test_chunks_of_another_length_are_refused(obs, wrap):
    with pytest.raises(PolicyError, match=r"\(1, 8, 4\).*\(1, 9, 4\)"):
        wrap(chunk_length=9).infer(request_of([0], obs))


def test_the_ensemble_equals_lerobots(lerobot):
    from lerobot.policies.act.modeling_act import ACTTemporalEnsembler

    theirs = ACTTemporalEnsembler(0.05, LENGTH)
    ours = TemporalEnsemble(3, LENGTH, DIM, decay=0.05, device="cpu")
    torch.manual_seed(0)
    for _ in range(3 * LENGTH):
        chunks = torch.randn(3, LENGTH, DIM)
        ours.add(torch.arange(3), chunks)
        torch.testing.assert_close(ours.next_actions(), theirs.update(chunks))


@pytest.fixture
def saved(act, processors, tmp_path):
    act.save_pretrained(tmp_path)
    for processor in processors:
        processor.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def _no_downloads(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.load", refuse)


@pytest.mark.usefixtures("_no_downloads")
def test_a_saved_policy_is_loaded(saved, obs, wrap):
    config = json.loads((saved / "config.json").read_text())
    config["pretrained_backbone_weights"] = "ResNet18_Weights.IMAGENET1K_V1"
    (saved / "config.json").write_text(json.dumps(config))
    # As trained elsewhere.
    name = saved / "policy_preprocessor.json"
    name.write_text(name.read_text().replace('"device": "cpu"', '"device": "cuda:7"'))
    assert "cuda:7" in name.read_text()
    loaded = LeRobotPolicy.from_pretrained(saved, mapping=MAPPING, device="cpu")
    request = request_of(range(NUM_ENVS), obs)
    assert torch.equal(loaded.infer(request).actions, wrap().infer(request).actions)


def test_a_policy_on_the_hub_is_loaded_without_its_pickles(saved, monkeypatch):
    asked = {}

    def snapshot_download(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(saved)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    LeRobotPolicy.from_pretrained("someone/act", mapping=MAPPING, revision="v2")
    assert asked == {
        "repo_id": "someone/act",
        "revision": "v2",
        "allow_patterns": ["*.json", "*.safetensors"],
    }


def test_weights_that_do_not_fit_are_refused(saved, make_act):
    config = json.loads((saved / "config.json").read_text())
    config["n_encoder_layers"] = 2
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"(?s)do not fit.*encoder"):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)


@pytest.mark.parametrize("name", ["policy_preprocessor.json", "policy_postprocessor.json"])
def test_a_processor_that_would_run_code_is_refused(saved, tmp_path, name):
    description = json.loads((saved / name).read_text())
    proof = tmp_path / "proof"
    description["steps"].append({"class": "subprocess.Popen", "config": {"args": ["touch", proof]}})
    (saved / name).write_text(json.dumps(description, default=str))
    with pytest.raises(CheckpointError, match=r"subprocess\.Popen"):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)
    assert not proof.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": 3}', '{"steps": ["x"]}'])
def test_a_processor_that_is_none_is_refused(saved, content):
    (saved / "policy_preprocessor.json").write_text(content)
    with pytest.raises(CheckpointError, match="no description of a processor"):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "policy_preprocessor.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)


@pytest.mark.parametrize("path", ["no/such/folder", "nowhere"])
def test_a_path_that_is_none_is_refused(lerobot, path):
    with pytest.raises(CheckpointError, match="neither a folder nor"):
        LeRobotPolicy.from_pretrained(path, mapping=MAPPING)


@pytest.mark.parametrize("step", ["action_tokenizer_processor", "groot_eagle_encode_v3", 3])
def test_a_processor_that_would_load_code_is_refused(saved, step):
    path = saved / "policy_preprocessor.json"
    description = json.loads(path.read_text())
    description["steps"].append({"registry_name": step, "config": {}})
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"(?s)may load, any code.*load the policy"):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)


@pytest.mark.parametrize("kind", ["pi0_fast", "groot", "wall_x", None, ["act"]])
def test_a_policy_that_would_load_code_is_refused(saved, kind):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"type": kind}))
    with pytest.raises(CheckpointError, match=r"(?s)of type .*act, diffusion"):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_config_that_is_none_is_refused(saved, content):
    (saved / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="no description of a policy"):
        LeRobotPolicy.from_pretrained(saved, mapping=MAPPING)
