"""Isaac Lab's cameras, where Newton's Warp renderer draws them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from holdstep.envs.adapters.cameras import Cameras
from holdstep.envs.adapters.isaaclab.state_newton import NewtonPhysics
from holdstep.envs.state.hooks import InstanceHooks

if TYPE_CHECKING:
    from holdstep.envs.adapters.image_terms import ImageTerm

_RENDERER = "NewtonWarpRenderer"


class IsaacLabCameras(Cameras):
    """The cameras of a manager-based Isaac Lab env.

    An Isaac Lab camera is updated when it is first read after a physics step: it notes its pose,
    counts a frame, lets forward kinematics be computed for all rows, and is drawn. While drawing is
    deferred all of that happens as always, when the observation term would have read it, except for
    the drawing, since other terms see the kinematics. Each camera waits for itself.

    Only pictures of Newton's Warp renderer are functions of the simulator's state: Isaac Sim's
    ray tracer accumulates over frames.

    Args:
        env: a ``ManagerBasedRLEnv``.
        is_newton: Newton simulates, too, so that its state is what is drawn.
    """

    draws_all_at_once: ClassVar[bool] = False

    def __init__(self, env: Any, *, is_newton: bool) -> None:
        self._is_newton = is_newton
        self._undrawn: set[str] = set()
        self._is_passing_by = False
        super().__init__(env, _cameras(env))

    @contextlib.contextmanager
    def _watched(self) -> Iterator[set[str]]:
        read: set[str] = set()
        hooks = InstanceHooks()
        for name, sensor in self._sensors.items():

            def note(update: Callable[[], None], name: str = name) -> Callable[[], None]:
                def update_and_note() -> None:
                    read.add(name)
                    update()

                return update_and_note

            hooks.shadow(sensor, "_update_outdated_buffers", note)
        try:
            yield read
        finally:
            hooks.remove()

    def _reason(self, term: ImageTerm) -> str | None:
        reasons = (self._reason_of(name, self._sensors[name]) for name in sorted(term.cameras))
        return next((reason for reason in reasons if reason is not None), None)

    def _reason_of(self, name: str, sensor: Any) -> str | None:
        renderer = type(getattr(sensor, "_renderer", None)).__name__
        if renderer != _RENDERER or not self._is_newton:
            return f"the camera {name!r} is not drawn by Newton's Warp renderer from Newton's state"
        if sensor.cfg.isp_cfg is not None:
            return f"the image signal processor of the camera {name!r} may keep something"
        if sensor.cfg.update_period > 0:
            return f"the camera {name!r} keeps a picture for its update_period"
        if not self._env.cfg.scene.lazy_sensor_update or sensor._is_visualizing:
            return "the scene updates its sensors at each physics step"
        return None

    def _hook_drawing(self) -> None:
        self._undrawn.clear()
        lazy = {name for term in self._lazy for name in term.cameras}
        by_renderer = {id(self._sensors[n]._renderer): self._sensors[n]._renderer for n in lazy}
        for renderer in by_renderer.values():
            self._hooks.shadow(renderer, "render", self._unless_passing_by)
            self._hooks.shadow(renderer, "read_output", self._unless_passing_by)

    def _unless_passing_by(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            if not self._is_passing_by:
                method(*args)

        return call

    def _hook_reading(self, name: str, sensor: Any) -> None:
        def look(update: Callable[[], None]) -> Callable[[], None]:
            def look_now() -> None:
                if self._is_looking:
                    return  # it has just been drawn
                if self.is_deferred and not self._is_passing_by and not self._is_at_once:
                    self._refuse_while_moving(name)
                    if name in self._undrawn:
                        self._draw({name})
                update()

            return look_now

        self._hooks.shadow(sensor, "_update_outdated_buffers", look)

    def _pass_by(self, cameras: frozenset[str]) -> None:
        self._is_passing_by = True
        try:
            for name in sorted(cameras):
                self._sensors[name]._update_outdated_buffers()
                self._undrawn.add(name)
        finally:
            self._is_passing_by = False

    def _draw(self, cameras: set[str]) -> None:
        for name in sorted(cameras):
            sensor = self._sensors[name]
            if sensor.cfg.update_latest_camera_pose:
                sensor._update_poses()  # those of rows that were put back meanwhile, too
            sensor._renderer.render(sensor._render_data)
            sensor._renderer.read_output(sensor._render_data, sensor._data)
            self._undrawn.discard(name)


def cameras_of(env: Any, physics: Any) -> IsaacLabCameras | None:
    """The cameras of a manager-based env, or None without any."""
    if not hasattr(env, "observation_manager") or not _cameras(env):
        return None
    return IsaacLabCameras(env, is_newton=isinstance(physics, NewtonPhysics))


def _cameras(env: Any) -> dict[str, Any]:
    return {
        name: sensor
        for name, sensor in env.scene.sensors.items()
        if any(base.__name__ == "Camera" for base in type(sensor).__mro__)
    }
