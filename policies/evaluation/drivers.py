"""Who steps the env in an evaluation: a policy that acts at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from holdstep.errors import ConfigError
from holdstep.policies.evaluation.success import EvalStep
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.policies.chunked.schedulers.base import Determinism


class EpisodeDriver(Protocol):
    """What an evaluation needs of whoever steps the env.

    Attributes:
        determinism: what actions depend on, see
            :data:`~holdstep.policies.chunked.schedulers.base.Determinism`.
        parks_rows: whether parked rows stand still; otherwise they are stepped on.
        metadata: what the result should say of how the policy was run.
    """

    determinism: Determinism
    parks_rows: bool

    @property
    def metadata(self) -> dict[str, Any]: ...  # noqa: D102

    def reset(self, seed: int) -> None:
        """Reset the env and the policy."""
        ...

    def reset_rows(self, rows: Sequence[int], seed: int | None) -> None:
        """Reset rows once more, whose new episodes have not been acted in."""
        ...

    def step(self) -> EvalStep:
        """Advance the env."""
        ...

    def park(self, rows: Sequence[int]) -> None:
        """Rows have nothing left to do until the end of the evaluation."""
        ...

    def begin_episodes(
        self, rows: Sequence[int], numbers: Sequence[int], instructions: Sequence[str] | None
    ) -> None:
        """Rows that were just reset begin these episodes.

        Args:
            rows: none of which was acted in yet.
            numbers: of the episodes, in the order in which they start.
            instructions: what each is to do; None for nothing.
        """
        ...

    def close(self) -> None:
        """Let go of all rows, also after an error."""
        ...


class PolicyDriver:
    """Steps an env with a callable that acts at every step.

    Args:
        env: the stack.
        policy: actions ``[N, A]`` from observations by group. Its
            ``reset(done_mask)`` (None at the start), where it has one, is called for rows whose
            episode ended, and its ``set_instructions(env_ids, texts)`` for rows that start one.
    """

    determinism: Determinism = "exact"

    def __init__(self, env: TorchVectorEnv, policy: Callable[[Obs], torch.Tensor]) -> None:
        self._env = env
        self._policy = policy
        self._suspend = find_wrapper(env, SuspendOnWait)
        self.parks_rows = self._suspend is not None
        self._parked: list[int] = []
        self._forget: Callable[[torch.Tensor | None], Any] = getattr(policy, "reset", _nothing)
        self._obs: Obs = {}

    @property
    def metadata(self) -> dict[str, Any]:
        """Nothing but the policy."""
        return {}

    def reset(self, seed: int) -> None:
        """Reset the env and the policy."""
        self._obs, _ = self._env.reset(seed=seed)
        self._forget(None)

    def reset_rows(self, rows: Sequence[int], seed: int | None) -> None:
        """Reset rows; the policy has forgotten their last episodes already."""
        self._obs, _ = self._env.reset(seed=seed, options={"env_ids": list(rows)})

    def step(self) -> EvalStep:
        """Ask for actions, and apply them."""
        step = EvalStep(*self._env.step(self._policy(self._obs)))
        self._obs = step.obs
        self._forget(step.terminated | step.truncated)
        return step

    def park(self, rows: Sequence[int]) -> None:
        """Suspend rows, where the stack can."""
        if self._suspend is not None and rows:
            self._suspend.suspend(list(rows))
            self._parked.extend(rows)

    def begin_episodes(
        self, rows: Sequence[int], numbers: Sequence[int], instructions: Sequence[str] | None
    ) -> None:
        """Tell the policy what is to be done."""
        if instructions is None:
            return
        tell = getattr(self._policy, "set_instructions", None)
        if tell is None:
            raise ConfigError(
                f"{type(self._policy).__name__} takes no instructions: it needs a method "
                "set_instructions(env_ids, texts), or to be a ChunkedPolicy that uses them."
            )
        tell(list(rows), list(instructions))

    def close(self) -> None:
        """Resume the rows that were parked."""
        parked, self._parked = self._parked, []
        if self._suspend is None or self._suspend.closed or not parked:
            return
        suspended = self._suspend.suspended.tolist()
        self._suspend.resume([row for row in parked if suspended[row]])


def _nothing(_: torch.Tensor | None) -> None:
    pass
