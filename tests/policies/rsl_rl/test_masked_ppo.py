"""MaskedPPO under suspension is rsl_rl's PPO on the same transitions without it, bit for bit."""

import copy

import pytest
import torch

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from rsl_rl import extensions
from rsl_rl.algorithms import PPO
from rsl_rl.modules import EmpiricalNormalization

from holdstep.errors import ConfigError, SuspensionError
from holdstep.policies.rsl_rl import MaskedPPO
from holdstep.policies.rsl_rl.masked_ppo import _NORMALIZES_EACH_STEP
from tests.policies.rsl_rl.tapes import (
    NETWORKS,
    Tape,
    collect,
    differences,
    equal_shares,
    feed,
    learned,
    make_algorithm,
    returns_by_hand,
    update,
)

NUM_ENVS, NUM_STEPS, NUM_ACTIVE, ROLLOUTS = 10, 10, 7, 3
RECURRENT = [name for name in NETWORKS if name != "mlp"]


class Reference(PPO):
    """rsl_rl's own, without what 5.0.1 gets wrong: the critic saw last observations twice."""

    def compute_returns(self, obs):
        memory = self.critic.get_hidden_state()
        super().compute_returns(obs)
        self.critic.reset(hidden_state=memory)


def nowhere(num_envs=NUM_ENVS):
    return torch.zeros(num_envs, dtype=torch.int64)


def random_masks(num_steps=NUM_STEPS, num_envs=NUM_ENVS, *, seed=0):
    """Each row is active in 70% of the steps, whatever the others are; row 3 never."""
    draw = torch.Generator().manual_seed(seed)
    masks = torch.rand(num_steps, num_envs, generator=draw) < 0.7
    masks[:, 3] = False
    assert len(set(masks.sum(0).tolist())) > 3
    return masks


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("options", [{}, {"normalize_advantage_per_mini_batch": True}])
def test_with_30_percent_suspended_the_weights_are_those_of_ppo_on_the_dense_data(
    networks, options
):
    """At any time three of ten rows are suspended, at random; each has 7 of 10 steps."""
    tape = Tape(NUM_ENVS, NUM_ACTIVE * ROLLOUTS)
    normalized = not _NORMALIZES_EACH_STEP  # else see the test after this
    settings = {"networks": networks, "normalized": normalized, **options}
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, **settings)
    dense = make_algorithm(Reference, tape, NUM_ACTIVE, **settings)
    assert differences(learned(masked), learned(dense)) == []
    before = copy.deepcopy(masked.actor.state_dict())
    at = dense_at = nowhere()
    for rollout in range(ROLLOUTS):
        masks = equal_shares(NUM_STEPS, NUM_ENVS, NUM_ACTIVE, seed=rollout)
        at, taken = collect(masked, tape, masks, at)
        dense_at = feed(dense, tape, taken, at=dense_at, num_steps=NUM_ACTIVE)
        assert torch.equal(at, dense_at)
        assert update(masked, rollout) == update(dense, rollout)
        assert differences(learned(masked), learned(dense)) == []
    assert len(differences(before, masked.actor.state_dict())) > 4  # they did learn


@pytest.mark.parametrize("networks", ["mlp", "lstm"])
def test_normalisers_learn_from_rows_that_advanced(networks):
    """Where each step counts, the statistics are of other batches than in the dense data.

    So they are compared with those of a normaliser of its own, and handed to the reference.
    """
    if not _NORMALIZES_EACH_STEP:
        pytest.skip("this rsl_rl normalises by whole rollouts, as the test before this compares")
    tape = Tape(NUM_ENVS, NUM_ACTIVE * ROLLOUTS)
    settings = {"networks": networks, "normalized": True}
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, **settings)
    dense = make_algorithm(Reference, tape, NUM_ACTIVE, **settings)
    own = EmpiricalNormalization(tape.policy.shape[2])
    at = dense_at = nowhere()
    for rollout in range(ROLLOUTS):
        masks = equal_shares(NUM_STEPS, NUM_ENVS, NUM_ACTIVE, seed=rollout)
        start = at
        at, taken = collect(masked, tape, masks, at)
        for active in masks:
            start = start + active
            own.update(tape.obs(start)["policy"][active])
        assert differences(own.state_dict(), masked.actor.obs_normalizer.state_dict()) == []
        for model, other in ((masked.actor, dense.actor), (masked.critic, dense.critic)):
            other.obs_normalizer.load_state_dict(model.obs_normalizer.state_dict())
            other.update_normalization = lambda obs: None
        dense_at = feed(dense, tape, taken, at=dense_at, num_steps=NUM_ACTIVE, recorded=masked)
        assert update(masked, rollout) == update(dense, rollout)
        assert differences(learned(masked), learned(dense)) == []


