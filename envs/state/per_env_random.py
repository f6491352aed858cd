"""Random numbers of simulators that have one stream for all rows, made row by row."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import torch

from holdstep.envs.state.random_kinds import DTYPES, Engine, Kind, TorchEngine, advance
from holdstep.envs.state.random_redirect import install, redirected_to
from holdstep.envs.state.random_scopes import InScope, RowsScope, ScopeIds, location
from holdstep.envs.state.rng import PerEnvRng

if TYPE_CHECKING:
    from holdstep.envs.env_ids import EnvIds

_INTERNAL = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep)
_NUM_BITS = {torch.float16: 11, torch.bfloat16: 8}
_SAY_WHOSE = "say so around it with PerEnvRandom.rows(env_ids)"


class UnattributedDrawWarning(UserWarning):
    """A simulator drew numbers that holdstep can't tell the rows of."""


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

    A lookup is ``mask.nonzero()`` or ``torch.where(mask)`` over all rows: simulators choose the
    rows of pushes in the middle of a function. ``rows(None)`` is all rows, and allows for lookups.

    Draws of the shared stream are counted in :attr:`unattributed`, with a warning for each place
    in the code. They are right where rows share a number (a global timer); then only how *often*
    they happen may depend on other rows. Equal sizes by coincidence can't be told apart:
    ``torch.rand(3)`` meant for all rows, while three rows are reset, counts as these rows'.

    Not redirected: draws from a ``torch.Generator`` that the caller passes (they are the caller's);
    NumPy's, Python's and Warp's; complex ones; ``torch.poisson``, ``binomial``, gamma, Dirichlet;
    functions that were imported by name (``from torch import rand``) and those of compiled code
    (TorchScript, except two of mjlab and Isaac Lab that are known; ``torch.compile``).
    Draws of these that advance torch's global streams are noticed and warned about, once; so are
    calls of ``random.…`` and ``numpy.random.…``, once for each place in the code.

    Normal numbers in float64 have the resolution of float32 ones.

    Attributes:
        counter: numbers that each row has drawn, int64 ``[N]``; written in place.
        key: start of each row's stream, int64 ``[N]``; written by :meth:`reseed`.
        gamma: increment of each row's stream, int64 ``[N]``; likewise.
        unattributed: how many draws belong to no row, by place in the code.
        missed: whether something drew from torch's global streams while :meth:`active`.
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
        self.unattributed: dict[str, int] = {}
        self.missed = False
        self.num_draws = 0
        self._engine = _make_engine(self._rng, engine)
        with torch.inference_mode(False):
            self._shared_id = torch.tensor([num_envs], device=self.device)
        self._scopes: list[RowsScope] = []
        self._installed: Callable[[], Any] | None = None
        self._depth = 0
        self._global_state_may_change = False

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
        before = self._global_state() if self._depth == 1 else None
        try:
            with redirected_to(self):
                yield
        finally:
            self._depth -= 1
            if before is not None:
                self._scopes.clear()
                self._check_global_state(before)

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
        self._global_state_may_change = True

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
        self._draw_shared(made, Kind.UNIT, 0.0, 1.0)
        return made.to(device)

    def follow(self, condition: torch.Tensor, found: torch.Tensor, frame: FrameType) -> None:
        """See :meth:`~holdstep.envs.state.random_scopes.RowsScope.follow`."""
        if self._scopes and condition.device == self.device:
            self._scopes[-1].follow(condition, found, frame)

    def cannot_redirect(self, name: str) -> None:
        """Count a draw that is left to torch's global stream."""
        self._report(f"torch.{name}, from torch's global stream,")
        self._global_state_may_change = True

    def drawn_elsewhere(self, name: str) -> None:
        """Count a draw from a stream of Python's or NumPy's, which all rows share."""
        self._report(f"{name}, from a stream that all rows share,", how="draw it with torch")

    def _draw(self, out: torch.Tensor, kind: Kind, a: float, b: float) -> None:
        shape = out.shape
        leading = shape[0] if shape else -1
        scope = self._scopes[-1] if self._scopes else None
        if scope is None or scope.is_all:
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
        self._report(f"A draw of shape {tuple(out.shape)}")

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

    def _report(self, what: str, how: str = _SAY_WHOSE) -> None:
        where = location(lambda file: file.startswith(_INTERNAL))
        count = self.unattributed.get(where, 0)
        self.unattributed[where] = count + 1
        if count == 0:
            warnings.warn(
                f"{what} at {where} belongs to no row: rows that use it may depend on one another. "
                f"If it is for certain rows, {how}.",
                UnattributedDrawWarning,
                stacklevel=2,
            )

    def _global_state(self) -> tuple[torch.Tensor, int]:
        offset = 0
        if self.device.type == "cuda":
            offset = torch.cuda.default_generators[self.device.index].get_offset()
        return torch.default_generator.get_state(), offset

    def _check_global_state(self, before: tuple[torch.Tensor, int]) -> None:
        may_change, self._global_state_may_change = self._global_state_may_change, False
        if may_change or self.missed:
            return
        now = self._global_state()
        if now[1] != before[1] or _bytes(now[0]) != _bytes(before[0]):
            self.missed = True
            warnings.warn(
                "Something drew from torch's global random stream during a step, in a way that "
                "can't be redirected (compiled code, a function imported by name, another thread): "
                "its numbers depend on other rows.",
                UnattributedDrawWarning,
                stacklevel=2,
            )


def _bytes(state: torch.Tensor) -> bytes:
    """The 5000 bytes of a generator's state; comparing them with ``torch.equal`` takes longer."""
    return ctypes.string_at(state.data_ptr(), state.numel())


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
