"""A Cartpole whose observation groups each hold one term that an export must treat specially."""

from __future__ import annotations

from typing import Any

import torch

from tests.wrappers.export.pipeline_tools import CARTPOLE, export_env


def joint_pos(env: Any) -> torch.Tensor:
    """A term as it should be."""
    return env.scene["cartpole"].data.joint_pos


def joint_vel(env: Any) -> torch.Tensor:
    """Another."""
    return env.scene["cartpole"].data.joint_vel


def hidden_manager_read(env: Any) -> torch.Tensor:
    """Reads a tensor of a manager that is neither input nor memory."""
    manager = getattr(env, "reward_manager", None)  # made after the observation manager
    return joint_pos(env) if manager is None else joint_pos(env) + manager._step_reward[:, :1]


def hidden_counter_read(env: Any) -> torch.Tensor:
    """Reads a Python number that counts."""
    return joint_pos(env) * (1.0 + 0.1 * env.common_step_counter)


def hidden_raw_action(env: Any) -> torch.Tensor:
    """Reads what an action term keeps, through the manager."""
    return env.action_manager.get_term("effort").raw_action


def branches(env: Any) -> torch.Tensor:
    """Decides by values."""
    value = joint_pos(env)
    if (value[:, 1].abs() < 10.0).all():
        return value
    return -value


def uses_item(env: Any) -> torch.Tensor:
    """Lets a value leave for Python."""
    value = joint_pos(env)
    return value - value.max().item()


def uses_tolist(env: Any) -> torch.Tensor:
    """Lets all values leave for Python."""
    value = joint_pos(env)
    return torch.tensor(value.tolist()) * 2.0


def uses_mask(env: Any) -> torch.Tensor:
    """Makes a result whose size depends on values."""
    value = joint_pos(env).clone()
    return value + value[value > 0].sum()


def uses_shape(env: Any) -> torch.Tensor:
    """Branches by a size, which is the same in every step."""
    value = joint_pos(env)
    return value if value.shape[1] == 2 else -value


def draws(env: Any) -> torch.Tensor:
    """Adds noise of its own."""
    return joint_pos(env) + torch.rand(env.num_envs, 2)


def sets_env(env: Any) -> torch.Tensor:
    """Changes the env."""
    env.last_seen = joint_pos(env)
    return env.last_seen


def changes_in_place(env: Any) -> torch.Tensor:
    """Changes what it read, which is a copy in the simulator."""
    value = joint_pos(env)
    value -= 1.0
    return value


def edits_reading(env: Any) -> torch.Tensor:
    """Edits a sensor's reading where it lies, as Isaac Lab's image term does."""
    rate = env.scene.sensors["cartpole/rate"].data
    rate[rate < 0.0] = 0.0
    return rate


def reading(env: Any) -> torch.Tensor:
    """What a sensor reads, and others have made of it."""
    return env.scene.sensors["cartpole/rate"].data * 2.0


def writes_past_the_methods(env: Any) -> torch.Tensor:
    """Writes into the simulator's own memory."""
    env.scene["cartpole"].data.joint_effort_target[:] = 0.0
    return joint_pos(env)


def episode_time(env: Any) -> torch.Tensor:
    """Reads the episode's clock."""
    return env.episode_length_buf.unsqueeze(1) * env.step_dt


def raw_simulator(env: Any) -> torch.Tensor:
    """Reads the simulator's own arrays."""
    return env.sim.data.qpos[:, :2] + joint_vel(env)


class LowPass:
    """A term with a memory of its own."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.value = torch.zeros(env.num_envs, 2)

    def __call__(self, env: Any) -> torch.Tensor:
        self.value = 0.7 * self.value + 0.3 * joint_pos(env)
        return self.value

    def reset(self, env_ids: Any = None) -> None:
        self.value[slice(None) if env_ids is None else env_ids] = 0.25


class InPlace(LowPass):
    """The same, in place."""

    def __call__(self, env: Any) -> torch.Tensor:
        self.value.mul_(0.7).add_(joint_vel(env), alpha=0.3)
        return self.value


class NeverReset(LowPass):
    """Keeps its memory over episodes."""

    def reset(self, env_ids: Any = None) -> None:
        pass


class StartsWhereItIs(LowPass):
    """A reset reads the state, here the same for every row."""

    def __init__(self, cfg: Any, env: Any) -> None:
        super().__init__(cfg, env)
        self.env = env

    def reset(self, env_ids: Any = None) -> None:
        self.value[slice(None) if env_ids is None else env_ids] = joint_pos(self.env)[0]


class CountsForever(LowPass):
    """Keeps a count over episodes, which is the same in every row."""

    def __call__(self, env: Any) -> torch.Tensor:
        self.value = self.value + 1.0
        return joint_pos(env) * self.value

    def reset(self, env_ids: Any = None) -> None:
        pass


class CountsInPython:
    """Keeps a Python number."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.calls = 0

    def __call__(self, env: Any) -> torch.Tensor:
        self.calls += 1
        return joint_pos(env) * self.calls

    def reset(self, env_ids: Any = None) -> None:
        pass