def test_a_step_in_which_no_row_advanced_leaves_the_normalisers_finite():
    tape = Tape(4, 20)
    masked = make_algorithm(MaskedPPO, tape, 5, normalized=True)
    masks = torch.ones(5, 4, dtype=torch.bool)
    masks[[0, 3]] = False
    collect(masked, tape, masks, nowhere(4))
    update(masked, 0)
    assert masked.actor.obs_normalizer.count == 12
    assert all(value.isfinite().all() for value in learned(masked).values())


def test_rows_with_different_numbers_of_steps_are_one_batch_to_ppo():
    """rsl_rl's PPO is given the flat data, one step of as many rows as there are transitions."""
    tape = Tape(NUM_ENVS, NUM_STEPS * ROLLOUTS)
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS)
    at = nowhere()
    flat = None
    for rollout in range(ROLLOUTS):
        before, last = at, masked.optimizer.state_dict()
        at, taken = collect(masked, tape, random_masks(seed=rollout), at)
        with torch.inference_mode():
            last_values = masked.critic(tape.obs(at)).flatten()
        returns = returns_by_hand(tape, taken, at, last_values, gamma=0.97, lam=0.9)
        # In the order of steps, then of rows, as rsl_rl flattens its own.
        order = sorted(taken, key=lambda place: (place[1] - int(before[place[0]]), place[0]))
        flat = make_algorithm(PPO, Tape(len(order), 1), 1)
        for model, other in ((masked.actor, flat.actor), (masked.critic, flat.critic)):
            other.load_state_dict(model.state_dict())
        flat.optimizer.load_state_dict(copy.deepcopy(last))
        flat.learning_rate = masked.learning_rate
        fill(flat.storage, tape, taken, order, returns)
        update(masked, rollout)
        update(flat, rollout)
        assert differences(learned(masked), learned(flat)) == []


def fill(storage, tape, taken, order, returns):
    """Write transitions into the only step of rsl_rl's storage, or, in time, into all its rows."""
    row, own = (torch.tensor(column) for column in zip(*order, strict=True))
    in_one_step = len(storage.rewards) == 1

    def put(buffer, values):
        values = values.reshape(len(order), -1).unsqueeze(0 if in_one_step else 1)
        buffer.copy_(values.expand(buffer.shape))

    def of(name):
        return torch.stack([taken[place][name] for place in order])

    for group, values in (("policy", tape.policy), ("critic", tape.critic)):
        put(storage.observations[group], values[own, row])
    for name in ("actions", "values", "actions_log_prob"):
        put(getattr(storage, name), of(name))
    storage.distribution_params = tuple(torch.zeros_like(storage.actions) for _ in range(2))
    for part, buffer in enumerate(storage.distribution_params):
        put(buffer, torch.stack([taken[place]["params"][part] for place in order]))
    returns = torch.stack([returns[place] for place in order])
    advantages = returns - of("values").flatten()
    put(storage.returns, returns)
    put(storage.advantages, (advantages - advantages.mean()) / (advantages.std() + 1e-8))


