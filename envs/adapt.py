"""``adapt`` wraps an env object that the user built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from holdstep.envs.contract import TorchVectorEnv
from holdstep.errors import ConfigError

if TYPE_CHECKING:
    import torch


def adapt(env: Any, *, device: str | torch.device | None = None) -> TorchVectorEnv:
    """Make a simulator's env object a :class:`~holdstep.envs.TorchVectorEnv`.

    Gymnasium wrappers around an mjlab or Isaac Lab env stay in effect: they are stepped through.

    Args:
        env: an mjlab ``ManagerBasedRlEnv``, an Isaac Lab ``ManagerBasedRLEnv`` or ``DirectRLEnv``,
            any ``gymnasium.vector.VectorEnv``, or an env that already keeps the contract (which is
            returned as it is).
        device: where a ``gymnasium.vector`` env's data go (default ``"cpu"``); simulators have
            a device of their own, and naming another one is refused.

    Raises:
        ConfigError: the object is none of these; the message says what to do.
        CapabilityError: a vector env's autoreset mode can't be translated.
    """
    if isinstance(env, TorchVectorEnv):
        return env
    innermost = getattr(env, "unwrapped", env)
    origins = {base.__module__.partition(".")[0] for base in type(innermost).__mro__}
    adapted: TorchVectorEnv
    if isinstance(innermost, TorchVectorEnv):
        raise ConfigError(
            f"{type(env).__name__} is around a holdstep env already, and would turn its tensors "
            "into NumPy arrays. Take the env inside, and a holdstep wrapper in its place."
        )
    if env is not innermost and hasattr(type(env), "get_observations"):
        raise ConfigError(
            f"{type(env).__name__} is an RL library's view of an env, with a step() of its own "
            "kind. Adapt the env inside: holdstep.envs.adapt(view.unwrapped)."
        )
    if "mjlab" in origins:
        from holdstep.envs.adapters.mjlab import MjlabEnv

        adapted = MjlabEnv(env)
    elif "isaaclab" in origins:
        from holdstep.envs.adapters.isaaclab import adapt_isaaclab

        adapted = adapt_isaaclab(env)
    elif isinstance(env, VectorEnv):
        from holdstep.envs.adapters.gymnasium import GymnasiumVectorEnv

        return GymnasiumVectorEnv(env, device="cpu" if device is None else device)
    else:
        raise ConfigError(_why_not(env))
    if device is not None:
        from holdstep.envs.device import canonical_device

        if canonical_device(device) != adapted.device:
            raise ConfigError(
                f"device={str(device)!r} was asked for, but the simulator runs on "
                f"{adapted.device}. Build it on the device that you want."
            )
    return adapted


def _why_not(env: Any) -> str:
    import gymnasium

    if isinstance(env, gymnasium.Env):
        return (
            f"{type(env).__name__} is a single Gymnasium env. Make a vector of it: "
            "gymnasium.vector.SyncVectorEnv([make_fn] * n), or "
            'holdstep.envs.make("gymnasium:ID", num_envs=n).'
        )
    return (
        f"{type(env).__module__}.{type(env).__qualname__} is no env that holdstep knows: it takes "
        "mjlab and Isaac Lab envs, and any gymnasium.vector.VectorEnv. For another simulator, "
        "subclass holdstep.envs.TorchVectorEnv."
    )
