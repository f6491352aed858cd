"""Every error that holdstep raises on purpose.

All share one base, so that ``except HoldstepError`` catches what holdstep found wrong and nothing
else. Each message says what was got, what was expected, and what to do. Where a built-in class
fits too (a bad value, a missing import), the error is also one of those, so that code which does
not know holdstep catches it the way it always has.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from holdstep.policies.evaluation.result import EvalResult
    from holdstep.wrappers.export.report import ExportReport


class HoldstepError(Exception):
    """Base class of all errors raised by holdstep."""


class UnknownEnvError(HoldstepError, ValueError):
    """No env of this id exists in any backend that is installed."""


class ConfigError(HoldstepError, ValueError):
    """A configuration value, override or argument cannot be used."""


class InvalidActionError(HoldstepError, ValueError):
    """An action has the wrong type, shape, dtype or device, or is not finite."""


class InvalidEnvIdsError(HoldstepError, ValueError):
    """Row ids are out of range, of the wrong dtype or of the wrong shape."""


class MissingExtraError(HoldstepError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class BackendUnavailableError(HoldstepError, RuntimeError):
    """A simulator is not installed, or is installed and cannot run here."""


class CapabilityError(HoldstepError, ValueError):
    """The backend cannot do what was asked; the message says what it can do."""


class WrapperOrderError(HoldstepError, ValueError):
    """Wrappers are stacked in an order that would give wrong results."""


class ResetNeededError(HoldstepError, RuntimeError):
    """``step`` was called before the first ``reset``."""


class ClosedEnvError(HoldstepError, RuntimeError):
    """The env was used after ``close``."""


class SuspensionError(HoldstepError, RuntimeError):
    """Rows were suspended, resumed or waited for in a way that can't be meant."""


class SuspensionTimeoutError(SuspensionError, TimeoutError):
    """Nothing that rows wait for was done within the time that was allowed."""


class SnapshotError(HoldstepError, ValueError):
    """A snapshot can't be read, or does not fit the env into which it is to be put back."""


class TimelineError(HoldstepError, ValueError):
    """A file is no trace of a run, or does not hold what is to be drawn."""


class DatasetError(HoldstepError, ValueError):
    """A dataset is damaged or not of a layout that is known, or can't be written as asked."""


class RecordingError(HoldstepError, RuntimeError):
    """A recording can't be written, or not be made sense of; what was acknowledged is as it was."""


class UnsupportedStateError(HoldstepError, RuntimeError):
    """An env holds state in a form that can't be put back for single rows."""


class PolicyError(HoldstepError, RuntimeError):
    """A policy failed, or returned what it must not; nothing of that was executed."""


class StaleImageError(HoldstepError, RuntimeError):
    """An image was looked at when the env had moved on, or was read while it was moving."""


class PolicyTimeoutError(PolicyError, TimeoutError):
    """Inference took longer than was allowed; it may still be going on."""


class CheckpointError(HoldstepError, ValueError):
    """A checkpoint is missing, does not fit the policy, or would run code when loaded."""


class MalformedMessageError(HoldstepError, ValueError):
    """Bytes that came over a network are not a message of the protocol, or not a safe one."""


class RemotePolicyError(PolicyError):
    """A remote policy gave no usable answer. Nothing was put in its place.

    Attributes:
        host: the server's.
        port: the server's.
        endpoint: what was asked, such as ``"get_action"``.
        env_ids: the rows that have no answer.
        attempt: the number of the last attempt, from 1.
        max_attempts: how many there could have been.
    """

    def __init__(
        self,
        message: str,
        *,
        host: str = "",
        port: int = 0,
        endpoint: str = "",
        env_ids: Sequence[int] = (),
        attempt: int = 1,
        max_attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.host = host
        self.port = port
        self.endpoint = endpoint
        self.env_ids = tuple(env_ids)
        self.attempt = attempt
        self.max_attempts = max_attempts


class RemoteTimeoutError(RemotePolicyError, TimeoutError):
    """No answer came in time; a later one will not be used."""


class RemoteConnectionError(RemotePolicyError, ConnectionError):
    """No connection could be made, or it was lost before the answer came."""


class RemoteProtocolError(RemotePolicyError, ValueError):
    """The answer is no message of the protocol, or not of the shape and type that was declared."""


class RemoteRejectedError(RemotePolicyError):
    """The server answered with an error of its own."""


class UncopyableValueError(HoldstepError, TypeError):
    """A value has to be copied between threads and can't be.

    Attributes:
        path: where it was found, such as ``"external_inputs['robot'].pose"``.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class SourceError(HoldstepError, RuntimeError):
    """A source of actions failed, or gave what can't be applied; nothing of that was applied.

    Attributes:
        source: its name.
        env_ids: the rows that it drives.
        frame_id: the frame in which it happened; None outside of one, as while it was started.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str = "",
        env_ids: Sequence[int] = (),
        frame_id: int | None = None,
    ) -> None:
        super().__init__(message)
        self.source = source
        self.env_ids = tuple(env_ids)
        self.frame_id = frame_id


