"""Which of several processes this is, and what they tell each other.

``torchrun`` starts processes and says by environment variables which is which. What needs to know
takes a :class:`Rank`, so that nothing else reads those variables.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from holdstep.errors import ConfigError

if TYPE_CHECKING:
    import datetime

    from torch.distributed import ProcessGroup

# torch is imported where it is used: reading a dataset needs a rank's folder, and not torch.

T = TypeVar("T")

_groups = itertools.count()
"""Numbers those that this process has made; all ranks make the same ones in the same order."""

Backend = Literal["gloo", "nccl"]
"""How processes talk: ``"gloo"`` between hosts' memories, ``"nccl"`` between GPUs."""


@dataclass(frozen=True)
class Rank:
    """One of the processes that ``torchrun``, or anything else that sets its variables, started.

    Attributes:
        number: of this process, from 0 (``RANK``).
        world_size: how many there are (``WORLD_SIZE``).
        local_number: of this process among those of its machine, from 0 (``LOCAL_RANK``).
        num_restarts: how often ``torchrun`` has started all of them anew, since one had died
            (``TORCHELASTIC_RESTART_COUNT``).

    Raises:
        ConfigError: a number is negative, or that of the process is not below the world size.

    >>> Rank.of_environment({"RANK": "1", "WORLD_SIZE": "2"})
    Rank(number=1, world_size=2, local_number=0, num_restarts=0)
    >>> Rank.of_environment({}) == Rank()
    True
    """

    number: int = 0
    world_size: int = 1
    local_number: int = 0
    num_restarts: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.world_size:
            raise ConfigError(
                f"RANK must lie in [0, WORLD_SIZE), got RANK={self.number} and "
                f"WORLD_SIZE={self.world_size}. torchrun sets both."
            )
        if self.local_number < 0 or self.num_restarts < 0:
            raise ConfigError(
                f"LOCAL_RANK and TORCHELASTIC_RESTART_COUNT count from 0, got {self.local_number} "
                f"and {self.num_restarts}."
            )

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Rank:
        """The one that the environment speaks of; the only one where it says nothing.

        Raises:
            ConfigError: a variable is no such number.
        """

        def number(name: str, default: int) -> int:
            text = variables.get(name, str(default))
            try:
                return int(text)
            except ValueError:
                raise ConfigError(f"{name} must be an integer, got {text!r}.") from None

        return cls(
            number=number("RANK", 0),
            world_size=number("WORLD_SIZE", 1),
            local_number=number("LOCAL_RANK", 0),
            num_restarts=number("TORCHELASTIC_RESTART_COUNT", 0),
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the one that prints, logs and saves for all."""
        return self.number == 0

    def numbers(self, count: int) -> range:
        """Which of ``count`` numbered things are this process's: every ``world_size``-th.

        >>> [list(Rank(number, 3).numbers(7)) for number in range(3)]
        [[0, 3, 6], [1, 4], [2, 5]]
        """
        return range(self.number, count, self.world_size)

    def seed(self, seed: int, *so_far: int) -> int:
        """A seed that no other rank has, nor this one at another time.

        The first rank's is the run's own, so that one process is the same with and without
        ``torchrun``. The others' are hashes, and not the next numbers: those are the seeds of the
        runs that a study compares with this one.

        Args:
            seed: of the run, not negative.
            *so_far: what the run has come to, such as the number of episodes.

        Returns:
            ``seed`` for the first rank at the start; else from 0 to ``2**31 - 1``.
        """
        if self.is_first and not so_far:
            return seed
        # As a key: NumPy takes zeros at the end of what else it is given for nothing at all.
        sequence = np.random.SeedSequence(seed, spawn_key=(self.number, *so_far))
        return int(sequence.generate_state(1)[0] >> 1)

    def device(self, named: str | None = None) -> str | None:
        """The device of this process.

        Args:
            named: ``"cpu"`` or ``"cuda:1"``, which is taken as it is; ``"cuda"`` for this rank's
                own GPU; None for the same where there are GPUs.

        Returns:
            None where no device was named and there is no GPU.

        Raises:
            ConfigError: the machine has fewer GPUs than ranks.
        """
        import torch

        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if named not in (None, "cuda") or num_gpus == 0:
            return named
        if self.local_number >= num_gpus:
            raise ConfigError(
                f"Rank {self.number} is the process {self.local_number} (from 0) of a machine "
                f"where torch finds {num_gpus} GPU(s): there is none left for it. Start at most "
                f"one process for each GPU (torchrun --nproc-per-node {num_gpus}), or name a "
                "device that several may share, such as --device cpu."
            )
        return f"cuda:{self.local_number}"


def job_name(variables: Mapping[str, str] = os.environ) -> str | None:
    """What a restarted process has in common with the one before it; None without ``torchrun``.

    It is the job's id (``torchrun --rdzv-id``). Where none was given, it is the process that starts
    the ranks, which lives as long as the job does.
    """
    if has_run_id(variables):
        return variables["TORCHELASTIC_RUN_ID"]
    if "TORCHELASTIC_RUN_ID" in variables:
        return f"{socket.gethostname()}:{os.getppid()}"
    return None


def has_run_id(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether ``torchrun`` was given an id for the job, or made one up (``--standalone``)."""
    # "none" is what torchrun itself writes there.
    return variables.get("TORCHELASTIC_RUN_ID", "none") != "none"


def init_process_group(
    rank: Rank, *, backend: Backend = "gloo", timeout: datetime.timedelta | None = None
) -> bool:
    """Let ranks talk to each other, over ``torch.distributed``.

    Nothing happens for a single process. A group that exists already is used.

    Args:
        rank: this process.
        backend: how; ``"nccl"`` takes this rank's own GPU.
        timeout: the longest time for which ranks wait for each other; by default torch's own.

    Returns:
        Whether a group was made, which is then to be destroyed.

    Raises:
        ConfigError: ``"nccl"`` without a GPU for this rank, or nothing says where to meet.
    """
    import torch
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if rank.world_size == 1 or _is_grouped():
        return False
    if backend == "nccl":
        if not (torch.cuda.is_available() and torch.distributed.is_nccl_available()):
            raise ConfigError(
                "backend='nccl' is for GPUs, and torch finds none here, or was built without "
                "NCCL. Use backend='gloo', which CPUs can, too."
            )
        torch.cuda.set_device(rank.device("cuda"))
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"{rank.world_size} processes are to meet, and {' and '.join(missing)} do not say "
            "where. Start them with torchrun, which sets what is needed, or unset WORLD_SIZE."
        )
    patience: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    store, _, _ = next(rendezvous("env://", rank.number, rank.world_size, **patience))
    # The store keeps where the ranks of earlier groups were to be reached; where torchrun's agent
    # has it, those of dead ranks, too (pytorch issue 135712). A group must not read that.
    place = f"holdstep/{_restarts_of_all(rank)}/{next(_groups)}"
    torch.distributed.init_process_group(
        backend,
        store=PrefixStore(place, store),
        rank=rank.number,
        world_size=rank.world_size,
        **patience,
    )
    return True


