"""Whether the wrappers inside a stack can step only some rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdstep.errors import WrapperOrderError
from holdstep.wrappers.order import inner_wrappers

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.base import VectorWrapper


def check_masked_stack(wrapper: VectorWrapper, env: TorchVectorEnv) -> None:
    """Refuse to put a wrapper that steps only some rows around one that would be bypassed then.

    Args:
        wrapper: the wrapper under construction.
        env: what it is to wrap.

    Raises:
        WrapperOrderError: naming the wrapper inside, and what to do.
    """
    for inner in inner_wrappers(env):
        order = type(inner).__mro__
        steps, steps_some = (_definer(order, name) for name in ("step", "step_masked"))
        # A step() that is newer than the step_masked() beside it does not know of it.
        if steps < steps_some:
            raise WrapperOrderError(
                f"{type(wrapper).__name__} cannot wrap {type(inner).__name__}: it changes step() "
                "and does not say how to step only some rows, which its own code would not notice. "
                f"Put it outside: {type(inner).__name__}({type(wrapper).__name__}(env)), or give "
                "it a step_masked()."
            )


def _definer(order: tuple[type, ...], name: str) -> int:
    return next(index for index, base in enumerate(order) if name in vars(base))
