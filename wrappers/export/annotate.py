"""A wrapper that exports the policy that acts in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.base import VectorWrapper
from holdstep.wrappers.export.pipeline import build_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.export.contract import Contract
    from holdstep.wrappers.export.report import ExportReport


class AnnotateExport(VectorWrapper):
    """Knows the policy of an env, and exports both together whenever it is asked to.

    Steps and resets are the env's own, at no cost; nothing is annotated until :meth:`export` runs,
    and nothing is left of it afterwards. The policy is looked at then, so that one that is being
    trained can be exported again and again.

    Autoreset: as the env's. Order: anywhere; what is exported is the adapter's pipeline, without
    what wrappers do to actions and observations.

    Args:
        env: a manager-based env of mjlab or Isaac Lab, wrapped or not.
        policy: a ``torch.nn.Module``, an :class:`~holdstep.policies.RslRlPolicy`, or a callable,
            from observations by group, ``[N, ...]`` each, to actions ``[N, A]``.
        obs_keys: the observation groups that the policy gets: with one name that group's tensor
            itself, with several a dictionary. None lets it take what it wants from all.

    Attributes:
        policy: what is exported.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        policy: Any,
        *,
        obs_keys: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(env)
        self.policy = policy
        self._obs_keys = obs_keys

    def contract(self) -> Contract:
        """What an exported model would read, keep and write, without making one.

        Neither steps nor resets the env, which must have been reset before.

        Raises:
            DiscoveryError: something can't be exported; the message names the term.
        """
        with build_pipeline(self.env, self.policy, obs_keys=self._obs_keys) as pipeline:
            return pipeline.contract

    def export(self, out_dir: str | Path, **options: Any) -> ExportReport:
        """Export the policy as it is now.

        Args:
            out_dir: the folder to be made.
            **options: of :func:`~holdstep.wrappers.export.export_policy`.
        """
        from holdstep.wrappers.export.export import export_policy

        return export_policy(self.env, self.policy, out_dir, obs_keys=self._obs_keys, **options)
