"""The few Kit services that Isaac Lab's environment code calls: settings, timeline, stage.

Everything else that Isaac Lab imports from Kit is only named in annotations and tables; those
names are in :mod:`.kit_standins`. What is here has behaviour because 2.3.2 depends on it: event
managers, for example, resolve their terms in a timeline callback, not in their constructor.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Settings:
    """A dictionary with the getters and setters of ``carb.settings.ISettings``."""

    def __init__(self) -> None:
        # Asset paths are built from this root while configs are imported. Nothing may load
        # from it, so it points nowhere instead of at NVIDIA's servers.
        self._values: dict[str, Any] = {"/persistent/isaac/asset_root/cloud": "/no-assets"}

    def get(self, path: str) -> Any:
        """Return the value at ``path``, or None as carb does for an unknown path."""
        return self._values.get(path)

    def set(self, path: str, value: object) -> None:
        """Store ``value`` at ``path``."""
        self._values[path] = value

    get_as_bool = get_as_float = get_as_int = get_as_string = get
    set_bool = set_float = set_int = set_string = set


class TimelineEventType(enum.IntEnum):
    """The timeline events that Isaac Lab subscribes to."""

    PLAY = 0
    PAUSE = 1
    STOP = 2


class Subscription:
    """A callback's registration; dropping it by :meth:`unsubscribe` is idempotent."""

    def __init__(self, stream: EventStream, order: int, fn: Callable[[Any], None]) -> None:
        self._stream: EventStream | None = stream
        self.order = order
        self.fn = fn

    def unsubscribe(self) -> None:
        """Remove the callback from its stream."""
        if self._stream is not None:
            self._stream.remove(self)
            self._stream = None


class EventStream:
    """Callbacks by event type, called in their ``order`` as Kit does."""

    def __init__(self) -> None:
        self._subscriptions: dict[int, list[Subscription]] = {}

    def create_subscription_to_pop_by_type(
        self, event_type: int, fn: Callable[[Any], None], order: int = 0, name: str = ""
    ) -> Subscription:
        """Call ``fn(event)`` whenever ``event_type`` is pushed."""
        del name
        subscription = Subscription(self, order, fn)
        self._subscriptions.setdefault(int(event_type), []).append(subscription)
        return subscription

    def push(self, event_type: int) -> None:
        """Call the subscribers of ``event_type``; unlike in Kit, their errors reach the caller."""
        subscribers = self._subscriptions.get(int(event_type), [])
        for subscription in sorted(subscribers, key=lambda item: item.order):
            subscription.fn(int(event_type))

    def remove(self, subscription: Subscription) -> None:
        """Forget ``subscription`` wherever it is registered."""
        for subscribers in self._subscriptions.values():
            if subscription in subscribers:
                subscribers.remove(subscription)

    @property
    def num_subscriptions(self) -> int:
        """How many callbacks are registered; a closed env must leave none behind."""
        return sum(len(subscribers) for subscribers in self._subscriptions.values())


class Timeline:
    """Play state plus the event stream."""

    def __init__(self) -> None:
        self._playing = False
        self._stream = EventStream()

    def get_timeline_event_stream(self) -> EventStream:
        """Return the stream on which play and stop are announced."""
        return self._stream

    def is_playing(self) -> bool:
        """Return whether the simulation runs."""
        return self._playing

    def play(self) -> None:
        """Announce PLAY; the state changes first because subscribers ask for it."""
        self._playing = True
        self._stream.push(TimelineEventType.PLAY)

    def stop(self) -> None:
        """Announce STOP if it was playing."""
        if self._playing:
            self._playing = False
            self._stream.push(TimelineEventType.STOP)


class Stage:
    """A USD stage without prims; ``use_stage`` checks the type, nothing looks inside."""


class StageId:
    """What ``UsdUtils.StageCache`` hands out."""

    def __init__(self, value: int) -> None:
        self._value = value

    def ToLongInt(self) -> int:  # noqa: N802 - USD's spelling
        """Return the id as an integer, negative for an unknown stage."""
        return self._value


class StageCache:
    """The process-wide stage cache; :meth:`Get` returns the cache it is called on."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []

    def Get(self) -> StageCache:  # noqa: N802 - USD's spelling
        """Return the cache itself."""
        return self

    def GetId(self, stage: Stage) -> StageId:  # noqa: N802 - USD's spelling
        """Return the id of ``stage``, -1 when it was never inserted."""
        return StageId(self._stages.index(stage) if stage in self._stages else -1)

    def Insert(self, stage: Stage) -> StageId:  # noqa: N802 - USD's spelling
        """Remember ``stage`` and return its id."""
        self._stages.append(stage)
        return self.GetId(stage)


class UsdContext:
    """The ``omni.usd`` context with its one stage."""

    def __init__(self) -> None:
        self._stage = Stage()

    def get_stage(self) -> Stage:
        """Return the stage."""
        return self._stage


class PhysicsView:
    """What PhysX tells of a scene as a whole."""

    def get_gravity(self) -> tuple[float, float, float]:
        """Return gravity [m/s^2]."""
        return (0.0, 0.0, -9.81)

    def update_articulations_kinematic(self) -> None:
        """Do nothing: links are where joints put them."""


class SimulationManager:
    """``isaacsim.core.simulation_manager.SimulationManager``: textures are always loaded."""

    _view = PhysicsView()

    @classmethod
    def get_physics_sim_view(cls) -> PhysicsView:
        """Return the scene's view."""
        return cls._view

    @staticmethod
    def assets_loading() -> bool:
        """Return whether assets still load."""
        return False


def get_version() -> tuple[str, ...]:
    """Return Isaac Sim's version tuple; fields 2 to 4 are what Isaac Lab reads (5.1.0)."""
    return ("5.1.0-standin", "standin", "5", "1", "0", "", "", "")
