"""The examples in docstrings are run, module by module."""

import contextlib
import doctest
import importlib
import io
import pkgutil

import pytest

import holdstep
from holdstep.errors import MissingExtraError
from tests.docs.running import OPTIONFLAGS


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
