"""What an episode ended with, taken from backends that reset inside their own ``step``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.observations import add_final_obs, add_final_state
from holdstep.envs.state.hooks import InstanceHooks

if TYPE_CHECKING:
    from holdstep.envs.contract import Info

RESET_METHOD = "_reset_idx"
"""mjlab and Isaac Lab (2.3 and 3.0, both workflows) all reset the rows that ended through a method
of this name, after rewards and terminations are computed and before the next observation is."""

Values = dict[str, torch.Tensor]


class BeforeResetHook:
    """Looks at the rows that ended just before the backend resets them.

    While it is installed, the backend object's own reset method is shadowed by an attribute of that
    *instance*; :meth:`remove` deletes the attribute again. Resets outside a step pass through.

    Args:
        backend_env: the simulator's env object.
        take: computes what is to be told of all rows as they are now, tensors ``[N, ...]`` by name,
            and leaves no trace; gets the ids of the rows that ended, int64 ``[k]``.
        add: puts that and the mask of those rows, bool ``[N]``, into the info of a step.
    """

    def __init__(
        self,
        backend_env: Any,
        take: Callable[[torch.Tensor], Values],
        add: Callable[[Info, Values, torch.Tensor], None],
    ) -> None:
        self._backend_env = backend_env
        self._take_values = take
        self._add = add
        self._hooks = InstanceHooks()
        self._in_step = False
        self._values: Values | None = None
        self._ended_mask: torch.Tensor | None = None
        self._told_mask: torch.Tensor | None = None
        self._ended: torch.Tensor | None = None  # the ids that are set in it

    @property
    def installed(self) -> bool:
        """Whether the backend's reset method is hooked by this object now."""
        return bool(self._hooks)

    @installed.setter
    def installed(self, value: bool) -> None:
        if not value:
            self._hooks.remove()
        elif not self.installed:
            self._hooks.shadow(self._backend_env, RESET_METHOD, self._looking_first)

    def remove(self) -> None:
        """Give the backend back what was there before."""
        self.installed = False

    def __enter__(self) -> None:
        self._values = self._ended_mask = self._ended = None
        self._told_mask = None
        self._in_step = True

    def __exit__(self, *exc_info: object) -> None:
        self._in_step = False

    def add_to(self, info: Info) -> None:
        """Put what was taken into a step's info when a row ended in that step."""
        if self._values is not None and self._ended_mask is not None:
            self._add(info, self._values, self._ended_mask)
            self._told_mask = self._ended_mask
            self._values = self._ended_mask = None  # it is the caller's now

    def ended_env_ids(self, mask: torch.Tensor) -> torch.Tensor | None:
        """The ids that are set in the mask of the last step, int64 ``[k]``; None for another."""
        return self._ended if mask is self._told_mask else None

    def _looking_first(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        def look_then_reset(env_ids: Any = None, *args: Any, **kwargs: Any) -> Any:
            # A later hook may have been put over this one, which then stays there when removed.
            if self._in_step and self.installed:
                self._take(env_ids)
            return reset(env_ids, *args, **kwargs)

        return look_then_reset

    def _take(self, env_ids: Any) -> None:
        env = self._backend_env
        ended = torch.as_tensor(env_ids, device=env.device).long()
        mask = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        mask[ended] = True
        self._values = self._take_values(ended)
        self._ended_mask, self._ended = mask, ended


class FinalObsHook(BeforeResetHook):
    """Fills in ``info["final_obs"]``.

    Args:
        backend_env: the simulator's env object.
        observe: computes the observations of all rows, see ``take`` of :class:`BeforeResetHook`.
    """

    def __init__(self, backend_env: Any, observe: Callable[[torch.Tensor], Values]) -> None:
        super().__init__(backend_env, observe, add_final_obs)


class FinalStateHook(BeforeResetHook):
    """Fills in ``info["final_state"]``.

    Args:
        backend_env: the simulator's env object.
        read: reads the scene, all rows.
    """

    def __init__(self, backend_env: Any, read: Callable[[], Values]) -> None:
        super().__init__(backend_env, lambda _: read(), add_final_state)
