"""The order in which wrappers may be stacked, and the reason when they may not."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from holdstep.errors import WrapperOrderError

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.base import VectorWrapper


class Stage(IntEnum):
    """Where in a stack a wrapper belongs; lower stages lie nearer to the simulator.

    A wrapper of a user's own that has no place in this order (``stage = None``) may stand anywhere.
    """

    SUSPEND = 1
    RECORD = 2
    DRIVE = 3


_REASONS = {
    Stage.SUSPEND: (
        "suspension must see every simulator step, and a wrapper below it would see rows move that "
        "are then put back"
    ),
    Stage.RECORD: (
        "a recorder must see single simulator steps, not the macro-actions of a wrapper below it"
    ),
    Stage.DRIVE: ("only one wrapper can decide the actions of each step"),
}


def check_order(wrapper: VectorWrapper, env: TorchVectorEnv) -> None:
    """Refuse to put ``wrapper`` around ``env`` when something inside belongs outside it.

    Args:
        wrapper: the wrapper under construction.
        env: what it is to wrap.

    Raises:
        WrapperOrderError: naming both wrappers, the reason and the right order.
    """
    stage = wrapper.stage
    if stage is None:
        return
    for inner in inner_wrappers(env):
        if inner.stage is not None and inner.stage >= stage:
            outer_name, inner_name = type(wrapper).__name__, type(inner).__name__
            raise WrapperOrderError(
                f"{outer_name} cannot wrap {inner_name}: {_REASONS[stage]}. "
                "From the inside out the order is: the adapter, SuspendOnWait, RecordEpisodes, "
                "ActionChunkReplay or PipelinedActions, the RL library's view."
            )


def inner_wrappers(env: TorchVectorEnv) -> list[VectorWrapper]:
    """The holdstep wrappers of a stack, outermost first."""
    from holdstep.wrappers.base import VectorWrapper

    found = []
    while isinstance(env, VectorWrapper):
        found.append(env)
        env = env.env
    return found
