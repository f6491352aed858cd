"""What the rows of a source do in a step: its action, another one, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from holdstep.envs.masked_step import idle_actions
from holdstep.errors import SourceError
from holdstep.wrappers.pipeline.computing import CheckedActions
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.pipeline.options import PipelineOptions
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline


class RowPlan(NamedTuple):
    """What the rows of one source do.

    Attributes:
        actions: ``[k, A]``; those of held rows mean nothing.
        held: rows that stand still, as env ids.
        awaits_frame: they do so until a fresh frame is there, and not because the source says so.
        lacks_action: rows of a new episode have no frame yet, and can't stand still.
    """

    actions: torch.Tensor
    held: tuple[int, ...] = ()
    awaits_frame: bool = False
    lacks_action: bool = False


class RowPlanner:
    """Decides what rows do, by ``on_stale`` where there is nothing fresh.

    Args:
        env: the stack inside.
        options: of the wrapper.
        can_hold: whether rows can stand still.
    """

    def __init__(self, env: TorchVectorEnv, options: PipelineOptions, *, can_hold: bool) -> None:
        self._options = options
        self._can_hold = can_hold
        self._space = env.single_action_space
        self._device = env.device
        self._idle = idle_actions(env.action_space, env.device)
        self._hold_action: torch.Tensor | None = None
        hold = options.hold_action
        if hold is not None and not callable(hold):
            self._hold_action = self._check(hold, 1)

    def plan(self, pipeline: SourcePipeline, obs: Mapping[str, torch.Tensor]) -> RowPlan:
        """What a source's rows do now.

        Args:
            pipeline: of the source.
            obs: of its rows, ``[k, ...]``; only looked at by a ``hold_action`` that is a function.

        Raises:
            SourceError: there is nothing that could be done.
            InvalidActionError: ``hold_action()`` returned what is no action.
        """
        frame = pipeline.frame
        is_fresh = (
            frame is not None
            and pipeline.failure is None
            and not pipeline.is_still
            and pipeline.age_frames <= self._options.max_age_frames
        )
        if is_fresh and pipeline.all_begun:
            assert frame is not None
            assert frame.actions is not None
            return RowPlan(frame.actions)
        begun = _begun(pipeline, None if frame is None else frame.frame_id)
        rest = ~begun if is_fresh else np.ones(len(pipeline.rows), dtype=bool)
        actions = self._idle[: len(pipeline.rows)] if frame is None else frame.actions
        if pipeline.failure is not None or pipeline.is_still:
            if self._can_hold:
                return self._held(pipeline, rest, actions, awaits_frame=False)
            return RowPlan(self._instead(pipeline, obs))
        if self._options.on_stale == "suspend":
            return self._held(pipeline, rest, actions, awaits_frame=True)
        if self._options.on_stale == "hold":
            return RowPlan(self._holding(rest, actions, obs))
        assert actions is not None
        if begun.all():
            return RowPlan(actions)  # once more
        if self._can_hold:
            return self._held(pipeline, ~begun, actions, awaits_frame=True)
        if self._options.hold_action is not None:
            return RowPlan(self._holding(~begun, actions, obs))
        return RowPlan(actions, lacks_action=True)

    def _held(
        self,
        pipeline: SourcePipeline,
        rows_mask: np.ndarray,
        actions: torch.Tensor | None,
        *,
        awaits_frame: bool,
    ) -> RowPlan:
        actions = self._idle[: len(pipeline.rows)] if actions is None else actions
        held = tuple(pipeline.rows[rows_mask].tolist())
        return RowPlan(actions, held, awaits_frame)

    def _instead(self, pipeline: SourcePipeline, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Actions for rows whose source gives none, and that can't be held."""
        if self._options.hold_action is not None:
            every = np.ones(len(pipeline.rows), dtype=bool)
            return self._holding(every, None, obs)
        playable = pipeline.playable
        begun = _begun(pipeline, None if playable is None else playable.frame_id)
        if not begun.all():
            rows = pipeline.rows[~begun].tolist()
            raise SourceError(
                f"Source {pipeline.name} gives no action for rows {shortened(rows)} (it is paused, "
                "stopped, or at its end), and there is none of this episode to be repeated. Put a "
                "SuspendOnWait into the stack, so that the rows can stand still, or give a "
                "hold_action.",
                source=pipeline.name,
                env_ids=pipeline.env_ids,
            )
        assert playable is not None
        assert playable.actions is not None
        return playable.actions

    def _holding(
        self, rows_mask: np.ndarray, actions: torch.Tensor | None, obs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """``hold_action`` in some rows, and a frame's actions in the others."""
        num_rows = len(rows_mask)
        if self._hold_action is not None:
            instead = self._hold_action.expand(num_rows, *self._hold_action.shape[1:])
        else:
            function: Any = self._options.hold_action
            instead = self._check(function(dict(obs)), num_rows)
        if actions is None or rows_mask.all():
            return instead
        mask = torch.from_numpy(rows_mask).to(actions.device)
        return torch.where(mask.reshape(-1, *[1] * (actions.ndim - 1)), instead, actions)

    def _check(self, actions: Any, num_rows: int) -> torch.Tensor:
        check = CheckedActions(self._space, num_rows=num_rows, device=self._device)
        return check(actions)


def _begun(pipeline: SourcePipeline, frame_id: int | None) -> np.ndarray:
    """Rows whose current episode a frame belongs to, bool ``[k]``."""
    if frame_id is None:
        return np.zeros(len(pipeline.rows), dtype=bool)
    begun: np.ndarray = pipeline.first_frame_ids <= frame_id
    return begun
