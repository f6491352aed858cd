"""A retargeting pipeline as plain data: its nodes, and what flows from which to which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """A node.

    Attributes:
        type: one of :data:`~holdstep.policies.teleop.NODE_TYPES`, a name given to
            :func:`~holdstep.policies.teleop.register_node`, or ``"module:Class"``.
        options: arguments of the class but its name, and the fields of its configuration, if it
            takes one.
        inputs: by the class's names, what feeds them, as ``"node.output"``. Those that the class
            calls optional may be left out.
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """What an operator's buttons order, as ``"node.output"``.

    Attributes:
        teleop_state: stopped, paused or running.
        reset_event: a reset.
    """

    teleop_state: str
    reset_event: str


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """A retargeting pipeline, and its control pipeline, over the same nodes.

    It can be called, and builds both anew: ``session_config(graph)``.

    Attributes:
        nodes: by names of yours, without dots. Sources have to be named as in a recording.
        outputs: of the pipeline, as ``"node.output"``.
        control: outputs of the control pipeline; None without one.

    """

    nodes: Mapping[str, NodeConfig]
    outputs: Mapping[str, str]
    control: ControlConfig | None = None

    def __call__(self) -> tuple[Any, Any]:
        """The pipeline, and the control pipeline or None, of nodes that nobody else has.

        Raises:
            FieldsError: a type, option, input, node or output that does not exist or does not fit,
                one that is missing, nodes that feed each other in a circle, or one that leads to no
                output; all of them at once.
            MissingExtraError: the extra ``teleop`` is not installed.
        """
        from holdstep.policies.teleop.graph.building import build_graph

        return build_graph(self)
