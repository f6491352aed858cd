"""mjlab's cameras, which MuJoCo Warp draws by tracing rays, on a GPU or a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from holdstep.envs.adapters.cameras import Cameras
from holdstep.envs.adapters.mjlab_state import sensors
from holdstep.envs.state.hooks import InstanceHooks
from holdstep.envs.state.slot import Slot
from holdstep.extras import require

if TYPE_CHECKING:
    import torch

    from holdstep.envs.adapters.image_terms import ImageTerm

_PICTURES = ("_rgb_torch", "_depth_torch", "_seg_torch")
"""Where mjlab keeps what was drawn last, ``[N, pixels of all cameras, ...]``; None if not used."""


class MjlabCameras(Cameras):
    """The cameras of an mjlab env.

    mjlab's ``sim.sense()`` draws all cameras of all worlds with one kernel and casts the rays of
    other sensors, at the end of each step. While drawing is deferred it only casts rays. Pictures
    are a function of ``Data`` and ``Model`` (the tree of bounding volumes keeps its shape and is
    fitted to them before each drawing), both of which are put back for rows that are held.

    Args:
        env: a ``mjlab.envs.ManagerBasedRlEnv``.
    """

    draws_all_at_once: ClassVar[bool] = True

    def __init__(self, env: Any) -> None:
        self._sim = env.sim
        self._mjwarp = require("mujoco_warp", extra="mjlab", purpose="The mjlab backend")
        self._warp = require("warp", extra="mjlab", purpose="The mjlab backend")
        self._is_drawn = True
        self._graph: Any = None
        self._graph_of: Any = None  # the render context whose memory the graph uses
        super().__init__(env, _cameras(env))

    def slots(self) -> Iterator[Slot]:
        """Pictures of the last tick, at which rewards, say, look in the next step."""
        for name in _PICTURES:
            yield Slot(f"cameras.{name}", partial(self._picture, name), is_derived=True)

    def undefer(self) -> None:
        """Draw at each tick again; may be called again."""
        was_deferred = self.is_deferred
        super().undefer()
        if was_deferred and self._context.has_raycasts:
            self._sim.create_graph()

    @property
    def _context(self) -> Any:
        return self._sim._sensor_context

    def _picture(self, name: str) -> torch.Tensor | None:
        # While drawing is deferred, what was drawn last is of any tick, and refused within steps.
        picture: torch.Tensor | None = None if self.is_deferred else getattr(self._context, name)
        return picture

    @contextlib.contextmanager
    def _watched(self) -> Iterator[set[str]]:
        read: set[str] = set()
        hooks = InstanceHooks()
        for name, sensor in self._sensors.items():

            def note(
                compute: Callable[[], Any], sensor: Any = sensor, name: str = name
            ) -> Callable[[], Any]:
                def compute_and_note() -> Any:
                    read.add(name)
                    return compute()

                return compute_and_note

            sensor._invalidate_cache()
            hooks.shadow(sensor, "_compute_data", note)
        try:
            yield read
        finally:
            hooks.remove()

    def _reason(self, term: ImageTerm) -> str | None:
        return None

    def _hook_drawing(self) -> None:
        if self._context.has_raycasts:
            self._hooks.shadow(self._sim, "_sense_kernel", lambda _: self._cast_rays)
            self._sim.create_graph()  # a captured graph draws cameras as well
        self._hooks.shadow(self._sim, "sense", self._sensing)

    def _sensing(self, sense: Callable[[], None]) -> Callable[[], None]:
        def sense_without_cameras() -> None:
            if not self.is_deferred or self._context.has_raycasts:
                sense()
            else:
                self._context.finalize()  # drops what sensors have cached
            self._is_drawn = not self.is_deferred
            if self._is_at_once:
                self._draw(set(self._sensors))

        return sense_without_cameras

    def _cast_rays(self) -> None:
        context = self._context
        self._mjwarp.refit_bvh(self._sim.wp_model, self._sim.wp_data, context.render_context)
        for sensor in context.raycast_sensors:
            sensor.raycast_kernel(rc=context.render_context)

    def _hook_reading(self, name: str, sensor: Any) -> None:
        def look(compute: Callable[[], Any]) -> Callable[[], Any]:
            def look_now() -> Any:
                if self.is_deferred and not self._is_drawn:
                    self._refuse_while_moving(name)
                    self._draw({name})
                return compute()

            return look_now

        self._hooks.shadow(sensor, "_compute_data", look)

    def _pass_by(self, cameras: frozenset[str]) -> None:
        """Nothing else happens in mjlab."""

    def _draw(self, cameras: set[str]) -> None:
        del cameras  # one kernel draws all
        with self._warp.ScopedDevice(self._sim.wp_device):
            if self._sim.use_cuda_graph:
                self._warp.capture_launch(self._captured())
            else:
                self._launch()
        for sensor in self._sensors.values():
            sensor._invalidate_cache()
        self._is_drawn = True

    def _captured(self) -> Any:
        if self._graph_of is not self._context.render_context:
            with self._warp.ScopedCapture() as capture:
                self._launch()
            self._graph, self._graph_of = capture.graph, self._context.render_context
        return self._graph

    def _launch(self) -> None:
        model, data, context = self._sim.wp_model, self._sim.wp_data, self._context
        self._mjwarp.refit_bvh(model, data, context.render_context)
        self._mjwarp.render(model, data, context.render_context)
        context.unpack_rgb()


def cameras_of(env: Any) -> MjlabCameras | None:
    """The cameras of an mjlab env, or None without any; see :func:`preserved` for its traces."""
    return MjlabCameras(env) if _cameras(env) else None


def _cameras(env: Any) -> dict[str, Any]:
    camera_sensor = require("mjlab.sensor", extra="mjlab", purpose="The mjlab backend").CameraSensor
    return {s.cfg.name: s for s in sensors(env) if isinstance(s, camera_sensor)}
