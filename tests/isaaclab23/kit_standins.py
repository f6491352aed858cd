"""Put stand-ins for Omniverse Kit into ``sys.modules`` so that Isaac Lab 2.3.2 imports.

The list below is exact: it is what ``import isaaclab.envs`` and ``import isaaclab_tasks`` touch.
A module or a name that is not on it fails as it would without Kit (``ModuleNotFoundError`` or
``AttributeError``), so code that reaches for more of Kit is noticed instead of fed nonsense.
``omni.replicator.core``, for one, is left out on purpose: 2.3.2's ``seed()`` handles its absence.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.metadata
import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

from tests.isaaclab23 import kit_runtime

ISAACLAB_PACKAGES = (
    "isaaclab",
    "isaaclab_assets",
    "isaaclab_contrib",
    "isaaclab_rl",
    "isaaclab_tasks",
)
"""The packages in the wheel's ``isaaclab/source``; ``isaaclab_contrib`` is imported by the core."""

_DEPENDENTS = (
    "agents",
    "direct_task",
    "fake_articulation",
    "fake_scene",
    "mujoco_robot",
    "rich_observations",
    "stateful_direct_task",
    "tasks",
)
"""The modules beside this one that import Isaac Lab, and so go when it goes."""

_KIT_ROOTS = ("carb", "isaacsim", "omni", "pxr", "usdrt")

# Module -> the names that are only mentioned, never called, while Isaac Lab is imported. A dotted
# name is an attribute of the class before the dot.
_NAMES: dict[str, tuple[str, ...]] = {
    "carb": (),
    "carb.events": ("IEvent",),
    "carb.input": (),
    "carb.settings": (),
    "isaacsim": (),
    "isaacsim.core": (),
    "isaacsim.core.api": (),
    "isaacsim.core.api.simulation_context": ("SimulationContext",),
    "isaacsim.core.cloner": ("Cloner", "GridCloner"),
    "isaacsim.core.prims": ("SingleXFormPrim",),
    "isaacsim.core.simulation_manager": ("IsaacEvents",),
    "isaacsim.core.utils": (),
    "isaacsim.core.utils.extensions": ("enable_extension",),
    "isaacsim.core.utils.stage": (),
    "isaacsim.core.utils.torch": (),
    "isaacsim.core.utils.viewports": ("set_camera_view",),
    "isaacsim.core.version": (),
    "isaacsim.gui": (),
    "isaacsim.gui.components": (),
    "isaacsim.gui.components.ui_utils": (),
    "omni": (),
    "omni.client": (),
    "omni.kit": (),
    "omni.kit.app": (),
    "omni.kit.commands": (),
    "omni.kit.xr": (),
    "omni.kit.xr.core": ("XRCore", "XRCoreEventType", "XRPoseValidityFlags"),
    "omni.physics": (),
    "omni.physics.tensors": (),
    "omni.physics.tensors.impl": (),
    "omni.physics.tensors.impl.api": ("ArticulationView", "RigidBodyView", "SoftBodyView"),
    "omni.physx": (),
    "omni.physx.scripts": (),
    "omni.physx.scripts.deformableUtils": (),
    "omni.physx.scripts.utils": (),
    "omni.timeline": (),
    "omni.usd": (),
    "omni.usd.commands": ("CreateMdlMaterialPrimCommand", "CreateShaderPrimFromSdrCommand"),
    "pxr": (),
    "pxr.Gf": ("Matrix4d",),
    "pxr.PhysxSchema": (
        "PhysxConvexDecompositionCollisionAPI",
        "PhysxConvexHullCollisionAPI",
        "PhysxSDFMeshCollisionAPI",
        "PhysxTriangleMeshCollisionAPI",
        "PhysxTriangleMeshSimplificationCollisionAPI",
        "Tokens.sdf",
    ),
    "pxr.Sdf": ("ValueTypeNames.Float", "ValueTypeNames.Token"),
    "pxr.Tf": (),
    "pxr.Usd": ("Prim",),
    "pxr.UsdGeom": (),
    "pxr.UsdLux": (),
    "pxr.UsdPhysics": (
        "MeshCollisionAPI",
        "Tokens.boundingCube",
        "Tokens.boundingSphere",
        "Tokens.convexDecomposition",
        "Tokens.convexHull",
        "Tokens.meshSimplification",
        "Tokens.none",
    ),
    "pxr.UsdSemantics": (),
    "pxr.UsdShade": (),
    "pxr.UsdUtils": (),
    "pxr.Vt": (),
    "usdrt": ("Rt",),
}

# Third-party packages that Isaac Lab imports at the top of modules but that no environment step
# uses. They are replaced only where they are not installed: flatdict 4.0.1 does not build with
# current setuptools, opencv and hidapi are heavy or need system libraries.
_OPTIONAL = ("cv2", "flatdict", "hid", "toml")


