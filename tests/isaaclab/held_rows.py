"""Drives an Isaac Lab env with rows held at random, and compares rows bit for bit."""

from __future__ import annotations

import contextlib
import io
import random
from typing import Any

import torch

COUNTS_STEPS_OF_ALL = "_reset_term_last_triggered_step_id"
"""Slots that hold a step count of the whole env, which goes on while a row is held."""


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are equal; NaN equals NaN, and 0 does not equal -0."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.is_floating_point():
        first, second = first.contiguous(), second.contiguous()
        return torch.equal(first.view(torch.int32), second.view(torch.int32))
    return torch.equal(first, second)


def different(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, derived: bool = True
) -> list[str]:
    """Names of the entries that differ; quantities that only one of them has don't count.

    Args:
        first: rows by slot name.
        second: the same.
        derived: compare derived quantities of assets too, which may be legitimately outdated.
    """
    return [
        name
        for name in first.keys() & second.keys()
        if not same_bits(first[name], second[name]) and (derived or ".data._" not in name)
    ]


def state_of(control: Any, ids: Any) -> dict[str, torch.Tensor]:
    """Everything that a control knows of rows, observations included."""
    snapshot = control.snapshot(torch.as_tensor(ids))
    return dict(snapshot.rows) | {f"obs {name}": rows for name, rows in snapshot.obs.items()}


class ResetSpy:
    """Notes which rows an env resets, and for which rows curricula are asked and pushes happen."""

    def __init__(self, core: Any) -> None:
        self.rows: list[int] = []
        reset_rows = core._reset_idx

        def note(env_ids: Any) -> Any:
            self.rows += torch.as_tensor(env_ids).tolist()
            return reset_rows(env_ids)

        core._reset_idx = note


def hold_at_random(
    env: Any, control: Any, num_steps: int, *, seed: int = 0, end: float = 0.1
) -> dict[str, int]:
    """Step with rows held at random, and check after each step that held rows are as they were.

    Rows' clocks are set so that they time out at random, held ones too. The actions of held rows
    are NaN.

    Returns:
        Counts of what happened, so that nothing passes because nothing happened.
    """
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    num_envs = env.num_envs
    spy = ResetSpy(env._workflow.core)
    counts = dict.fromkeys(("compared", "held", "ended", "suppressed", "slots"), 0)
    held: set[int] = set()
    for step in range(num_steps):
        ending = torch.rand(num_envs, generator=generator) < end
        clocks = env.episode_length_buf
        env.episode_length_buf = torch.where(ending, env.max_episode_length - 1, clocks)
        if held:  # as SuspendOnWait does after the clocks were set
            control.hold(torch.tensor(sorted(held)))
        for row in range(num_envs):
            if rng.random() < 0.25:
                ids = torch.tensor([row])
                if row in held:
                    control.release(ids)
                    held.remove(row)
                elif len(held) < num_envs - 1:
                    control.hold(ids)
                    held.add(row)
        ids = torch.tensor(sorted(held), dtype=torch.int64)
        before = state_of(control, ids) if held else {}
        active = torch.ones(num_envs, dtype=torch.bool)
        active[ids] = False
        actions = 2 * torch.rand(env.action_space.shape, generator=generator) - 1
        actions[ids] = torch.nan
        spy.rows.clear()
        obs, reward, terminated, truncated, info = env.step_masked(actions, active)
        assert not held & set(spy.rows), f"step {step}: a held row was reset"
        ended = terminated | truncated
        assert sorted(spy.rows) == ended.nonzero().squeeze(-1).tolist()
        assert torch.equal(info["active"], active)
        assert not reward[ids].any()
        assert not ended[ids].any()
        if held:
            after = state_of(control, ids)
            assert different(before, after) == [], f"step {step}"
            assert all(same_bits(obs[name][ids], before[f"obs {name}"]) for name in obs)
            counts["slots"] = max(counts["slots"], len(after))
        counts["compared"] += len(before)
        counts["held"] += len(held)
        counts["ended"] += int(ended.sum())
        counts["suppressed"] += int((ending & ~active).sum())
    control.release(torch.tensor(sorted(held), dtype=torch.int64))
    return counts


def trajectory(
    env: Any, control: Any, actions: torch.Tensor, *, seed: int | None
) -> tuple[list[list[dict[str, torch.Tensor]]], int]:
    """What each row goes through in its active steps.

    Args:
        env: the adapter.
        control: its row control; no row is held.
        actions: ``[T, N, A]``: row ``i`` gets ``actions[k, i]`` in its ``k``-th active step.
        seed: of the suspensions; None for none.

    Returns:
        For each row and active step the row's results and state, and how many episodes ended.
    """
    rng = random.Random(seed)
    num_steps, num_envs = actions.shape[:2]
    rows: list[list[dict[str, torch.Tensor]]] = [[] for _ in range(num_envs)]
    held: set[int] = set()
    num_ended = 0
    while min(map(len, rows)) < num_steps:
        finished = {row for row in range(num_envs) if len(rows[row]) == num_steps}
        wanted = set(finished)
        if seed is not None:
            wanted |= {i for i in range(num_envs) if rng.random() < (0.8 if i in held else 0.2)}
        if len(wanted) == num_envs:
            wanted.discard(rng.choice(sorted(set(range(num_envs)) - finished)))
        control.release(torch.tensor(sorted(held - wanted), dtype=torch.int64))
        control.hold(torch.tensor(sorted(wanted - held), dtype=torch.int64))
        held = wanted
        active = torch.tensor([row not in held for row in range(num_envs)])
        batch = torch.full(actions.shape[1:], torch.nan)
        for row in set(range(num_envs)) - held:
            batch[row] = actions[len(rows[row]), row]
        obs, reward, terminated, truncated, _ = env.step_masked(batch, active)
        shown = {f"result {name}": value for name, value in obs.items()}
        shown |= {"reward": reward, "terminated": terminated, "truncated": truncated}
        num_ended += int((terminated | truncated).sum())
        shown |= state_of(control, range(num_envs))
        for row in set(range(num_envs)) - held:
            rows[row].append({name: value[row].clone() for name, value in shown.items()})
    control.release(torch.tensor(sorted(held), dtype=torch.int64))
    return rows, num_ended


def first_difference(plain: list[Any], suspended: list[Any]) -> str | None:
    """The first active step in which a row went through something else, or None."""
    for row, (steps, others) in enumerate(zip(plain, suspended, strict=True)):
        for index, (first, second) in enumerate(zip(steps, others, strict=True)):
            names = [n for n in different(first, second) if COUNTS_STEPS_OF_ALL not in n]
            if names:
                return f"row {row}, active step {index}: {sorted(names)[:8]}"
    return None


@contextlib.contextmanager
def silenced() -> Any:
    """Isaac Lab prints its managers' tables."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
