"""Compares runs with and without suspension, row by row and active step by active step."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch

NOT_ROW_STATE = ("_reset_term_last_triggered_step_id",)
"""Slots that count steps of the whole env: those go on while a row is suspended."""

_SOMETIMES = ("final ", "derived ")
"""What is only there at ticks at which some row ended, or something was read."""


@dataclass
class Trace:
    """What the rows of one run showed: ``ticks[t]`` is what all rows showed at tick ``t``.

    Attributes:
        ticks: tensors ``[N, ...]`` by name, for each tick.
        active_ticks: for each row, the ticks at which it advanced.
    """

    num_envs: int
    ticks: list[dict[str, torch.Tensor]] = field(default_factory=list)
    active_ticks: list[list[int]] = field(default_factory=list)
    num_ended: int = 0

    def __post_init__(self) -> None:
        self.active_ticks = [[] for _ in range(self.num_envs)]


def run(
    env: Any,
    actions: torch.Tensor,
    *,
    schedule: Callable[[int], Collection[int]] | None = None,
    seed: int = 0,
    first_lengths: torch.Tensor | None = None,
) -> Trace:
    """Give every row ``len(actions)`` active steps.

    Args:
        env: a ``SuspendOnWait``.
        actions: ``[T, N, A]``: row ``i`` gets ``actions[k, i]`` in its ``k``-th active step.
        schedule: the rows that are to be suspended at a tick; none without it.
        seed: of the reset.
        first_lengths: ``[N]``, episode lengths to start from, so that rows end at different times.
    """
    num_steps, num_envs = actions.shape[:2]
    trace = Trace(num_envs)
    all_ids = torch.arange(num_envs, device=env.device)
    env.reset(seed=seed)
    if first_lengths is not None:
        env.episode_length_buf = first_lengths.clone()
    control = env._control
    held: dict[int, dict[str, torch.Tensor]] = {}
    tick = 0
    while min(len(ticks) for ticks in trace.active_ticks) < num_steps:
        done_rows = {i for i, ticks in enumerate(trace.active_ticks) if len(ticks) >= num_steps}
        wanted = done_rows | (set(schedule(tick)) if schedule else set())
        if len(wanted) == num_envs:
            wanted -= {next(i for i in range(num_envs) if i not in done_rows)}
        now = set(env.suspended.nonzero().squeeze(-1).tolist())
        if wanted - now:
            env.suspend(sorted(wanted - now))
            for row in wanted - now:
                held[row] = _state(control, all_ids[row : row + 1])
        if now - wanted:
            for row in now - wanted:
                now_held = _state(control, all_ids[row : row + 1])
                assert_held_row_is_same(now_held, held[row], row)
            env.resume(sorted(now - wanted))
        batch = torch.full(actions.shape[1:], torch.nan, device=env.device)
        active = [i for i in range(num_envs) if i not in wanted]
        for i in active:
            batch[i] = actions[len(trace.active_ticks[i]), i]
        obs, reward, terminated, truncated, info = env.step(batch)
        assert info["active"].tolist() == [i not in wanted for i in range(num_envs)]
        shown = {f"obs {name}": value.clone() for name, value in obs.items()}
        shown |= {"reward": reward, "terminated": terminated, "truncated": truncated}
        ended = terminated | truncated
        for name, value in info.get("final_obs", {}).items():
            shown[f"final {name}"] = torch.where(_like(ended, value), value, 0)
        for i in wanted:
            assert reward[i] == 0
            assert not ended[i]
        trace.num_ended += int(ended.sum())
        trace.ticks.append(shown | _state(control, all_ids))
        for i in active:
            trace.active_ticks[i].append(tick)
        tick += 1
    if bool(env.suspended.any()):
        env.resume(env.suspended)
    return trace


def random_schedule(
    num_envs: int, *, seed: int, change: float = 0.3, share: float = 0.5
) -> Callable[[int], Collection[int]]:
    """Rows suspended at random: each row changes its mind with probability ``change`` per tick."""
    generator = random.Random(seed)
    state = [False] * num_envs

    def schedule(_: int) -> Collection[int]:
        for i in range(num_envs):
            if generator.random() < change:
                state[i] = generator.random() < share
        return [i for i in range(num_envs) if state[i]]

    return schedule


def assert_held_row_is_same(
    now: dict[str, torch.Tensor], before: dict[str, torch.Tensor], row: int
) -> None:
    """A row that is resumed is as it was when it was suspended."""
    _assert_same(now, before, f"held row {row}")


def is_same(suspended: Trace, plain: Trace) -> bool:
    """Whether :func:`assert_same_rows` passes."""
    try:
        assert_same_rows(suspended, plain)
    except AssertionError:
        return False
    return True


def assert_same_rows(suspended: Trace, plain: Trace) -> None:
    """Every row went through the same in both runs, bit for bit, over its active steps."""
    for row in range(plain.num_envs):
        pairs = zip(suspended.active_ticks[row], plain.active_ticks[row], strict=True)
        for step, (tick, plain_tick) in enumerate(pairs):
            mine, theirs = suspended.ticks[tick], plain.ticks[plain_tick]
            _assert_same(
                {name: value[row] for name, value in mine.items()},
                {name: value[row] for name, value in theirs.items()},
                f"row {row}, active step {step} (tick {tick})",
            )


def _state(control: Any, all_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    state = dict(control.snapshot(all_ids).rows)
    derived = [slot.name for slot in control.registry if slot.is_derived and slot.name in state]
    return state | {f"{_SOMETIMES[1]}{name}": state.pop(name) for name in derived}


def _assert_same(
    mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], where: str
) -> None:
    names = {name for name in mine.keys() | theirs.keys() if not name.startswith(_SOMETIMES)}
    names |= mine.keys() & theirs.keys()
    different = [
        name
        for name in sorted(names)
        if not name.endswith(NOT_ROW_STATE)
        and not any(part in name for part in NOT_ROW_STATE)
        and (name not in mine or name not in theirs or not _equal(mine[name], theirs[name]))
    ]
    assert not different, f"{where}: {different[:12]}"


def _equal(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    if mine.shape != theirs.shape:
        return False
    same = mine == theirs
    if mine.is_floating_point():
        same |= mine.isnan() & theirs.isnan()
    return bool(same.all())


def _like(mask: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return mask.reshape(-1, *[1] * (value.ndim - 1))
