"""What a user, or what drives the env, says of the episodes that are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.env_ids import canonical_env_ids
from holdstep.errors import ClosedEnvError, ConfigError, ResetNeededError
from holdstep.wrappers.base import VectorWrapper
from holdstep.wrappers.record.formats.hdf5 import LAYOUT_ATTRIBUTES
from holdstep.wrappers.record.options import check_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.envs.env_ids import EnvIds
    from holdstep.wrappers.record.recording import Recording

_RESERVED = LAYOUT_ATTRIBUTES | {"env_id", "episode_id", "seed", "uid"}


class EpisodeRemarks(VectorWrapper):
    """The part of :class:`~holdstep.wrappers.RecordEpisodes` that is told of episodes.

    Autoreset and order: as there. What is said goes to the recording that is under way, in order
    with the steps.

    Args:
        env: the env to wrap.
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        super().__init__(env)
        self._recording: Recording | None = None
        self._driver: Mapping[str, torch.Tensor] | None = None

    def accompany(self, values: Mapping[str, torch.Tensor]) -> None:
        """Say what is to be recorded with the next step, of whatever drives the env.

        ``PipelinedActions`` does so, with ``frame_id``, ``age_frames``, ``input_age_s``, ``miss``
        and ``execution_state``; a driver of your own says what it likes. It is recorded below
        ``"teleop"``, if that is among the keys; then each step has to be told its values.

        Args:
            values: of each row, ``[N, ...]``, of the same names, shapes and types in all steps.
                They are read in the next step, and must not be changed before.
        """
        self._driver = values

    def mark(self, env_ids: EnvIds, success: bool = True) -> None:
        """Say whether episodes succeed; this counts, whatever the env says.

        Meant are the episodes that the rows' last steps belong to, also if they ended in them;
        after a reset, a flush, or the next step, the ones that are under way. The same is true of
        :meth:`annotate` and :meth:`discard`.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            success: whether they do.
        """
        self._say("mark", env_ids, success=bool(success))

    def annotate(self, env_ids: EnvIds, **attributes: Any) -> None:
        """Add attributes to episodes, such as an instruction; see :meth:`mark` for which.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
            **attributes: plain values; later ones win.

        Raises:
            ConfigError: a value can't be written down as JSON, or the name is one of holdstep's.
        """
        check_json("annotate", attributes)
        taken = _RESERVED & attributes.keys()
        if taken:
            raise ConfigError(f"Attributes {sorted(taken)} are the recorder's own; rename them.")
        self._say("annotate", env_ids, **attributes)

    def discard(self, env_ids: EnvIds) -> None:
        """Keep nothing of episodes, nor of what is still to come of them; see :meth:`mark`.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
        """
        self._say("discard", env_ids)

    def discard_last(self, env_ids: EnvIds) -> None:
        """Take back the last episode that each row has finished, acknowledged or not.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``.
        """
        self._say("discard_last", env_ids)

    def _say(self, do: str, env_ids: EnvIds, **values: Any) -> None:
        self._check_open()
        rows = self._rows(env_ids).tolist()
        if self._recording is None:
            raise ResetNeededError(f"There is no episode to {do.replace('_', ' ')}: reset first.")
        if rows:
            self._recording.say(do, rows, **values)

    def _rows(self, env_ids: EnvIds | None) -> torch.Tensor:
        """Ids of rows, int64 ``[k]``; for all rows, a mask, bool ``[N]``."""
        if env_ids is None:
            return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        return canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedEnvError("The env is closed. Make a new one.")