@pytest.fixture
def _in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_in_float64")
@pytest.mark.parametrize("networks", RECURRENT)
def test_sequences_of_different_lengths_are_one_batch_to_recurrent_ppo(networks):
    """rsl_rl's PPO is given one long row, cut where another row or another episode begins.

    Twice the same row, since rsl_rl takes mini-batches of a single row for something else. The
    order of a sum is another one, hence the tolerance, which double precision makes small.
    """
    tape = Tape(NUM_ENVS, NUM_STEPS * 2)
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, networks=networks, num_mini_batches=1)
    at, _ = collect(masked, tape, random_masks(seed=5), nowhere())  # for memories to begin with
    update(masked, 0)
    before, last = at, masked.optimizer.state_dict()
    start = copy.deepcopy(learned(masked))
    memory = [model.get_hidden_state() for model in (masked.actor, masked.critic)]
    at, taken = collect(masked, tape, random_masks(seed=6), at)
    with torch.inference_mode():
        after = masked.critic.get_hidden_state()
        last_values = masked.critic(tape.obs(at)).flatten()
        masked.critic.reset(hidden_state=after)
    returns = returns_by_hand(tape, taken, at, last_values, gamma=0.97, lam=0.9)
    order = sorted(taken)
    one = make_algorithm(PPO, Tape(2, 1), len(order), networks=networks, num_mini_batches=1)
    for model, other in ((masked.actor, one.actor), (masked.critic, one.critic)):
        other.load_state_dict(model.state_dict())
    one.optimizer.load_state_dict(copy.deepcopy(last))
    one.learning_rate = masked.learning_rate
    fill(one.storage, tape, taken, order, returns)
    for place, (row, own) in enumerate(order):
        last_of_row = place + 1 == len(order) or order[place + 1][0] != row
        one.storage.dones[place] = bool(tape.dones[own, row]) or last_of_row
    one.storage.saved_hidden_state_a, one.storage.saved_hidden_state_c = (
        memories(model, tape, order, before, at_start)
        for model, at_start in zip((masked.actor, masked.critic), memory, strict=True)
    )
    update(masked, 1)
    update(one, 1)
    new, expected = learned(masked), learned(one)
    for name, value in new.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)
    assert any((new[name] - start[name]).abs().max() > 1e-4 for name in new if "rnn" in name)


@torch.inference_mode()
def memories(model, tape, order, before, memory):
    """What a network remembers before each transition, asked for one row alone, step by step."""
    if not model.is_recurrent:
        return None
    memory = memory if isinstance(memory, tuple) else (memory,)
    saved = [torch.zeros(len(order), part.shape[0], 2, part.shape[2]) for part in memory]
    groups = model.obs_groups
    for place, (row, own) in enumerate(order):
        if own == before[row]:
            now = [part[:, row : row + 1] for part in memory]
        for buffer, part in zip(saved, now, strict=True):
            buffer[place] = part
        seen = torch.cat(
            [(tape.policy if group == "policy" else tape.critic)[own, row] for group in groups]
        )
        state = tuple(now) if len(now) == 2 else now[0]
        _, state = model.rnn.rnn(seen.reshape(1, 1, -1), state)
        now = list(state) if isinstance(state, tuple) else [state]
        if tape.dones[own, row]:
            now = [torch.zeros_like(part) for part in now]
    return saved


@pytest.mark.parametrize("networks", NETWORKS)
def test_chunks_are_discounted_by_their_lengths(networks):
    tape = Tape(NUM_ENVS, NUM_STEPS, num_steps_of_a_chunk=8)
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, networks=networks)
    at, taken = collect(masked, tape, random_masks(), nowhere())
    with torch.inference_mode():
        memory = masked.critic.get_hidden_state()
        last_values = masked.critic(tape.obs(at)).flatten()
        masked.critic.reset(hidden_state=memory)
    returns = returns_by_hand(tape, taken, at, last_values, gamma=0.97, lam=0.9)
    storage = masked.storage
    for (row, own), expected in returns.items():
        torch.testing.assert_close(storage.returns[own, row, 0], expected, rtol=0, atol=2e-6)
    assert storage.counts.tolist() == at.tolist()


def test_plain_ppo_learns_something_else_from_suspended_rows():
    """What the other tests compare would not be equal by itself."""
    tape = Tape(NUM_ENVS, NUM_STEPS)
    masks = equal_shares(NUM_STEPS, NUM_ENVS, NUM_ACTIVE, seed=0)
    weights = []
    for algorithm_class in (MaskedPPO, Reference):
        algorithm = make_algorithm(algorithm_class, tape, NUM_STEPS)
        torch.manual_seed(0)
        collect(algorithm, tape, masks, nowhere())
        update(algorithm, 0)
        weights.append(learned(algorithm))
    assert len(differences(*weights)) > 10


