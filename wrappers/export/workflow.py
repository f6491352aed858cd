"""What an env consists of, as far as an export is concerned, whichever way it is written."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

    from holdstep.errors import DiscoveryError
    from holdstep.wrappers.export.contract import Actuator
    from holdstep.wrappers.export.observations import GroupPlan
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.proxies.isolation import Holder
    from holdstep.wrappers.export.proxies.owners import Owner
    from holdstep.wrappers.export.proxies.reads import Answers
    from holdstep.wrappers.export.restore import Changes
    from holdstep.wrappers.export.runs import DiscoveryRun, Run
    from holdstep.wrappers.export.semantics.entry import Semantics
    from holdstep.wrappers.export.semantics.lookup import SemanticsLookup


class Workflow(abc.ABC):
    """The objects, observation groups and action terms of an env.

    Isaac Lab has the word for the two ways to write a task: with managers
    (:mod:`~holdstep.wrappers.export.manager_based`), or in methods of the env's own
    (:mod:`~holdstep.wrappers.export.direct.workflow`).

    Attributes:
        simulator: ``"mjlab"``, ``"isaaclab3"``, ``"isaaclab"`` (2.x), or an env's own package.
        env: the simulator's env object.
        keeps_unused_inputs: whether the model takes what it reads without a use for it.
        lookup: what its quantities mean.
    """

    simulator: str
    env: Any
    keeps_unused_inputs: ClassVar[bool]
    lookup: SemanticsLookup

    @property
    def num_envs(self) -> int:
        """Rows."""
        return int(self.env.num_envs)

    @property
    @abc.abstractmethod
    def decimation(self) -> int:
        """Physics steps in a control step."""

    @property
    @abc.abstractmethod
    def num_actions(self) -> int:
        """A: entries of an action."""

    @property
    @abc.abstractmethod
    def action_terms(self) -> dict[str, Any]:
        """By name, in the order of the action; none where the env processes actions itself."""

    @abc.abstractmethod
    def owners(self) -> Iterator[Owner]:
        """The objects whose attributes are inputs."""

    @abc.abstractmethod
    def holders(self) -> Iterator[Holder]:
        """The objects that keep tensors of their own."""

    @abc.abstractmethod
    def shared(self) -> list[Any]:
        """Objects that holders refer to without owning them."""

    @abc.abstractmethod
    def groups(self, *, delays: bool) -> dict[str, GroupPlan]:
        """The observation groups by name, without noise.

        Args:
            delays: whether terms lag as they are set to.
        """

    @abc.abstractmethod
    def joint_is_prismatic(self, entity: Any) -> tuple[bool, ...] | None:
        """Whether joints of an entity slide, in the order of its names; None if not known."""

    @abc.abstractmethod
    def process_action(self, run: Run, actions: torch.Tensor) -> None:
        """What is done with the policy's actions ``[N, A]`` once per control step."""

    @abc.abstractmethod
    def apply_action(self, run: Run) -> None:
        """What is written before each physics step."""

    @abc.abstractmethod
    def last_obs(self) -> dict[str, torch.Tensor]:
        """The observations that the env returned last, ``[N, ...]`` by name, as copies."""

    @abc.abstractmethod
    def reference_run(self, device: torch.device, plan: Plan) -> Any:
        """The run in which the env's own code says what it writes; it has ``writes``."""

    @abc.abstractmethod
    def quieten(self, groups: Iterable[str], changes: Changes, *, delays: bool) -> None:
        """Observations of groups have no noise from now on, and lag only if the model's do.

        Args:
            groups: that are exported.
            changes: that put everything back.
            delays: whether observations lag as they are set to.
        """

    @abc.abstractmethod
    def actuators(self) -> tuple[Actuator, ...]:
        """How targets become torques, as far as that is known."""

    def refusal(self) -> tuple[str, str] | None:
        """The first action term that can't be exported, and why."""
        return None

    def sensor_semantics(self, sensor: Any) -> Semantics | None:
        """What a sensor's reading is, where its class does not say so."""
        return None

    def answering(self, run: Run) -> contextlib.AbstractContextManager[Answers]:
        """Who answers for the env's objects in a run; entered for as long as it lasts."""
        return contextlib.nullcontext(run)

    def memory_resets(self) -> dict[str, tuple[float, ...] | None]:
        """Rows of memories after a reset, of those that are not found out otherwise."""
        return {}

    def unmarked(
        self, run: DiscoveryRun, needed: frozenset[str], rewritten: frozenset[str]
    ) -> DiscoveryError | None:
        """The error for tensors that a model can't know, where an env must mark them; else None.

        Args:
            run: that was observed.
            needed: sources that results depend on.
            rewritten: paths that were written to.
        """
        return None

    def baked_values(self, plan: Plan) -> dict[str, torch.Tensor]:
        """Copies of what must stay as it was baked in, by the name that messages call it."""
        return {}

    def live_read(self, connection: str) -> Callable[[], torch.Tensor] | None:
        """What reads an input that no owner has; None if it is none of those."""
        return None
