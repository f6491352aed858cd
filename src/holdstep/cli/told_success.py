"""What an env says about the success of episodes, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from holdstep.policies.evaluation.success import EvalStep, InfoSuccess
from holdstep.wrappers.base import VectorWrapper

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult, TorchVectorEnv


class ToldSuccess(VectorWrapper):
    """Remembers what was said of each row's episode, as the recorder below it does.

    Args:
        env: the stack.
        name: of the info entry, or of the termination term.
        when: whether the last step counts, or any of them.
    """

    def __init__(self, env: TorchVectorEnv, name: str, when: Literal["end", "once"]) -> None:
        super().__init__(env)
        self._source = InfoSuccess(env, name, required=False)
        self._when = when
        self._told: list[bool | None] = [None] * env.num_envs

    def begin(self, row: int) -> None:
        """A row begins an episode."""
        self._told[row] = None

    def success(self, row: int) -> bool | None:
        """Whether a row's episode has succeeded so far; None where nothing was said."""
        return self._told[row]

    def step(self, actions: Any) -> StepResult:
        """Step, and note what is said of the rows that took part."""
        result = self.env.step(actions)
        reading = self._source.read(EvalStep(*result))
        said: list[bool | None] = [None] * self.num_envs
        if reading is not None:
            for row in reading.reported_mask.nonzero().flatten().tolist():
                said[row] = bool(reading.value[row])
        for row in result[4]["active"].nonzero().flatten().tolist():
            if self._when == "end":
                self._told[row] = said[row]
            elif said[row] is not None:
                self._told[row] = said[row] or bool(self._told[row])
        return result
