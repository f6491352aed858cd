"""``make bench``: measure the CPU part again, and write docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import (
    chunk_replay,
    chunk_scheduling,
    evaluation_bias,
    export_latency,
    history_ring,
    lazy_rendering,
    overhead,
    per_env_random,
    pipeline_step,
    recording,
    remote_wire,
    report,
    suspension,
)

CARTPOLE, GO1, G1 = (
    "Mjlab-Cartpole-Balance",
    "Mjlab-Velocity-Flat-Unitree-Go1",
    "Mjlab-Velocity-Flat-Unitree-G1",
)


def main() -> None:
    """Run every benchmark that needs no GPU."""
    lines = overhead.main(overhead.Arguments())
    lines += overhead.main(overhead.Arguments(tasks=(GO1,), num_envs=64, steps=10))
    lines += suspension.main(suspension.Arguments(tasks=(CARTPOLE,), num_envs=(64, 512)))
    lines += suspension.main(suspension.Arguments(tasks=(G1,), blocks=16, steps=2))
    lines += suspension.main(suspension.Arguments(tasks=(G1,), num_envs=(512,), blocks=5, steps=2))
    lines += suspension.main(
        suspension.Arguments(tasks=(G1,), level="skip", percents=(50, 75), blocks=16, steps=2)
    )
    for task, rounds in ((CARTPOLE, 200), (G1, 40)):
        lines += per_env_random.main(per_env_random.Arguments(task=f"mjlab:{task}", rounds=rounds))
    lines += chunk_scheduling.main(chunk_scheduling.Arguments())
    lines += chunk_replay.main(chunk_replay.Arguments())
    lines += evaluation_bias.main(evaluation_bias.Arguments())
    lines += export_latency.main(export_latency.Arguments())
    lines += lazy_rendering.main(lazy_rendering.Arguments())
    lines += remote_wire.main(remote_wire.Arguments())
    lines += pipeline_step.main(pipeline_step.Arguments())
    lines += recording.main(recording.Arguments())
    lines += history_ring.main(history_ring.Arguments())
    file = report.DOCS / "benchmarks" / "cpu.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"wrote {report.write()}")


if __name__ == "__main__":
    main()
