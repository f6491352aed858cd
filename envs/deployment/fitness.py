"""Whether a contract as a whole suits a host: its rows, its clock, its own checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.envs.deployment.host import Host
    from holdstep.wrappers.export.contract import Contract

_CLOCK_TOLERANCE = 1e-4
"""Relative: as exactly as people write a time step down, such as 0.008333 for 1/120."""


def rows_and_clock_problems(contract: Contract, host: Host, num_envs: int | None) -> list[str]:
    """What does not fit, one sentence each.

    Args:
        contract: of the policy.
        host: what it is to run on.
        num_envs: rows that are expected; None for any.
    """
    problems = []
    if num_envs is not None and num_envs != host.num_envs:
        problems.append(
            f"num_envs: {num_envs} rows were asked for, {host.name} has {host.num_envs}."
        )
    problems += [
        f"num_envs: the model {model.file!r} runs {model.batch} rows, {host.name} has "
        f"{host.num_envs}. Export again for any number of rows, or for this one."
        for model in contract.models
        if model.batch not in (None, 1, host.num_envs)  # one row: run row by row
    ]
    if abs(host.physics_dt - contract.physics_dt) > _CLOCK_TOLERANCE * contract.physics_dt:
        problems.append(
            f"physics_dt: the contract has {contract.physics_dt:g} s, {host.name} has "
            f"{host.physics_dt:g} s. Set the host's time step to the contract's."
        )
    return problems


def checks_not_passed(contract: Contract) -> list[str]:
    """The checks of the export that failed or were skipped, one sentence each."""
    return [
        f"the check {check.name!r} of the export has the status {check.status!r}"
        + (f": {check.detail}" if check.detail else ".")
        for check in contract.checks
        if check.status != "passed"
    ]
