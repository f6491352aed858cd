"""The parts of a contract besides its tensors: files, terms, actuators, constants, checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from holdstep.documents.problems import Problem
from holdstep.wrappers.export.checked import Checked
from holdstep.wrappers.export.contract_rules import file_problem

ActuatorKind: TypeAlias = Literal["implicit", "explicit", "dc_motor", "effort", "other"]


@dataclass(frozen=True)
class Constant(Checked):
    """A value that is baked into the model.

    Attributes:
        name: of the constant in the model, or of the attribute it was read from.
        source: where it was read, such as ``"state:robot:default_joint_pos"``.
        shape: of the value as it was read; the leading dimension is left out where it has one.
        varies: whether rows had different values, of which one was baked in: randomised per env.
        digest: SHA-256 of its bytes, in hexadecimal; None if it was not computed.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    varies: bool = False
    digest: str | None = None


@dataclass(frozen=True)
class ModelFile(Checked):
    """A file with a model, next to the contract.

    Attributes:
        file: its path inside the contract's folder, with ``/`` between parts.
        backend: what wrote it and can run it, such as ``"torch-jit"``.
        graph: ``"policy"`` runs once per control step, ``"apply"`` before every physics step.
        inputs: the names that the file uses, in the contract's order.
        outputs: the same for its outputs; those that update memories come last.
        batch: the number of rows it can run; None for any.
        sha256: of the file, in hexadecimal; None if it is not known.
        input_order: :attr:`inputs` in the order in which the file takes them, where it goes by
            position and its order is another; empty for the contract's.
        output_order: the same for what it returns.
        memory_row_dims: of each memory, which of its dimensions are the rows in this file, as in a
            recurrent network's ``[layers, rows, size]``; empty for the first of all.
    """

    file: str
    backend: str
    graph: Literal["policy", "apply"]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: int | None = None
    sha256: str | None = None
    input_order: tuple[str, ...] = ()
    output_order: tuple[str, ...] = ()
    memory_row_dims: tuple[int, ...] = ()

    def _problems(self) -> Iterator[Problem]:
        for field_name, names in (("input_order", self.inputs), ("output_order", self.outputs)):
            order = getattr(self, field_name)
            if order and (sorted(order) != sorted(names) or len(set(order)) < len(order)):
                yield Problem(
                    (field_name,),
                    f"must have each of {', '.join(names)} once, got {', '.join(order)}.",
                )
        if message := file_problem(self.file):
            yield Problem(("file",), message)
        if self.batch is not None and self.batch < 1:
            yield Problem(("batch",), f"must be at least 1, or left out for any, got {self.batch}.")
        digest = self.sha256
        if digest is not None and (len(digest) != 64 or set(digest) - set("0123456789abcdef")):
            yield Problem(("sha256",), f"must be 64 hexadecimal digits, got {digest!r}.")


@dataclass(frozen=True)
class ObservationTerm(Checked):
    """An observation term that is inside the model; for people, not for hosts.

    Attributes:
        group: its observation group, such as ``"policy"``.
        name: of the term.
        function: dotted path of the function or class that computes it.
        shape: of one row of what the term adds to its group.
        scale: what it is multiplied with: one number, or one per element; None if nothing.
        clip: least and greatest value; None if it is not clipped.
        history_length: frames kept, 0 for none.
        delay: least and most steps that it lags behind; None for none.
        params: parameters of the term, as text by name.
    """

    group: str
    name: str
    function: str
    shape: tuple[int, ...]
    scale: tuple[float, ...] | None = None
    clip: tuple[float, float] | None = None
    history_length: int = 0
    delay: tuple[int, int] | None = None
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ActionTerm(Checked):
    """An action term that is inside the model; for people, not for hosts.

    Attributes:
        name: of the term.
        class_path: dotted path of its class.
        entity: whose targets it writes; None if it writes none.
        shape: of one row of the action that it takes.
        joint_names: what it moves, in the order of its action.
        scale: what the action is multiplied with: one number, or one per element.
        offset: what is added then: one number, or one per element.
        clip: least and greatest target, one pair for all elements or one each; None for no clip.
    """

    name: str
    class_path: str
    entity: str | None
    shape: tuple[int, ...]
    joint_names: tuple[str, ...] = ()
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    clip: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Actuator(Checked):
    """How targets became torques where the policy was trained; hosts without motors need it.

    Attributes:
        entity: whose joints.
        joint_names: the joints it drives.
        kind: ``"implicit"``: a spring and damper that the physics engine integrates itself;
            ``"explicit"``: the same law computed before every physics step and held through it;
            ``"dc_motor"``: explicit, with a torque limit that falls with speed; ``"effort"``: the
            target is the torque; ``"other"``: none of these (hosts refuse it unless they have
            motors of their own).
        stiffness: [N m/rad or N/m] of each joint; empty where it means nothing.
        damping: [N m s/rad or N s/m] of each joint; empty where it means nothing.
        effort_limit: largest torque or force of each joint; empty for no limit.
        saturation_effort: a DC motor's torque at standstill, of each joint.
        velocity_limit: a DC motor's speed without load, of each joint.
        delay: least and most physics steps by which targets lag; None for none.
    """

    entity: str
    joint_names: tuple[str, ...]
    kind: ActuatorKind
    stiffness: tuple[float, ...] = ()
    damping: tuple[float, ...] = ()
    effort_limit: tuple[float, ...] = ()
    saturation_effort: tuple[float, ...] = ()
    velocity_limit: tuple[float, ...] = ()
    delay: tuple[int, int] | None = None

    def _problems(self) -> Iterator[Problem]:
        if len(set(self.joint_names)) < len(self.joint_names):
            yield Problem(("joint_names",), "must not repeat.")
        needed = {"stiffness", "damping"} if self.kind in ("implicit", "explicit") else set()
        if self.kind == "dc_motor":
            needed = {"stiffness", "damping", "saturation_effort", "velocity_limit"}
        for name in (
            "stiffness",
            "damping",
            "effort_limit",
            "saturation_effort",
            "velocity_limit",
        ):
            values = getattr(self, name)
            if len(values) != len(self.joint_names) and (values or name in needed):
                yield Problem(
                    (name,),
                    f"must have a number for each of the {len(self.joint_names)} joints, got "
                    f"{len(values)}.",
                )
            if any(value < 0 for value in values):
                yield Problem((name,), "must not be negative.")
        if self.delay is not None and not 0 <= self.delay[0] <= self.delay[1]:
            yield Problem(("delay",), f"must be the least and the most, got {list(self.delay)}.")


@dataclass(frozen=True)
class Check(Checked):
    """A rung of the validation ladder, as it went at the export.

    Attributes:
        name: of the rung, such as ``"parity"``.
        status: how it went.
        value: what was measured, such as the largest difference; None if nothing was.
        limit: what it had to stay below; None if there was no limit.
        detail: a sentence.
    """

    name: str
    status: Literal["passed", "failed", "skipped"]
    value: float | None = None
    limit: float | None = None
    detail: str = ""
