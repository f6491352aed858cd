"""Retargeting pipelines of isaacteleop from plain data."""

from holdstep.policies.teleop.graph.config import ControlConfig, GraphConfig, NodeConfig
from holdstep.policies.teleop.graph.node_types import NODE_TYPES, register_node

__all__ = ["NODE_TYPES", "ControlConfig", "GraphConfig", "NodeConfig", "register_node"]