@pytest.mark.parametrize("networks", NETWORKS)
def test_with_nothing_suspended_it_is_rsl_rls_ppo(networks):
    tape = Tape(NUM_ENVS, NUM_STEPS * ROLLOUTS)
    settings = {"networks": networks, "normalized": True}
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, **settings)
    plain = make_algorithm(Reference, tape, NUM_STEPS, **settings)
    everyone = torch.ones(NUM_STEPS, NUM_ENVS, dtype=torch.bool)
    for algorithm in (masked, plain):
        at = nowhere()
        for rollout in range(ROLLOUTS):
            torch.manual_seed(rollout)
            at, _ = collect(algorithm, tape, everyone, at)
            update(algorithm, rollout)
    assert differences(learned(masked), learned(plain)) == []


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("num_active", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"normalize_advantage_per_mini_batch": True}])
def test_a_handful_of_transitions_gives_finite_weights(networks, num_active, options):
    tape = Tape(6, 10)
    masked = make_algorithm(
        MaskedPPO, tape, 4, networks=networks, normalized=True, num_mini_batches=4, **options
    )
    masks = torch.zeros(4, 6, dtype=torch.bool)
    masks[:num_active, 0] = True
    collect(masked, tape, masks, nowhere(6))
    losses = update(masked, 0)
    assert all(value == value for value in losses.values())
    assert all(value.isfinite().all() for value in learned(masked).values())


def test_a_rollout_in_which_nobody_advanced_is_refused():
    tape = Tape(3, 10)
    masked = make_algorithm(MaskedPPO, tape, 4)
    with pytest.raises(SuspensionError, match="No row advanced in the 4 steps"):
        collect(masked, tape, torch.zeros(4, 3, dtype=torch.bool), nowhere(3))


def test_more_steps_than_fit_are_refused():
    tape = Tape(3, 10)
    masked = make_algorithm(MaskedPPO, tape, 4)
    with pytest.raises(OverflowError, match="4 steps"):
        collect(masked, tape, torch.ones(5, 3, dtype=torch.bool), nowhere(3))


def test_an_env_that_says_nothing_of_active_rows_has_all_of_them_active():
    tape = Tape(3, 10)
    masked = make_algorithm(MaskedPPO, tape, 4)
    with torch.inference_mode():
        masked.act(tape.obs(nowhere(3)))
        masked.process_env_step(tape.obs(nowhere(3)), torch.ones(3), torch.zeros(3), {})
    assert masked.storage.counts.tolist() == [1, 1, 1]


def test_curiosity_is_refused_by_name():
    with pytest.raises(ConfigError, match="rnd_cfg"):
        make_algorithm(MaskedPPO, Tape(3, 1), 4, rnd_cfg={"weight": 1.0})


def test_recurrent_networks_of_other_makes_are_refused():
    tape = Tape(3, 1)
    own = make_algorithm(PPO, tape, 4, networks="gru")
    own.actor.rnn.rnn = torch.nn.Identity()
    with pytest.raises(ConfigError, match="the actor is a RNNModel"):
        MaskedPPO(own.actor, own.critic, own.storage)


def test_compiling_recurrent_networks_is_refused():
    masked = make_algorithm(MaskedPPO, Tape(3, 1), 4, networks="gru")
    with pytest.raises(ConfigError, match="torch_compile_mode"):
        masked.compile("default")


def test_hooks_are_gone_after_an_update():
    tape = Tape(NUM_ENVS, NUM_STEPS)
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, networks="lstm actor")
    collect(masked, tape, random_masks(), nowhere())
    update(masked, 0)
    for module in (*masked.actor.modules(), *masked.critic.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert masked.storage.step == 0
    assert masked.storage.counts.sum() == 0


def mirrored(env, obs, actions):
    """Data augmentation: everything is right with its sign changed, too."""
    if obs is not None:
        obs = torch.cat([obs, obs.apply(lambda value: -value)])
    if actions is not None:
        actions = torch.cat([actions, -actions])
    return obs, actions


def test_symmetry_of_networks_without_memory_is_rsl_rls():
    symmetry = {
        "use_data_augmentation": True,
        "use_mirror_loss": True,
        "mirror_loss_coeff": 0.5,
        "data_augmentation_func": mirrored,
    }
    if hasattr(extensions, "Symmetry"):
        symmetry["env"] = None
    else:
        symmetry["_env"] = None  # as rsl_rl 5.0 calls it
    tape = Tape(NUM_ENVS, NUM_ACTIVE)
    masked = make_algorithm(MaskedPPO, tape, NUM_STEPS, symmetry_cfg=dict(symmetry))
    dense = make_algorithm(Reference, tape, NUM_ACTIVE, symmetry_cfg=dict(symmetry))
    masks = equal_shares(NUM_STEPS, NUM_ENVS, NUM_ACTIVE, seed=0)
    _, taken = collect(masked, tape, masks, nowhere())
    feed(dense, tape, taken, at=nowhere(), num_steps=NUM_ACTIVE)
    assert update(masked, 0) == update(dense, 0)
    assert differences(learned(masked), learned(dense)) == []
