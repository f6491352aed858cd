"""Who steps the env in an evaluation: a policy that returns chunks of actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError
from holdstep.policies.chunked.runner import ChunkRunner
from holdstep.policies.chunked.schedulers.cohort import Cohort
from holdstep.policies.evaluation.success import EvalStep
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.policies.chunked.protocol import ChunkedPolicy
    from holdstep.policies.chunked.schedulers.base import Determinism, Scheduler


class ChunkDriver:
    """Steps an env with a :class:`~holdstep.policies.ChunkRunner`.

    Args:
        env: the stack.
        policy: whom to ask for chunks.
        scheduler: whom to ask when; by default ``Cohort()``.
        force: accept schedulers whose actions depend on how long things take.
        instructed: each episode will say what it is to do.
        **options: of the runner.

    Raises:
        ConfigError: the scheduler is of class ``timing``, the policy takes no instructions and gets
            some, or the runner refuses something.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        policy: ChunkedPolicy,
        *,
        scheduler: Scheduler | None,
        force: bool,
        instructed: bool,
        **options: Any,
    ) -> None:
        scheduler = Cohort() if scheduler is None else scheduler
        # The runner, made below, says what is wrong with what is no scheduler at all.
        if getattr(scheduler, "determinism", None) == "timing" and not force:
            raise ConfigError(
                f"With {type(scheduler).__name__}, what the policy does depends on how long things "
                "take (class 'timing'): a slower machine would find another success rate. Take a "
                "scheduler of class 'exact' or 'delayed', or say force=True, which the result "
                "will then say too."
            )
        spec = getattr(policy, "spec", None)
        if instructed and spec is not None and not spec.uses_instructions:
            raise ConfigError(
                f"Instructions were given, but {type(policy).__name__} takes none: its "
                "spec.uses_instructions is False. For GrootPolicy set the mapping's language_key, "
                "for OpenPiPolicy its prompt_key, for LeRobotPolicy uses_instructions=True."
            )
        # Until an episode begins, a row has an empty text, which nobody is asked about.
        instructions = "" if instructed else ()
        self._runner = ChunkRunner(env, policy, scheduler, instructions=instructions, **options)
        self._scheduler = scheduler
        self.determinism: Determinism = self._runner.determinism
        self.parks_rows = find_wrapper(env, SuspendOnWait) is not None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the result should say of how the policy was run."""
        return {
            "scheduler": type(self._scheduler).__name__,
            "scheduler_says": self._scheduler.explain(),
            "execute": self._runner.execute,
            "policy_is_reproducible": self._runner.policy.spec.reproducible,
        }

    def reset(self, seed: int) -> None:
        """Reset the env, the policy and the books."""
        self._runner.reset(seed=seed)

    def reset_rows(self, rows: Sequence[int], seed: int | None) -> None:
        """Reset rows, which have not been asked for yet."""
        self._runner.reset_rows(list(rows), seed=seed)

    def begin_episodes(
        self, rows: Sequence[int], numbers: Sequence[int], instructions: Sequence[str] | None
    ) -> None:
        """Let the policy's noise follow from the episodes' numbers, and say what is to be done."""
        self._runner.name_episodes(list(rows), list(numbers))
        if instructions is not None:
            self._runner.set_instructions(list(rows), list(instructions))

    def step(self) -> EvalStep:
        """One step of the env; waits for inference where no row can go on."""
        step = self._runner.step()
        return EvalStep(step.obs, step.reward, step.terminated, step.truncated, step.info)

    def park(self, rows: Sequence[int]) -> None:
        """Suspend rows and ask for nothing more for them, where the stack can."""
        if self.parks_rows:
            self._runner.park(list(rows))

    def close(self) -> None:
        """Close the runner, which resumes its rows."""
        self._runner.close()
