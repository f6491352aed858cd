"""What a :class:`~holdstep.wrappers.record.split_rows.RowSplitter` stands between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from holdstep.wrappers.record.episode import Ended
    from holdstep.wrappers.record.records import Bytes, Words


class Store(Protocol):
    """The part of :class:`~holdstep.wrappers.record.store.EpisodeStore` that is needed here."""

    @property
    def full(self) -> bool:
        """Whether no episode may begin any more."""
        ...

    def begin(self, row: int, words: Words, bytes_: Bytes, attributes: Mapping[str, Any]) -> int:
        """An episode begins with these observations; returns its number."""
        ...

    def append(self, uid: int, words: Words, bytes_: Bytes) -> None:
        """Add consecutive steps; the arrays may be views, used before this returns."""
        ...

    def end(
        self,
        uid: int,
        *,
        ended: Ended,
        success: bool | None,
        attributes: Mapping[str, Any],
        final: tuple[Words, Bytes] | None,
    ) -> None:
        """An episode has ended."""
        ...

    def discard(self, uid: int) -> None:
        """Forget an episode that is under way, or a row's last finished one."""
        ...
