"""Ranks that record with the command line, and kill themselves at random times."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from pathlib import Path

# Before forks, which then need not import it.
import holdstep.cli.record_sources
import holdstep.policies.evaluation.collecting  # noqa: F401
from holdstep.cli.record import Record
from holdstep.distributed import Rank, gathered, process_group
from holdstep.wrappers.record import recorder
from holdstep.wrappers.record.recorder import RecordEpisodes

ENDLESS = 10**9


class Witness(RecordEpisodes):
    """Writes down, in a file of its own, which episodes were acknowledged."""

    file = -1
    begun = threading.Event()

    def __init__(self, *args, **options):
        # Most writers are threads, which start sooner; a process outlives the rank for a while.
        writer = "thread" if Rank.of_environment().num_restarts % 5 else "process"
        super().__init__(*args, max_age_s=0.01, writer=writer, **options)
        self._actions = [hashlib.sha1() for _ in range(self.num_envs)]
        self._ended = []
        self._num_told = 0

    def reset(self, **options):
        answer = super().reset(**options)
        if "env_ids" not in (options.get("options") or {}):
            self._actions = [hashlib.sha1() for _ in range(self.num_envs)]
        return answer

    def step(self, actions):
        result = super().step(actions)
        _, _, terminated, truncated, info = result
        for row in info["active"].nonzero()[:, 0].tolist():
            self._actions[row].update(actions[row].numpy().tobytes())
        for row in (terminated | truncated).nonzero()[:, 0].tolist():
            self._ended.append(self._actions[row].hexdigest())
            self._actions[row] = hashlib.sha1()
        self._tell()
        self.begun.set()
        return result

    def _tell(self):
        """A block is committed whole, so the first that ended are the ones acknowledged."""
        acknowledged = self.stats().acknowledged
        new = self._ended[self._num_told : acknowledged]
        if new:
            os.write(self.file, "".join(f"{digest}\n" for digest in new).encode())
            self._num_told = acknowledged


def kill_later(chance):
    """At any time: while it starts, records, or has long been recording."""
    delay_s = chance.choice([0.0, 0.02, 0.1, 0.3]) * chance.random()
    waits = chance.random() < 0.9

    def kill():
        if waits:
            Witness.begun.wait()
        time.sleep(delay_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def record(folder, num_kills):
    """Record; in each of the first starts, one of the ranks is killed."""
    rank = Rank.of_environment()
    chance = random.Random(rank.num_restarts)
    victim = chance.randrange(rank.world_size)
    is_last = rank.num_restarts == int(num_kills)
    with process_group(rank):  # ranks that were restarted meet again
        assert gathered(rank.number) == list(range(rank.world_size))
    path = Path(folder, f"acknowledged-{rank.number}")
    Witness.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    recorder.RecordEpisodes = Witness
    if not is_last and rank.number == victim:
        kill_later(chance)
    Record(
        "holdstep:PointMass",
        out=Path(folder, "demos"),
        num_episodes=40 if is_last else ENDLESS,
        num_envs=4,
        policy="random",
        device="cpu",
        set=("env.max_episode_length=9",),
    ).run()
    return {"num_restarts": rank.num_restarts}
