"""A contract's inputs, read from the env that still has its managers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.errors import ContractError
from holdstep.wrappers.export.proxies.owners import Owner, unwrapped
from holdstep.wrappers.export.simulators import workflow_of

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import TensorSpec


class LiveInputs:
    """Reads what an exported model needs from a manager-based env, as it is now.

    Args:
        env: of the simulator that the contract was made on, wrapped or not.
        specs: what is read.

    Raises:
        ContractError: the env has no such quantities, or of another shape; all are listed.
        DiscoveryError: the env is of neither workflow.
    """

    def __init__(self, env: TorchVectorEnv, specs: Sequence[TensorSpec]) -> None:
        adapter = env.unwrapped
        workflow = workflow_of(adapter)
        owners = tuple(workflow.owners())
        self._reads: dict[str, Callable[[], torch.Tensor]] = {}
        problems = []
        for spec in specs:
            read = workflow.live_read(spec.connection) or _reader(owners, spec.connection)
            if read is None:
                problems.append(f"{spec.connection}: the env has nothing there.")
            elif (shape := tuple(read().shape)) != (adapter.num_envs, *spec.shape):
                wanted = [adapter.num_envs, *spec.shape]
                problems.append(f"{spec.connection}: must be {wanted}, the env has {list(shape)}.")
            else:
                self._reads[spec.connection] = read
        if problems:
            raise ContractError("The env does not fit the contract", problems)

    def read(self, *, copy: bool = True) -> dict[str, torch.Tensor]:
        """What the env has now, by connection, ``[N, *shape]`` each.

        Args:
            copy: give tensors of their own; otherwise some are the simulator's memory, to be looked
                at before the next step.
        """
        if copy:
            return {name: read().detach().clone() for name, read in self._reads.items()}
        return {name: read() for name, read in self._reads.items()}


def _reader(owners: Sequence[Owner], connection: str) -> Callable[[], torch.Tensor] | None:
    for owner in owners:
        start = owner.prefix if owner.prefix.endswith(".") else f"{owner.prefix}:"
        if connection == owner.prefix:
            attribute = "command"
        elif connection.startswith(start):
            attribute = connection.removeprefix(start)
        else:
            continue
        for get in (owner.get, *(_part(owner, name) for name in owner.contains)):
            if _tensor_of(get(), attribute) is not None:
                return _attribute(get, attribute)
    return None


def _part(owner: Owner, name: str) -> Callable[[], object]:
    return lambda: getattr(owner.get(), name)


def _attribute(get: Callable[[], object], name: str) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        tensor = _tensor_of(get(), name)
        assert tensor is not None
        return tensor

    return read


def _tensor_of(obj: object, attribute: str) -> torch.Tensor | None:
    """The tensor at an attribute, or in a dictionary there, such as a camera's ``output.rgb``."""
    name, _, key = attribute.partition(".")
    for real_name in (name, f"_{name}"):  # a private attribute is named without its underscore
        value = getattr(obj, real_name, None)
        if key:
            value = value.get(key) if isinstance(value, Mapping) else None
        tensor, _ = unwrapped(value)
        if tensor is not None:
            return tensor
    return None
