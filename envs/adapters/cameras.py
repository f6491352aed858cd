"""A simulator's cameras, drawn at each tick or when somebody looks."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from holdstep.envs.adapters.image_terms import (
    LAZY,
    ImageTerm,
    NoDraws,
    find_image_terms,
    reasons_for_all,
    with_all_reasons,
)
from holdstep.envs.adapters.ordinary_tensors import OrdinaryTensors
from holdstep.envs.adapters.split_observations import SplitObservations
from holdstep.envs.observations import flatten_groups
from holdstep.envs.state.hooks import InstanceHooks
from holdstep.errors import StaleImageError

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


class Cameras(ABC):
    """The cameras of a manager-based env, and the observation terms that look at them.

    While drawing is deferred, the backend's step leaves out the drawing of cameras whose images
    can wait, and the terms that look at them; :meth:`draw` makes up for both, from the state in
    which the simulator is then. Nothing may have changed that state in between, except for rows
    that were put back to where they were.

    Subclasses know how the backend draws: :meth:`_watched`, :meth:`_hook_drawing`, :meth:`_draw`,
    :meth:`_pass_by` and :meth:`_reasons`.

    Args:
        env: the simulator's env object.
        sensors: its camera sensors, by name.

    Attributes:
        image_obs: for each image observation ``"lazy"``, or why it is computed at each tick.
        examples: by name of each lazy one, a tensor without memory of its shape and dtype.
    """

    draws_all_at_once: ClassVar[bool]
    """One call draws every camera, so that all of them can wait, or none."""

    def __init__(self, env: Any, sensors: dict[str, Any]) -> None:
        self._env = env
        self._sensors = sensors
        self._hooks = InstanceHooks()
        self._is_moving = self._is_looking = self._is_at_once = False
        terms = self._checked(find_image_terms(env, self._watched))
        self.image_obs = {term.key: term.why_eager or LAZY for term in terms}
        self._lazy = [term for term in terms if term.why_eager is None]
        waiting: dict[str, set[str]] = {}
        for term in self._lazy:
            waiting.setdefault(term.group, set()).add(term.term)
        self._cameras_of = {(term.group, term.term): term.cameras for term in self._lazy}
        self._split = SplitObservations(
            env.observation_manager,
            {group: frozenset(names) for group, names in waiting.items()},
            lambda group, term: self._pass_by(self._cameras_of[group, term]),
        )
        self.examples = self._examples()

    @property
    def is_deferred(self) -> bool:
        """Whether images wait."""
        return bool(self._hooks)

    def defer(self) -> None:
        """From now on, images wait."""
        self._hook_drawing()
        for name, sensor in self._sensors.items():
            if any(name in term.cameras for term in self._lazy):
                self._hook_reading(name, sensor)
        self._split.install()

    def undefer(self) -> None:
        """Draw at each tick again; may be called again."""
        self._split.remove()
        self._hooks.remove()

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Around the backend's own step and reset."""
        self._is_moving = True
        try:
            yield
        finally:
            self._is_moving = False

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, nothing waits: the state that is observed is gone afterwards."""
        self._is_at_once = True
        try:
            with self._split.whole():
                yield
        finally:
            self._is_at_once = False

    def draw(self, key: str) -> Obs:
        """The image of a name, and of those that look at the same cameras, of all rows.

        Terms may write into a camera's memory (Isaac Lab's ``mdp.image`` does), which terms after
        them see. So each call draws anew, and computes the terms of a camera in their order.
        """
        keys, cameras = self._looking_at_the_same(key)
        groups = dict.fromkeys(term.group for term in self._lazy if term.key in keys)
        self._is_looking = True
        try:
            with OrdinaryTensors(), NoDraws(self._env.device):
                self._draw(cameras)
                obs = flatten_groups({group: self._split.compute(group) for group in groups})
        finally:
            self._is_looking = False
        return {name: image for name, image in obs.items() if name in keys}

    def _looking_at_the_same(self, key: str) -> tuple[set[str], set[str]]:
        keys, cameras = {key}, set[str]()
        if self.draws_all_at_once:
            return {term.key for term in self._lazy}, set(self._sensors)
        while True:
            size = len(keys)
            for term in self._lazy:
                if term.key in keys:
                    cameras |= term.cameras
            keys |= {term.key for term in self._lazy if term.cameras & cameras}
            # One call of the manager computes what waits of a group.
            groups = {term.group for term in self._lazy if term.key in keys}
            keys |= {term.key for term in self._lazy if term.group in groups}
            if len(keys) == size:
                return keys, cameras

    def _examples(self) -> Obs:
        examples: Obs = {}
        for group in dict.fromkeys(term.group for term in self._lazy):
            by_term = {term.term: term for term in self._lazy if term.group == group}
            computed = self._split.compute(group)
            if isinstance(computed, torch.Tensor):
                examples[group] = computed.to("meta")
            else:
                examples |= {by_term[n].key: image.to("meta") for n, image in computed.items()}
        return examples

    def _checked(self, terms: list[ImageTerm]) -> list[ImageTerm]:
        for_all = next(reasons_for_all(self._env, self._sensors), None)
        reasons = [term.why_eager or for_all or self._reason(term) for term in terms]
        return with_all_reasons(
            [replace(term, why_eager=why) for term, why in zip(terms, reasons, strict=True)],
            self._env.observation_manager,
            draws_all_at_once=self.draws_all_at_once,
        )

    def _refuse_while_moving(self, camera: str) -> None:
        if self._is_moving and not self._is_at_once:
            raise StaleImageError(
                f"Something in the task looks at the camera {camera!r} in the middle of a step, "
                "apart from its observations, and no image was drawn. Make the env without "
                "lazy_rendering, or set env.lazy_rendering = False before the step."
            )

    @abstractmethod
    def _watched(self) -> contextlib.AbstractContextManager[set[str]]:
        """Collects the names of the cameras that are looked at inside."""

    @abstractmethod
    def _reason(self, term: ImageTerm) -> str | None:
        """Why the backend can't draw a term's cameras later, if it can't."""

    @abstractmethod
    def _hook_drawing(self) -> None:
        """Let the backend draw no camera that can wait, except :meth:`at_once`."""

    @abstractmethod
    def _hook_reading(self, name: str, sensor: Any) -> None:
        """Let whoever else looks at a camera see what is to be seen now, or nothing."""

    @abstractmethod
    def _pass_by(self, cameras: frozenset[str]) -> None:
        """What else happens to a simulator when a term looks at cameras for the first time."""

    @abstractmethod
    def _draw(self, cameras: set[str]) -> None:
        """Draw cameras as the simulator is now."""
