"""``python -m holdstep`` is the command ``holdstep``."""

from __future__ import annotations

from holdstep.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
