"""PPO that learns from the steps that rows took, and from nothing else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import ConfigError, SuspensionError
from holdstep.extras import require
from holdstep.policies.rsl_rl.masked_returns import masked_returns
from holdstep.policies.rsl_rl.masked_storage import MaskedRolloutStorage
from holdstep.policies.rsl_rl.recurrent_memory import keep_memory, memory_before
from holdstep.policies.rsl_rl.sequences import RaggedSequences, flat_sequences

if TYPE_CHECKING:
    from rsl_rl.algorithms import PPO
    from tensordict import TensorDict
else:
    PPO = require("rsl_rl.algorithms", extra="rsl-rl", purpose="MaskedPPO").PPO

_NORMALIZES_EACH_STEP = "update_normalization" in PPO.process_env_step.__code__.co_names
"""rsl_rl updates its observation normalisers after each step; from 5.5 on, after each update."""


class MaskedPPO(PPO):  # type: ignore[misc]  # rsl_rl is untyped
    """rsl_rl's PPO for rows that don't advance in every step.

    Name it in a runner's configuration: ``class_name: "holdstep.policies.rsl_rl:MaskedPPO"``, with
    the other settings of ``PPO``. ``holdstep.policies.rsl_rl.train`` does so by itself where
    something in the stack can suspend rows.

    A rollout is ``num_steps_per_env`` steps of the batch, so that collecting never waits for a row.
    Of these, each row has as many transitions as it advanced (``extras["active"]``), which may be
    none. They are put one behind the other, as if no time had passed in between, which for the row
    is the case. Everything that PPO does is then done over exactly these transitions:

    - advantages along each row's own transitions, bootstrapped behind its last one with the value
      of its present observation, whether the row is active or suspended then;
    - advantage normalisation, mini-batches, losses and the adaptive learning rate over the
      transitions of all rows, each counting the same;
    - observation normalisers by the observations of rows that advanced;
    - the memory of recurrent networks moves on when its row does, and sequences are made of the
      row's own transitions.

    If all rows have the same number ``K`` of transitions, the update is that of rsl_rl's PPO with
    ``num_steps_per_env=K``, bit for bit; if nothing is ever suspended, so is the whole training.
    Otherwise it is PPO's on a batch of ``sum(counts)`` transitions. Mini-batches of networks
    without a memory are drawn as rsl_rl draws them; those of recurrent networks are whole rows,
    dealt out so that each has about as many transitions.

    Of several ranks, each does this over its own transitions, and rsl_rl averages their gradients
    with equal weights: a transition counts the more, the fewer its rank has.

    As in rsl_rl, a time-out adds the discounted value of the observation *before* the last step.

    Where actions are chunks (:class:`~holdstep.wrappers.ActionChunkReplay`), a transition lasts
    ``extras["num_steps"]`` env steps, and what follows it is worth ``gamma ** num_steps``:
    ``gamma`` is per env step here, and must be the wrapper's.

    One difference to rsl_rl 5.0.1 is on purpose: there, a recurrent critic sees the last
    observation of a rollout twice; here as in later versions, once.

    A step reads which rows are active to the host if observations are normalised by steps (before
    rsl_rl 5.5); an update reads the numbers of transitions.

    Args:
        actor: rsl_rl's model.
        critic: rsl_rl's model.
        storage: rsl_rl's, whose buffers are taken over.
        **options: those of rsl_rl's PPO.

    Raises:
        ConfigError: ``rnd_cfg`` is set, or a recurrent network is none of rsl_rl's.
    """

    storage: MaskedRolloutStorage | RaggedSequences

    def __init__(self, actor: Any, critic: Any, storage: Any, **options: Any) -> None:
        if options.get("rnd_cfg"):
            raise ConfigError(
                "MaskedPPO does not support algorithm.rnd_cfg (random network distillation): its "
                "bonus and its normalisers would count rows that stand still. Set it to null, or "
                "train with gather=True, so that there are none, and rsl_rl's PPO."
            )
        for name, model in (("actor", actor), ("critic", critic)):
            layers = getattr(getattr(model, "rnn", None), "rnn", None)
            if model.is_recurrent and not isinstance(layers, torch.nn.GRU | torch.nn.LSTM):
                raise ConfigError(
                    f"MaskedPPO knows the recurrent networks of rsl_rl, with a GRU or an LSTM; the "
                    f"{name} is a {type(model).__name__}."
                )
        super().__init__(actor, critic, storage, **options)
        self.storage = MaskedRolloutStorage(storage)
        self._recurrent = bool(actor.is_recurrent or critic.is_recurrent)

    def act(self, obs: TensorDict) -> torch.Tensor:
        """Sample actions for all rows, ``[N, A]``; those of rows that don't advance are ignored."""
        actions: torch.Tensor = super().act(obs)
        self.transition.hidden_states = tuple(
            memory_before(model, before)
            for model, before in zip(
                (self.actor, self.critic), self.transition.hidden_states, strict=True
            )
        )
        return actions

    def process_env_step(
        self,
        obs: TensorDict,
        rewards: torch.Tensor,
        dones: torch.Tensor,
        extras: dict[str, Any],
    ) -> None:
        """Record what the rows that advanced have gained.

        Args:
            obs: after the step, of all rows.
            rewards: float32 ``[N]``.
            dones: ``[N]``.
            extras: with ``active`` (bool ``[N]``; all rows if it is missing), ``time_outs`` where
                these are bootstrapped, and ``num_steps`` (int ``[N]``) where actions are chunks.
        """
        active = extras.get("active")
        if active is None:
            active = torch.ones_like(rewards, dtype=torch.bool)
        active = active.to(self.device)
        if _NORMALIZES_EACH_STEP:
            self._update_normalizers(obs, active)
        discount = self._discount(rewards, extras.get("num_steps"))
        transition = self.transition
        transition.rewards = rewards.clone()
        transition.dones = dones
        if "time_outs" in extras:
            time_outs = extras["time_outs"].to(self.device)
            transition.rewards += discount * (transition.values.squeeze(1) * time_outs)
        self.storage.add(transition, active_mask=active, discount=discount)
        for model, before in zip((self.actor, self.critic), transition.hidden_states, strict=True):
            keep_memory(model, before, active)
            model.reset(dones)
        transition.clear()

    def compute_returns(self, obs: TensorDict) -> None:
        """Compute returns and advantages of the transitions.

        Args:
            obs: after the last step.

        Raises:
            SuspensionError: no row advanced in the whole rollout, on this rank or another one: all
                of them raise it then.
        """
        storage = self.storage
        self._check_transitions()
        memory = self.critic.get_hidden_state()
        last_values = self.critic(obs).detach()
        self.critic.reset(hidden_state=memory)
        returns = masked_returns(
            rewards=storage.rewards,
            values=storage.values,
            dones=storage.dones,
            discounts=storage.discounts,
            last_values=last_values,
            counts=storage.counts,
            lam=self.lam,
        )
        storage.returns.copy_(returns)
        storage.advantages = storage.returns - storage.values
        advantages = storage.advantages[storage.transition_mask]
        if not self.normalize_advantage_per_mini_batch:
            std = advantages.std() if len(advantages) > 1 else 0.0
            storage.advantages = (storage.advantages - advantages.mean()) / (std + 1e-8)

    def update(self) -> dict[str, float]:
        """Learn from the rollout, as rsl_rl's PPO does, and forget it."""
        collected = self.storage
        self.storage = collected.dense(
            recurrent=self._recurrent, num_mini_batches=self.num_mini_batches
        )
        ragged = isinstance(self.storage, RaggedSequences)
        hooks = flat_sequences(self.actor, self.critic) if ragged else contextlib.nullcontext()
        try:
            with hooks:
                losses: dict[str, float] = super().update()
        finally:
            self.storage = collected
            collected.clear()
        return losses

    def compile(self, mode: str | None = None) -> None:
        """Compile the networks, unless they are recurrent.

        Raises:
            ConfigError: they are, and ``mode`` is not None.
        """
        if mode is not None and self._recurrent:
            raise ConfigError(
                f"MaskedPPO can't compile recurrent networks (torch_compile_mode={mode!r}): their "
                "sequences have other shapes in each update. Set it to null."
            )
        super().compile(mode)

    @staticmethod
    def construct_algorithm(obs: TensorDict, env: Any, cfg: dict[str, Any], device: str) -> Any:
        """Construct it for an env, as rsl_rl's runners ask for.

        Raises:
            ConfigError: actions are chunks, and the wrapper discounts otherwise than PPO.
        """
        from holdstep.wrappers.base import find_wrapper
        from holdstep.wrappers.chunk import ActionChunkReplay

        algorithm = PPO.construct_algorithm(obs, env, cfg, device)
        chunks = find_wrapper(env.env, ActionChunkReplay) if hasattr(env, "env") else None
        if chunks is not None and chunks.gamma != algorithm.gamma:
            raise ConfigError(
                f"algorithm.gamma is {algorithm.gamma}, and ActionChunkReplay's gamma is "
                f"{chunks.gamma}. Both are discounts per env step and must be equal: MaskedPPO "
                "discounts a chunk by gamma ** num_steps. Give both the same."
            )
        return algorithm

    def _check_transitions(self) -> None:
        most = self.storage.counts.max()
        fewest = most.clone()
        if self.is_multi_gpu:
            # Or the ranks that have some would wait for the gradients of those that have none.
            torch.distributed.all_reduce(fewest, op=torch.distributed.ReduceOp.MIN)
        if fewest > 0:
            return
        where = "" if most == 0 else " on another rank"
        raise SuspensionError(
            f"No row advanced{where} in the {self.storage.step} steps of a rollout, so that there "
            "is nothing to learn from. Let steps wait while all rows are suspended, as "
            "SuspendOnWait does."
        )

    def _discount(self, rewards: torch.Tensor, num_steps: torch.Tensor | None) -> torch.Tensor:
        if num_steps is None:
            return torch.full_like(rewards, self.gamma)
        # In float64, so that one step is gamma to the last bit.
        powers = torch.pow(self.gamma, num_steps.to(self.device, torch.float64))
        return powers.to(rewards.dtype)

    def _update_normalizers(self, obs: TensorDict, active_mask: torch.Tensor) -> None:
        models = [m for m in (self.actor, self.critic) if getattr(m, "obs_normalization", False)]
        if not models:
            return
        rows = active_mask.nonzero().squeeze(1)
        if len(rows):  # the mean of none would be NaN, for good
            for model in models:
                model.update_normalization(obs[rows])
