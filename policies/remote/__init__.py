"""Policies that run in another process or on another machine, and servers for them.

Clients :class:`GrootPolicy` and :class:`OpenPiPolicy` speak the protocols of NVIDIA Isaac-GR00T and
of Physical Intelligence's openpi; :class:`GrootServer` and :class:`OpenPiServer` serve any
:class:`~holdstep.policies.ChunkedPolicy` over them.
"""

from holdstep.policies.remote.columns import Columns
from holdstep.policies.remote.demo import DemoPolicy
from holdstep.policies.remote.groot_mapping import GrootMapping
from holdstep.policies.remote.groot_policy import GrootPolicy
from holdstep.policies.remote.groot_server import GrootServer
from holdstep.policies.remote.limits import CallLimits
from holdstep.policies.remote.openpi_mapping import OpenPiMapping
from holdstep.policies.remote.openpi_policy import OpenPiPolicy
from holdstep.policies.remote.openpi_server import OpenPiServer

__all__ = [
    "CallLimits",
    "Columns",
    "DemoPolicy",
    "GrootMapping",
    "GrootPolicy",
    "GrootServer",
    "OpenPiMapping",
    "OpenPiPolicy",
    "OpenPiServer",
]
