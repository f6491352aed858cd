"""Isaac Lab's episodes in host memory from the moment they are recorded."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from holdstep.envs.state.hooks import InstanceHooks
from holdstep.errors import ConfigError
from holdstep.wrappers.record.host_copy import HostCopy

_ALIGNMENT = 8
"""Bytes; of the largest dtype, so that each leaf of a packed row can be viewed as its own."""

_READERS = ("get_episode", "export_episodes", "reset", "set_success_to_episodes")
"""Methods of the recorder manager that look at episodes."""


@dataclass(frozen=True)
class _Leaf:
    """Where a quantity lies in a packed row."""

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class _Packed:
    """What a recorder term recorded: uint8 ``[k, B]`` for the rows ``env_ids``."""

    rows: torch.Tensor
    leaves: tuple[_Leaf, ...]
    env_ids: tuple[int, ...]


class EpisodeOffload:
    """Moves what Isaac Lab's recorder terms record to the host, while the simulation goes on.

    Isaac Lab keeps all of each running episode on the GPU, and a row's values there are views of
    the whole batch's: one long episode holds the memory of all that ran beside it. Here, what the
    terms record in a step is packed into one tensor, which is copied into pinned memory behind the
    computation and cut into rows when the next step begins, or when somebody looks at an episode.
    Each row owns its bytes. An ``EpisodeData`` holds the same values as ever, on the CPU; nothing
    else about the recorder changes, and no class is patched: methods of this one recorder manager
    are shadowed until :meth:`remove`.

    GPU memory is held for one step, however long episodes get. A step waits for the copies of the
    step before it, if those are not there by then.

    Args:
        env: an Isaac Lab env, a holdstep env or Gymnasium wrappers around one.

    Raises:
        ConfigError: it records nothing.
    """

    def __init__(self, env: Any) -> None:
        core, manager = _recorder_manager(env)
        self._manager = manager
        self._num_envs = int(manager._env.num_envs)
        self._pending: list[_Packed] = []
        self._under_way: list[tuple[HostCopy, _Packed]] = []
        episode_class = importlib.import_module("isaaclab.utils.datasets").EpisodeData
        self._episode_class = episode_class
        # 2.3 always clones what is added, which is small by then.
        takes_clone = "clone" in inspect.signature(episode_class.add).parameters
        self._add_options: dict[str, Any] = {"clone": False} if takes_clone else {}
        self._hooks = InstanceHooks()
        self._hooks.shadow(manager, "add_to_episodes", self._packing)
        self._hooks.shadow(manager, "record_pre_step", self._unpacking_first)
        self._hooks.shadow(manager, "record_post_step", self._launching_after)
        for name in _READERS:
            self._hooks.shadow(manager, name, self._unpacking_first)
        self._hooks.shadow(core, "close", self._removing_first)

    def remove(self) -> None:
        """Give the recorder back its own methods; what was recorded stays where it is.

        Closing the env does so, too.
        """
        if self._hooks:
            self._unpack()
            self._hooks.remove()
            # Isaac Lab 2.3 closes its recorder when nobody refers to it any more.
            self._manager = None

    def __enter__(self) -> EpisodeOffload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def _packing(self, original: Callable[..., None]) -> Callable[..., None]:
        def add_to_episodes(
            key: str | None, value: Any, env_ids: Sequence[int] | torch.Tensor | None = None
        ) -> None:
            if not self._hooks:
                original(key, value, env_ids)
            elif key is not None and value is not None:
                self._pack(key, value, env_ids)

        return add_to_episodes

    def _unpacking_first(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def unpack_first(*args: Any, **kwargs: Any) -> Any:
            self._unpack()
            return original(*args, **kwargs)

        return unpack_first

    def _launching_after(self, original: Callable[..., None]) -> Callable[..., None]:
        def record_post_step(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            self._launch()

        return record_post_step

    def _removing_first(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def remove_first(*args: Any, **kwargs: Any) -> Any:
            self.remove()
            return original(*args, **kwargs)

        return remove_first

    def _pack(self, key: str, value: Any, env_ids: Any) -> None:
        ids = range(self._num_envs) if env_ids is None else env_ids
        ids = tuple(ids.tolist() if isinstance(ids, torch.Tensor) else ids)
        if not ids:
            return
        leaves, columns, begin = [], [], 0
        # Widest first, so that each begins where its dtype may.
        found = sorted(_leaves(key, value), key=lambda leaf: -leaf[1].element_size())
        for path, tensor in found:
            shape = (len(ids), math.prod(tensor.shape[1:]))
            flat = tensor.detach()[: len(ids)].reshape(shape).contiguous()
            columns.append(flat.view(torch.uint8))
            end = begin + columns[-1].shape[1]
            leaves.append(_Leaf(path, tensor.dtype, tuple(tensor.shape[1:]), begin, end))
            begin = end
        if -begin % _ALIGNMENT:
            columns.append(columns[0].new_zeros(len(ids), -begin % _ALIGNMENT))
        # A new tensor: what terms return are the simulator's live buffers.
        self._pending.append(_Packed(torch.cat(columns, dim=1), tuple(leaves), ids))

    def _launch(self) -> None:
        """Start copying what is pending, as one tensor for all that was recorded for all rows."""
        pending, self._pending = self._pending, []
        by_rows: dict[tuple[int, ...], list[_Packed]] = {}
        for packed in pending:
            by_rows.setdefault(packed.env_ids, []).append(packed)
        for env_ids, group in by_rows.items():
            rows = torch.cat([packed.rows for packed in group], dim=1)
            leaves, offset = [], 0
            for packed in group:
                leaves += [
                    _Leaf(leaf.key, leaf.dtype, leaf.shape, leaf.begin + offset, leaf.end + offset)
                    for leaf in packed.leaves
                ]
                offset += packed.rows.shape[1]
            joined = _Packed(rows, tuple(leaves), env_ids)
            self._under_way.append((HostCopy({"rows": rows}), joined))

    def _unpack(self) -> None:
        """Give the episodes what was recorded for them."""
        if self._manager is None:
            return
        self._launch()
        under_way, self._under_way = self._under_way, []
        episodes: dict[int, Any] = self._manager._episodes
        for copy, packed in under_way:
            rows = copy.tensors()["rows"]
            for env_id, row in zip(packed.env_ids, rows, strict=True):
                if env_id not in episodes:
                    episodes[env_id] = self._episode_class()
                    episodes[env_id].env_id = env_id
                own = row.clone()  # or a row would hold the memory of all
                for leaf in packed.leaves:
                    value = own[leaf.begin : leaf.end].view(leaf.dtype).view(leaf.shape)
                    episodes[env_id].add(leaf.key, value, **self._add_options)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    from holdstep.envs.adapters.isaaclab.plain import as_tensor

    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{key}/{name}", item)
        return
    tensor = as_tensor(value)
    if tensor is None:
        raise ConfigError(f"A recorder term returned no tensor for {key!r}, got {value!r}.")
    yield key, tensor


def _recorder_manager(env: Any) -> tuple[Any, Any]:
    """The env's own object and its recorder manager."""
    core = getattr(env, "backend_env", None) or env.unwrapped
    manager = getattr(core, "recorder_manager", None)
    if manager is None or not manager.active_terms:
        raise ConfigError(
            f"{type(core).__name__} records nothing: it has no recorder terms. Give its "
            "configuration some (cfg.recorders), or use holdstep's RecordEpisodes."
        )
    return core, manager
