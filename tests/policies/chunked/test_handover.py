"""Which actions of a new chunk follow which of an old one."""

import numpy as np
import pytest

from holdstep.policies.chunked.handover import Handover
from tests.policies.chunked.plain_books import HANDOVERS, Action, PlainRow


def spliced(handover, *, length, execute, observed, now):
    splice = handover.splice(
        lengths=np.array([length]),
        execute=execute,
        left_when_observed=np.array([observed]),
        left_now=np.array([now]),
    )
    return tuple(int(part[0]) for part in (splice.keep, splice.start, splice.count))


@pytest.mark.parametrize("mode", list(HANDOVERS))
def test_every_case_against_lists(mode):
    """All lengths, leads and moments of arrival of chunks of up to 7 actions."""
    cases = 0
    for execute in range(1, 6):
        for observed in range(execute):
            for now in range(observed + 1):
                for length in range(1, 8):
                    if mode == "exact" and observed:
                        continue  # observed when it is asked for, with nothing left
                    row = PlainRow(mode, observed, execute, left_when_observed=observed)
                    row.queue = [Action(-1, index, 0) for index in range(now)]
                    row.arrive(0, length, mode=mode, observed_at=0)
                    keep, start, count = spliced(
                        HANDOVERS[mode](observed),
                        length=length,
                        execute=execute,
                        observed=observed,
                        now=now,
                    )
                    expected = [Action(-1, index, 0) for index in range(keep)]
                    expected += [Action(0, index, 0) for index in range(start, start + count)]
                    assert row.queue == expected, (execute, observed, now, length)
                    cases += 1
    assert cases >= 35


@pytest.mark.parametrize(
    ("handover", "expected"),
    [
        (Handover(lead=4), (2, 0, 8)),
        (Handover(lead=4, skip_elapsed=True), (2, 4, 8)),
        # The two that are left are replaced by the new chunk's for the same steps.
        (Handover(lead=4, skip_elapsed=True, on_arrival=True), (0, 2, 10)),
    ],
)
def test_by_hand_with_four_left_at_the_observation_and_two_on_arrival(handover, expected):
    assert spliced(handover, length=16, execute=8, observed=4, now=2) == expected


def test_switching_early_ends_a_chunk_where_switching_at_the_end_does():
    for now in range(5):
        early = spliced(
            HANDOVERS["discard on arrival"](4), length=16, execute=8, observed=4, now=now
        )
        late = spliced(
            HANDOVERS["discard at the end"](4), length=16, execute=8, observed=4, now=now
        )
        assert early[1] + early[2] == late[1] + late[2] == 12
        assert early[0] + early[2] == late[0] + late[2]


def test_a_chunk_that_is_over_when_it_comes_does_not_take_the_place_of_what_is_left():
    rule = Handover(lead=4, skip_elapsed=True, on_arrival=True)
    assert spliced(rule, length=3, execute=8, observed=4, now=1) == (1, 3, 0)
    assert spliced(rule, length=4, execute=8, observed=4, now=1) == (0, 3, 1)


def test_a_chunk_that_is_over_before_it_can_begin_gives_nothing():
    assert spliced(Handover(lead=4, skip_elapsed=True), length=3, execute=8, observed=4, now=1) == (
        1,
        4,
        0,
    )
