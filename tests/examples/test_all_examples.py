"""No example is forgotten."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(file.stem for file in (ROOT / "examples").glob("*.py"))


def test_examples_are_found():
    assert {"train_and_play", "scripted_pick", "planning_with_fork"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_tested_and_mentioned(name):
    assert (ROOT / "tests" / "examples" / f"test_{name}.py").is_file()
    pages = [ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
    assert any(f"examples/{name}.py" in page.read_text(encoding="utf-8") for page in pages)
