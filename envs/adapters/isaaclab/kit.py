"""Starting Omniverse Kit, the application inside of which Isaac Sim's physics and cameras run."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.envs.adapters.isaaclab.install import Installation, require_isaac_sim
from holdstep.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV)

_held: list[object] = []
"""What keeps Kit running for the rest of the process: it can't be started a second time."""


def is_running() -> bool:
    """Whether Kit runs in this process, whoever started it."""
    module = sys.modules.get("omni.kit.app")
    if module is not None and hasattr(module, "get_app"):
        return module.get_app() is not None
    return hasattr(builtins, "ISAAC_LAUNCHED_FROM_TERMINAL")


def start(installation: Installation, *, device: torch.device, enable_cameras: bool) -> None:
    """Start Kit without a window, unless it runs already.

    Args:
        installation: the Isaac Lab to start it for.
        device: where physics runs.
        enable_cameras: whether camera sensors and ``render()`` must work; slows everything down.

    Raises:
        BackendUnavailableError: Isaac Sim is not installed, or Kit runs without cameras.
    """
    if is_running():
        if enable_cameras:
            require_cameras()
        return
    require_isaac_sim(installation, "to start its simulator")
    with kept_process_state():
        launcher_class = importlib.import_module("isaaclab.app").AppLauncher
        _held.append(
            launcher_class(headless=True, enable_cameras=enable_cameras, device=str(device))
        )
    expose_library()


def hold_simulation(launch: contextlib.AbstractContextManager[Any]) -> None:
    """Enter Isaac Lab 3's ``launch_simulation`` for the rest of the process."""
    with kept_process_state():
        launch.__enter__()
    _held.append(launch)


def require_cameras() -> None:
    """Raise when the Kit that runs can't render.

    Raises:
        BackendUnavailableError: it was started without cameras.
    """
    carb = sys.modules.get("carb.settings")
    if carb is None or carb.get_settings().get("/isaaclab/cameras_enabled") is not False:
        return
    raise BackendUnavailableError(
        "Isaac Sim was started in this process without cameras, which this env needs, and it can't "
        "be restarted. Make the env first in a new process with enable_cameras=True, or set the "
        "environment variable ENABLE_CAMERAS=1."
    )


@contextlib.contextmanager
def kept_process_state() -> Iterator[None]:
    """Undo what Isaac Lab's launcher does to the process besides starting Kit.

    It edits ``sys.argv``, sets ``sys.stdout`` to the original stream (which ends a redirection of
    the caller's) and replaces signal handlers; with its SIGINT and SIGTERM handlers, Kit would
    shut the process down before recorders have flushed.
    """
    argv, stdout = sys.argv, sys.stdout
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    sys.argv = list(argv)
    try:
        yield
    finally:
        sys.argv, sys.stdout = argv, stdout
        for number, handler in handlers.items():
            if in_main_thread and handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def expose_library() -> None:
    """Make ``import isaaclab.envs`` find Isaac Lab 2.3's library.

    The wheel's top-level package ``isaaclab`` is only a launcher; the library of the same name lies
    inside it, and Kit's extension system puts it on the path. The launcher's module may still be
    the one in ``sys.modules``, because Isaac Lab hides all modules with "lab" in their name while
    Kit starts and puts them back afterwards.
    """
    launcher = sys.modules.get("isaaclab")
    folder = Path(next(iter(getattr(launcher, "__path__", [""]))))
    source = folder / "source"
    if launcher is None or not (source / "isaaclab").is_dir():
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "isaaclab"]:
        if name.startswith("isaaclab.app") or name == "isaaclab":
            del sys.modules[name]
    packages = [str(package) for package in sorted(source.iterdir()) if package.is_dir()]
    sys.path[:0] = [package for package in packages if package not in sys.path]
    # Where Kit has put the library behind site-packages, the launcher would be found again.
    library = str(source / "isaaclab")
    if sys.path.index(library) != 0:
        sys.path.remove(library)
        sys.path.insert(0, library)
    importlib.invalidate_caches()
