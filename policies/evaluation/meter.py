"""Returns, lengths and successes of running episodes, summed on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from holdstep.errors import ConfigError

if TYPE_CHECKING:
    from holdstep.policies.evaluation.success import EvalStep, SuccessSource

SuccessWhen = Literal["end", "once"]


class Readout(NamedTuple):
    """What a step did to the rows, on the host; arrays ``[N]``.

    Attributes:
        terminated: rows whose episode the task ended, bool.
        truncated: rows whose episode something else ended, bool.
        active: rows that advanced, bool.
        returns: summed rewards of the rows' episodes, including those that end here, float64.
        lengths: their env steps, int64.
        success: whether the row's episode has succeeded, bool.
        reported: whether that is known, bool.
    """

    terminated: np.ndarray
    truncated: np.ndarray
    active: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    success: np.ndarray
    reported: np.ndarray

    @property
    def done(self) -> np.ndarray:
        """Rows whose episode ended, bool."""
        done: np.ndarray = self.terminated | self.truncated
        return done


class EpisodeMeter:
    """Sums up the running episode of every row; one transfer to the host per step.

    Args:
        num_envs: rows.
        device: of the env.
        source: who knows whether a row has succeeded.
        when: ``"end"``: what was said in an episode's last step counts; ``"once"``: whether it was
            ever said in the episode.
    """

    def __init__(
        self, num_envs: int, device: torch.device, source: SuccessSource, when: SuccessWhen
    ) -> None:
        if when not in ("end", "once"):
            raise ConfigError(f"success_when must be 'end' or 'once', got {when!r}.")
        self._source = source
        self._latches = when == "once"
        with torch.inference_mode(False):
            # Float64, in which sums of many steps lose nothing that shows, and counts are exact.
            self._returns = torch.zeros(num_envs, dtype=torch.float64, device=device)
            self._lengths = torch.zeros_like(self._returns)
            self._success = torch.zeros_like(self._returns)
            self._reported = torch.zeros(num_envs, dtype=torch.bool, device=device)

    def add(self, step: EvalStep) -> Readout:
        """Count a step; the sums of the rows that ended then start anew."""
        active = step.info["active"]
        done = step.terminated | step.truncated
        self._returns += step.reward  # 0 in rows that did not advance
        # A step of ActionChunkReplay is several of the env's.
        num_steps: Any = step.info.get("num_steps")
        self._lengths += active if num_steps is None else num_steps
        success, reported = self._read(step, active)
        columns = torch.stack(
            [
                column.to(torch.float64)
                for column in (
                    step.terminated,
                    step.truncated,
                    active,
                    self._returns,
                    self._lengths,
                    success,
                    reported,
                )
            ]
        )
        for buffer in (self._returns, self._lengths, self._success, self._reported):
            buffer.masked_fill_(done, 0)
        return _readout(columns.cpu().numpy())

    def _read(self, step: EvalStep, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether the rows' episodes have succeeded, float64, and whether that is known."""
        reading = self._source.read(step)
        if reading is None:
            return self._success, self._reported
        reported = reading.reported_mask & active
        success = torch.where(reported, reading.value.to(torch.float64), 0.0)
        if not self._latches:
            return success, reported
        # The largest, not a flag: a value between 0 and 1 must still be seen to be refused.
        torch.maximum(self._success, success, out=self._success)
        self._reported |= reported
        return self._success, self._reported


def _readout(columns: np.ndarray) -> Readout:
    terminated, truncated, active, returns, lengths, success, reported = columns
    is_flag = (success == 0) | (success == 1)
    if not is_flag.all():
        raise ConfigError(
            "Success must be True or False, 1 or 0, in each row; got "
            f"{success[~is_flag][:4].tolist()}. Give a function that decides: "
            "success=lambda step: ..."
        )
    return Readout(
        terminated=terminated != 0,
        truncated=truncated != 0,
        active=active != 0,
        returns=returns,
        lengths=lengths.astype(np.int64),
        success=success != 0,
        reported=reported != 0,
    )
