"""What terms' tensors are at the beginning of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.discovery_checks import term_of
from holdstep.wrappers.export.manager_based import ACTION_MANAGER
from holdstep.wrappers.export.runs import INPUT, DiscoveryRun

if TYPE_CHECKING:
    from holdstep.wrappers.export.computation import Computation


class _Disturbed(DiscoveryRun):
    """A run in which some tensors hold values that no reset would give them."""

    def __init__(self, num_envs: int, device: torch.device, paths: Sequence[str]) -> None:
        super().__init__(num_envs, device, frozenset())
        self._paths = frozenset(paths)

    def substitute(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        copied = super().substitute(path, tensor)
        if path in self._paths:
            with self.unwatched():
                marks = torch.arange(1, copied.numel() + 1, device=copied.device)
                copied.copy_(marks.reshape(copied.shape).to(copied.dtype))
        return copied


def reset_rows(
    computation: Computation, paths: Sequence[str], run: DiscoveryRun
) -> dict[str, tuple[float, ...] | None]:
    """A row of each tensor after its term was reset, flattened; None for zeros.

    Resets copies that were filled with other values first, so that a tensor that a reset leaves
    alone is noticed. Random number generators are put back.

    Args:
        computation: the pipeline's.
        paths: of the tensors.
        run: the run in which they were found.

    Raises:
        DiscoveryError: a reset leaves a tensor as it is, takes its value from the env, or gives
            rows different values.
    """
    if not paths:
        return {}
    device = run.kept[paths[0]][0].device
    disturbed = _Disturbed(run.num_rows, device, paths)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), computation.running(disturbed):
        for holder in _resettable(computation, paths):
            disturbed.term = holder.path
            with disturbed.watch:
                holder.obj.reset(env_ids=torch.arange(run.num_rows, device=device))
        after = computation.kept().tensors
        return {path: _row(path, after[path], disturbed) for path in paths}


def _resettable(computation: Computation, paths: Sequence[str]) -> list:  # type: ignore[type-arg]
    """The action manager resets its terms itself."""
    holders = list(computation.workflow.holders())
    wanted = {path.split(".")[0] for path in paths}
    chosen = [h for h in holders if h.path in wanted and h.path.startswith("obs:")]
    if any(path.startswith((ACTION_MANAGER, "action:")) for path in paths):
        chosen += [h for h in holders if h.path == ACTION_MANAGER]
    return [holder for holder in chosen if callable(getattr(holder.obj, "reset", None))]


def _row(path: str, value: torch.Tensor, run: DiscoveryRun) -> tuple[float, ...] | None:
    # Rows may have the same state by chance, so that the values alone would not tell.
    read = sorted(source for source in run.watch.sources(value) if source.startswith(INPUT))
    if read:
        names = ", ".join(repr(source.removeprefix(INPUT)) for source in read)
        raise DiscoveryError(
            f"A reset sets {path} to what it reads from {names}, so that each episode starts with "
            "another value; a memory of a model starts with a fixed one. Set it to a fixed value "
            "in the term's reset(env_ids).",
            term=term_of(path),
        )
    rows = value.reshape(value.shape[0], -1)
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        raise DiscoveryError(
            f"A reset does not give {path} the same value in each row (or leaves it alone), so "
            "that a model would not know what an episode starts with. Set it to a fixed value in "
            "the term's reset(env_ids).",
            term=term_of(path),
        )
    row = tuple(float(number) for number in rows[0].tolist())
    return row if any(row) else None