@contextlib.contextmanager
def process_group(
    rank: Rank, *, backend: Backend = "gloo", timeout: datetime.timedelta | None = None
) -> Iterator[ProcessGroup | None]:
    """:func:`init_process_group` for the time of the block.

    Yields:
        The group to talk in; None for the one that is there for all. Where there is one already and
        ``timeout`` is given, it is a second one of the same ranks: the first has a timeout of its
        own.
    """
    import torch

    is_own = init_process_group(rank, backend=backend, timeout=timeout)
    group = None
    if not is_own and rank.world_size > 1 and timeout is not None:
        group = torch.distributed.new_group(backend=backend, timeout=timeout)
    try:
        yield group
    finally:
        if is_own or group is not None:
            torch.distributed.destroy_process_group(group)


def gathered(value: T, group: ProcessGroup | None = None) -> list[T]:
    """What each rank gave, in their order; called by all of them within a process group."""
    import torch

    if not _is_grouped():
        return [value]
    values: list[T | None] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(values, value, group=group)
    return values  # type: ignore[return-value]


def agreed(value: T) -> T:
    """What the first rank gave; called by all of them within a process group."""
    import torch

    if not _is_grouped():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def _is_grouped() -> bool:
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _restarts_of_all(rank: Rank) -> int:
    """As many for each rank: of several machines, each agent counts only what it has restarted."""
    is_one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")
    return rank.num_restarts if is_one_machine else 0
