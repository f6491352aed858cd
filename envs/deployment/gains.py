"""The law of a joint's actuator, found in a contract by the host's name of the joint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdstep.envs.deployment.matching import match_elements
from holdstep.wrappers.export.contract import Actuator

if TYPE_CHECKING:
    from holdstep.envs.deployment.host import HostSetup


@dataclass(frozen=True)
class Gains:
    """The law of one joint, as the contract has it: torque [N m] or force [N] from targets."""

    actuator: Actuator
    index: int

    def of(self, name: str, otherwise: float = 0.0) -> float:
        """This joint's number."""
        values: tuple[float, ...] = getattr(self.actuator, name)
        return values[self.index] if values else otherwise


def find_gains(setup: HostSetup, entity: str, joint: str) -> tuple[Gains | None, list[str]]:
    """The law of a joint, and why it can't be told.

    Args:
        setup: with the contract, and its names for what the host calls otherwise.
        entity: as the host calls it.
        joint: as the host calls it.

    Returns:
        None where the contract has no actuator for it; problems where it has several.
    """
    entity, joint = setup.contract_names.get((entity, joint), (entity, joint))
    laws = [
        (name, Gains(actuator, index))
        for actuator in setup.contract.actuators
        if actuator.entity == entity
        for index, name in enumerate(actuator.joint_names)
    ]
    match = match_elements([joint], [name for name, _ in laws])
    if match.ids:
        return laws[match.ids[0]][1], []
    ambiguous = [problem for problem in match.problems if "ambiguous" in problem]
    return None, [f"actuators of {entity!r} in the contract: {problem}" for problem in ambiguous]
