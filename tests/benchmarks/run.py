"""``make bench``: measure the CPU part again, and write docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import overhead, report


def main() -> None:
    """Run every benchmark that needs no GPU."""
    lines = overhead.main(overhead.Arguments())
    lines += overhead.main(
        overhead.Arguments(tasks=("Mjlab-Velocity-Flat-Unitree-Go1",), num_envs=64, steps=10)
    )
    file = report.DOCS / "benchmarks" / "cpu.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"wrote {report.write()}")


if __name__ == "__main__":
    main()
