"""``holdstep dataset``: a command for each thing that can be done with recorded episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from holdstep.cli.dataset_convert import Convert
from holdstep.cli.dataset_info import Info
from holdstep.cli.dataset_merge import Merge
from holdstep.cli.dataset_plot import Plot
from holdstep.cli.dataset_repair import Repair
from holdstep.cli.dataset_replay import Replay
from holdstep.cli.dataset_validate import Validate

Tool = (
    Annotated[Info, tyro.conf.subcommand("info", prefix_name=False)]
    | Annotated[Validate, tyro.conf.subcommand("validate", prefix_name=False)]
    | Annotated[Repair, tyro.conf.subcommand("repair", prefix_name=False)]
    | Annotated[Merge, tyro.conf.subcommand("merge", prefix_name=False)]
    | Annotated[Convert, tyro.conf.subcommand("convert", prefix_name=False)]
    | Annotated[Plot, tyro.conf.subcommand("plot", prefix_name=False)]
    | Annotated[Replay, tyro.conf.subcommand("replay", prefix_name=False)]
)


@dataclass
class DatasetTools:
    """Look at recorded episodes, check, repair, merge, convert, draw and replay them.

    Example: holdstep dataset info demos
    """

    tool: Tool

    def run(self) -> int:
        """Do it."""
        return self.tool.run()
