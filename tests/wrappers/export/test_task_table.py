"""The docs' table of Isaac Lab's tasks is what the tests on Isaac Lab expect."""

from __future__ import annotations

from pathlib import Path

from tests.isaaclab.registry_tasks import EXPECTED, table

PAGE = Path(__file__).parents[3] / "docs" / "export_tasks.md"


def test_the_page_has_the_table():
    assert table() in PAGE.read_text(encoding="utf-8")


def test_every_task_is_in_one_line_of_it():
    numbers = [line.split("(")[1].split(")")[0] for line in table().splitlines()[2:]]
    assert sum(map(int, numbers)) == len(EXPECTED)
