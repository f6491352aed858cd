"""Action chunks as the actions of an env: one step plays a whole chunk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from gymnasium.vector.utils import batch_space

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.masked_step import idle_actions, without_held_rows
from holdstep.errors import ConfigError, InvalidActionError, WrapperOrderError
from holdstep.wrappers.base import VectorWrapper, find_wrapper
from holdstep.wrappers.chunk_step import ChunkStep
from holdstep.wrappers.order import Stage
from holdstep.wrappers.step_hold import StepHold
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult, TorchVectorEnv


class ActionChunkReplay(VectorWrapper):
    """Shows an RL library one chunk of actions as one action.

    A step plays the first ``execute`` actions of each row's chunk in as many env steps (ticks). A
    row whose episode ends on the way stands still, in the first state of its next episode, until
    the other rows have played theirs: no action is applied to another episode than the one that it
    was chosen for. If all rows have ended, the step is over.

    To a learner this is a semi-Markov decision process whose options are the chunks (Sutton, Precup
    and Singh, "Between MDPs and semi-MDPs", 1999). A step returns

    - ``reward``: ``sum_i gamma**i * r_i`` over the ticks in which the row advanced; the value of
      the state after it is worth ``gamma**info["num_steps"]``;
    - ``terminated``, ``truncated``: of the episode that the row ended, if it did;
    - ``obs``: each row's last; ``info["final_obs"]``: of the rows that ended, whenever they did;
    - ``info["num_steps"]``: ticks in which the row advanced, int64 ``[N]``;
    - ``info["active"]``: rows that advanced at all;
    - other entries of rows: those of the last tick in which the row advanced and the entry was set
      for it, with the union of the ticks' ``"_key"`` masks. ``info["log"]``: of each number, the
      mean over the ticks in which rows ended, weighted by how many did; else the last value.

    Rows that you suspended stay so: they have taken no step and are not active. A row whose wait
    is done while others play their chunks starts with the first action of its own then, and the
    step lasts until it has played it: each row plays its chunk to the end of it or of the episode,
    or does not advance at all.

    If a tick raises, the step is broken off: what rows gained in it is lost, no row stays
    suspended by this wrapper, and the next step starts with new chunks. The error has a note that
    says which tick it was.

    Autoreset: the env's, inside a step. Order: outside :class:`SuspendOnWait`, which it needs, and
    outside of recorders; only the RL library's view goes around it. ``episode_length_buf``,
    ``max_episode_length`` and ``step_dt`` remain those of env steps. The host looks
    at the rows' flags in each tick, which waits for a GPU; twice, and at the end of the step once
    more, if rows have ended or stand still. With ``execute=1`` it neither looks nor waits.

    Args:
        env: a stack with a :class:`SuspendOnWait` in it.
        chunk_length: actions in a chunk, L. The action space is the env's, L times: ``[N, L, A]``.
        execute: how many of them are played, 1 to L (receding horizon); None for all. The others
            may be anything.
        gamma: discount per tick, in (0, 1]. The default leaves rewards undiscounted within chunks.

    Raises:
        ConfigError: an argument can't be used.
        WrapperOrderError: there is no ``SuspendOnWait`` inside, or something that belongs outside.

    >>> from holdstep.envs import make
    >>> env = SuspendOnWait(make("holdstep:CartPole", num_envs=2, device="cpu", seed=0))
    >>> env = ActionChunkReplay(env, chunk_length=8)
    >>> obs, info = env.reset()
    >>> env.episode_length_buf = torch.tensor([0, 497])  # row 1 has 3 steps left
    >>> obs, reward, terminated, truncated, info = env.step(torch.zeros(2, 8, 1))
    >>> reward, truncated, info["num_steps"]
    (tensor([8., 3.]), tensor([False,  True]), tensor([8, 3]))
    """

    stage: ClassVar[Stage | None] = Stage.DRIVE

    def __init__(
        self,
        env: TorchVectorEnv,
        chunk_length: int,
        execute: int | None = None,
        gamma: float = 1.0,
    ) -> None:
        super().__init__(env)
        suspender = find_wrapper(env, SuspendOnWait)
        if suspender is None:
            raise WrapperOrderError(
                "ActionChunkReplay holds rows still whose episode ends inside a chunk, for which "
                "the stack needs a SuspendOnWait: "
                "ActionChunkReplay(SuspendOnWait(env), chunk_length=...)."
            )
        _check_count("chunk_length", chunk_length, most=None)
        execute = chunk_length if execute is None else execute
        _check_count("execute", execute, most=chunk_length)
        if (
            isinstance(gamma, bool)
            or not isinstance(gamma, int | float)
            or not (math.isfinite(gamma) and 0 < gamma <= 1)
        ):
            raise ConfigError(f"gamma must be a number in (0, 1], got {gamma!r}.")
        self.chunk_length = chunk_length
        self.execute = execute
        self.gamma = float(gamma)
        self._suspender = suspender
        self._hold = StepHold(suspender)
        played_space = batch_space(batch_space(env.single_action_space, execute), self.num_envs)
        self.single_action_space = batch_space(env.single_action_space, chunk_length)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._guard = ActionGuard(played_space, self.device)
        self._idle = idle_actions(played_space, self.device)
        weights = [self.gamma**tick for tick in range(execute)]
        self._lengths = self.new_buffer(self.num_envs, dtype=torch.int64, fill=execute)
        self._discounts = None if gamma == 1 else torch.tensor(weights, device=self.device)

    def step(self, actions: torch.Tensor) -> StepResult:
        """Play a chunk in each row that is not suspended.

        Args:
            actions: ``[N, L, A]`` (``[N, L]`` where they are discrete), checked before any is
                applied. Those of rows that stay suspended may be anything; those of rows whose wait
                is done meanwhile are checked when they are applied.

        Raises:
            InvalidActionError: actions that can't be meant; no row has advanced. On a GPU,
                non-finite values are reported at a later call than the one that brought them,
                whose chunks were played.
            SuspensionError: as from ``SuspendOnWait.step``, or a condition that rows wait for
                resumed rows that were not its own.
            SuspensionTimeoutError: as from ``SuspendOnWait.step``.
        """
        chunks = self._checked(actions)
        if self.execute == 1:  # after which no row is under way, whatever the flags say
            return _with_num_steps(self.env.step(chunks[:, 0]))
        chunk_step = ChunkStep(chunks, self._discounts, self._lengths)
        try:
            while True:
                chunk_step.add(self.env.step(chunk_step.next_actions()))
                if not chunk_step.under_way:
                    break
                if not chunk_step.is_uniform:
                    self._hold.add(chunk_step.finished)
        except BaseException as error:
            error.add_note(
                f"In tick {chunk_step.num_ticks + 1} of a step of {type(self).__name__}, which "
                "was broken off: the rewards of the ticks before it are lost."
            )
            raise
        finally:
            self._hold.release()
        return chunk_step.result()

    def _checked(self, actions: torch.Tensor) -> torch.Tensor:
        """The actions that may be applied, ``[N, execute, ...]``."""
        shape = getattr(actions, "shape", None)
        if shape is not None and shape != self.action_space.shape:
            raise InvalidActionError(
                f"Actions must be chunks, of shape {self.action_space.shape} (num_envs, "
                f"chunk_length, then the action's own dimensions), got {tuple(shape)}."
            )
        if self.execute < self.chunk_length and isinstance(actions, torch.Tensor | np.ndarray):
            actions = actions[:, : self.execute]
        if isinstance(actions, np.ndarray) and actions.dtype.kind in "fiu":
            actions = torch.from_numpy(actions.copy()).to(self.device)
        checked: torch.Tensor | np.ndarray = actions
        if self._suspender.suspensions:
            checked = without_held_rows(actions, ~self._suspender.suspended, self._idle)
        self._guard.check(checked)
        return actions.detach()


def _with_num_steps(result: StepResult) -> StepResult:
    """A step of the env as a step of chunks of one action."""
    info = result[4]
    counts = {"num_steps": info["active"].long()}
    info |= counts
    if "final_info" in info:  # where TorchRL looks up all entries of rows that ended
        info["final_info"] = info["final_info"] | counts | {"active": info["active"]}
    return result


def _check_count(name: str, value: object, *, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}.")
    if most is not None and value > most:
        raise ConfigError(
            f"{name} must be at most chunk_length, which is {most}: no more actions are given; "
            f"got {value!r}."
        )
