"""What the adapters of simulators that step all rows at once have in common."""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from holdstep.envs.adapters.ordinary_tensors import OrdinaryTensors
from holdstep.envs.contract import StepResult, TorchVectorEnv
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.lazy_images import LazyImages
from holdstep.envs.scene_state import checked_state
from holdstep.errors import CapabilityError, ClosedEnvError, ResetNeededError, SuspensionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from holdstep.envs.adapters.cameras import Cameras
    from holdstep.envs.adapters.final_obs import FinalObsHook, FinalStateHook
    from holdstep.envs.adapters.simulator_rows import SimulatorRowControl
    from holdstep.envs.contract import Obs
    from holdstep.envs.last_obs import LastObs
    from holdstep.envs.scene_state import SceneState
    from holdstep.envs.state.user_state import UserState


class SimulatorEnv(TorchVectorEnv):
    """A simulator's env whose rows can be held by stepping everybody and putting some back.

    Subclasses implement ``reset``, :meth:`advance`, :meth:`_observe_rows` and ``row_control``.

    Attributes:
        simulator: its name, for messages.
        user_state: what was given to :meth:`register_state`.
    """

    simulator: ClassVar[str]
    user_state: UserState
    _last_obs: LastObs
    _scene: SceneState
    _final_obs: FinalObsHook
    _final_state: FinalStateHook
    _rows: SimulatorRowControl | None = None
    _cameras: Cameras | None = None

    @property
    def lazy_rendering(self) -> bool:
        """Whether images are drawn only when somebody looks at them; off until switched on."""
        return self._cameras is not None and self._cameras.is_deferred

    @lazy_rendering.setter
    def lazy_rendering(self, value: bool) -> None:
        self._check_open()
        if value == self.lazy_rendering:
            return
        cameras = self._cameras
        if cameras is None or not self.capabilities.lazy_rendering:
            raise CapabilityError(self._why_not_lazy())
        if self._rows is not None:
            self._rows.tables_changed()
        if value:
            names = self.single_observation_space.spaces
            self._last_obs.draw_on_request(LazyImages(names, cameras.examples, cameras.draw))
            cameras.defer()
        else:
            self._last_obs.draw_always()
            cameras.undefer()

    @property
    def image_obs(self) -> dict[str, str]:
        """Observations that cameras make: ``"lazy"``, or why they are computed at each tick."""
        return {} if self._cameras is None else dict(self._cameras.image_obs)

    @property
    def final_state_enabled(self) -> bool:
        """Whether ``info["final_state"]`` is filled in; off until somebody asks for it."""
        return self._final_state.installed

    @final_state_enabled.setter
    def final_state_enabled(self, value: bool) -> None:
        self._check_open()
        self._final_state.installed = value

    def ended_env_ids(self, mask: torch.Tensor) -> torch.Tensor | None:
        """The rows of a mask that the last step has returned: the ids that it reset them by."""
        ended = self._final_obs.ended_env_ids(mask)
        return self._final_state.ended_env_ids(mask) if ended is None else ended

    def scene_state(self) -> dict[str, torch.Tensor]:
        """Where everything in the scene is now and how it moves."""
        self._check_ready()
        return self._scene.read()

    def set_scene_state(
        self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor | Sequence[int] | None = None
    ) -> Obs:
        """Put rows into states that :meth:`scene_state` told.

        Their observations begin anew, as after a reset: histories and delays are filled with what
        is observed now. Held rows stay held, in the new state.
        """
        self._check_ready()
        rows: Any = range(self.num_envs) if env_ids is None else env_ids
        ids = canonical_env_ids(rows, num_envs=self.num_envs, device=self.device)
        values = checked_state(state, self._scene.read(), ids.numel())
        if ids.numel() == 0:
            return self._last_obs.copy()
        mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        mask[ids] = True
        with self._rows.others_untouched(ids) if self._rows else contextlib.nullcontext():
            with self._around_backend():
                self._scene.write(values, ids)
                obs = self._observe_rows(ids)
            return self._last_obs.merged(mask, obs)

    @abstractmethod
    def _observe_rows(self, env_ids: torch.Tensor) -> Obs:
        """First observations of rows, int64 ``[k]``, whose scene was just set.

        Returns:
            Of all rows, ``[N, ...]`` by group; other rows' mean nothing.
        """

    @abstractmethod
    def advance(self, actions: torch.Tensor) -> StepResult:
        """Step the simulator; the first half of :meth:`step`, for who finishes it in another way.

        Returns:
            As :meth:`step` does, in memory of its own, without ``info["active"]``.
        """

    def step(self, actions: torch.Tensor) -> StepResult:
        """Advance every row by one control step (``decimation`` physics steps)."""
        self._check_ready()
        if self._rows is not None and self._rows.holds_any:
            raise SuspensionError(
                "Rows of this env are held: step the SuspendOnWait around it, or resume them first."
            )
        obs, reward, terminated, truncated, info = self.advance(actions)
        info["active"] = self._all_rows.clone()
        return self._last_obs.keep(obs), reward, terminated, truncated, info

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step while the :meth:`row_control` holds the other rows.

        Raises:
            CapabilityError: nothing holds rows.
        """
        if self._rows is None:
            raise CapabilityError(
                f"{self.simulator} steps all rows or none; wrap the env in SuspendOnWait to hold "
                "some of them."
            )
        self._check_ready()
        return self._rows.step(actions, active_mask)

    def register_state(
        self, name: str, get: Callable[[], torch.Tensor | None], **options: Any
    ) -> None:
        """Declare row state that holdstep's table of the simulator can't know.

        Tensors ``[N, ...]`` which a term that is a class, an action, a command, an actuator or a
        sensor keeps as attributes, also in lists, dictionaries and dataclasses, are known without
        this. ``holdstep check`` lists what is not.

        Args:
            name: for snapshots and messages.
            get: returns the tensor as it is now, or None as long as there is none.
            **options: ``dim`` and ``repeat``, see :class:`~holdstep.envs.state.slot.Layout`;
                ``layout``: ``"rows"``, ``"ring"`` (then also ``position``, which returns the index
                written last) or a callable that gives a view ``[N, ...]``; ``parameter=True`` for
                what only resets and users change.

        Raises:
            ConfigError: the tensor does not have the shape that was declared, or the name is taken.
            SuspensionError: rows are suspended now.
        """
        self.user_state.register(name, get, control=self._rows, **options)

    def row_control_closed(self) -> None:
        """The row control is closed: the env is as it was before there was one."""
        self._rows = None

    def _check_no_row_control(self) -> None:
        self._check_open()
        if self._rows is not None:
            raise CapabilityError("Something holds rows of this env already; close that first.")

    def _check_ready(self) -> None:
        if not self._last_obs:
            self._check_open()
            raise ResetNeededError("Call reset() before the first step().")

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvError("The env is closed. Make a new one.")

    @functools.cached_property
    def _all_rows(self) -> torch.Tensor:
        """All of them, to be cloned: on a CPU, that is much cheaper than to fill a new one."""
        with torch.inference_mode(False):
            return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _around_backend(self) -> contextlib.AbstractContextManager[None]:
        """Whatever the simulator's own reset and step run in."""
        self._last_obs.expire()
        contexts: list[contextlib.AbstractContextManager[None]] = [OrdinaryTensors()]
        if self._cameras is not None:
            contexts.append(self._cameras.moving())
        if self._rows is not None and (random := self._rows.around_backend()) is not None:
            contexts.append(random)
        # What enters several costs a step as much as all that they do.
        return contexts[0] if len(contexts) == 1 else _all_of(contexts)

    def _why_not_lazy(self) -> str:
        if not self.image_obs:
            return (
                "This env has no observation that can wait until somebody looks at it: no "
                f"observation term of the {self.simulator} task looks at a camera."
            )
        reasons = "; ".join(f"{name!r}: {why}" for name, why in self.image_obs.items())
        return f"No image of this env can wait until somebody looks at it. {reasons}."


@contextlib.contextmanager
def _all_of(contexts: Iterable[contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield
