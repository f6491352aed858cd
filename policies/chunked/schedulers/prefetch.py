"""Infer the next chunk while the last actions of the one before are executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from holdstep.errors import ConfigError
from holdstep.policies.chunked.handover import Handover
from holdstep.policies.chunked.schedulers.base import Determinism, Scheduler, nobody, rows_of

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView

PrefetchMode = Literal["append", "discard", "rtc"]
Switch = Literal["end", "arrival"]


@dataclass
class Prefetch(Scheduler):
    """Asks for a row's next chunk when it has ``m`` actions left, and executes those meanwhile.

    Hides inference behind ``m`` steps, at a price: each chunk is inferred from an observation that
    is ``m`` steps older than its first action, so the policy is another one. A row's first chunk of
    an episode is inferred from its first observation. Rows that use up their actions before the
    next chunk is there are suspended, so that how long inference takes changes nothing.

    Args:
        m: steps by which to ask early; fewer than are executed of a chunk.
        mode: what becomes of the new chunk's first ``m`` actions, which were meant for steps that
            have been made by then. ``"append"``: they are executed, late. ``"discard"``: they are
            left out (``execute + m`` must not be larger than the chunk). ``"rtc"``: left out too,
            and the policy is given the actions that were executed instead, to continue them
            (real-time chunking, Black, Galliker and Levine 2025, arXiv 2506.07339).
        switch: when the new chunk takes over: ``"end"``, when the old one is used up; or
            ``"arrival"``, as soon as it is there, which depends on how long inference took.
        min_batch: rows to ask for at once, by default all live ones.

    Raises:
        ConfigError: arguments that can't be used, or not together.
    """

    m: int
    mode: PrefetchMode = "append"
    switch: Switch = "end"
    min_batch: int | None = None
    overlaps = True

    def __post_init__(self) -> None:
        for name, value in (("m", self.m), ("min_batch", self.min_batch)):
            if name == "min_batch" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer >= 1, got {value!r}.")
        for name, word, words in (
            ("mode", self.mode, get_args(PrefetchMode)),
            ("switch", self.switch, get_args(Switch)),
        ):
            if word not in words:
                valid = ", ".join(map(repr, words))
                raise ConfigError(f"{name} must be one of {valid}, got {word!r}.")
        if self.mode == "append" and self.switch == "arrival":
            raise ConfigError(
                "mode='append' puts a new chunk behind the old one, so it can't take over on "
                "arrival. Use switch='end', or mode='discard'."
            )
        self._handover = Handover(
            lead=self.m,
            skip_elapsed=self.mode != "append",
            on_arrival=self.switch == "arrival",
            with_prefix=self.mode == "rtc",
        )
        self.determinism: Determinism = "timing" if self.switch == "arrival" else "delayed"

    @property
    def handover(self) -> Handover:
        """As the mode says."""
        return self._handover

    def check(self, *, execute: int, chunk_length: int, uses_prefix: bool) -> None:
        """Refuse a lead that is too long, and policies that can't do real-time chunking."""
        if self.m >= execute:
            raise ConfigError(
                f"Prefetch(m={self.m}) must ask later than that: only {execute} actions of a chunk "
                "are executed, so m must be smaller."
            )
        if self.mode != "append" and execute + self.m > chunk_length:
            raise ConfigError(
                f"Prefetch(m={self.m}, mode={self.mode!r}) leaves out the first {self.m} of "
                f"{chunk_length} actions, so at most {chunk_length - self.m} can be executed, not "
                f"{execute}: execute={chunk_length - self.m}."
            )
        if self.mode == "rtc" and not uses_prefix:
            raise ConfigError(
                "Prefetch(mode='rtc') needs a policy that continues a prefix of actions, and this "
                "one's spec says uses_prefix=False. Use mode='discard'."
            )

    def select(self, rows: RowsView) -> np.ndarray:
        """All rows that are wanting, once enough are and the policy is free."""
        num_wanting = int(np.count_nonzero(rows.wanting_mask))
        if num_wanting == 0 or rows.num_requests > 0:
            return nobody()
        at_least = min(self.min_batch or rows.num_live, rows.num_live)
        if num_wanting >= at_least or rows.nothing_runs:
            return rows_of(rows.wanting_mask)
        return nobody()
