"""Nothing is left out: every block is run, here or where it can be, or says why it is not."""

import pytest

from tests.docs.pages import PAGES, ROOT, RUN, blocks_in, blocks_of
from tests.docs.running import run_blocks
from tests.docs.smaller import SMALLER

SETUP = "the set-up"
NOT_RUN = {
    ("README", "make demo"): SETUP,
    ("README", "pip install"): SETUP,
    ("coming_from/isaaclab", "import gymnasium"): "needs Isaac Sim",  # AppLauncher, and so a GPU
    ("coming_from/isaaclab_arena", "obs, _ = env.reset()"): "a loop of the reader's own",
    ("local_policies", "$ pip install"): SETUP,
    ("quickstart", "$ make demo"): SETUP,
    ("quickstart", "$ pip install"): SETUP,
    ("remote_policies", "$ pip install"): SETUP,
}
"""All blocks that nothing runs, by page and beginning. Whoever adds one here explains it."""

PLACES = {
    "isaaclab": ROOT / "tests" / "isaaclab" / "test_docs_blocks.py",
    "lerobot": ROOT / "tests" / "policies" / "lerobot" / "test_docs_blocks.py",
}
"""Tests of other environments, and who runs the blocks with these marks there."""


def code_of(page):
    return [block for block in blocks_of(page) if block.kind in RUN]


def listed(block):
    """Its entry above, or else itself."""
    return next(
        (
            (page, beginning)
            for page, beginning in NOT_RUN
            if page == block.page and block.text.startswith(beginning)
        ),
        block,
    )


def test_only_the_listed_blocks_are_not_run():
    left_out = [b for page in PAGES for b in code_of(page) if b.reason is not None]
    assert {listed(block): block.reason for block in left_out} == NOT_RUN
    assert len(left_out) == len(NOT_RUN)


def test_blocks_for_other_environments_are_run_there():
    named = {block.place for page in PAGES for block in code_of(page) if block.place is not None}
    assert named == set(PLACES)
    for place, path in PLACES.items():
        assert f'"{place}"' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_no_fence_and_no_mark_escapes(page):
    """Those that are indented, have another spelling, or belong to no block."""
    lines = PAGES[page].read_text(encoding="utf-8").splitlines()
    fences = [line for line in lines if line.strip(" >").startswith(tuple(f"```{k}" for k in RUN))]
    assert len(fences) == len(code_of(page))
    marks = [line for line in lines if line.strip().startswith("<!--")]
    assert len(marks) == sum(b.reason is not None or b.place is not None for b in code_of(page))


def test_only_pages_that_are_there_have_smaller_numbers():
    assert set(SMALLER) <= set(PAGES)
    with pytest.raises(ValueError, match="does not say '4097 rows' any more"):
        blocks_of("README", changed={"4097 rows": "4"})


@pytest.mark.parametrize(
    "page",
    [
        "```python\nassert 1 == 2\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
        "```python\nx = 1\n```\n\nThen\n\n```pycon\n>>> x\n2\n```\n",
        "```pycon\n>>> x = 1\n```\n\nThen\n\n```python\nassert x == 2\n```\n",
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```console\n$ holdstep envs holdstep\n```\n\n```text\nholdstep:CartPole\n```\n",
        "```console\n$ holdstep envs holdstep --match nothing\n```\n",
        "```console\n$ holdstep timeline missing.jsonl\n```\n",
        "```console\n$ ls\n```\n",
        "```console\n$ HOLDSTEP_DEBUG=1 holdstep dataset info missing.hdf5 > info\n```\n",
    ],
)
def test_a_wrong_page_is_noticed(page):
    with pytest.raises((AssertionError, FileNotFoundError)):
        run_blocks(blocks_in(page), {})


def test_a_page_is_one_session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (
        "```python\nx = 1\nprint('one')\n```\n\n```text\none\n```\n\n"
        "<!-- not run: on purpose -->\n```python\nx = 2\n```\n\n"
        "<!-- run with: isaaclab -->\n```python\nx = 3\n```\n\n"
        "```pycon\n>>> x\n1\n```\n\n"
        "```console\n$ holdstep envs holdstep > ids  # twice\n$ holdstep envs holdstep\n```\n\n"
        "```text\nholdstep:CartPole\n...\n```\n\n"
        "```python\nassert open('ids').read().startswith('holdstep:')\n```\n"
    )
    assert run_blocks(blocks_in(page), {}) == 4
