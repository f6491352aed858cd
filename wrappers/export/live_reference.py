"""What an env's own managers compute, to compare an exported model with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from holdstep.wrappers.export.computation import Computation
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.policies import PolicyNetwork


@dataclass(frozen=True)
class Reference:
    """What the live env and the policy say about the present state.

    Attributes:
        obs: observations ``[N, ...]`` by name, as the env returned them last.
        action: the policy's, ``[N, A]``; what the env is to be stepped with.
        targets: what the action terms write before the first physics step, ``[N, ...]`` by
            connection.
    """

    obs: dict[str, torch.Tensor]
    action: torch.Tensor
    targets: dict[str, torch.Tensor]


class LiveReference:
    """Asks the env's managers, and a policy that keeps its own memory.

    Args:
        computation: the pipeline's.
        plan: of the pipeline.
        policy: a copy of the policy that nobody else calls.
    """

    def __init__(self, computation: Computation, plan: Plan, policy: PolicyNetwork) -> None:
        self._computation = computation
        self._plan = plan
        self._policy = policy

    def compute(self) -> Reference:
        """What they say now; the policy's memory moves on."""
        workflow = self._computation.workflow
        obs = workflow.last_obs()
        with torch.inference_mode(False), torch.no_grad():
            action = self._policy.live_call(obs)
            run = workflow.reference_run(action.device, self._plan)
            with self._computation.running(run):
                self._computation.process(run, action)
                self._computation.apply(run)
        targets = {
            write.spec.connection: caught.target.detach().clone()
            for write, caught in zip(self._plan.writes, run.writes, strict=True)
        }
        return Reference(obs, action, targets)

    def reset(self, done_mask: torch.Tensor | None) -> None:
        """The policy forgets."""
        self._policy.live_reset(done_mask)
