"""One result of what several processes have evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from holdstep.distributed import gathered
from holdstep.errors import EvaluationError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from holdstep.distributed import Rank
    from holdstep.policies.evaluation.result import EpisodeResult, EvalResult


def result_of_all(
    own: EvalResult,
    failure: EvaluationError | None,
    rank: Rank,
    group: ProcessGroup | None = None,
) -> EvalResult:
    """The result of all ranks, in each of them.

    A rank whose episodes do not end comes here, too, lest the others wait for it.

    Args:
        own: of this rank's episodes.
        failure: why they are not all of this rank's.
        rank: this process, within a process group where there are several.
        group: which one; None for that of all.

    Raises:
        EvaluationError: the failure of this rank, or what another one says of its own; ``partial``
            has the episodes of all.
    """
    if rank.world_size == 1:
        parts, reasons = [own], [None if failure is None else str(failure)]
    else:
        answers = gathered((own, None if failure is None else str(failure)), group)
        parts, reasons = [part for part, _ in answers], [reason for _, reason in answers]
    result = merged(parts)
    said = [f"Rank {number}: {reason}" for number, reason in enumerate(reasons) if reason]
    if failure is None and said:
        failure = EvaluationError(" ".join(said))
    if failure is not None:
        failure.partial = result
        raise failure
    return result


def merged(parts: Sequence[EvalResult]) -> EvalResult:
    """One result of the parts that ranks have evaluated.

    Rows are counted on from one rank to the next, and so are steps; the time is that of the
    slowest. Everything else is the same for all of them.

    Args:
        parts: of the same evaluation, in the order of the ranks.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    return dataclasses.replace(
        first,
        episodes=tuple(sorted(_episodes(parts), key=lambda episode: episode.episode)),
        num_envs=sum(part.num_envs for part in parts),
        num_steps=sum(part.num_steps for part in parts),
        wall_time_s=max(part.wall_time_s for part in parts),
        metadata=first.metadata | {"num_ranks": len(parts)},
    )


def _episodes(parts: Sequence[EvalResult]) -> Iterator[EpisodeResult]:
    first_row = 0
    for part in parts:
        for episode in part.episodes:
            yield dataclasses.replace(episode, env_id=first_row + episode.env_id)
        first_row += part.num_envs
