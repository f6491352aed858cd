"""Recorded actions, applied once more from the recorded initial states."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from holdstep.errors import DatasetError
from holdstep.wrappers.record.dataset import Dataset, EpisodeArrays
from holdstep.wrappers.record.tools.replay_plot import plot_replay

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv
    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.episode import Episode

__all__ = ["ReplayedEpisode", "plot_replay", "replay"]

_INITIAL, _STATES, _OBS = "initial_state/", "states/", "obs/"


@dataclass(frozen=True)
class ReplayedEpisode:
    """How far a replay of one episode went from what was recorded.

    Attributes:
        name: the episode's.
        num_steps: that were recorded.
        replayed_steps: until the replay or the recording ended.
        state_error: the largest absolute difference of any state after each step,
            ``[replayed_steps]``; NaN where it can't be told, and without recorded states.
        obs_error: the same of observations of the groups that were recorded.
        reward_error: the same of rewards.
        ended_as_recorded: whether the env ended it at the same step, or left it going on, as it did
            when it was recorded.
        initial_obs_error: of the observations before the first step.
    """

    name: str
    num_steps: int
    replayed_steps: int
    state_error: npt.NDArray[np.float64]
    obs_error: npt.NDArray[np.float64]
    reward_error: npt.NDArray[np.float64]
    ended_as_recorded: bool
    initial_obs_error: float

    def first_divergence(self, tolerance: float) -> int | None:
        """The first step after which states (or else observations) differ by more."""
        error = self.state_error if np.isfinite(self.state_error).any() else self.obs_error
        beyond = np.flatnonzero(error > tolerance)
        return int(beyond[0]) if beyond.size else None


def replay(
    dataset: Dataset,
    env: TorchVectorEnv,
    *,
    indices: Sequence[int] | None = None,
    on_episode: Callable[[], None] = lambda: None,
) -> list[ReplayedEpisode]:
    """Apply recorded actions from recorded initial states, as many episodes at a time as rows.

    States are less than everything that an episode depends on (see
    :meth:`~holdstep.envs.TorchVectorEnv.set_scene_state`), so that some divergence is to be
    expected where the simulator keeps more: warm starts of a solver, delays, random pushes.

    Args:
        dataset: episodes with ``actions`` and ``initial_state``.
        env: of the task that they were recorded from; is reset.
        indices: of the episodes; None for all.
        on_episode: called after each episode.

    Returns:
        What became of each episode, in order.

    Raises:
        DatasetError: an episode has no initial state, or no actions that fit the env.
        CapabilityError: the env's states can't be set.
    """
    chosen = list(range(len(dataset)) if indices is None else indices)
    replayed: list[ReplayedEpisode] = []
    for begin in range(0, len(chosen), env.num_envs):
        episodes = [dataset[index] for index in chosen[begin : begin + env.num_envs]]
        batch = _Batch(env, episodes)
        batch.run()
        replayed += batch.results()
        for _ in episodes:
            on_episode()
    return replayed


class _Batch:
    """Episodes that are replayed side by side, one in each of the first rows."""

    def __init__(self, env: TorchVectorEnv, episodes: Sequence[Episode]) -> None:
        self._env = env
        self._episodes = episodes
        self._arrays = [_arrays_of(episode) for episode in episodes]
        self._check_actions()
        self._replayed = [0] * len(episodes)
        self._ended = [False] * len(episodes)
        shape = len(episodes), max(episode.num_steps for episode in episodes)
        self._errors = {kind: np.full(shape, np.nan) for kind in ("state", "obs", "reward")}
        self._initial = np.full(len(episodes), np.nan)

    def run(self) -> None:
        """Replay them all, to their recorded ends or the env's, whichever comes first."""
        self._env.final_state_enabled = True
        self._env.reset(seed=0)
        obs = self._env.set_scene_state(self._initial_state(), list(range(len(self._episodes))))
        going = list(range(len(self._episodes)))
        self._initial[going] = self._difference(going, _OBS, _on_host(obs), step=0)
        for step in range(self._errors["state"].shape[1]):
            obs, reward, terminated, truncated, info = self._env.step(self._actions(step))
            over = (terminated | truncated).tolist()
            goes_on = [row for row in going if not over[row]]
            self._compare(goes_on, step, _on_host(obs), _on_host(self._env.scene_state()))
            ended = [row for row in going if over[row]]
            final_obs, final_state = (_final(info, kind, ended) for kind in ("obs", "state"))
            self._compare(ended, step, final_obs, final_state)
            self._errors["reward"][going, step] = self._difference(
                going, "rewards", {"": reward.cpu().numpy()}, step=step
            )
            for row in going:
                self._replayed[row] = step + 1
                self._ended[row] = over[row]
            going = [row for row in goes_on if step + 1 < self._episodes[row].num_steps]
            if not going:
                break

    def results(self) -> list[ReplayedEpisode]:
        """What became of each."""
        return [
            ReplayedEpisode(
                name=episode.name,
                num_steps=episode.num_steps,
                replayed_steps=self._replayed[row],
                ended_as_recorded=self._replayed[row] == episode.num_steps
                and self._ended[row] == (episode.ended in ("terminated", "truncated")),
                initial_obs_error=float(self._initial[row]),
                **{
                    f"{kind}_error": errors[row, : self._replayed[row]]
                    for kind, errors in self._errors.items()
                },
            )
            for row, episode in enumerate(self._episodes)
        ]

    def _check_actions(self) -> None:
        shape = self._env.single_action_space.shape
        for episode, arrays in zip(self._episodes, self._arrays, strict=True):
            if not any(path.startswith(_INITIAL) for path in arrays):
                raise DatasetError(
                    f'{episode.name} has no initial state to replay from; record with "states" '
                    "among the keys of RecordEpisodes."
                )
            actions = arrays.get("actions")
            if actions is None or actions.shape[1:] != shape:
                found = None if actions is None else actions.shape[1:]
                raise DatasetError(
                    f"{episode.name} has actions of shape {found}; the env takes {shape}. Was it "
                    "recorded from another task?"
                )

    def _initial_state(self) -> dict[str, torch.Tensor]:
        paths = [path for path in self._arrays[0] if path.startswith(_INITIAL)]
        return {
            path.removeprefix(_INITIAL): torch.as_tensor(
                np.concatenate([arrays[path] for arrays in self._arrays]), device=self._env.device
            )
            for path in paths
        }

    def _actions(self, step: int) -> torch.Tensor:
        """Of all rows; those that have none left get zeros, which nobody looks at."""
        space = self._env.single_action_space
        actions = np.zeros((self._env.num_envs, *(space.shape or ())), np.float32)
        for row, arrays in enumerate(self._arrays):
            if step < len(arrays["actions"]):
                actions[row] = arrays["actions"][step]
        return torch.as_tensor(actions, device=self._env.device)

    def _compare(
        self, rows: list[int], step: int, obs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> None:
        """Compare what is there after a step: the state, and the observation of the next step."""
        self._errors["obs"][rows, step] = self._difference(rows, _OBS, obs, step=step + 1)
        self._errors["state"][rows, step] = self._difference(rows, _STATES, state, step=step)

    def _difference(
        self, rows: list[int], prefix: str, found: Mapping[str, Array], *, step: int
    ) -> list[float]:
        """The largest difference of each row from what was recorded, over all paths."""
        return [
            max(
                (
                    _largest(values[row], recorded)
                    for path, values in found.items()
                    if (recorded := _at(self._arrays[row], prefix + path, step)) is not None
                ),
                default=math.nan,
            )
            for row in rows
        ]


def _arrays_of(episode: Episode) -> dict[str, Array]:
    """What a replay needs of an episode, in memory: everything but images."""
    wanted = ("actions", "rewards", _INITIAL, _STATES, _OBS, "final_obs/")
    return {
        path: episode.arrays[path]
        for path in episode.arrays
        if path.startswith(wanted) and not _is_image(episode, path)
    }


def _is_image(episode: Episode, path: str) -> bool:
    arrays = episode.arrays
    if isinstance(arrays, EpisodeArrays):
        shape, dtype = arrays.describe(path)
    else:
        shape, dtype = arrays[path].shape, arrays[path].dtype
    return dtype == np.uint8 and len(shape) == 4


def _at(arrays: Mapping[str, Array], path: str, step: int) -> Array | None:
    """What was recorded at a time; the observation after the last step lies elsewhere."""
    recorded = arrays.get(path)
    if recorded is None:
        return None
    if step < len(recorded):
        value: Array = recorded[step]
        return value
    final = arrays.get(f"final_obs/{path.removeprefix(_OBS)}") if path.startswith(_OBS) else None
    return None if final is None else final[0]


def _largest(found: Array, recorded: Array) -> float:
    if found.shape != recorded.shape:
        return math.inf
    if found.dtype.kind == "f":
        same = (found == recorded) | (np.isnan(found) & np.isnan(recorded))
    else:
        same = found == recorded  # as floats, large integers may look equal
    with np.errstate(invalid="ignore"):  # infinities
        difference = np.abs(found.astype(np.float64) - recorded.astype(np.float64))
    difference = np.nan_to_num(difference, nan=math.inf, posinf=math.inf)
    return float(np.max(np.where(same, 0.0, np.maximum(difference, 1e-300)), initial=0.0))


def _on_host(tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def _final(info: Mapping[str, Any], kind: str, rows: list[int]) -> dict[str, Array]:
    """What there was just before the rows' resets, where the env tells it of all of them."""
    mask = info.get(f"_final_{kind}")
    if mask is None or not all(mask[row] for row in rows):
        return {}
    return _on_host(info[f"final_{kind}"])
