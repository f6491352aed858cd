"""Whether rows can be held, copied and put back as ``capabilities`` say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdstep.envs.checker_rules import copied, same
from holdstep.errors import CapabilityError

if TYPE_CHECKING:
    from holdstep.envs.capabilities import FreezeLevel
    from holdstep.envs.checker import EnvCheck
    from holdstep.envs.contract import Obs
    from holdstep.envs.state.row_control import RowControl
    from holdstep.envs.state.snapshot import Snapshot


def check_freeze(check: EnvCheck, level: FreezeLevel) -> None:
    """Every other row is stepped; the others stand still, whatever their actions hold.

    Args:
        check: the check under way.
        level: what the env claims.
    """
    env = check.env
    last_obs = copied(env.reset(seed=check.seed)[0])
    try:
        control = env.unwrapped.row_control(level=level, rng="global")
    except CapabilityError as error:
        check.notes.append(f"holding rows was not tried: {error}")
        return
    try:
        _check_held_rows(check, control, last_obs)
        if unknown := control.unknown_state():
            check.notes.append(
                "tensors that look like row state and are neither held nor in snapshots (register "
                f"them with register_state, if they are): {'; '.join(unknown)}"
            )
    except CapabilityError as error:
        check.notes.append(f"holding rows was not tried: {error}")
    finally:
        control.close()


def _check_held_rows(check: EnvCheck, control: RowControl, last_obs: Obs) -> None:
    env, claim = check.env, f"capabilities.freeze is {control.level!r}, but"
    active = torch.arange(env.num_envs, device=env.device) % 2 == 0
    held_ids = (~active).nonzero().squeeze(-1)
    control.hold(held_ids)
    before = control.snapshot(held_ids) if env.capabilities.snapshot else None
    clock = env.episode_length_buf.clone()
    for _ in range(3):
        actions = check.random_actions()
        if actions.dtype.is_floating_point:
            actions[~active] = torch.nan
        result = env.step_masked(actions, active)
        check.check_result(result, last_obs)
        if check.malformed:
            return
        last_obs = copied(result[0])
    check.require(
        torch.equal(result[4]["active"], active),
        f"{claim} info['active'] is not the mask that was given",
    )
    check.require(
        torch.equal(env.episode_length_buf[~active], clock[~active]),
        f"{claim} the clock of rows that were held went on",
    )
    if before is None:
        return
    if control.level != "approximate":
        after = control.snapshot(held_ids)
        changed = [name for name in before.rows if not same(before.rows[name], after.rows[name])]
        check.require(not changed, f"{claim} state of held rows changed: {changed[:5]}")
    control.release(held_ids)
    _check_restore(check, control, before, held_ids)


def _check_restore(
    check: EnvCheck, control: RowControl, snapshot: Snapshot, env_ids: torch.Tensor
) -> None:
    """A snapshot brings back what was observed when it was taken."""
    check.env.step(check.random_actions())
    obs = control.restore(snapshot, env_ids)
    check.check_obs(obs, "the observation after a snapshot was put back")
    for name, tensor in obs.items():
        check.require(
            same(tensor[env_ids], snapshot.obs[name]),
            f"capabilities.snapshot, but obs {name!r} is not the one of the snapshot",
        )
