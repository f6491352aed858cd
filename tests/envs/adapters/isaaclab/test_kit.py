"""Starting Kit changes nothing else about the process."""

import builtins
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from holdstep.envs.adapters.isaaclab import kit
from holdstep.envs.adapters.isaaclab.install import Installation
from holdstep.errors import BackendUnavailableError

LAB_23 = Installation(2, "2.3.2")
CPU = torch.device("cpu")


@pytest.fixture
def launcher(monkeypatch):
    """A launcher that does what Isaac Lab's does to the process; returns what it was given."""
    given = []

    class AppLauncher:
        def __init__(self, **arguments):
            given.append(arguments)
            sys.argv += ["--/app/setting=1"]
            sys.stdout = sys.__stdout__
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            monkeypatch.setattr(builtins, "ISAAC_LAUNCHED_FROM_TERMINAL", False, raising=False)

    app = ModuleType("isaaclab.app")
    app.AppLauncher = AppLauncher
    monkeypatch.setitem(sys.modules, "isaaclab.app", app)
    monkeypatch.setitem(sys.modules, "isaaclab", ModuleType("isaaclab"))
    monkeypatch.setitem(sys.modules, "isaacsim", ModuleType("isaacsim"))
    monkeypatch.setattr(kit, "_held", [])
    return given


def test_it_is_started_once_without_a_window(launcher):
    for _ in range(2):
        kit.start(LAB_23, device=CPU, enable_cameras=False)
    assert launcher == [{"headless": True, "enable_cameras": False, "device": "cpu"}]
    assert kit.is_running()


def test_arguments_output_and_signal_handlers_stay(launcher):
    argv, stdout = list(sys.argv), sys.stdout
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    kit.start(LAB_23, device=CPU, enable_cameras=False)
    assert sys.argv == argv
    assert sys.stdout is stdout
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_they_stay_also_when_it_fails(launcher, monkeypatch):
    stdout = sys.stdout

    class Failing:
        def __init__(self, **arguments):
            sys.stdout = None
            raise RuntimeError("no GPU")

    monkeypatch.setattr(sys.modules["isaaclab.app"], "AppLauncher", Failing)
    with pytest.raises(RuntimeError, match="no GPU"):
        kit.start(LAB_23, device=CPU, enable_cameras=False)
    assert sys.stdout is stdout
    assert not kit.is_running()


def test_cameras_can_not_be_had_afterwards(launcher, monkeypatch):
    kit.start(LAB_23, device=CPU, enable_cameras=False)
    settings = {"/isaaclab/cameras_enabled": False}
    carb = ModuleType("carb.settings")
    carb.get_settings = lambda: SimpleNamespace(get=settings.get)
    monkeypatch.setitem(sys.modules, "carb.settings", carb)
    with pytest.raises(BackendUnavailableError, match="ENABLE_CAMERAS"):
        kit.start(LAB_23, device=CPU, enable_cameras=True)
    settings["/isaaclab/cameras_enabled"] = True
    kit.start(LAB_23, device=CPU, enable_cameras=True)
