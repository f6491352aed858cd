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
    from holdstep.wrappers.record.files import Files

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