class EvaluationError(HoldstepError, RuntimeError):
    """An evaluation can't be finished, because an episode does not end or no row advances.

    Attributes:
        partial: an :class:`~holdstep.policies.EvalResult` of the episodes that did end. Its numbers
            favour short episodes.
    """

    partial: EvalResult | None = None


class ContractViolationError(HoldstepError, AssertionError):
    """An env breaks the contract of :class:`holdstep.envs.TorchVectorEnv`.

    Attributes:
        violations: one sentence for each rule that is broken.
    """

    def __init__(self, env_name: str, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        lines = "\n".join(f"  - {violation}" for violation in self.violations)
        super().__init__(
            f"{env_name} breaks the TorchVectorEnv contract "
            f"({len(self.violations)} found):\n{lines}"
        )


class DocumentError(HoldstepError, ValueError):
    """A file that people write, such as a configuration, has something in it that can't be used.

    Attributes:
        problems: one sentence for each problem, with the place where it was found.
    """

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{subject} ({len(self.problems)} found):\n{lines}")


class ContractError(DocumentError):
    """A deployment contract is malformed, or does not hold together."""


class RunConfigError(DocumentError, ConfigError):
    """The configuration of a run is malformed, or asks for what can't be."""


class ModelFileError(HoldstepError, ValueError):
    """A model file is missing, damaged, not what its contract says, or would run code if loaded."""


class ModelInputError(HoldstepError, ValueError):
    """A model was given inputs that it can't mean: missing, unknown, or of another shape or type.

    Attributes:
        problems: one sentence for each input that is wrong.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"The model's inputs are wrong ({len(self.problems)} found):\n{lines}")


class ExportError(HoldstepError, RuntimeError):
    """A policy can't be exported, or what was exported is not what the env does.

    Attributes:
        rung: the step of the validation that failed, such as ``"parity"``; empty before the first.
        term: the observation or action term that is to blame, such as ``"actor/joint_pos"``; None
            if it is none, or not known.
        report: the :class:`~holdstep.wrappers.export.ExportReport` up to there, or None.
    """

    rung: ClassVar[str] = ""

    def __init__(
        self, message: str, *, term: str | None = None, report: ExportReport | None = None
    ) -> None:
        super().__init__(message)
        self.term = term
        self.report = report


class DiscoveryError(ExportError):
    """What the pipeline reads, keeps or writes can't be found out, or can't be exported."""

    rung = "discover"


class PurityError(ExportError):
    """A term reads something that is none of the declared inputs and memories."""

    rung = "purity"


class TraceError(ExportError):
    """The pipeline can't be traced, or not by this method."""

    rung = "trace"


class ReplayError(ExportError):
    """The model file computes something else than the pipeline that it was made from."""

    rung = "replay"


class ParityError(ExportError):
    """The exported model and the live env come apart on states that were not traced."""

    rung = "parity"


class WiringError(ExportError):
    """The contract does not fit the env that it was made from, or can't be read back."""

    rung = "wiring"


class HostMismatchError(HoldstepError, ValueError):
    """An exported policy and the host that is to run it do not fit.

    Attributes:
        problems: one sentence for each thing that does not fit.
        notes: what differs without being wrong.
    """

    def __init__(
        self, task: str, host: str, problems: Sequence[str], notes: Sequence[str] = ()
    ) -> None:
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        lines = [f"The contract of {task} does not fit {host} ({len(self.problems)} found):"]
        lines += [f"  - {problem}" for problem in self.problems]
        lines += [f"  (note) {note}" for note in self.notes]
        super().__init__("\n".join(lines))


class HostError(HoldstepError, RuntimeError):
    """A host failed while a policy ran on it."""


def nearest_names(name: str, names: Iterable[str], *, limit: int = 4) -> str:
    """Names like ``name``, as the last sentence of an error message.

    Args:
        name: what the user wrote.
        names: what exists.
        limit: the most names to offer.

    Returns:
        `` Did you mean: a, b?`` with a leading space, or an empty string when nothing is like it.

    >>> nearest_names("lerning_rate", ["learning_rate", "gamma"])
    ' Did you mean: learning_rate?'
    >>> nearest_names("x", ["learning_rate"])
    ''
    """
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.5)
    return f" Did you mean: {', '.join(by_lower[match] for match in close)}?" if close else ""
