"""What is installed is told apart without importing it."""

import importlib.metadata
import importlib.util
import sys
from types import ModuleType

import pytest

from holdstep.envs import make
from holdstep.envs.adapters.isaaclab import install
from holdstep.envs.registry import list_envs
from holdstep.errors import BackendUnavailableError, MissingExtraError


@pytest.fixture
def isaaclab_with(monkeypatch, tmp_path):
    """Pretends that an ``isaaclab`` of some version and layout is on the path."""

    def pretend(version=None, *, folders=(), extension_version=None):
        package = tmp_path / "source" / "isaaclab"
        for folder in ("", *folders):
            (package / folder).mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        if extension_version is not None:
            config = tmp_path / "source" / "config"
            config.mkdir()
            text = f'[package]\nversion = "{extension_version}"\n'
            (config / "extension.toml").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path / "source"))

        def version_of(name):
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", version_of)

    return pretend


@pytest.fixture
def no_isaaclab(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("version", "generation"),
    [("2.3.2", 2), ("2.3.2.post1", 2), ("0.54.2", 2), ("3.0.0", 3), ("6.1.16", 3)],
)
def test_the_generation_follows_from_the_version(isaaclab_with, version, generation):
    isaaclab_with(version)
    assert install.find_installation() == install.Installation(generation, version)


def test_a_source_tree_is_told_by_its_layout(isaaclab_with):
    isaaclab_with(folders=["physics"], extension_version="6.1.16")
    found = install.find_installation()
    assert found.generation == 3
    assert str(found) == "Isaac Lab 3.x (core extension 6.1.16)"


def test_an_older_version_is_refused(isaaclab_with):
    isaaclab_with("2.2.1")
    with pytest.raises(BackendUnavailableError, match=r"2\.2\.1 is installed"):
        install.find_installation()


def test_a_folder_of_the_same_name_is_no_installation(monkeypatch, tmp_path):
    (tmp_path / "isaaclab").mkdir()
    if importlib.util.find_spec("isaaclab") is not None:
        pytest.skip("Isaac Lab is installed")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError):
        install.find_installation()


def test_without_isaac_lab_the_error_says_how_to_get_both(no_isaaclab):
    for call in (
        lambda: list_envs("isaaclab"),
        lambda: make("isaaclab:Isaac-Ant-v0", device="cpu"),
    ):
        with pytest.raises(MissingExtraError, match=r"holdstep\[isaacsim\].*3\.0"):
            call()


def test_isaac_sim_is_asked_for_by_what_needs_it(no_isaaclab):
    with pytest.raises(BackendUnavailableError, match=r"isaacsim\[all,extscache\]"):
        install.require_isaac_sim(install.Installation(2, "2.3.2"), "to start")
    with pytest.raises(BackendUnavailableError, match="presets"):
        install.require_isaac_sim(install.Installation(3, "3.0.0"), "to start")


def test_isaac_sim_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "isaacsim", ModuleType("isaacsim"))
    install.require_isaac_sim(install.Installation(2, "2.3.2"), "to start")