class RunningMean:
    """Keeps one value for all rows together."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.mean = torch.zeros(2)

    def __call__(self, env: Any) -> torch.Tensor:
        self.mean = 0.9 * self.mean + 0.1 * joint_pos(env).mean(0)
        return joint_pos(env) - self.mean

    def reset(self, env_ids: Any = None) -> None:
        self.mean = torch.zeros(2)


class PerEnvGain:
    """Has a constant that is randomised per env."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.gain = torch.linspace(0.9, 1.1, env.num_envs).unsqueeze(1)

    def __call__(self, env: Any) -> torch.Tensor:
        return joint_pos(env) * self.gain

    def reset(self, env_ids: Any = None) -> None:
        pass


class MadeLate:
    """Keeps nothing until a reset, and then the row's first position."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.first = None
        self.env = env

    def __call__(self, env: Any) -> torch.Tensor:
        return joint_pos(env) if self.first is None else joint_pos(env) + self.first

    def reset(self, env_ids: Any = None) -> None:
        self.first = torch.zeros(self.env.num_envs, 2)


OUTSIDE = torch.tensor([0.5, 2.0])


def uses_global(env: Any) -> torch.Tensor:
    """Uses a constant from outside the env."""
    return joint_pos(env) * OUTSIDE


PLANTED = {
    function.__name__: function
    for function in (
        hidden_manager_read,
        hidden_counter_read,
        hidden_raw_action,
        branches,
        uses_item,
        uses_tolist,
        uses_mask,
        uses_shape,
        draws,
        sets_env,
        changes_in_place,
        writes_past_the_methods,
        episode_time,
        raw_simulator,
        LowPass,
        InPlace,
        NeverReset,
        StartsWhereItIs,
        CountsForever,
        CountsInPython,
        RunningMean,
        PerEnvGain,
        MadeLate,
        uses_global,
    )
}


def planted_env() -> Any:
    """A Cartpole with a group for each planted term, and some with histories and delays."""
    from mjlab.managers.observation_manager import ObservationGroupCfg as Group
    from mjlab.managers.observation_manager import ObservationTermCfg as Term
    from mjlab.sensor import BuiltinSensorCfg, ObjRef
    from mjlab.tasks.registry import load_env_cfg
    from mjlab.utils.noise.noise_cfg import UniformNoiseCfg

    cfg = load_env_cfg(CARTPOLE)
    groups = cfg.observations
    for name, function in PLANTED.items():
        groups[name] = Group(terms={"term": Term(func=function)})
    both = {"pos": Term(func=joint_pos), "vel": Term(func=joint_vel, scale=0.1, clip=(-1.0, 1.0))}
    rate = ObjRef(type="joint", name="hinge_1", entity="cartpole")
    cfg.scene.sensors += (BuiltinSensorCfg(name="rate", sensor_type="jointvel", obj=rate),)
    groups["edited"] = Group(terms={"edit": Term(func=edits_reading), "see": Term(func=reading)})
    groups["history"] = Group(terms=dict(both), history_length=5)
    groups["mixed"] = Group(
        terms={
            "pos": Term(func=joint_pos, history_length=4, scale=(2.0, 0.5)),
            "vel": Term(func=joint_vel),
        }
    )
    groups["frames"] = Group(
        terms={
            "pos": Term(func=joint_pos, history_length=3, flatten_history_dim=False),
            "vel": Term(func=joint_vel, history_length=2),
        },
        concatenate_terms=False,
    )
    groups["delayed"] = Group(
        terms={
            "pos": Term(func=joint_pos, delay_min_lag=2, delay_max_lag=2),
            "vel": Term(func=joint_vel, delay_min_lag=1, delay_max_lag=1, history_length=3),
        }
    )
    groups["random_delay"] = Group(
        terms={"pos": Term(func=joint_pos, delay_min_lag=0, delay_max_lag=3)}
    )
    groups["noisy"] = Group(
        terms={
            "pos": Term(
                func=joint_pos, history_length=2, noise=UniformNoiseCfg(n_min=-0.5, n_max=0.5)
            )
        },
        enable_corruption=True,
        nan_policy="sanitize",
    )
    return export_env(CARTPOLE, cfg=cfg)
