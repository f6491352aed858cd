"""``holdstep contract``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from holdstep.wrappers.export.contract import Contract as Exported
    from holdstep.wrappers.export.contract import TensorSpec
    from holdstep.wrappers.export.diff import Difference


@dataclass
class Show:
    """Print a contract as tables: what the policy reads, keeps and writes.

    Example: holdstep contract show runs/g1/export
    """

    path: Annotated[Path, tyro.conf.Positional]
    """The folder of an export, or its contract.yaml."""

    def run(self) -> int:
        """Read it and print it."""
        from rich.console import Console

        from holdstep.wrappers.export.contract_file import read_contract

        print_contract(read_contract(self.path), Console(emoji=False))
        return 0


@dataclass
class Diff:
    """Print what differs between two contracts, and whom it concerns; the status is 1 if anything.

    Example: holdstep contract diff runs/old/export runs/new/export
    """

    before: Annotated[Path, tyro.conf.Positional]
    """The folder of an export, or its contract.yaml."""

    after: Annotated[Path, tyro.conf.Positional]
    """Another one."""

    def run(self) -> int:
        """Read both, and print the differences."""
        return print_diff(self.before, self.after)


@dataclass
class Check:
    """Check that a contract and its model files can be used; the status is 1 if not.

    Every problem is printed, each with its line. No model is loaded.

    Example: holdstep contract check runs/g1/export
    """

    path: Annotated[Path, tyro.conf.Positional]
    """The folder of an export, or its contract.yaml."""

    def run(self) -> int:
        """Read it, look at the files, and print what is wrong."""
        from rich.console import Console

        from holdstep.errors import ContractError
        from holdstep.wrappers.export.contract_file import (
            check_model_files,
            contract_path,
            read_contract,
        )

        console = Console(emoji=False)
        try:
            contract = read_contract(self.path)
        except ContractError as error:
            return _report(error.problems, console)
        problems = check_model_files(contract, contract_path(self.path).parent)
        if not contract.models:
            problems.append("There are no model files; export writes them.")
        problems += [
            f"The export's own check {check.name!r} failed: {check.detail}"
            for check in contract.checks
            if check.status == "failed"
        ]
        if problems:
            return _report(problems, console)
        files = len(contract.models)
        console.print(f"{contract.task}: the contract and {files} model files can be used.")
        return 0


@dataclass
class Import:
    """Write a contract.yaml next to a policy that Isaac Lab 3.0 exported itself.

    Afterwards its folder is one that holdstep deploy takes.

    Example: holdstep contract import Isaac-Ant-v0.yaml --physics-dt 0.008333 --decimation 2
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The export's .yaml, with isaaclab_connection entries."""

    physics_dt: float
    """[s] one physics step of the task (sim.dt), which such an export does not say."""

    decimation: int
    """Physics steps in a control step, which it does not say either."""

    def run(self) -> int:
        """Read it, and write the contract."""
        from rich.console import Console

        from holdstep.wrappers.export.contract_file import write_contract
        from holdstep.wrappers.export.isaaclab_export import read_isaaclab_export

        console = Console(emoji=False)
        contract = read_isaaclab_export(
            self.file, physics_dt=self.physics_dt, decimation=self.decimation
        )
        path = write_contract(contract, self.file.parent)
        for check in contract.checks:
            console.print(f"note: {check.detail}", markup=False, soft_wrap=True)
        console.print(str(path), markup=False, soft_wrap=True, highlight=False)
        return 0


@dataclass
class Contract:
    """Look at the contract of an exported policy: show, diff, check, import.

    Example: holdstep contract show runs/g1/export
    """

    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Show, tyro.conf.subcommand("show")]
        | Annotated[Diff, tyro.conf.subcommand("diff")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Import, tyro.conf.subcommand("import")]
    ]

    def run(self) -> int:
        """Do what was asked for."""
        return self.action.run()


def print_contract(contract: Exported, console: Console) -> None:
    """Print a contract as tables."""
    from rich.table import Table

    made = ", ".join(f"{name} {version}" for name, version in contract.created_with.items())
    console.print(
        f"{contract.task} ({contract.simulator}), a control step of {contract.step_dt:g} s = "
        f"{contract.decimation} x {contract.physics_dt:g} s\nmade with {made or '?'}",
        markup=False,
        highlight=False,
    )
    # Consoles here are without emoji: `:robot:` in a connection is no picture of one.
    memories = [memory.spec for memory in contract.memories]
    _print_tensors("reads", contract.inputs, console)
    _print_tensors("keeps", memories, console)
    _print_tensors("computes", contract.outputs, console)
    _print_tensors("reads before each physics step", contract.apply_inputs, console)
    _print_tensors("writes before each physics step", contract.apply_outputs, console)
    if contract.observation_terms or contract.action_terms:
        table = Table("term", "what", "shape", title="inside the model", title_justify="left")
        for term in contract.observation_terms:
            table.add_row(f"{term.group}/{term.name}", term.function, str(list(term.shape)))
        for action in contract.action_terms:
            table.add_row(f"action/{action.name}", action.class_path, str(list(action.shape)))
        console.print(table)
    if contract.constants:
        table = Table("constant", "from", "shape", "", title="baked in", title_justify="left")
        for constant in contract.constants:
            note = "randomised per env" if constant.varies else ""
            table.add_row(constant.name, constant.source, str(list(constant.shape)), note)
        console.print(table)
    for model in contract.models:
        rows = "any number of" if model.batch is None else str(model.batch)
        console.print(f"model: {model.file} ({model.backend}, {model.graph}, {rows} rows)")
    for check in contract.checks:
        measured = "" if check.value is None else f" ({check.value:.3g})"
        console.print(f"check: {check.name} {check.status}{measured} {check.detail}", markup=False)


def print_diff(before: Path, after: Path) -> int:
    """Print what differs between two exports, grouped by whom it concerns.

    Returns:
        The exit status: 1 if anything differs.
    """
    from rich.console import Console

    from holdstep.wrappers.export.contract_file import read_contract
    from holdstep.wrappers.export.diff import diff_contracts

    found = diff_contracts(read_contract(before), read_contract(after))
    _print_differences(found, Console(emoji=False))
    return 1 if found else 0


def _print_differences(found: Sequence[Difference], console: Console) -> None:
    titles = {
        "host": "read and written differently: hosts are concerned",
        "behaviour": "inside the model: the robot may move otherwise",
        "information": "how it was exported",
    }
    if not found:
        console.print("The contracts are the same.")
    for concern, title in titles.items():
        of_concern = [difference for difference in found if difference.concern == concern]
        if of_concern:
            console.print(title, style="bold")
            for difference in of_concern:
                console.print(f"  {difference}", markup=False, highlight=False, soft_wrap=True)


def _print_tensors(title: str, specs: Sequence[TensorSpec], console: Console) -> None:
    from rich.table import Table

    if not specs:
        return
    table = Table("connection", "shape", "unit", "frame", title=title, title_justify="left")
    table.add_column("elements", overflow="fold")
    for spec in specs:
        elements = ", ".join(spec.element_names or ())
        if spec.quaternion_order:
            elements = f"({spec.quaternion_order}) {elements}"
        table.add_row(
            spec.connection,
            f"{list(spec.shape)} {spec.dtype}",
            spec.unit or "",
            spec.frame or "",
            elements,
        )
    console.print(table)


def _report(problems: Sequence[str], console: Console) -> int:
    for problem in problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(problems)} problems", style="red")
    return 1
