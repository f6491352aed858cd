"""A simulation context and a scene that run Isaac Lab 2.3.2's environments without Kit.

:class:`FakeScene` inherits the real ``InteractiveScene`` and replaces only what talks to USD, so
reset, write, update, ``get_state`` and ``reset_to`` are Isaac Lab's own. :func:`fake_simulation`
puts both names into the environment modules while an env is built and takes them out again;
a built env never looks at those names again.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import omni.timeline
import omni.usd
import torch
from isaaclab.assets import Articulation, ArticulationCfg, AssetBaseCfg
from isaaclab.scene import InteractiveScene, InteractiveSceneCfg

from tests.isaaclab23.fake_articulation import FakeArticulation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isaaclab.sim import SimulationCfg

_ENV_MODULES = (
    "isaaclab.envs.manager_based_env",
    "isaaclab.envs.direct_rl_env",
    "isaaclab.envs.direct_marl_env",
)


class FakeSimulationContext:
    """Steps the registered articulations; a singleton like the real one.

    Attributes:
        num_steps: Physics steps so far.
        num_forwards: Calls of :meth:`forward`, which an env makes in ``reset`` only.
        num_renders: Calls of :meth:`render`; 0 in a run without rendering.
    """

    class RenderMode(enum.IntEnum):
        """The real class's render modes; the fake is always in the first one."""

        NO_GUI_OR_RENDERING = -1
        NO_RENDERING = 0
        PARTIAL_RENDERING = 1
        FULL_RENDERING = 2

    _instance: ClassVar[FakeSimulationContext | None] = None

    def __init__(self, cfg: SimulationCfg) -> None:
        cfg.validate()
        self.cfg = cfg
        self.device: str = cfg.device
        self.render_mode = self.RenderMode.NO_GUI_OR_RENDERING
        self.articulations: list[FakeArticulation] = []
        self.num_steps = self.num_forwards = self.num_renders = 0
        self._timeline = omni.timeline.get_timeline_interface()
        type(self)._instance = self

    @classmethod
    def instance(cls) -> FakeSimulationContext | None:
        """Return the context in use; an env refuses to be built over an existing one."""
        return cls._instance

    @classmethod
    def clear_instance(cls) -> None:
        """Forget the context, as ``env.close()`` asks."""
        if cls._instance is not None:
            cls._instance._timeline.stop()
        FakeSimulationContext._instance = None

    def clear_all_callbacks(self) -> None:
        """Drop physics and render callbacks; the fake has none."""

    def get_initial_stage(self) -> object:
        """Return the stand-in stage that ``use_stage`` accepts."""
        return omni.usd.get_context().get_stage()

    def get_physics_dt(self) -> float:
        """Return the physics step [s]."""
        return float(self.cfg.dt)

    def has_gui(self) -> bool:
        """Return False: there is no window."""
        return False

    def has_rtx_sensors(self) -> bool:
        """Return False: there are no cameras."""
        return False

    def is_playing(self) -> bool:
        """Return whether :meth:`reset` has started the simulation."""
        return bool(self._timeline.is_playing())

    def reset(self, soft: bool = False) -> None:
        """Start playing; event managers resolve their terms in the PLAY callback."""
        del soft
        self._timeline.play()

    def step(self, render: bool = True) -> None:
        """Advance physics by one step."""
        for articulation in self.articulations:
            articulation.physics.step(self.get_physics_dt())
        self.num_steps += 1
        if render:
            self.render()

    def forward(self) -> None:
        """Update kinematics; joint states need none."""
        self.num_forwards += 1

    def render(self) -> None:
        """Count the call."""
        self.num_renders += 1


class FakeScene(InteractiveScene):
    """The real scene class over :class:`FakeArticulation`; other USD assets are ignored."""

    def __init__(self, cfg: InteractiveSceneCfg) -> None:
        # Not calling super().__init__: it clones USD prims. What it sets, the methods read.
        cfg.validate()
        sim = FakeSimulationContext.instance()
        if sim is None:
            msg = "build the scene inside an env, under fake_simulation()"
            raise RuntimeError(msg)
        self.cfg = cfg
        self.sim = sim
        self._terrain = None
        self._articulations: dict[str, FakeArticulation] = {}
        self._deformable_objects: dict[str, Any] = {}
        self._rigid_objects: dict[str, Any] = {}
        self._rigid_object_collections: dict[str, Any] = {}
        self._sensors: dict[str, Any] = {}
        self._surface_grippers: dict[str, Any] = {}
        self._extras: dict[str, Any] = {}
        self._global_prim_paths: list[str] = []
        self.env_prim_paths = [f"{self.env_ns}/env_{index}" for index in range(cfg.num_envs)]
        self._ALL_INDICES = torch.arange(cfg.num_envs, device=self.device)
        self._default_env_origins = _grid(cfg.num_envs, cfg.env_spacing, self.device)
        for name, asset_cfg in vars(cfg).items():
            if name in InteractiveSceneCfg.__dataclass_fields__ or asset_cfg is None:
                continue
            if isinstance(asset_cfg, ArticulationCfg):
                self.add_articulation(name, asset_cfg)
            elif type(asset_cfg) is not AssetBaseCfg:  # lights and ground planes have no state
                msg = f"the fake scene cannot build {name!r} ({type(asset_cfg).__name__})"
                raise NotImplementedError(msg)

    def add_articulation(self, name: str, cfg: ArticulationCfg) -> FakeArticulation:
        """Add a cart-pole under ``name``, as a direct env's ``_setup_scene`` does.

        A configuration with a class of its own is taken at its word.
        """
        is_plain = cfg.class_type is Articulation
        make = FakeArticulation if is_plain else cfg.class_type
        articulation = make(cfg, self.num_envs, self.device)
        self._articulations[name] = articulation
        self.sim.articulations.append(articulation)
        return articulation

    @property
    def device(self) -> str:
        """Device of the simulation."""
        return str(self.sim.device)

    @property
    def physics_dt(self) -> float:
        """Physics step [s]."""
        return float(self.sim.get_physics_dt())

    def clone_environments(self, copy_from_source: bool = False) -> None:
        """Do nothing: there are no prims to clone."""

    def filter_collisions(self, global_prim_paths: list[str] | None = None) -> None:
        """Do nothing: nothing collides."""


@contextlib.contextmanager
def fake_simulation() -> Iterator[None]:
    """Let the envs that are built inside the block use the fakes; restore the names after it.

    Building an env fails as it does over Kit while another one is open. If the constructor
    raises, the half-built simulation is cleared so that the next env can be built.
    """
    with contextlib.ExitStack() as restore:
        for module_name in _ENV_MODULES:
            module = importlib.import_module(module_name)
            for name, fake in (
                ("SimulationContext", FakeSimulationContext),
                ("InteractiveScene", FakeScene),
            ):
                restore.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, fake)
        before = FakeSimulationContext.instance()
        try:
            yield
        except BaseException:
            if before is None:
                FakeSimulationContext.clear_instance()
            raise


def _grid(num_envs: int, spacing: float, device: str) -> torch.Tensor:
    """Return env origins [m] on a square grid, float32 of shape (num_envs, 3)."""
    side = max(1, int(num_envs**0.5))
    index = torch.arange(num_envs, device=device)
    zero = torch.zeros(num_envs, device=device)
    return torch.stack((index // side * spacing, index % side * spacing, zero), dim=-1).float()
