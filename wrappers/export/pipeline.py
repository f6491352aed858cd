"""The pipeline of an env and a policy: observation terms, policy, action terms, as one function."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch

from holdstep.errors import ConfigError, ExportError
from holdstep.wrappers.export.computation import Computation
from holdstep.wrappers.export.constants import (
    Randomized,
    bake,
    put_into_env,
    randomization_warnings,
)
from holdstep.wrappers.export.describe import describe
from holdstep.wrappers.export.discover import discover
from holdstep.wrappers.export.live_reference import LiveReference, Reference
from holdstep.wrappers.export.pipeline_module import ApplyModule, PolicyModule
from holdstep.wrappers.export.policies import PolicyNetwork
from holdstep.wrappers.export.purity import PurityReport, check_purity
from holdstep.wrappers.export.restore import Changes
from holdstep.wrappers.export.row_check import check_any_number_of_rows
from holdstep.wrappers.export.simulators import workflow_of

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import Contract
    from holdstep.wrappers.export.plan import Plan
    from holdstep.wrappers.export.workflow import Workflow


class Pipeline:
    """What an env's observation terms, a policy and the action terms compute, as pure functions.

    Made by :func:`build_pipeline`; use it in a ``with`` block. Leaving the block, also by an
    exception, gives the env back everything that was changed, the same objects with the same
    values. In between the env can be stepped and reset as always; its observations have no noise.

    Attributes:
        contract: what the module reads, keeps and writes; without model files.
        module: ``module(*inputs, *memories) -> (*outputs, *memory updates)`` in the contract's
            order, each ``[N, ...]``, for any number of rows; valid until the pipeline is closed.
            Call it under ``torch.no_grad()``: torch has other kernels for LSTMs otherwise.
        apply_module: ``apply_module(*apply_inputs) -> apply_outputs``, before each physics step;
            None where the action terms read no state then.
        warnings: what a user should know: randomised constants, inputs that no table knows.
        env: the adapter of the env.
        plan: what the discovery found.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        computation: Computation,
        plan: Plan,
        *,
        num_envs: int | None,
        reference_policy: PolicyNetwork,
        modules: tuple[PolicyModule, ApplyModule | None],
        contract: Contract,
        warnings: Sequence[str],
        changes: Changes,
    ) -> None:
        self.env = env
        self.plan = plan
        self.contract = contract
        self.module, self.apply_module = modules
        self.warnings = tuple(warnings)
        self._computation = computation
        self._num_envs = num_envs
        self._reference = LiveReference(computation, plan, reference_policy)
        self._changes = changes
        self._is_open = True

    def __enter__(self) -> Pipeline:
        """The pipeline itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Undo everything."""
        self.close()

    def close(self) -> None:
        """Give the env back everything that was changed; may be called again."""
        self._is_open = False
        self.module.close()
        if self.apply_module is not None:
            self.apply_module.close()
        self._changes.undo()

    def read_inputs(self, connections: Sequence[str] | None = None) -> tuple[torch.Tensor, ...]:
        """The env's values now, as tensors of their own.

        Args:
            connections: what to read; the contract's inputs by default.

        Returns:
            One tensor ``[N, ...]`` for each, of all envs.
        """
        self._check_open()
        names = self.plan.inputs if connections is None else connections
        return tuple(self.plan.routes[name].live().detach().clone() for name in names)

    def initial_memories(self, num_rows: int | None = None) -> tuple[torch.Tensor, ...]:
        """What the memories are at the beginning of an episode.

        Args:
            num_rows: rows; as many as the env has by default.

        Returns:
            One tensor ``[num_rows, ...]`` for each of the contract's memories.
        """
        num_rows = self._computation.workflow.num_envs if num_rows is None else num_rows
        return tuple(
            _rows_of(memory.reset, memory.shape, memory.dtype, num_rows, self.env.device)
            for memory in self.plan.memories
        )

    def example_inputs(self) -> tuple[torch.Tensor, ...]:
        """Arguments of :attr:`module`: the env's values now, and memories after a reset.

        They have as many rows as :func:`build_pipeline` was told.
        """
        inputs = self.read_inputs()
        rows = slice(None) if self._num_envs is None else slice(0, self._num_envs)
        memories = self.initial_memories(self._num_envs)
        return (*(tensor[rows].clone() for tensor in inputs), *memories)

    def example_apply_inputs(self) -> tuple[torch.Tensor, ...]:
        """Arguments of :attr:`apply_module`: state now, and what :attr:`module` hands over now."""
        if self.apply_module is None:
            return ()
        outputs = self.module(*self.example_inputs())
        names = [spec.connection for spec in self.contract.outputs]
        handed_over = outputs[names.index("action") - len(self.plan.handovers) :]
        rows = slice(None) if self._num_envs is None else slice(0, self._num_envs)
        state = (tensor[rows] for tensor in self.read_inputs(self.plan.apply_inputs))
        return (*state, *handed_over[: len(self.plan.handovers)])

    def reference(self) -> Reference:
        """What the env's own managers and the policy compute now; for comparison.

        Observations are those that the env returned last. The policy (a copy of its own) is asked
        once, so that its memory moves on: call this once per step, step the env with
        :attr:`Reference.action`, and call :meth:`reset_reference` for rows that ended. The action
        terms' own code runs on copies, so that the env does not notice.
        """
        self._check_open()
        return self._reference.compute()

    def reset_reference(self, done_mask: torch.Tensor | None = None) -> None:
        """The reference's policy forgets its memory of rows (bool ``[N]``; None for all)."""
        self._reference.reset(done_mask)

    def purity(self, *, num_steps: int = 3, seed: int = 0) -> PurityReport:
        """Whether terms read anything that is no declared input.

        Everything is computed twice from the same inputs and memories; in between the env is reset
        and stepped with random actions. What differs has been read past the declared inputs.

        Args:
            num_steps: steps in between.
            seed: of the random actions.
        """
        self._check_open()
        return check_purity(self, num_steps=num_steps, seed=seed)

    def baked_values(self) -> dict[str, torch.Tensor]:
        """What the env has now of values that may not change once they are baked in, by name."""
        return self._computation.workflow.baked_values(self.plan)

    def _check_open(self) -> None:
        if not self._is_open:
            raise ExportError("The pipeline is closed. Use it inside its 'with' block.")


