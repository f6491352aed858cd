"""What a manager-based env consists of, as far as an export is concerned."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from holdstep.envs.observations import flatten_groups
from holdstep.wrappers.export.actuators import scene_actuators
from holdstep.wrappers.export.observations import GroupPlan, TermPlan
from holdstep.wrappers.export.proxies.isolation import Holder
from holdstep.wrappers.export.runs import DiscoveryRun
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup, tables_of

if TYPE_CHECKING:
    from holdstep.errors import DiscoveryError
    from holdstep.wrappers.export.contract import Actuator
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.proxies.owners import Owner
    from holdstep.wrappers.export.proxies.reads import Answers
    from holdstep.wrappers.export.restore import Changes
    from holdstep.wrappers.export.runs import Run
    from holdstep.wrappers.export.semantics.entry import Semantics

ACTION_MANAGER = "action_manager"


class ManagerBasedEnv(abc.ABC):
    """A simulator's manager-based env: its objects, observation groups and action terms.

    mjlab's managers descend from Isaac Lab's, so that most is common to both.

    Attributes:
        simulator: ``"mjlab"``, ``"isaaclab3"`` or ``"isaaclab"`` (2.x).
        env: the simulator's env object.
        keeps_unused_inputs: whether the model takes what it reads without a use for it.
        lookup: what its quantities mean.
    """

    simulator: ClassVar[str]
    keeps_unused_inputs: ClassVar[bool] = True

    def __init__(self, env: Any) -> None:
        self.env = env
        self.lookup = SemanticsLookup(tables_of(self.simulator))

    @property
    def num_envs(self) -> int:
        """Rows."""
        return int(self.env.num_envs)

    @property
    def decimation(self) -> int:
        """Physics steps in a control step."""
        return int(self.env.cfg.decimation)

    @abc.abstractmethod
    def owners(self) -> Iterator[Owner]:
        """The objects whose attributes are inputs."""

    @property
    def action_terms(self) -> dict[str, Any]:
        """By name, in the order of the action."""
        terms: dict[str, Any] = self.env.action_manager._terms
        return terms

    def groups(self, *, delays: bool) -> dict[str, GroupPlan]:
        """The observation groups by name, without noise.

        Args:
            delays: whether terms lag as they are set to.
        """
        manager = self.env.observation_manager
        return {
            group: GroupPlan(
                name=group,
                terms=tuple(
                    self._term(group, name, cfg, delays=delays)
                    for name, cfg in zip(names, manager._group_obs_term_cfgs[group], strict=True)
                ),
                concatenate=manager._group_obs_concatenate[group],
                dim=manager._group_obs_concatenate_dim[group],
            )
            for group, names in manager._group_obs_term_names.items()
        }

    def holders(self) -> Iterator[Holder]:
        """The objects that keep tensors of their own."""
        yield Holder(ACTION_MANAGER, self.env.action_manager)
        for name, term in self.action_terms.items():
            yield Holder(f"action:{name}", term)
        manager = self.env.observation_manager
        for group, names in manager._group_obs_term_names.items():
            for name, cfg in zip(names, manager._group_obs_term_cfgs[group], strict=True):
                if _keeps_state(cfg.func):
                    yield Holder(f"obs:{group}/{name}", cfg.func)
                for index, modifier in enumerate(getattr(cfg, "modifiers", None) or ()):
                    if _keeps_state(modifier.func):
                        yield Holder(f"obs:{group}/{name}.modifier{index}", modifier.func)

    def shared(self) -> list[Any]:
        """Objects that holders refer to without owning them."""
        owned = [owner.get() for owner in self.owners()]
        attributes = [
            value
            for value in vars(self.env).values()
            if hasattr(value, "__dict__") and not isinstance(value, torch.Tensor)
        ]
        return [self.env, *owned, *attributes]

    def refusal(self) -> tuple[str, str] | None:
        """The first action term that can't be exported, and why."""
        for name, term in self.action_terms.items():
            reason = self.lookup.refusal(type(term))
            if reason is not None:
                return name, f"{type(term).__name__} can't be exported: {reason}"
        return None

    def sensor_semantics(self, sensor: Any) -> Semantics | None:
        """What a sensor's reading is, where its class does not say so."""
        return None

    @abc.abstractmethod
    def joint_is_prismatic(self, entity: Any) -> tuple[bool, ...] | None:
        """Whether joints of an entity slide, in the order of its names; None if not known."""

    def answering(self, run: Run) -> contextlib.AbstractContextManager[Answers]:
        """Who answers for the env's objects in a run; entered for as long as it lasts."""
        return contextlib.nullcontext(run)

    def process_action(self, run: Run, actions: torch.Tensor) -> None:
        """What is done with the policy's actions ``[N, A]`` once per control step."""
        self.env.action_manager.process_action(actions)

    def apply_action(self, run: Run) -> None:
        """What is written before each physics step."""
        self.env.action_manager.apply_action()

    def last_obs(self) -> dict[str, torch.Tensor]:
        """The observations that the env returned last, ``[N, ...]`` by name, as copies."""
        manager = self.env.observation_manager
        cached = manager._obs_buffer
        # In evaluation a manager hands out what it computed last; nothing is drawn or pushed.
        live = manager.compute() if cached is None else cached
        return {name: value.detach().clone() for name, value in flatten_groups(live).items()}

    def reference_run(self, device: torch.device, plan: Plan) -> Any:
        """The run in which the env's own code says what it writes; it has ``writes``."""
        return DiscoveryRun(self.num_envs, device, plan.cloned)

    def quieten(self, groups: Iterable[str], changes: Changes, *, delays: bool) -> None:
        """Observations of groups have no noise from now on, and lag only if the model's do.

        Args:
            groups: that are exported.
            changes: that put everything back.
            delays: whether observations lag as they are set to.
        """
        manager = self.env.observation_manager
        for group in groups:
            for cfg in manager._group_obs_term_cfgs[group]:
                if cfg.noise is not None:
                    changes.set_attribute(cfg, "noise", None)
                if not delays and getattr(cfg, "delay_max_lag", False):
                    changes.set_attribute(cfg, "delay_max_lag", 0)

    def actuators(self) -> tuple[Actuator, ...]:
        """How targets become torques."""
        return scene_actuators(self.simulator, self.env.scene)

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

    def _term(self, group: str, name: str, cfg: Any, *, delays: bool) -> TermPlan:
        history_length = int(getattr(cfg, "history_length", 0) or 0)
        modifiers = getattr(cfg, "modifiers", None) or ()
        return TermPlan(
            group=group,
            name=name,
            func=cfg.func,
            params=cfg.params,
            shape=self._shape(group, name),
            modifiers=tuple((modifier.func, modifier.params) for modifier in modifiers),
            clip=tuple(cfg.clip) if cfg.clip else None,
            scale=cfg.scale,
            sanitize=self._sanitizes(group),
            **(self._delay(cfg) if delays else {}),
            history_length=history_length,
            flatten_history=bool(getattr(cfg, "flatten_history_dim", True)),
        )

    def _shape(self, group: str, name: str) -> tuple[int, ...]:
        manager = self.env.observation_manager
        index = manager._group_obs_term_names[group].index(name)
        return tuple(int(size) for size in manager._group_obs_term_dim[group][index])

    def _delay(self, cfg: Any) -> dict[str, Any]:
        most = int(getattr(cfg, "delay_max_lag", 0) or 0)
        if not most:
            return {}
        fixed = (
            cfg.delay_min_lag == most and not cfg.delay_hold_prob and not cfg.delay_update_period
        )
        return {"delay": (int(cfg.delay_min_lag), most), "delay_is_fixed": fixed}

    def _sanitizes(self, group: str) -> bool:
        cfg = self.env.observation_manager.cfg
        group_cfg = cfg[group] if isinstance(cfg, dict) else getattr(cfg, group)
        return getattr(group_cfg, "nan_policy", "disabled") in ("sanitize", "warn")


def _keeps_state(func: Any) -> bool:
    """Whether a term is an object with attributes, and not a plain function."""
    attributes = getattr(func, "__dict__", None)
    return bool(attributes) and not isinstance(func, type) and not hasattr(func, "__code__")