class KitStandins:
    """Owns everything that :meth:`install` changes in the process, and undoes it."""

    def __init__(self) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._paths: list[str] = []
        self._env_ids: set[str] = set()
        self.installed = False

    def install(self) -> None:
        """Make ``import isaaclab.envs`` succeed without Isaac Sim.

        Raises:
            RuntimeError: If Isaac Sim is installed, or an ``isaaclab`` is already imported: both
                would be hidden or mixed with the stand-ins.
            ModuleNotFoundError: If the ``isaaclab`` 2.3 wheel is not installed.
        """
        if self.installed:
            return
        for root in _KIT_ROOTS:
            if root in sys.modules or importlib.util.find_spec(root) is not None:
                # `pip install usd-core` (pxr) or `omniverseclient` (omni), as the 3.0 tests need,
                # is not Kit, but half real and half faked namespaces help nobody.
                msg = f"the real {root!r} is importable; install the stand-ins without it"
                raise RuntimeError(msg)
        if "isaaclab" in sys.modules:
            msg = "isaaclab is already imported; install the stand-ins before it"
            raise RuntimeError(msg)
        source = wheel_source()
        self._env_ids = _registered_env_ids()
        self._modules = _build_modules()
        sys.modules.update(self._modules)
        # The wheel's top-level `isaaclab` package is only a launcher that starts Kit on import;
        # the library of the same name is inside it and has to be found first.
        self._paths = [str(source / package) for package in ISAACLAB_PACKAGES]
        sys.path[:0] = self._paths
        # Kit's SimulationApp sets this when Python starts the app (and not the app Python); the
        # environments then start the simulation themselves.
        builtins.ISAAC_LAUNCHED_FROM_TERMINAL = False  # type: ignore[attr-defined]
        self.installed = True

    def uninstall(self) -> None:
        """Undo :meth:`install`, and forget the Isaac Lab modules that were imported over it."""
        if not self.installed:
            return
        ours = {*self._modules, *_dependents()}
        for name in list(sys.modules):
            # A later import, with the real Kit or another Isaac Lab, must not find these.
            if name.partition(".")[0] in ISAACLAB_PACKAGES or name in ours:
                del sys.modules[name]
        package = sys.modules[__name__.rpartition(".")[0]]
        for name in _DEPENDENTS:
            # `from package import tasks` prefers the attribute to a fresh import.
            if hasattr(package, name):
                delattr(package, name)
        sys.path[:] = [path for path in sys.path if path not in self._paths]
        for name in ("ISAAC_LAUNCHED_FROM_TERMINAL", "ISAACLAB_CALLBACK_EXCEPTION"):
            if hasattr(builtins, name):
                delattr(builtins, name)
        registry = importlib.import_module("gymnasium").registry
        for env_id in _registered_env_ids() - self._env_ids:
            del registry[env_id]
        self._modules, self._paths, self.installed = {}, [], False

    def __enter__(self) -> KitStandins:
        """Install."""
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        """Uninstall."""
        self.uninstall()


_STANDINS = KitStandins()


def install() -> None:
    """Install the process-wide stand-ins; see :meth:`KitStandins.install`."""
    _STANDINS.install()


def uninstall() -> None:
    """Remove the process-wide stand-ins; see :meth:`KitStandins.uninstall`."""
    _STANDINS.uninstall()


def wheel_source() -> Path:
    """Return the wheel's ``isaaclab/source`` folder, without importing anything of it."""
    try:
        distribution = importlib.metadata.distribution("isaaclab")
    except importlib.metadata.PackageNotFoundError as error:
        msg = "the isaaclab wheel is missing: pip install --no-deps isaaclab==2.3.2"
        raise ModuleNotFoundError(msg, name="isaaclab") from error
    source = Path(str(distribution.locate_file("isaaclab/source")))
    if not distribution.version.startswith("2.3.") or not source.is_dir():
        msg = f"these stand-ins are for the isaaclab 2.3 wheel, not {distribution.version}"
        raise ModuleNotFoundError(msg, name="isaaclab")
    return source


def _dependents() -> set[str]:
    package = __name__.rpartition(".")[0]
    return {f"{package}.{name}" for name in _DEPENDENTS}


def _registered_env_ids() -> set[str]:
    return set(importlib.import_module("gymnasium").registry)


def _build_modules() -> dict[str, ModuleType]:
    modules = {name: _opaque_module(name, names) for name, names in _NAMES.items()}
    for name in _OPTIONAL:
        if importlib.util.find_spec(name) is None:
            modules[name] = _opaque_module(name, ())
    for name, module in modules.items():
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(modules[parent], leaf, module)
    _add_services(modules)
    return modules


def _opaque_module(name: str, names: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name, "Stand-in of the isaaclab 2.3 tests.")
    # Empty, so that submodules which are not listed raise ModuleNotFoundError.
    module.__path__ = []
    for dotted in names:
        class_name, _, attribute = dotted.partition(".")
        if not hasattr(module, class_name):
            setattr(module, class_name, type(class_name, (), {"__module__": name}))
        if attribute:
            setattr(getattr(module, class_name), attribute, attribute)
    return module


def _add_services(modules: dict[str, ModuleType]) -> None:
    settings = kit_runtime.Settings()
    timeline = kit_runtime.Timeline()
    context = kit_runtime.UsdContext()
    services: dict[str, dict[str, object]] = {
        "carb.settings": {"get_settings": lambda: settings, "ISettings": kit_runtime.Settings},
        "isaacsim.core.simulation_manager": {"SimulationManager": kit_runtime.SimulationManager},
        "isaacsim.core.version": {"get_version": kit_runtime.get_version},
        "omni.timeline": {
            "get_timeline_interface": lambda: timeline,
            "TimelineEventType": kit_runtime.TimelineEventType,
        },
        "omni.usd": {"get_context": lambda: context},
        "pxr.Usd": {"Stage": kit_runtime.Stage},
        "pxr.UsdUtils": {"StageCache": kit_runtime.StageCache()},
    }
    if "toml" in modules:
        services["toml"] = {"load": _load_toml}  # each package reads its own version with it
    for name, attributes in services.items():
        for attribute, value in attributes.items():
            setattr(modules[name], attribute, value)


def _load_toml(path: str) -> dict[str, object]:
    return tomllib.loads(Path(path).read_text(encoding="utf-8"))
