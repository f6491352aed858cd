"""The pages of docs/ and the docstrings do what they say: their examples are run."""

import contextlib
import doctest
import glob
import importlib
import io
import pkgutil
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

import holdstep
from holdstep.cli import main
from holdstep.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [page for page in PAGES if "_build" not in page.parts]
COMMANDS = ("envs", "check", "train", "play", "serve", "evaluate", "record", "timeline", "doctor")
TOOLS = ("info", "validate", "repair", "merge", "convert", "plot", "replay")
COMMANDS += tuple(f"dataset {tool}" for tool in TOOLS)
COMMANDS += ("export", "deploy", "teleop")
COMMANDS += tuple(f"contract {what}" for what in ("show", "diff", "check", "import"))
OPTIONFLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the number of its first line."""

    page: str
    line: int
    kind: str
    text: str
    reason: str | None
    """Why it is not run; None when it is."""


def blocks_of(page, *kinds):
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["kind"] in kinds:
            line = text.count("\n", 0, match.start("text"))
            yield Block(page.name, line, match["kind"], match["text"], match["reason"])


def run_block(block, namespace):
    if block.kind == "python":
        # Blank lines in front make tracebacks name the page's own line.
        exec(compile("\n" * block.line + block.text, block.page, "exec"), namespace)
        return
    test = doctest.DocTestParser().get_doctest(
        block.text, namespace, block.page, block.page, block.line
    )
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONFLAGS)
    runner.run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)  # the parser works on a copy
    assert runner.failures == 0, report.getvalue()


def run_page(page):
    namespace = {"__name__": page.stem}
    for block in blocks_of(page, "python", "pycon"):
        if block.reason is None:
            run_block(block, namespace)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "contract",
        "wrappers",
        "adapters",
        "rl_libraries",
        "suspension",
        "suspension_recipes",
        "lazy_rendering",
        "local_policies",
        "remote_policies",
        "teleop",
        "action_chunks",
        "timeline",
        "monitoring",
        "evaluation",
        "generation",
        "datasets",
        "export_direct",
        "contract_file",
        "deployment",
        "scale",
    ],
)
def test_examples_of_a_page_run(name):
    if name in ("quickstart", "rl_libraries", "action_chunks"):
        pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    if name == "rl_libraries":
        for library in ("stable_baselines3", "skrl", "torchrl"):
            pytest.importorskip(library, reason=f"the page needs {library}")
    page = ROOT / "docs" / f"{name}.md"
    assert any(block.reason is None for block in blocks_of(page, "python", "pycon"))
    run_page(page)


def test_python_outside_of_these_pages_compiles():
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for block in blocks_of(page, "python"):
            compile(block.text, f"{page.name}:{block.line}", "exec")


@pytest.mark.parametrize(
    "example",
    [
        "```python\nassert 1 == 2\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
        "```python\nx = 1\n```\n\nThen\n\n```pycon\n>>> x\n2\n```\n",
        "```pycon\n>>> x = 1\n```\n\nThen\n\n```python\nassert x == 2\n```\n",
    ],
)
def test_a_wrong_example_is_noticed(tmp_path, example):
    page = tmp_path / "page.md"
    page.write_text(example)
    with pytest.raises(AssertionError):
        run_page(page)


def test_an_example_marked_as_not_run_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: on purpose -->\n```python\nassert 1 == 2\n```\n")
    run_page(page)


def module_names():
    names = [name for _, name, _ in pkgutil.walk_packages(holdstep.__path__, "holdstep.")]
    return [name for name in names if not name.endswith("__main__")]


def doctests_of(module):
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(module, module.__name__) if test.examples]


@pytest.mark.parametrize("name", module_names())
def test_doctests_of_a_module(name):
    try:
        module = importlib.import_module(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    for test in doctests_of(module):
        report = io.StringIO()
        runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONFLAGS)
        runner.run(test, out=report.write)
        assert runner.failures == 0, report.getvalue()


def test_doctests_are_found_in_all_packages():
    found = set()
    for name in module_names():
        with contextlib.suppress(MissingExtraError):
            found |= {name} if doctests_of(importlib.import_module(name)) else set()
    assert {
        "holdstep.extras",
        "holdstep.envs.registry",
        "holdstep.envs.reference.cartpole",
    } <= found
    assert {"holdstep.cli.settings", "holdstep.envs.views.groups"} <= found


def help_of(command):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    return printed.getvalue()


def options_of(command):
    return set(re.findall(r"--[a-z][a-z-]*", help_of(command).partition("Example:")[2]))


@pytest.fixture(scope="module")
def options():
    return {command: options_of(command) | {"--help"} for command in COMMANDS}


def command_lines(text):
    """Everything in a page that reads as a call of the command line: blocks and code spans."""
    for block in re.findall(r"^```(?:console|sh|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            called = re.search(r"(?:^|\s)(?:-m )?holdstep (.*)", line.partition(" #")[0])
            if called:
                yield called[1]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`\n]+)`", prose):
        called = re.search(r"(?:^|-m )holdstep (.*)", span)
        if called:
            yield called[1]


def problems_of(text, options):
    """Commands and options that a page names and the command line does not have."""
    for line in command_lines(text):
        words = line.split()
        if words[0] == "--version" or words in (["dataset"], ["contract"]):
            continue
        command = " ".join(words[: 1 + (words[0] in ("dataset", "contract"))])
        if command not in options:
            yield f"no command {command!r}: holdstep {line}"
            continue
        named = {word.partition("=")[0] for word in words if word.startswith("--")}
        yield from (
            f"no option {name}: holdstep {line}" for name in sorted(named - options[command])
        )


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem
)
def test_commands_and_options_exist(page, options):
    assert list(problems_of(page.read_text(encoding="utf-8"), options)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Run `holdstep reccord`.",
        "Run `holdstep dataset reapir x`.",
        "Run `holdstep dataset info x --out y`.",
        "Run `python -m holdstep play --chekpoint x`.",
        "```console\n$ holdstep check holdstep:CartPole --setps 3\n```\n",
        "```sh\ntorchrun -m holdstep train x --iterations=3 --rows 2  # why\n```\n",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(text, options):
    assert len(list(problems_of(text, options))) == 1


def test_the_tables_of_the_command_line_are_complete(options):
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = re.split(r"^## holdstep (\w+(?: \w+)?)$", text, flags=re.MULTILINE)
    documented = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert set(documented) == set(COMMANDS)
    for command, section in documented.items():
        rows = [line for line in section.splitlines() if line.startswith("|")]
        named = set(re.findall(r"`(--[a-z-]+)`", "\n".join(row.split("|")[1] for row in rows)))
        assert named == options[command] - {"--help"}, command


@pytest.mark.parametrize("name", ["quickstart", "cli", "datasets"])
def test_commands_of_a_page_run(name, monkeypatch):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    if name == "datasets":
        run_page(ROOT / "docs" / "datasets.md")  # which writes the file that they read
    num_run = 0
    for block in blocks_of(ROOT / "docs" / f"{name}.md", "console"):
        if block.reason is not None:
            continue
        for line in block.text.splitlines():
            program, *words = shlex.split(line.removeprefix("$ "))
            assert program == "holdstep", f"{block.page}:{block.line}"
            # As a shell does with patterns.
            arguments = [path for word in words for path in (sorted(glob.glob(word)) or [word])]
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                assert main(arguments) == 0, line
            assert printed.getvalue().strip(), line
            num_run += 1
    assert num_run >= 3


def test_what_is_called_planned_is_not_there_yet():
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    planned = re.findall(r"^\| `(\w+)` \|", text.partition("not there yet")[2], re.MULTILINE)
    assert not set(planned) & set(holdstep.wrappers.__all__), "move it to 'What works today'"
