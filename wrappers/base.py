"""The base of all holdstep wrappers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import gymnasium
import torch

from holdstep.envs.contract import Info, Obs, StepResult, TorchVectorEnv
from holdstep.errors import CapabilityError, ConfigError
from holdstep.wrappers.order import Stage, check_order, inner_wrappers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    # Generic with five parameters in Gymnasium 1.4, not generic in 1.2.
    _GymVectorWrapper = gymnasium.vector.VectorWrapper[
        Obs, torch.Tensor, Obs, torch.Tensor, torch.Tensor
    ]
else:
    _GymVectorWrapper = gymnasium.vector.VectorWrapper

_CONSTANTS = (
    "device",
    "capabilities",
    "backend_env",
    "max_episode_length",
    "step_dt",
    "is_finite_horizon",
    "cfg",
)

WrapperT = TypeVar("WrapperT", bound="VectorWrapper")


class VectorWrapper(_GymVectorWrapper, TorchVectorEnv):  # type: ignore[misc]
    """Wraps a :class:`~holdstep.envs.TorchVectorEnv` and is one itself.

    What a subclass does not override goes to the env inside. Subclasses override ``step`` and
    ``reset``, and :meth:`close_extras` when they own threads, files or hooks. Autoreset: the
    wrapped env's, always same-step. Order: :attr:`stage`, checked at construction.

    Attributes:
        stage: where in a stack the wrapper belongs, or None for anywhere.
        needs_final_obs: the wrapper uses ``info["final_obs"]``; views leave it on then.
        env: the env inside.

    Args:
        env: the env to wrap.

    Raises:
        ConfigError: ``env`` is not a :class:`~holdstep.envs.TorchVectorEnv`.
        WrapperOrderError: something inside ``env`` belongs outside this wrapper.
    """

    stage: ClassVar[Stage | None] = None
    needs_final_obs: ClassVar[bool] = False
    env: TorchVectorEnv

    def __init__(self, env: TorchVectorEnv) -> None:
        if not isinstance(env, TorchVectorEnv):
            raise ConfigError(
                f"{type(self).__name__} wraps a holdstep env, got {type(env).__name__}. "
                "Adapt it first: holdstep.envs.adapt(env)."
            )
        super().__init__(env)
        check_order(self, env)
        self._closed = False
        # Copied once, since a stack of properties would be walked at every step; what a subclass
        # defines itself stays.
        bases = type(self).__mro__
        own = {name for base in bases[: bases.index(VectorWrapper)] for name in vars(base)}
        for name in _CONSTANTS:
            if name not in own:
                setattr(self, name, getattr(env, name))

    @property
    def unwrapped(self) -> TorchVectorEnv:  # type: ignore[override]
        """The adapter at the bottom of the stack."""
        return self.env.unwrapped

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``."""
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        self.env.episode_length_buf = value

    @property
    def final_obs_enabled(self) -> bool:
        """Whether the adapter fills in ``info["final_obs"]``."""
        return self.env.final_obs_enabled

    @final_obs_enabled.setter
    def final_obs_enabled(self, value: bool) -> None:
        self.env.final_obs_enabled = value

    def scene_state(self) -> dict[str, torch.Tensor]:
        """Where everything in the scene is now and how it moves."""
        return self.env.scene_state()

    def set_scene_state(
        self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor | Sequence[int] | None = None
    ) -> Obs:
        """Put rows into states that :meth:`scene_state` told."""
        return self.env.set_scene_state(state, env_ids)

    @property
    def scene_state_attributes(self) -> dict[str, str]:
        """How :meth:`scene_state` is to be read."""
        return self.env.scene_state_attributes

    @property
    def final_state_enabled(self) -> bool:
        """Whether the adapter fills in ``info["final_state"]``."""
        return self.env.final_state_enabled

    @final_state_enabled.setter
    def final_state_enabled(self, value: bool) -> None:
        self.env.final_state_enabled = value

    def processed_actions(self) -> torch.Tensor | None:
        """What the action terms made of the last actions, or None."""
        return self.env.processed_actions()

    @property
    def lazy_rendering(self) -> bool:
        """Whether images are drawn only when somebody looks at them."""
        return self.env.lazy_rendering

    @lazy_rendering.setter
    def lazy_rendering(self, value: bool) -> None:
        self.env.lazy_rendering = value

    @property
    def image_obs(self) -> dict[str, str]:
        """Observations that cameras make: ``"lazy"``, or why they are computed at each tick."""
        return self.env.image_obs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, Info]:
        """Reset all rows, or those of ``options["env_ids"]``."""
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step the env inside."""
        return self.env.step(actions)

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step some rows of the env inside; refused where that would bypass this wrapper's step."""
        if type(self).step is not VectorWrapper.step:
            raise CapabilityError(
                f"{type(self).__name__} changes step() and does not say how to step only some "
                "rows. Put it outside the wrapper that suspends rows, or give it a step_masked()."
            )
        return self.env.step_masked(actions, active_mask)

    def new_buffer(
        self, *shape: int, dtype: torch.dtype = torch.float32, fill: float = 0
    ) -> torch.Tensor:
        """A tensor on the env's device that may be edited in any mode.

        RL libraries step under ``torch.inference_mode()``. A tensor that is *made* there can't be
        edited outside it, so buffers are made in ``__init__``, by this method.

        Args:
            *shape: the tensor's shape.
            dtype: its dtype.
            fill: its initial value.
        """
        with torch.inference_mode(False):
            return torch.full(shape, fill, dtype=dtype, device=self.device)

    def close_extras(self, **kwargs: Any) -> None:
        """Flush and release what this wrapper owns; called once, before the env inside closes."""

    def close(self, **kwargs: Any) -> None:
        """Close this wrapper, then the env inside, also when the first of them fails.

        May be called again, and from ``finally``, ``atexit`` or a KeyboardInterrupt.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.close_extras(**kwargs)
        finally:
            self.env.close(**kwargs)


def find_wrapper(env: TorchVectorEnv, wrapper_type: type[WrapperT]) -> WrapperT | None:
    """The outermost wrapper of a type in a stack, or None.

    Args:
        env: any env; an adapter has no wrappers.
        wrapper_type: the class to look for.
    """
    return next((w for w in inner_wrappers(env) if isinstance(w, wrapper_type)), None)
