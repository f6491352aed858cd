"""``holdstep serve`` as a user starts and stops it: real processes."""

import contextlib
import signal
import subprocess
import sys

import pytest
import torch

from holdstep.cli.serve import Serve, named
from holdstep.envs import make
from holdstep.errors import ConfigError, RemoteRejectedError
from holdstep.policies.chunked.protocol import ChunkRequest
from holdstep.policies.remote import (
    DemoPolicy,
    GrootMapping,
    GrootPolicy,
    OpenPiMapping,
    OpenPiPolicy,
)


@contextlib.contextmanager
def serving(*arguments, cwd=None):
    """A server's process, and its port."""
    command = [sys.executable, "-m", "holdstep", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
    )
    try:
        line = process.stdout.readline()
        assert "serving" in line, process.communicate()
        yield process, int(line.split()[4].rstrip(",").rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


def point_mass_request(num_envs=3):
    obs, _ = make("holdstep:PointMass", num_envs=num_envs, device="cpu", seed=0).reset()
    ids = torch.arange(num_envs)
    return ChunkRequest(obs=obs, env_ids=ids, episode_ids=ids, chunk_ids=ids, seeds=ids)


def groot(port, **options):
    mapping = GrootMapping(state={"policy": "policy"}, action={"action": 2})
    return contextlib.closing(GrootPolicy(port=port, mapping=mapping, chunk_length=8, **options))


def test_the_demo_over_groots_protocol_until_ctrl_c():
    with serving("--protocol", "groot", "--policy", "demo") as (process, port):
        request = point_mass_request()
        with groot(port) as policy:
            got = policy.infer(request).actions
        assert torch.equal(got, DemoPolicy().infer(request).actions)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=20)
        assert (process.returncode, printed, errors) == (0, "stopped\n", "")


POLICIES = """
from holdstep.policies.remote import DemoPolicy, OpenPiMapping

def make():
    return DemoPolicy(chunk_length=5)

mapping = OpenPiMapping(state={("deep", "state"): "policy"}, action_dim=2, prompt_key=None)
"""


def test_a_policy_of_ones_own_over_openpis_protocol_with_a_token(tmp_path):
    (tmp_path / "my_policies.py").write_text(POLICIES)
    (tmp_path / "token").write_text("sesame\n")
    arguments = ("--protocol", "openpi", "--policy", "my_policies:make", "--token-file", "token")
    with serving(*arguments, "--mapping", "my_policies:mapping", cwd=tmp_path) as (process, port):
        request = point_mass_request()
        mapping = OpenPiMapping(state={("deep", "state"): "policy"}, action_dim=2, prompt_key=None)
        options = {"port": port, "mapping": mapping, "chunk_length": 5}
        with contextlib.closing(OpenPiPolicy(**options, api_key="sesame")) as policy:
            got = policy.infer(request).actions
        assert torch.equal(got, DemoPolicy(5).infer(request).actions)
        refused = contextlib.closing(OpenPiPolicy(**options))
        with refused as policy, pytest.raises(RemoteRejectedError):
            policy.infer(request)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=20)
        assert (process.returncode, printed) == (0, "stopped\n")


def test_the_demo_steers_the_mass_to_its_goal():
    env = make("holdstep:PointMass", num_envs=64, device="cpu", seed=0)
    obs, _ = env.reset()
    ids, reached, policy = torch.arange(64), torch.zeros(64, dtype=torch.bool), DemoPolicy()
    for _ in range(12):
        request = ChunkRequest(obs=obs, env_ids=ids, episode_ids=ids, chunk_ids=ids, seeds=ids)
        chunk = policy.infer(request).actions
        for step in range(8):
            obs, _, terminated, _, _ = env.step(chunk[:, step])
            reached |= terminated
    assert reached.float().mean() > 0.95


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": "no_colon"}, "takes module:name"),
        ({"policy": "no_such_module:make"}, "no module 'no_such_module'"),
        ({"policy": "holdstep.policies.remote:NoPolicy"}, "has no 'NoPolicy'"),
        ({"policy": "builtins:dict"}, "needs a ChunkedPolicy"),
        ({"protocol": "openpi", "allow_kill": True}, "--allow-kill"),
        ({"max_message_mib": 0}, "--max-message-mib"),
        ({"token_env": "NO_SUCH_VARIABLE"}, "no token in the environment variable"),
        ({"port": 70000}, "port must be"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_served_is_an_error(fields, message):
    with pytest.raises(ConfigError, match=message):
        Serve(**fields)._server()


def test_a_token_comes_from_one_place(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("")
    monkeypatch.setenv("TOKEN", "sesame")
    with pytest.raises(ConfigError, match="not both"):
        Serve(token_file=file, token_env="TOKEN")._server()
    with pytest.raises(ConfigError, match="no token in"):
        Serve(token_file=file)._server()
    assert Serve(token_env="TOKEN")._token() == "sesame"
    assert Serve()._token() is None


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        named("half_installed:make", "--policy")
