"""What rows live through, whoever steps them and whenever: for comparing PPO on the same data."""

import torch
from tensordict import TensorDict

NUM_OBS, NUM_ACTIONS = 5, 2


class Tape:
    """For each row, observations, rewards and ends of each of its own steps, drawn in advance."""

    def __init__(self, num_envs, num_steps, *, seed=0, num_steps_of_a_chunk=None):
        draw = torch.Generator().manual_seed(seed)
        self.num_envs = num_envs
        num_steps += 1  # a row at the end is asked, too
        self.policy = torch.randn(num_steps, num_envs, NUM_OBS, generator=draw)
        self.critic = torch.randn(num_steps, num_envs, NUM_OBS + 1, generator=draw)
        self.rewards = torch.randn(num_steps, num_envs, generator=draw)
        ended = torch.rand(num_steps, num_envs, generator=draw)
        self.dones = (ended < 0.15).long()
        self.time_outs = ended < 0.08
        self.chunk_steps = None
        if num_steps_of_a_chunk is not None:
            shape = (num_steps, num_envs)
            self.chunk_steps = torch.randint(1, num_steps_of_a_chunk + 1, shape, generator=draw)

    def obs(self, at):
        """Observations after ``at`` (int64 ``[N]``) steps of each row."""
        rows = torch.arange(self.num_envs)
        return TensorDict(
            {"policy": self.policy[at, rows], "critic": self.critic[at, rows]},
            batch_size=[self.num_envs],
        )

    def step(self, at, active):
        """What a step of the batch returns: rewards, dones, extras; nothing for inactive rows."""
        rows = torch.arange(self.num_envs)
        extras = {"active": active, "time_outs": self.time_outs[at, rows] & active}
        if self.chunk_steps is not None:
            extras["num_steps"] = self.chunk_steps[at, rows] * active
        return self.rewards[at, rows] * active, self.dones[at, rows] * active, extras


NETWORKS = {
    "mlp": ({}, {}),
    "lstm": ({"rnn_type": "lstm"}, {"rnn_type": "lstm", "rnn_num_layers": 2}),
    "gru": ({"rnn_type": "gru"}, {"rnn_type": "gru"}),
    "lstm actor": ({"rnn_type": "lstm"}, {}),
    "gru critic": ({}, {"rnn_type": "gru"}),
}


def make_algorithm(
    algorithm_class, tape, num_steps, *, networks="mlp", normalized=False, **options
):
    """An algorithm with the same initial weights, whatever its class."""
    from rsl_rl.models import MLPModel, RNNModel
    from rsl_rl.storage import RolloutStorage

    torch.manual_seed(7)
    obs = tape.obs(torch.zeros(tape.num_envs, dtype=torch.int64))
    groups = {"actor": ["policy"], "critic": ["policy", "critic"]}
    models = []
    for name, size, memory in zip(
        ("actor", "critic"), (NUM_ACTIONS, 1), NETWORKS[networks], strict=True
    ):
        settings = {"hidden_dims": [16, 16], "obs_normalization": normalized}
        if name == "actor":
            settings["distribution_cfg"] = {"class_name": "GaussianDistribution", "init_std": 1.0}
        if memory:
            settings |= {"rnn_hidden_dim": 8, "rnn_num_layers": 1} | memory
        model_class = RNNModel if memory else MLPModel
        models.append(model_class(obs, groups, name, size, **settings))
    storage = RolloutStorage("rl", tape.num_envs, num_steps, obs, [NUM_ACTIONS], "cpu")
    defaults = {"num_mini_batches": 2, "num_learning_epochs": 3, "gamma": 0.97, "lam": 0.9}
    algorithm = algorithm_class(*models, storage, **defaults | options)
    algorithm.train_mode()
    return algorithm


def equal_shares(num_steps, num_envs, num_active, *, seed):
    """Random masks with as many active rows in each step as active steps in each row, in parts."""
    assert num_steps == num_envs
    draw = torch.Generator().manual_seed(seed)
    steps, rows = (torch.randperm(num_steps, generator=draw) for _ in range(2))
    mask = (steps.unsqueeze(1) + rows) % num_steps < num_active
    assert (mask.sum(0) == num_active).all()
    assert (mask.sum(1) == num_active).all()
    return mask


def row_of(memory, row):
    """What a network remembers of a row."""
    if isinstance(memory, tuple):
        return tuple(row_of(part, row) for part in memory)
    return None if memory is None else memory[:, row].clone()


