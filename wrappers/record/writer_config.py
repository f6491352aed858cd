"""What a writer is told at its start."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.record.columns import RowLayout
from holdstep.wrappers.record.quota import Quota
from holdstep.wrappers.record.ring import BlockShape

if TYPE_CHECKING:
    from pathlib import Path

    from holdstep.wrappers.record.files import Files
    from holdstep.wrappers.record.options import RecordOptions

# Looked up when it is needed, so that tests can put another one in its place.
STORE = "holdstep.wrappers.record.store:EpisodeStore"


@dataclass(frozen=True)
class WriterConfig:
    """All that a writer needs to know, as plain data for the way into another process.

    Attributes:
        path: of the dataset.
        columns: the layout, as :meth:`RowLayout.to_json` writes it.
        shape: of the ring's blocks.
        num_blocks: how many there are.
        quota: what is to be recorded.
        store_options: keyword arguments of the store.
        resumes: there was a writer before, and blocks may be sent again.
        store: the class of the store, ``"module:name"``.
    """

    path: str
    columns: list[dict[str, Any]]
    shape: BlockShape
    num_blocks: int
    quota: Quota
    store_options: dict[str, Any] = field(default_factory=dict)
    resumes: bool = False
    store: str = field(default_factory=lambda: STORE)

    @property
    def layout(self) -> RowLayout:
        """How rows are packed."""
        return RowLayout.from_json(self.columns)

    def open_store(self, files: Files) -> Any:
        """The store; of the episodes that were under way when its last writer died, if it did."""
        module, _, name = self.store.partition(":")
        store_class = getattr(importlib.import_module(module), name)
        return store_class(
            self.path, layout=self.layout, adopt=self.resumes, files=files, **self.store_options
        )

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WriterConfig:
        """What :meth:`to_json` wrote."""
        values = json.loads(text)
        values["shape"] = BlockShape(**values["shape"])
        values["quota"] = Quota(**values["quota"])
        return cls(**values)


def writer_config(
    path: Path,
    layout: RowLayout,
    shape: BlockShape,
    num_blocks: int,
    options: RecordOptions,
    attributes: dict[str, Any],
) -> WriterConfig:
    """What the writer of a recording is told.

    Args:
        path: of the dataset.
        layout: of a row.
        shape: of the ring's blocks.
        num_blocks: how many there are.
        options: how to record.
        attributes: of the dataset.
    """
    success_filter = options.success_filter
    return WriterConfig(
        path=str(path),
        columns=layout.to_json(),
        shape=shape,
        num_blocks=num_blocks,
        quota=Quota(
            max_episodes=options.max_episodes,
            counts="all" if success_filter == "split" else success_filter,
            partial=options.partial,
            success_when=options.success_when,
        ),
        store_options={
            "attributes": attributes,
            "durability": options.durability,
            "compression": options.compression,
            "success_filter": success_filter,
            "max_bytes": options.max_bytes,
        },
    )
