"""An env of the direct workflow, as far as an export is concerned."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from holdstep.envs.observations import flatten_groups
from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.direct.answers import MarkedAnswers
from holdstep.wrappers.export.direct.checks import unmarked_error
from holdstep.wrappers.export.direct.live_marks import LiveMarks, ProbeListener, ProbeRun
from holdstep.wrappers.export.direct.marks import Marks
from holdstep.wrappers.export.markers import listening
from holdstep.wrappers.export.observations import GroupPlan, TermPlan
from holdstep.wrappers.export.proxies.isolation import Holder
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup
from holdstep.wrappers.export.simulators import DIRECT_METHODS as METHODS
from holdstep.wrappers.export.workflow import Workflow

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import Actuator
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.proxies.owners import Owner
    from holdstep.wrappers.export.proxies.reads import Answers
    from holdstep.wrappers.export.restore import Changes
    from holdstep.wrappers.export.runs import DiscoveryRun, ModuleRun, Run

ENV = "env"
"""What paths of the env's own tensors begin with."""

_NOISE = ("observation_noise_model", "action_noise_model")


class DirectWorkflow(Workflow):
    """An env that observes and acts in methods of its own.

    Each observation of ``_get_observations()`` is a group with one term; ``_pre_physics_step()``
    and ``_apply_action()`` take the place of the action terms. They run on copies of everything
    that the env keeps, so that the env does not notice; markers say what goes in and out.

    Args:
        adapter: of the env.

    Raises:
        DiscoveryError: the env does not say how long its steps are.
    """

    keeps_unused_inputs: ClassVar[bool] = False

    def __init__(self, adapter: TorchVectorEnv) -> None:
        self.adapter = adapter
        self.env = adapter.backend_env
        module = type(self.env).__module__
        self.simulator = module.partition(".")[0]
        self.lookup = SemanticsLookup(())
        self.marks = Marks(self)
        self.live = LiveMarks(self)
        self._answers: MarkedAnswers | None = None
        for name in ("step_dt", "physics_dt"):
            if not isinstance(getattr(self.env, name, None), (int, float)):
                raise DiscoveryError(
                    f"{type(self.env).__name__} has no {name} [s], which a host must know. Give it "
                    "step_dt, physics_dt and decimation, as Isaac Lab's envs have them."
                )

    @property
    def decimation(self) -> int:
        """Physics steps in a control step."""
        cfg = getattr(self.env, "cfg", None)
        found = getattr(cfg, "decimation", None) or getattr(self.env, "decimation", None)
        return int(found or round(self.env.step_dt / self.env.physics_dt))

    @property
    def num_actions(self) -> int:
        """A: entries of an action; a discrete one is a column."""
        shape = self.adapter.single_action_space.shape
        return int(shape[0]) if shape else 1

    @property
    def action_terms(self) -> dict[str, Any]:
        """None: actions are processed by the env itself."""
        return {}

    def owners(self) -> Iterator[Owner]:
        """Nothing is known of an env's own objects; markers say what is read."""
        return iter(())

    def groups(self, *, delays: bool) -> dict[str, GroupPlan]:
        """One group with one term for each observation."""
        return {
            key: GroupPlan(
                name=key,
                terms=(TermPlan(key, METHODS[0], _Observation(self, key), {}),),
                concatenate=True,
                dim=-1,
            )
            for key in self.adapter.single_observation_space.spaces
        }

    def holders(self) -> Iterator[Holder]:
        """The env itself keeps tensors."""
        yield Holder(ENV, self.env)

    def shared(self) -> list[Any]:
        """Whatever the env refers to is its own."""
        return [self.env, self.adapter]

    def joint_is_prismatic(self, entity: Any) -> tuple[bool, ...] | None:
        """Not known; markers give units."""
        return None

    @contextlib.contextmanager
    def answering(self, run: Run) -> Iterator[Answers]:
        """Markers are answered by a run, too."""
        before = self._answers
        # A probe answers markers itself.
        answers = MarkedAnswers(self.marks, cast("DiscoveryRun | ModuleRun", run))
        listener = ProbeListener(run, answers) if isinstance(run, ProbeRun) else answers
        self._answers = answers
        try:
            self._prepare(run)
            with _same_random_numbers(self.adapter.device), listening(listener):
                yield answers
        finally:
            self._answers = before

    def observation(self, key: str) -> torch.Tensor:
        """An observation of the present run; all are computed when the first is asked for."""
        answers = self._answers
        assert answers is not None
        if answers.obs is None:
            answers.obs = flatten_groups(self.env._get_observations())
        if key not in answers.obs:
            raise DiscoveryError(
                f"_get_observations() returned {', '.join(answers.obs) or 'nothing'}, not {key!r}, "
                "which the env's observation space has.",
                term=f"{key}/{METHODS[0]}",
            )
        return answers.obs[key]

    def process_action(self, run: Run, actions: torch.Tensor) -> None:
        """``_pre_physics_step()``, once per control step."""
        run.term = f"action/{METHODS[1]}"
        self.env._pre_physics_step(actions)

    def apply_action(self, run: Run) -> None:
        """``_apply_action()``, before each physics step."""
        run.term = f"action/{METHODS[2]}"
        assert self._answers is not None
        with self._answers.applying():
            self.env._apply_action()

    def last_obs(self) -> dict[str, torch.Tensor]:
        """What a simulator's adapter returned last; else what the env's code computes again."""
        kept = getattr(self.adapter, "_last_obs", None)
        return dict(kept.copy()) if kept else self.live.obs()

    def reference_run(self, device: torch.device, plan: Plan) -> Any:
        """A probe: markers return what they are given, so that none is trusted."""
        return ProbeRun(self.num_envs)

    def quieten(self, groups: Iterable[str], changes: Changes, *, delays: bool) -> None:
        """Noise models of the configuration are off."""
        cfg = getattr(self.env, "cfg", None)
        for name in _NOISE:
            if getattr(cfg, name, None) is not None:
                changes.set_attribute(cfg, name, None)

    def actuators(self) -> tuple[Actuator, ...]:
        """Not known: what is written is all that is known of it."""
        return ()

    def memory_resets(self) -> dict[str, tuple[float, ...] | None]:
        """As the markers say."""
        return dict(self.marks.resets)

    def unmarked(
        self, run: DiscoveryRun, needed: frozenset[str], rewritten: frozenset[str]
    ) -> DiscoveryError | None:
        """The error for tensors that differ between rows or are kept, and have no marker."""
        return unmarked_error(run, needed, rewritten, self.live.places)

    def baked_values(self, plan: Plan) -> dict[str, torch.Tensor]:
        """The env's own tensors that are baked in, by where they are used."""
        used = [name for name, constant in plan.constants.items() if constant.is_used]
        own = [name for name in used if name not in plan.routes]
        places = self.live.places(own)
        now = self.live.kept()
        found = {f"{path}, used in {places[path]}": now[path].clone() for path in own}
        marked = [name for name in used if name in plan.routes]
        return found | {name: plan.routes[name].live().clone() for name in marked}

    def live_read(self, connection: str) -> Callable[[], torch.Tensor] | None:
        """What a marker on ``connection`` is given now."""
        if connection not in self.live.values():
            return None
        return lambda: self.live.values()[connection]

    def _prepare(self, run: Run) -> None:
        """The env's attributes, which are copies by now and gone after the run, fit the run."""
        attributes = vars(self.env)
        if "num_envs" in attributes:
            attributes["num_envs"] = run.num_rows
        if isinstance(run, ProbeRun):
            return
        for name, tensor in self.live.made_attributes().items():
            if name not in attributes:
                attributes[name] = run.substitute(f"{ENV}.{name}", tensor)


def _same_random_numbers(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Torch's generators are put back after a ``with`` block; in a trace nothing is drawn."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return contextlib.nullcontext()
    manager: contextlib.AbstractContextManager[None] = torch.random.fork_rng(
        [device] if device.type == "cuda" else []
    )
    return manager


class _Observation:
    """Computes one observation; named after the method that does."""

    def __init__(self, env: DirectWorkflow, key: str) -> None:
        self._env = env
        self._key = key
        cls = type(env.env)
        self.__module__ = cls.__module__
        self.__qualname__ = f"{cls.__qualname__}.{METHODS[0]}"

    def __call__(self, env: Any) -> torch.Tensor:
        return self._env.observation(self._key)


def direct_workflow(adapter: TorchVectorEnv) -> DirectWorkflow:
    """The direct workflow behind an adapter.

    Args:
        adapter: of an env with ``_get_observations()`` and the other methods.
    """
    if getattr(adapter, "simulator", "") == "Isaac Lab":
        from holdstep.wrappers.export.direct.isaaclab import DirectIsaacLabWorkflow

        return DirectIsaacLabWorkflow(adapter)
    return DirectWorkflow(adapter)