def of_rows(memories):
    """The way back."""
    if isinstance(memories[0], tuple):
        return tuple(map(of_rows, zip(*memories, strict=True)))
    return None if memories[0] is None else torch.stack(memories, dim=1)


@torch.inference_mode()
def collect(algorithm, tape, masks, at):
    """A rollout under suspension.

    Args:
        algorithm: a MaskedPPO.
        tape: what the rows live through.
        masks: active rows of each step, bool ``[T, N]``.
        at: steps that each row has taken before.

    Returns:
        Steps that each row has taken now, and by row and own step what it did.
    """
    taken = {}
    for active in masks:
        actions = algorithm.act(tape.obs(at)).clone()
        transition = algorithm.transition
        for row in active.nonzero().flatten().tolist():
            taken[row, int(at[row])] = {
                "actions": actions[row],
                "values": transition.values[row].clone(),
                "actions_log_prob": transition.actions_log_prob[row].clone(),
                "params": [p[row].clone() for p in transition.distribution_params],
                "memory": [row_of(memory, row) for memory in transition.hidden_states],
            }
        rewards, dones, extras = tape.step(at, active)
        at = at + active
        algorithm.process_env_step(tape.obs(at), rewards, dones, extras)
    algorithm.compute_returns(tape.obs(at))
    return at, taken


@torch.inference_mode()
def feed(ppo, tape, taken, *, at, num_steps, recorded=None):
    """The same transitions for rsl_rl's PPO, one of each row per step.

    Its networks see the same observations, and compute values and distributions on their own; only
    the actions are those that were taken. With ``recorded``, the algorithm that took them, all are
    those that were recorded, and what the networks remember is the same, too.

    Returns:
        Steps that each row has taken now.
    """
    everyone = torch.ones(tape.num_envs, dtype=torch.bool)
    for _ in range(num_steps):
        ppo.act(tape.obs(at))
        places = list(enumerate(at.tolist()))
        actions = torch.stack([taken[place]["actions"] for place in places])
        transition = ppo.transition
        transition.actions = actions
        transition.actions_log_prob = ppo.actor.get_output_log_prob(actions)
        if recorded is not None:
            memories = [taken[place]["memory"] for place in places]
            transition.hidden_states = tuple(map(of_rows, zip(*memories, strict=True)))
            for name in ("values", "actions_log_prob"):
                setattr(transition, name, torch.stack([taken[place][name] for place in places]))
            transition.distribution_params = tuple(
                torch.stack(parts)
                for parts in zip(*(taken[place]["params"] for place in places), strict=True)
            )
        rewards, dones, extras = tape.step(at, everyone)
        at = at + 1
        ppo.process_env_step(tape.obs(at), rewards, dones, extras)
    if recorded is not None:
        ppo.critic.reset(hidden_state=recorded.critic.get_hidden_state())
    ppo.compute_returns(tape.obs(at))
    return at


def update(algorithm, seed):
    """Learn, with known draws of mini-batches."""
    torch.manual_seed(seed)
    return algorithm.update()


def learned(algorithm):
    """All that an update changes."""
    tensors = dict(algorithm.actor.state_dict(prefix="actor."))
    tensors |= algorithm.critic.state_dict(prefix="critic.")
    for number, state in algorithm.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    return tensors | {"learning_rate": torch.tensor(algorithm.learning_rate)}


def differences(first, second):
    """Names of what is not equal bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def returns_by_hand(tape, taken, at, last_values, *, gamma, lam):
    """GAE as a loop over each row's own transitions, one number at a time.

    Args:
        tape: what the rows lived through.
        taken: by row and own step, from :func:`collect`.
        at: steps of each row after the rollout.
        last_values: by row.
        gamma: discount per env step.
        lam: of GAE.

    Returns:
        Returns by row and own step.
    """
    returns = {}
    for row in range(tape.num_envs):
        own_steps = sorted(own for other, own in taken if other == row)
        advantage, next_value = torch.tensor(0.0), last_values[row]
        assert not own_steps or own_steps[-1] + 1 == at[row]
        for own in reversed(own_steps):
            length = 1 if tape.chunk_steps is None else int(tape.chunk_steps[own, row])
            discount = gamma**length
            value = taken[row, own]["values"].squeeze()
            reward = tape.rewards[own, row] + discount * (value * tape.time_outs[own, row])
            following = 1.0 - float(tape.dones[own, row])
            delta = reward + following * discount * next_value - value
            advantage = delta + following * discount * lam * advantage
            returns[row, own] = advantage + value
            next_value = value
    return returns
