"""Does random things to an env with cameras, and looks at its images now and then."""

from __future__ import annotations

import random
from typing import Any

import torch

from tests.conftest import silenced


class Player:
    """Does the same random things to envs, whether anybody looks at their images or not.

    Args:
        env: an env, in a ``SuspendOnWait`` if rows are to be held, copied and put back.
        seed: of what is done.
        look: the share of moments at which an image is looked at; 1 for always.
    """

    def __init__(self, env: Any, *, seed: int, look: float) -> None:
        self.env = env
        self.what = random.Random(seed)
        self.looks = random.Random(seed + 1)
        self.look = look
        self.generator = torch.Generator().manual_seed(seed)
        self.records: list[dict[str, torch.Tensor]] = []
        self.counts: dict[str, int] = {}
        self.snapshot: Any = None
        torch.manual_seed(seed)
        with silenced():
            env.reset(seed=seed)
            obs, _ = env.reset(seed=seed)  # the first reset of an Isaac Lab env differs from others
        self._note(obs=obs)

    def play(self, num_steps: int) -> list[dict[str, torch.Tensor]]:
        """Everything that was seen: one record per moment."""
        steps = 0
        held = hasattr(self.env, "suspend")
        while steps < num_steps:
            name = self.what.choices(
                ("step", "suspend", "resume", "reset", "take", "restore", "fork"),
                weights=(12, 3 * held, 3 * held, 1, held, held, held),
            )[0]
            self.counts[name] = self.counts.get(name, 0) + 1
            with silenced():
                getattr(self, name)()
            steps += name == "step"
        return self.records

    def step(self) -> None:
        shape = self.env.action_space.shape
        actions = 2 * torch.rand(shape, generator=self.generator) - 1
        suspended = getattr(self.env, "suspended", None)
        if suspended is not None and suspended.all():
            self.env.resume(suspended)
        self._note(obs=self.obs)  # after rows were suspended, say
        obs, reward, terminated, truncated, info = self.env.step(actions.to(self.env.device))
        self.counts["ended"] = self.counts.get("ended", 0) + int((terminated | truncated).sum())
        self._note(
            obs=obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            active=info["active"],
        )
        self.records[-1] |= {f"final {n}": x for n, x in info.get("final_obs", {}).items()}

    def suspend(self) -> None:
        rows = [row for row in self._some_rows() if not self.env.suspended[row]]
        if rows:
            self.env.suspend(rows)

    def resume(self) -> None:
        rows = [row for row in self._some_rows() if self.env.suspended[row]]
        if rows:
            self.env.resume(rows)

    def reset(self) -> None:
        self._note(obs=self.env.reset(options={"env_ids": self._some_rows()})[0])

    def take(self) -> None:
        self.snapshot = self.env.snapshot([0, 2])
        self.records.append({f"taken {n}": x for n, x in self.snapshot.obs.items()})

    def restore(self) -> None:
        if self.snapshot is not None:
            rows = self.what.sample(range(self.env.num_envs), 2)
            self._note(obs=self.env.restore(self.snapshot, rows))

    def fork(self) -> None:
        src, dst = self.what.sample(range(self.env.num_envs), 2)
        self._note(obs=self.env.fork(src, dst))

    def _some_rows(self) -> list[int]:
        num_envs = self.env.num_envs
        return sorted(self.what.sample(range(num_envs), self.what.randint(1, num_envs - 1)))

    def _note(self, *, obs: Any, **others: torch.Tensor) -> None:
        self.obs = obs
        names = list(obs)
        self.looks.shuffle(names)
        images = self.env.image_obs
        seen = [n for n in names if n not in images or self.looks.random() < self.look]
        record = {f"obs {name}": obs[name].clone() for name in seen} | others
        self.records.append(record | {"random": torch.get_rng_state()})


def first_difference(
    eager: list[dict[str, torch.Tensor]], lazy: list[dict[str, torch.Tensor]], images: set[str]
) -> str | None:
    """Where two plays of the same things differ, in what was seen in the second, or None."""
    may_be_unseen = {f"obs {name}" for name in images}
    assert len(eager) == len(lazy)
    for index, (all_of_it, seen) in enumerate(zip(eager, lazy, strict=True)):
        for name in all_of_it.keys() | seen.keys():
            if name not in seen and name in may_be_unseen:
                continue
            if name not in all_of_it or name not in seen:
                return f"moment {index}: {name} is missing in one of them"
            first, second = all_of_it[name], seen[name]
            if first.dtype != second.dtype or not torch.equal(first, second):
                return f"moment {index}: {name}"
    return None


def images_seen(records: list[dict[str, torch.Tensor]], images: set[str]) -> int:
    """How many moments show an image."""
    return sum(any(f"obs {name}" in record for name in images) for record in records)
