"""Isaac Lab 2.3.2's own code over stand-ins for Kit, in a process of its own.

``import isaaclab`` must not exist for the other tests, so the wheel is not installed beside them:
``test_in_subprocess.py`` starts the tests of this folder with the wheel on the path, and they are
not collected otherwise. By hand: ``HOLDSTEP_ISAACLAB23=1 PYTHONPATH=".venv/compat/isaaclab==2.3.2"
python -m pytest tests/isaaclab23``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import pytest

from tests.isaaclab23 import kit_standins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


IN_SUBPROCESS = os.environ.get("HOLDSTEP_ISAACLAB23") == "1"
collect_ignore = (
    ["test_in_subprocess.py"]
    if IN_SUBPROCESS
    else [
        "test_adapter.py",
        "test_env_facts.py",
        "test_export.py",
        "test_random_streams.py",
        "test_recorder.py",
        "test_standins.py",
        "test_suspension.py",
    ]
)


class MakeEnv(Protocol):
    """Signature of the ``make_env`` fixture."""

    def __call__(
        self,
        env_id: str,
        *,
        num_envs: int = 8,
        seed: int | None = 0,
        edit: Callable[[Any], None] | None = None,
    ) -> Any:
        """Build the env as a training script does, and return the unwrapped env."""


@pytest.fixture(scope="package")
def standins() -> Iterator[SimpleNamespace]:
    """The modules that need Isaac Lab: ``fake_scene``, ``tasks``, ``direct_task``.

    They are imported here and not at the top of a test module: collection would otherwise leave
    a pretended Kit in the process for every other test of the project.
    """
    try:
        kit_standins.install()
    except (ModuleNotFoundError, RuntimeError) as error:
        pytest.skip(f"isaaclab 2.3 over stand-ins: {error}")
    package = __name__.rpartition(".")[0]
    names = ("fake_scene", "tasks", "direct_task")
    try:
        yield SimpleNamespace(
            **{name: importlib.import_module(f"{package}.{name}") for name in names}
        )
    finally:
        kit_standins.uninstall()


@pytest.fixture
def make_env(standins: SimpleNamespace) -> Iterator[MakeEnv]:
    """Build envs that are closed at the end of the test; only one may be open at a time."""
    del standins
    with contextlib.ExitStack() as stack:

        def make(
            env_id: str,
            *,
            num_envs: int = 8,
            seed: int | None = 0,
            edit: Callable[[Any], None] | None = None,
        ) -> Any:
            parse = importlib.import_module("isaaclab_tasks.utils").parse_env_cfg
            cfg = parse(env_id, device="cpu", num_envs=num_envs)
            cfg.seed = seed
            if edit is not None:
                edit(cfg)
            env = gymnasium.make(env_id, cfg=cfg)
            stack.callback(env.close)
            return env.unwrapped

        yield make
