"""Which Isaac Lab is installed, and what it needs to run; found out without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from holdstep.errors import BackendUnavailableError, MissingExtraError

HOW_TO_INSTALL = (
    'Isaac Lab 2.3 (Python 3.11, with Isaac Sim 5.1): pip install "holdstep[isaacsim]", with '
    "NVIDIA's package index as --extra-index-url. Isaac Lab 3.0 (Python 3.12, also without Isaac "
    "Sim and without a GPU): by its own guide, https://isaac-sim.github.io/IsaacLab."
)


@dataclass(frozen=True)
class Installation:
    """An Isaac Lab that can be imported, or could be once Kit runs.

    Attributes:
        generation: 2 for Isaac Lab 2.3, 3 for 3.x.
        version: of the package; an installation from source reports that of its core extension.
    """

    generation: int
    version: str

    def __str__(self) -> str:
        if self.version.startswith(("2.", "3.")):
            return f"Isaac Lab {self.version}"
        return f"Isaac Lab {self.generation}.x (core extension {self.version})"

    @property
    def needs_kit_to_import(self) -> bool:
        """Whether Omniverse Kit must run before anything of Isaac Lab can be imported."""
        return self.generation == 2


def find_installation() -> Installation:
    """The Isaac Lab that ``import isaaclab`` would find.

    Raises:
        MissingExtraError: there is none.
        BackendUnavailableError: it is older than 2.3.
    """
    folder = _package_folder()
    if folder is None:
        raise MissingExtraError(
            "The Isaac Lab backend needs the package 'isaaclab', which is not installed for this "
            f"Python {platform.python_version()}. {HOW_TO_INSTALL}"
        )
    try:
        version = importlib.metadata.version("isaaclab")
    except importlib.metadata.PackageNotFoundError:
        # On the path without being installed: 3.0 has a package for its physics backends.
        return Installation(3 if (folder / "physics").is_dir() else 2, _extension_version(folder))
    if re.match(r"1\.|2\.[012](\.|$)", version):
        raise BackendUnavailableError(
            f"Isaac Lab {version} is installed; holdstep works with 2.3 and 3.x. {HOW_TO_INSTALL}"
        )
    # An editable installation reports its core extension's version: 0.x in 2.3, 3 and more in 3.x.
    return Installation(2 if version.startswith(("0.", "2.")) else 3, version)


def isaac_sim_is_installed() -> bool:
    """Whether Isaac Sim, and Kit with it, can be started in this Python."""
    return "isaacsim" in sys.modules or importlib.util.find_spec("isaacsim") is not None


def require_isaac_sim(installation: Installation, purpose: str) -> None:
    """Raise with what to do unless Isaac Sim is installed.

    Args:
        installation: the Isaac Lab that needs it.
        purpose: what it is needed for, as the end of the error's first sentence.

    Raises:
        BackendUnavailableError: Isaac Sim is not installed.
    """
    if isaac_sim_is_installed():
        return
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if installation.generation == 2:
        remedy = (
            'Install it with: pip install "isaacsim[all,extscache]==5.1.*", with NVIDIA\'s package '
            "index as --extra-index-url (Python 3.11, an NVIDIA GPU)"
        )
        if python != "3.11":
            remedy += f"; this is Python {python}, for which Isaac Sim 5.1 has no wheels"
    else:
        remedy = (
            "Install it by Isaac Lab's guide (https://isaac-sim.github.io/IsaacLab), or choose "
            "presets that run without it, such as presets='newton_mjwarp,newton_renderer', where "
            "the task has them. Many tasks without such run on Newton all the same, with make("
            "..., cfg=cfg) and isaaclab_newton.physics.NewtonCfg() as cfg.sim.physics"
        )
    raise BackendUnavailableError(
        f"{installation} is installed, but Isaac Sim is not, which is needed {purpose}. {remedy}."
    )


def _package_folder() -> Path | None:
    module = sys.modules.get("isaaclab")
    file = getattr(module, "__file__", None)
    if module is None:
        spec = importlib.util.find_spec("isaaclab")
        file = spec.origin if spec is not None else None
    # Without a file it is no package, but some folder of that name on the path.
    return Path(file).parent if file else None


def _extension_version(folder: Path) -> str:
    manifest = folder.parent / "config" / "extension.toml"
    text = manifest.read_text(encoding="utf-8") if manifest.is_file() else ""
    found = re.search(r'^version\s*=\s*"([^"]+)"', text, flags=re.MULTILINE)
    return found.group(1) if found else "of unknown version"
