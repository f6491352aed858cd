"""Commands and options that pages name exist, and the page of the command line names them all."""

import contextlib
import io
import re

import pytest

import holdstep
from holdstep.cli import main
from tests.docs.pages import PAGES

COMMANDS = ("envs", "check", "train", "play", "serve", "evaluate", "record", "timeline", "doctor")
TOOLS = ("info", "validate", "repair", "merge", "convert", "plot", "replay")
COMMANDS += tuple(f"dataset {tool}" for tool in TOOLS)
COMMANDS += ("export", "deploy", "teleop")
COMMANDS += tuple(f"contract {what}" for what in ("show", "diff", "check", "import"))


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


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page, options):
    assert list(problems_of(PAGES[page].read_text(encoding="utf-8"), options)) == []


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
    text = PAGES["cli"].read_text(encoding="utf-8")
    sections = re.split(r"^## holdstep (\w+(?: \w+)?)$", text, flags=re.MULTILINE)
    documented = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert set(documented) == set(COMMANDS)
    for command, section in documented.items():
        rows = [line for line in section.splitlines() if line.startswith("|")]
        named = set(re.findall(r"`(--[a-z-]+)`", "\n".join(row.split("|")[1] for row in rows)))
        assert named == options[command] - {"--help"}, command


def test_what_is_called_planned_is_not_there_yet():
    text = PAGES["index"].read_text(encoding="utf-8")
    planned = re.findall(r"^\| `(\w+)` \|", text.partition("not there yet")[2], re.MULTILINE)
    assert not set(planned) & set(holdstep.wrappers.__all__), "move it to 'What works today'"
