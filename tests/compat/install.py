"""Install other versions of libraries, each into a folder of its own, for the tests here.

Usage: python tests/compat/install.py .venv/compat

A test puts one of these folders in front of ``PYTHONPATH`` of a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = [
    "rsl-rl-lib==5.0.1",
    "rsl-rl-lib==5.5.1",
    "gymnasium==1.2.0",
    "robomimic==0.3.0",
]
if sys.version_info[:2] == (3, 11):  # the only Python that there is a wheel for
    PACKAGES.append("isaaclab==2.3.2")
"""Without their dependencies: the environment's own serve all of them."""

BESIDE = {"robomimic==0.3.0": ["termcolor==3.3.0"]}
"""But for these, which go into the same folder."""


def install(root: Path) -> None:
    """Install what is not there yet."""
    for package in PACKAGES:
        target = root / package
        if target.is_dir():
            continue
        partial = root / f"{package}.partial"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        subprocess.run(
            [*command, "--target", str(partial), package, *BESIDE.get(package, [])],
            check=True,
        )
        partial.rename(target)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
