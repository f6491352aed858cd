"""Returns of rows that advanced different numbers of times."""

from __future__ import annotations

import torch


def masked_returns(
    *,
    rewards: torch.Tensor,
    values: torch.Tensor,
    dones: torch.Tensor,
    discounts: torch.Tensor,
    last_values: torch.Tensor,
    counts: torch.Tensor,
    lam: float,
) -> torch.Tensor:
    """Returns by generalized advantage estimation, over each row's own transitions.

    Row ``i`` has ``counts[i]`` transitions, one after the other in slots ``0 .. counts[i] - 1``,
    whatever time has passed between them. What its last one leads to is worth ``last_values[i]``.
    The slots after it may hold anything. From the last transition to the first,

        delta_k = r_k + d_k * V(s_{k+1}) - V(s_k)
        A_k = delta_k + d_k * lam * A_{k+1}
        return_k = A_k + V(s_k)

    where ``d_k`` is the transition's discount, or 0 where it ended the episode. With a constant
    discount, that is what rsl_rl's PPO computes, bit for bit (Schulman et al., "High-dimensional
    continuous control using generalized advantage estimation", 2016). For actions that last
    several env steps the discount is ``gamma ** num_steps`` (Sutton, Precup and Singh, "Between
    MDPs and semi-MDPs", 1999); ``lam`` counts actions, not env steps.

    Args:
        rewards: float32 ``[T, N, 1]``.
        values: of the observations before the transitions, ``[T, N, 1]``.
        dones: whether the transition ended its episode, uint8 ``[T, N, 1]``.
        discounts: ``[T, N, 1]``.
        last_values: of each row's last observation, ``[N, 1]``.
        counts: int64 ``[N]``, each 0 to T.
        lam: weight of later advantages, per transition, in [0, 1].

    Returns:
        ``[T, N, 1]``; in slots that belong to no transition, the value there.
    """
    returns = torch.empty_like(values)
    num_slots = counts.unsqueeze(1)
    advantage = torch.zeros_like(last_values)
    next_values = last_values
    for slot in reversed(range(len(values))):
        # The order of operations is rsl_rl's, since floating-point sums depend on it.
        discount = (1.0 - dones[slot].float()) * discounts[slot]
        delta = rewards[slot] + discount * next_values - values[slot]
        used = slot < num_slots
        advantage = torch.where(used, delta + discount * lam * advantage, 0.0)
        next_values = torch.where(used, values[slot], last_values)
        returns[slot] = advantage + values[slot]
    return returns
