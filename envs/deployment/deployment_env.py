"""An exported policy on a host, without the env's managers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.deployment.finite_targets import check_finite
from holdstep.envs.deployment.fitness import checks_not_passed, rows_and_clock_problems
from holdstep.envs.deployment.given_inputs import Given, GivenInputs
from holdstep.envs.deployment.host import Host, HostSetup
from holdstep.envs.deployment.pacing import StepPacer
from holdstep.envs.deployment.runner import PolicyRunner, load_runner
from holdstep.envs.deployment.wiring import Wiring
from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import (
    ClosedEnvError,
    ConfigError,
    HostMismatchError,
    ResetNeededError,
)
from holdstep.wrappers.export.contract_file import read_contract

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import TensorSpec


class DeploymentEnv:
    """Runs an exported policy on a host: a simulator without managers, or a robot.

    Each :meth:`step` reads what the contract names, runs the model, writes the targets and advances
    the host by one control step. Joints and bodies are matched by name and reordered, quaternions
    converted to the host's order, units and shapes compared; whatever does not fit is raised at
    construction, all of it in one error. No input ever runs on zeros that nobody gave.

    The env closes the host when it is closed, which a ``with`` block does on every way out. If
    construction fails, the host stays open, and the caller's.

    Args:
        host: what to run on.
        out_dir: the folder of an export (or its ``contract.yaml``).
        num_envs: rows that are expected; None takes the host's. A host with another number is an
            error, not adapted.
        commands: commands by name, such as ``{"twist": [0.5, 0.0, 0.0]}``; see :meth:`set_command`.
        inputs: other inputs by connection, for what the host does not have: such as
            ``{"sensor:scan:data": read_scan}``.
        rename: connections at the host, by connections of the contract, such as
            ``{"sensor:imu:data": "state:robot:root_link_ang_vel_b"}``.
        rename_elements: joints and bodies at the host, by the contract's names, such as
            ``{"hinge_1": "cart_to_pole"}``.
        realtime: pace control steps by the wall clock.
        pacer: the pacing itself, to look at its delays or to bring a clock of one's own.
        runner: what runs the model; None loads the export's.
        num_threads: that an ONNX model may use.
        allow_jit: load TorchScript files, whose authors can write files here.

    Attributes:
        contract: what is run.
        host: what it is run on.
        notes: what differs from the env of the export and is still right, and which checks of the
            export did not pass, one sentence each.
        episode_length_buf: control steps since each row's reset, int64 ``[num_envs]``.

    Raises:
        ContractError: the folder has no usable contract.
        HostMismatchError: contract and host do not fit.
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        host: Host,
        out_dir: str | Path,
        *,
        num_envs: int | None = None,
        commands: Mapping[str, Given] | None = None,
        inputs: Mapping[str, Given] | None = None,
        rename: Mapping[str, str] | None = None,
        rename_elements: Mapping[str, str] | None = None,
        realtime: bool = False,
        pacer: StepPacer | None = None,
        runner: PolicyRunner | None = None,
        num_threads: int = 1,
        allow_jit: bool = False,
    ) -> None:
        self.contract = read_contract(out_dir)
        self.host = host
        self._closed = False
        self._needs_reset = True
        self.episode_length_buf = torch.zeros(host.num_envs, dtype=torch.int64, device=host.device)
        self._connect(num_envs, Wiring(host, rename, rename_elements), dict(inputs or {}))
        for name, value in (commands or {}).items():
            self.set_command(name, value)
        for connection, value in (inputs or {}).items():
            self._given.set(connection, value)
        self._runner = runner or load_runner(
            out_dir, self.contract, host, num_threads=num_threads, allow_jit=allow_jit
        )
        if pacer is None and realtime:
            pacer = StepPacer(self.contract.step_dt)
        self.pacer = pacer

    @property
    def num_envs(self) -> int:
        """Rows."""
        return self.host.num_envs

    @property
    def step_dt(self) -> float:
        """[s] one control step."""
        return self.contract.step_dt

    def set_command(self, name: str, value: Given, env_ids: EnvIds | None = None) -> None:
        """Set a command, which is kept, through resets too, until it is set again.

        Args:
            name: such as ``"twist"``; ``"motion:anchor_pos_w"`` for an attribute of one.
            value: ``shape`` for all rows, or ``[k, *shape]``; or a function that is called for it
                in every control step.
            env_ids: the ``k`` rows; None for all.

        Raises:
            ConfigError: the contract has no such command, or the value does not fit it.
        """
        self._given.set(f"command:{name}", value, env_ids)

    def reset(self, env_ids: EnvIds | None = None) -> None:
        """Begin an episode: put the host's rows and the model's memories back.

        Args:
            env_ids: rows to reset; None for all. The others go on, memories included. The first
                reset must be of all rows.
        """
        self._check_open()
        if env_ids is None:
            ids = torch.arange(self.num_envs, device=self.host.device)
        else:
            if self._needs_reset:
                raise ResetNeededError(
                    "The first reset must be of all rows, and so must the one after a step that "
                    "failed: call reset()."
                )
            ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.host.device)
        if ids.numel() == 0:
            return
        self.host.reset(ids)
        self.host.refresh()
        self._runner.reset(ids)
        self.episode_length_buf[ids] = 0
        self._needs_reset = False
        if self.pacer is not None and env_ids is None:
            self.pacer.restart()

    def step(self) -> dict[str, torch.Tensor]:
        """One control step: read, infer, write, and ``decimation`` physics steps.

        Returns:
            What the model computed in this step, by connection, ``[num_envs, *shape]``; the targets
            of an apply graph are those before the last physics step.

        Raises:
            ResetNeededError: there was no reset yet, or none since a step that failed.
            ConfigError: a command or another input was never set.
            PolicyError: the model computed a target that is not finite; none that it computed
                together with it was written.
        """
        self._check_open()
        if self._needs_reset:
            raise ResetNeededError("Call reset() before step(), again after one that failed.")
        missing = self._given.missing()
        if missing:
            raise ConfigError(
                "Nothing runs on values that nobody gave. Set them with set_command(name, value) "
                "or inputs={connection: value}:\n"
                + "\n".join(f"  - {sentence}" for sentence in missing)
            )
        if self.pacer is not None:
            self.pacer.wait()
            self.host.refresh()  # what was measured meanwhile
        outputs = self._decide()
        for _ in range(self.contract.decimation):
            if self._apply_writers:
                targets = self._runner.apply(_copies(self._apply_readers))
                self._write(self._apply_writers, targets)
                outputs.update(targets)
            self.host.step()
        self.host.refresh()
        self.episode_length_buf += 1
        self._needs_reset = False
        return outputs

    def close(self) -> None:
        """Close the host; more than once does no harm."""
        if not self._closed:
            self._closed = True
            self.host.close()

    def __enter__(self) -> DeploymentEnv:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self, num_envs: int | None, wiring: Wiring, inputs: Mapping[str, Any]) -> None:
        contract, host = self.contract, self.host
        wiring.problems += rows_and_clock_problems(contract, host, num_envs)
        wiring.notes += checks_not_passed(contract)
        carried = {spec.connection for spec in contract.outputs}
        carried |= {memory.spec.connection for memory in contract.memories}
        read_again = [spec for spec in contract.apply_inputs if spec.connection not in carried]
        given = [
            spec
            for spec in (*contract.inputs, *read_again)
            if spec.connection.startswith("command:") or spec.connection in inputs
        ]
        self._given = GivenInputs(given, num_envs=host.num_envs, device=host.device)
        self._readers = {spec.connection: self._reader(spec, wiring) for spec in contract.inputs}
        self._apply_readers = {spec.connection: self._reader(spec, wiring) for spec in read_again}
        self._writers = {
            spec.connection: wiring.writer(spec)
            for spec in contract.outputs
            if spec.connection.startswith("write:")
        }
        self._apply_writers = {
            spec.connection: wiring.writer(spec) for spec in contract.apply_outputs
        }
        if not contract.writes:
            wiring.problems.append("The contract writes nothing to a host.")
        wiring.check_renamed((*contract.inputs, *contract.apply_inputs, *contract.writes))
        written = {
            wiring.wires[spec.connection].connection: wiring.wires[spec.connection].element_ids
            for spec in contract.writes
            if spec.connection in wiring.wires
        }
        setup = HostSetup(contract, written, wiring.notes, wiring.contract_names)
        problems = [*wiring.problems, *host.prepare(setup)]
        if problems:
            raise HostMismatchError(contract.task, host.name, problems, wiring.notes)
        self.notes = tuple(setup.notes)

    def _reader(self, spec: TensorSpec, wiring: Wiring) -> Callable[[], torch.Tensor]:
        connection = spec.connection
        if connection in self._given.connections:
            return lambda: self._given.read(connection)
        if connection == "env:episode_length_buf":
            return lambda: self.episode_length_buf
        return wiring.reader(spec)

    def _decide(self) -> dict[str, torch.Tensor]:
        """Read, infer and write: what is done once per control step, apart from the physics."""
        inputs = _copies(self._readers)
        # An error from here on leaves memories, targets and time of different steps behind.
        self._needs_reset = True
        outputs = dict(self._runner.step(inputs))
        self._write(self._writers, outputs)
        return outputs

    def _write(
        self,
        writers: Mapping[str, Callable[[torch.Tensor], None]],
        outputs: Mapping[str, torch.Tensor],
    ) -> None:
        values = [outputs[connection] for connection in writers]
        for connection, value in zip(writers, values, strict=True):
            check_finite(connection, value)
        for write, value in zip(writers.values(), values, strict=True):
            write(value)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedEnvError("The deployment was closed; build another.")


def _copies(readers: Mapping[str, Callable[[], torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What is read now: a simulator's memory changes under a view, and a model may edit it."""
    return {connection: read().clone() for connection, read in readers.items()}
