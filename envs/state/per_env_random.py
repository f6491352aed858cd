"""Random numbers of simulators that have one stream for all rows, made row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import torch

from holdstep.envs.state.random_kinds import DTYPES, Engine, Kind, TorchEngine, advance
from holdstep.envs.state.random_redirect import install, redirected_to
from holdstep.envs.state.random_report import UnattributedDraws, UnattributedDrawWarning
from holdstep.envs.state.random_scopes import InScope, RowsScope, ScopeIds
from holdstep.envs.state.rng import PerEnvRng

if TYPE_CHECKING:
    from holdstep.envs.env_ids import EnvIds

__all__ = ["PerEnvRandom", "UnattributedDrawWarning"]

_NUM_BITS = {torch.float16: 11, torch.bfloat16: 8}
_SAY_WHOSE = "say so around it with PerEnvRandom.rows(env_ids)"
_LOOP_OVER_ROWS = "draw it with torch, or in a loop over env_ids.tolist()"


class PerEnvRandom:
    """Gives every row of a simulator a random stream of its own, without the simulator knowing.

    While :meth:`active`, torch's random functions, called by this thread, take their numbers from
    counter-based streams (:class:`~holdstep.envs.state.rng.PerEnvRng`), one per row. So a row's
    noise, pushes, commands and resets depend on the seed and on what the row itself has drawn, not
    on other rows, on their number, or on who is suspended. A row's place in its stream is
    :attr:`counter`: state of the row like any other, saved and put back with it.

    A draw belongs to rows by its leading dimension and by the :meth:`rows` that the running code
    is about, which hooks on the simulator say:

    ==================  ========================================  ===================
    leading dimension   inside ``rows(env_ids)``                  elsewhere
    ==================  ========================================  ===================
    ``len(env_ids)``    these rows'                               (see below)
    ``num_envs``        all rows', but only ``env_ids`` advance   all rows'
    of the last lookup  the rows that were looked up, while the   (see below)
                        function that did it still runs
    another one         the shared stream's                       the shared stream's
    ==================  ========================================  ===================

    Inside a ``for`` over these rows (``env_ids.tolist()``, or the tensor itself), draws of any
    shape are the row's that the loop is at; also those of ``random.…`` and ``numpy.random.…``,
    which then draw from a stream that the row's own has seeded (that waits for a GPU).

    A lookup is ``mask.nonzero()`` or ``torch.where(mask)`` over all rows: simulators choose the
    rows of pushes in the middle of a function. ``rows(None)`` is all rows, and allows for lookups.

    Draws of the shared stream are counted in :attr:`unattributed`, with a warning for each place
    in the code. They are right where rows share a number (a global timer); then only how *often*
    they happen may depend on other rows. Equal sizes by coincidence can't be told apart:
    ``torch.rand(3)`` meant for all rows, while three rows are reset, counts as these rows'.

    Not redirected: draws from a ``torch.Generator`` that the caller passes (they are the caller's);
    Warp's; Python's and NumPy's outside of such loops, but for NumPy's usual functions with a
    ``size`` (``uniform``, ``normal``, ``randint``, ...), which count as torch's; complex ones;
    ``torch.poisson``, ``binomial``, gamma, Dirichlet; functions that were imported by name
    (``from torch import rand``) and those of compiled code (TorchScript, except two of mjlab and
    Isaac Lab that are known; ``torch.compile``).
    Draws of these that advance torch's global streams are noticed and warned about, once; so are
    calls of ``random.…`` and ``numpy.random.…``, once for each place in the code.

    Normal numbers in float64 have the resolution of float32 ones.

    Attributes:
        counter: numbers that each row has drawn, int64 ``[N]``; written in place.
        key: start of each row's stream, int64 ``[N]``; written by :meth:`reseed`.
        gamma: increment of each row's stream, int64 ``[N]``; likewise.
        num_draws: how many draws were redirected.

    Args:
        num_envs: number of rows.
        device: of the simulator; draws on the CPU that belong to rows of a GPU are copied there.
        seed: from 0 to ``2**64 - 1``; None takes one from the operating system.
        engine: ``"warp"`` needs one kernel launch for a draw, ``"torch"`` some fifteen; by default
            Warp if it is installed. Both make the same numbers, except that normal ones may differ
            in the last bit, very rarely.
    """

    def __init__(
        self,
        num_envs: int,
        device: str | torch.device,
        seed: int | None = None,
        *,
        engine: Literal["warp", "torch"] | None = None,
    ) -> None:
        # One more stream than rows: the shared one, for what belongs to no row.
        self._rng = PerEnvRng(num_envs + 1, device, seed)
        self.num_envs = num_envs
        self.device = self._rng.device
        self.counter = self._rng.counter[:num_envs]
        self.key = self._rng.key[:num_envs]
        self.gamma = self._rng.gamma[:num_envs]
        self.num_draws = 0
        self._engine = _make_engine(self._rng, engine)
        with torch.inference_mode(False):
            self._shared_id = torch.tensor([num_envs], device=self.device)
        self._unattributed = UnattributedDraws(self.device)
        self._scopes: list[RowsScope] = []
        self._installed: Callable[[], Any] | None = None
        self._depth = 0

    @property
    def unattributed(self) -> dict[str, int]:
        """How many draws belong to no row, by place in the code."""
        return self._unattributed.counts

    @property
    def missed(self) -> bool:
        """Whether something drew from torch's global streams while :meth:`active`."""
        return self._unattributed.missed

    @property
    def scope(self) -> RowsScope | None:
        """The rows that the running code is about, if somebody has said so."""
        return self._scopes[-1] if self._scopes else None

    @property
    def is_active(self) -> bool:
        """Whether draws are redirected now."""
        return self._depth > 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Redirect this thread's draws, until the block is left; may be nested.

        torch's functions are replaced by ones that look whether they are to be redirected; the
        first block does that, :meth:`close` undoes it.
        """
        if self._installed is None:
            self._installed = install(self)
        self._depth += 1
        if self._depth == 1:
            self._unattributed.watch()
        try:
            with redirected_to(self):
                yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._scopes.clear()
                self._unattributed.check()

    def close(self) -> None:
        """Give torch its functions back, once nobody else redirects; may be called again."""
        if self._installed is not None:
            self._installed()
            self._installed = None

    def rows(self, env_ids: ScopeIds) -> AbstractContextManager[None]:
        """The code inside is about these rows.

        Args:
            env_ids: as the simulator's functions get them: int32 or int64 ids, a list, a slice, a
                bool mask ``[N]`` (which waits for a GPU), or None for all rows.
        """
        if self._depth == 0:
            return InScope(self._scopes, None)
        return InScope(self._scopes, RowsScope(env_ids, self.num_envs, self.device))

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Whatever is drawn inside, all streams are then where they were before."""
        counters = self._rng.counter.clone()
        try:
            yield
        finally:
            self._rng.counter.copy_(counters)

    def reseed(self, seed: int, env_ids: EnvIds | None = None) -> None:
        """Start streams anew, as if this object had just been made with this seed.

        Args:
            seed: from 0 to ``2**64 - 1``.
            env_ids: rows whose streams start anew, ids or a bool mask ``[N]``; by default all and
                the shared one. Naming rows waits for a GPU.

        Raises:
            ConfigError: the seed is no integer or out of range.
            InvalidEnvIdsError: ids that can't be meant.
        """
        if env_ids is not None:
            from holdstep.envs.env_ids import canonical_env_ids

            env_ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
        with torch.inference_mode(False), torch.no_grad():
            self._rng.reseed(seed, env_ids)

    def global_state_may_change(self) -> None:
        """The simulator is about to seed torch's global streams: that is no missed draw."""
        self._unattributed.forgive()

    def fill(self, out: torch.Tensor, kind: Kind, a: float, b: float) -> torch.Tensor:
        """Fill a tensor with its rows' next numbers (called by the replaced functions).

        Args:
            out: any shape, dtype, strides and device.
            kind: of numbers.
            a: first parameter.
            b: second parameter.

        Returns:
            ``out``.
        """
        if out.numel() == 0:
            return out
        dtype = out.dtype
        if dtype is DTYPES[kind] and out.device == self.device and out.is_contiguous():
            self._draw(out, kind, a, b)
            return out
        if kind is Kind.UNIFORM and dtype is not torch.float32:
            return out.copy_(self._other_uniform(out, a, b))
        made = torch.empty(out.shape, dtype=DTYPES[kind], device=self.device)
        self._draw(made, kind, a, b)
        return out.copy_(made)

    def shared_units(self, num: int, device: torch.device) -> torch.Tensor:
        """Numbers ``[num]`` in (0, 1), float64, of the shared stream."""
        made = torch.empty(num, dtype=torch.float64, device=self.device)
        if self.scope is not None and self.scope.loops:
            self._draw(made, Kind.UNIT, 0.0, 1.0)
        else:
            self._draw_shared(made, Kind.UNIT, 0.0, 1.0)
        return made.to(device)

    def follow(self, condition: torch.Tensor, found: torch.Tensor, frame: FrameType) -> None:
        """See :meth:`~holdstep.envs.state.random_scopes.RowsScope.follow`."""
        if self._scopes and condition.device == self.device:
            self._scopes[-1].follow(condition, found, frame)

    def cannot_redirect(self, name: str) -> None:
        """Count a draw that is left to torch's global stream."""
        self._unattributed.add(f"torch.{name}, from torch's global stream,", _SAY_WHOSE)
        self._unattributed.forgive()

    def stream_of_row(self, make: type[Any]) -> Any:
        """A stream of Python's or NumPy's for the row that a loop is at.

        Args:
            make: is made from a seed of 32 bits, once for each row in each loop.

        Returns:
            What it made, or None if no loop over rows is running.
        """
        scope = self.scope
        if scope is None or not scope.loops:
            return None
        loop = scope.loops[-1]
        if make not in loop.streams:
            seed = torch.empty(1, dtype=torch.int64, device=self.device)
            self._engine.draw(seed, Kind.INTEGER, 0, 2**32, loop.row(self.device))
            loop.streams[make] = make(int(seed))
        return loop.streams[make]

    def drawn_elsewhere(self, name: str) -> None:
        """Count a draw from a stream of Python's or NumPy's, which all rows share."""
        self._unattributed.add(f"{name}, from a stream that all rows share,", _LOOP_OVER_ROWS)

    def _draw(self, out: torch.Tensor, kind: Kind, a: float, b: float) -> None:
        shape = out.shape
        leading = shape[0] if shape else -1
        scope = self.scope
        if scope is not None and scope.loops:
            self._engine.draw(out.view(1, -1), kind, a, b, scope.loops[-1].row(self.device))
        elif scope is None or scope.is_all:
            if leading == self.num_envs:
                self._engine.draw(out, kind, a, b, None)
            else:
                self._draw_followed(out, kind, a, b, scope, leading)
        elif leading == scope.num_rows:
            self._engine.draw(out, kind, a, b, scope.ids)
        elif leading == self.num_envs:
            # For all rows, of which these only will be used: the others must not notice.
            self._engine.draw(out, kind, a, b, None, advances=False)
            advance(self._rng, scope.ids, scope.num_rows, out.numel() // leading)
        else:
            self._draw_followed(out, kind, a, b, scope, leading)
        self.num_draws += 1

    def _draw_followed(
        self, out: torch.Tensor, kind: Kind, a: float, b: float, scope: RowsScope | None, rows: int
    ) -> None:
        ids = scope.followed(rows) if scope is not None else None
        if ids is None:
            self._draw_shared(out, kind, a, b)
        else:
            self._engine.draw(out, kind, a, b, ids)

    def _draw_shared(self, out: torch.Tensor, kind: Kind, a: float, b: float) -> None:
        self._engine.draw(out.view(1, -1), kind, a, b, self._shared_id)
        self._unattributed.add(f"A draw of shape {tuple(out.shape)}", _SAY_WHOSE)

    def _other_uniform(self, out: torch.Tensor, a: float, b: float) -> torch.Tensor:
        num_bits = _NUM_BITS.get(out.dtype)
        if num_bits is None:
            kind, dtype = Kind.UNIT, torch.float64
        else:
            kind, dtype = Kind.UNIFORM, torch.float32
        unit = torch.empty(out.shape, dtype=dtype, device=self.device)
        self._draw(unit, kind, 0.0, 1.0)
        if num_bits is not None:  # as many as do not round up to 1
            unit.mul_(2.0**num_bits).floor_().mul_(2.0**-num_bits)
        return unit.mul_(b).add_(a)


def _make_engine(rng: PerEnvRng, name: Literal["warp", "torch"] | None) -> Engine:
    if name == "torch":
        return TorchEngine(rng)
    try:
        from holdstep.envs.state.random_warp import WarpEngine
    except ImportError:
        if name == "warp":
            raise
        return TorchEngine(rng)
    return WarpEngine(rng)