def build_pipeline(
    env: TorchVectorEnv,
    policy: Any,
    *,
    num_envs: int | None = None,
    obs_keys: str | Sequence[str] | None = None,
    randomized: Randomized = "nominal",
    row: int = 0,
    delays: Literal["keep", "off"] = "keep",
    allow_host_reads: bool = False,
) -> Pipeline:
    """Find out what an env's terms and a policy read, keep and write, and make a function of it.

    Runs them once on the env's present values, so that the env must have been reset. Noise is
    switched off for as long as the pipeline exists, and constants that are randomised per env have
    the values that are baked in; both are put back when it is closed.

    Args:
        env: a manager-based env of mjlab or Isaac Lab, or one that marks what it reads and writes
            (:mod:`~holdstep.wrappers.export.markers`); wrapped or not.
        policy: a ``torch.nn.Module``, an :class:`~holdstep.policies.RslRlPolicy`, or a callable,
            from observations by group, ``[N, ...]`` each, to actions ``[N, A]``.
        num_envs: rows of :meth:`Pipeline.example_inputs`; all of the env's by default.
        obs_keys: the observation groups that the policy gets: with one name that group's tensor
            itself, with several a dictionary. None lets it take what it wants from all.
        randomized: which value is baked in of a constant that differs between envs.
        row: the env whose values are taken where they differ and no nominal one is known.
        delays: whether observation terms that lag by a fixed number of steps still do; a random
            lag, which imitates a slow sensor, can only be left out (``"off"``).
        allow_host_reads: warn of values that leave tensors for Python (``if``, ``.item()``), which
            a model would repeat as they were, instead of refusing them.

    Raises:
        DiscoveryError: something can't be exported; the message names the term. The env is as it
            was.
        ConfigError: an argument can't be used.
    """
    adapter = env.unwrapped
    workflow = workflow_of(adapter)
    _check_arguments(adapter, workflow, num_envs=num_envs, row=row)
    changes = Changes()
    # Tensors made under inference mode could not be traced, and the caller may be in it.
    with contextlib.ExitStack() as stack, torch.inference_mode(False), torch.no_grad():
        stack.callback(changes.undo)
        network = PolicyNetwork(policy, obs_keys=obs_keys)
        computation = Computation(workflow, network, workflow.groups(delays=delays == "keep"))
        plan = discover(computation, adapter.device, allow_host_reads=allow_host_reads)
        computation.reads.close()
        _quieten(workflow, plan, changes, delays=delays == "keep")
        baked = bake(plan, randomized=randomized, row=row)
        warnings = (*plan.warnings, *randomization_warnings(baked))
        put_into_env(baked, changes)
        for leaf in plan.leaves:  # weights in a closure, say: tracers take those without gradients
            changes.without_gradient(leaf.tensor)
        modules = (
            PolicyModule(computation, plan, baked).eval(),
            ApplyModule(computation, plan, baked).eval() if plan.has_apply_graph else None,
        )
        pipeline = Pipeline(
            adapter,
            computation,
            plan,
            num_envs=num_envs,
            reference_policy=PolicyNetwork(policy, obs_keys=obs_keys),
            modules=modules,
            contract=describe(adapter, computation, plan, baked),
            warnings=warnings,
            changes=changes,
        )
        check_any_number_of_rows(pipeline)
        stack.pop_all()
    return pipeline


def _check_arguments(
    env: TorchVectorEnv, workflow: Workflow, *, num_envs: int | None, row: int
) -> None:
    if num_envs is not None and not 1 <= num_envs <= workflow.num_envs:
        raise ConfigError(
            f"num_envs must be 1 to the env's {workflow.num_envs}, or None for all, got {num_envs}."
        )
    if not 0 <= row < workflow.num_envs:
        raise ConfigError(f"row must be one of the env's {workflow.num_envs}, got {row}.")
    if env.lazy_rendering:
        raise ConfigError(
            "The env draws images only when somebody looks (lazy_rendering), which would leave a "
            "pipeline without them. Set env.lazy_rendering = False first."
        )


def _quieten(workflow: Workflow, plan: Plan, changes: Changes, *, delays: bool) -> None:
    """Observations of the exported groups have no noise, and lag only if the model's do."""
    workflow.quieten(plan.groups, changes, delays=delays)


def _rows_of(
    reset: tuple[float, ...] | None,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    num_rows: int,
    device: torch.device,
) -> torch.Tensor:
    if reset is None:
        return torch.zeros((num_rows, *shape), dtype=dtype, device=device)
    row = torch.tensor(reset, dtype=dtype, device=device).reshape(1, *shape)
    return row.expand(num_rows, *shape).clone()
