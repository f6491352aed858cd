"""The names of nodes, as configurations write them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from holdstep.errors import ConfigError, nearest_names
from holdstep.named import named
from holdstep.policies.teleop.session.config import load_teleop

_MODULES = {
    "isaacteleop.retargeting_engine.deviceio_source_nodes": (
        *("HeadSource", "HandsSource", "ControllersSource", "FullBodySource"),
        *("Generic3AxisPedalSource", "JointStateSource"),
    ),
    "isaacteleop.retargeting_engine.interface": ("ValueInput",),
    "isaacteleop.retargeting_engine.utilities": (
        *("HeadTransform", "HandTransform", "ControllerTransform"),
    ),
    "isaacteleop.retargeters": (
        *("GripperRetargeter", "Se3AbsRetargeter", "Se3RelRetargeter", "ControllerPoseSource"),
        *("SO101ClutchRetargeter", "SO101GripperRetargeter"),
        *("LocomotionRootCmdRetargeter", "LocomotionFixedRootCmdRetargeter"),
        *("FootPedalRootCmdRetargeter", "JointStateRetargeter"),
        *("TriHandMotionControllerRetargeter", "TriHandBiManualMotionControllerRetargeter"),
        *("DexHandRetargeter", "DexBiManualRetargeter", "WujiHandRetargeter"),
        *("SharpaHandRetargeter", "SharpaBiManualRetargeter"),
        *("EePoseRateLimiter", "JointRateLimiter", "TensorReorderer"),
        *("Vector3FrameTransform", "WorldForceAccumulator", "MagnitudeReducer"),
        *("TactileVectorToControllerPulse", "TactileHeatmapToControllerPulse"),
    ),
    "isaacteleop.teleop_session_manager": ("DefaultTeleopStateManager",),
}
NODE_TYPES: Mapping[str, str] = MappingProxyType(
    {name: f"{module}:{name}" for module, names in _MODULES.items() for name in names}
    | {"Button": "holdstep.policies.teleop.graph.button:button"}
)
"""Where each is. All but ``Button`` are isaacteleop's own."""

_registered: dict[str, Callable[..., Any]] = {}


def register_node(name: str, make: Callable[..., Any]) -> None:
    """Give a retargeter a name that graphs can use, as isaacteleop's own have one.

    Files can name ``"module:Class"`` without this.

    Args:
        name: without a colon.
        make: a class of isaacteleop's ``BaseRetargeter``; or a function that puts several nodes
            together, whose arguments of type ``OutputSelector`` are the inputs. Both have to take
            ``name``.

    Raises:
        ConfigError: the name means something else already, or can't be one.
    """
    if not name or ":" in name:
        raise ConfigError(f"A node's type must be a name without a colon, got {name!r}.")
    if name in NODE_TYPES or _registered.get(name, make) is not make:
        raise ConfigError(f"There is a node type {name!r} already; take another name.")
    _registered[name] = make


def node_type(name: str) -> Callable[..., Any]:
    """What makes nodes of a type: a class of retargeters, or a function.

    Args:
        name: as :class:`~holdstep.policies.teleop.NodeConfig` has it.

    Raises:
        ConfigError: there is no such type, or it makes no nodes.
        ImportError: its module can't be imported; isaacteleop says what to install.
    """
    if ":" in name:
        make = named(name, repr(name))
    elif name in _registered:
        make = _registered[name]
    elif name in NODE_TYPES:
        module, _, attribute = NODE_TYPES[name].partition(":")
        make = getattr(importlib.import_module(module), attribute)
    else:
        known = [*NODE_TYPES, *_registered]
        raise ConfigError(
            f"there is no node type {name!r}."
            + (nearest_names(name, known) or f" There are: {', '.join(known)}.")
            + " Your own are named as module:Class."
        )
    base = load_teleop("retargeting_engine.interface").BaseRetargeter
    if not (inspect.isfunction(make) or (inspect.isclass(make) and issubclass(make, base))):
        raise ConfigError(
            f"{name!r} must be a class of isaacteleop's BaseRetargeter, or a function that makes "
            f"nodes, got {make!r}."
        )
    if inspect.isabstract(make):
        raise ConfigError(f"{name!r} is abstract: name a class that is derived from it.")
    if "name" not in inspect.signature(make).parameters:
        raise ConfigError(f"{name!r} takes no argument name, which its nodes need.")
    return make
