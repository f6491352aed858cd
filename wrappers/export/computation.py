"""One control step: observation terms, policy and action terms, as the simulator's managers do it.

The same code runs when the pipeline is discovered, when its module is called or traced, and when
its purity is checked; they differ in the run that answers reads and gets writes.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.jit._trace import TracerWarning

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.observations import GroupPlan, Observations
from holdstep.wrappers.export.policies import POLICY, PolicyNetwork
from holdstep.wrappers.export.proxies.isolation import Isolation, Kept
from holdstep.wrappers.export.proxies.reads import Reads
from holdstep.wrappers.export.proxies.unscript import ScriptedFunctions

if TYPE_CHECKING:
    from holdstep.wrappers.export.runs import Run
    from holdstep.wrappers.export.workflow import Workflow

_PATCHED = ("process_actions", "apply_actions")


class Computation:
    """What an exported policy computes, runnable on anybody's inputs.

    While nothing runs, the env is as it was: classes, attributes and scripted functions are
    replaced at the beginning of a run and put back at its end, also when it raises.

    Attributes:
        workflow: the env's.
        policy: the network.
        groups: the observation groups.
        reads: what the env's attributes lead to.

    Args:
        workflow: the env's.
        policy: the network.
        groups: the observation groups.
    """

    def __init__(
        self, workflow: Workflow, policy: PolicyNetwork, groups: Mapping[str, GroupPlan]
    ) -> None:
        self.workflow = workflow
        self.policy = policy
        self.groups = groups
        self.reads = Reads(tuple(workflow.owners()), workflow.lookup, workflow.num_envs)
        self._isolation = Isolation(tuple(workflow.holders()), workflow.shared())
        self._scripted = ScriptedFunctions()

    @contextlib.contextmanager
    def running(self, run: Run) -> Iterator[None]:
        """Reads and writes go to a run, in a ``with`` block."""
        with (
            _no_tracer_warnings(),
            self._scripted.as_python(),
            self._isolation.substituted(run.substitute),
            self.workflow.answering(run) as answers,
            self.reads.answered_by(answers, unwatched=run.unwatched),
        ):
            yield

    def act(self, run: Run) -> tuple[Observations, torch.Tensor]:
        """Observe, ask the policy, and let the action terms process what it said.

        Returns:
            The observation groups, and the policy's actions ``[N, A]``.

        Raises:
            DiscoveryError: the policy's actions are too few or too many.
        """
        observations = Observations(self.groups, self.workflow.env, run)
        run.term = POLICY
        hidden = {
            state.name: run.memory(f"hidden:{state.name}", "hidden", state.shape, state.dtype)
            for state in self.policy.states
        }
        actions, updates = self.policy(observations, hidden)
        if actions.shape[1] != self.workflow.num_actions:
            raise DiscoveryError(
                f"The policy must return actions [N, {self.workflow.num_actions}], got "
                f"{list(actions.shape)}.",
                term=POLICY,
            )
        for name, value in updates.items():
            run.remember(f"hidden:{name}", value)
        self.process(run, actions)
        return observations, actions

    def process(self, run: Run, actions: torch.Tensor) -> None:
        """What the action terms do once per control step."""
        with self._naming_terms(run):
            self.workflow.process_action(run, actions)

    def apply(self, run: Run) -> None:
        """What the action terms do before each physics step."""
        with self._naming_terms(run):
            self.workflow.apply_action(run)

    def kept(self) -> Kept:
        """What terms keep, at this point of a run."""
        return self._isolation.kept()

    @contextlib.contextmanager
    def _naming_terms(self, run: Run) -> Iterator[None]:
        """The run knows which action term is running, in a ``with`` block."""
        before, run.term = run.term, "action_manager"
        terms = self.workflow.action_terms.items()
        try:
            for name, term in terms:
                for method in _PATCHED:
                    vars(term)[method] = _named(run, f"action/{name}", getattr(term, method))
            yield
        finally:
            for _, term in terms:
                for method in _PATCHED:
                    vars(term).pop(method, None)
            run.term = before


@contextlib.contextmanager
def _no_tracer_warnings() -> Iterator[None]:
    """A trace is quiet about sizes that become numbers, in a ``with`` block.

    Managers compare sizes of tensors. Where *values* become numbers, the discovery said so.
    """
    if not torch._C._is_tracing():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        yield


def _named(run: Run, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        before, run.term = run.term, name
        try:
            return method(*args)
        finally:
            run.term = before

    return call
