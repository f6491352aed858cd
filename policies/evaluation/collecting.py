"""Episodes of a policy, run for what a wrapper records of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdstep.policies.evaluation.accounting import EpisodeAccounts
from holdstep.policies.evaluation.evaluator import (
    Policy,
    check_env,
    checked_max_steps,
    driver_of,
)
from holdstep.policies.evaluation.meter import EpisodeMeter, SuccessWhen
from holdstep.policies.evaluation.run import EvaluationRun
from holdstep.policies.evaluation.streams import episode_streams
from holdstep.policies.evaluation.success import success_source

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.policies.chunked.schedulers.base import Scheduler
    from holdstep.policies.evaluation.result import EpisodeResult


def run_episodes(
    env: TorchVectorEnv,
    policy: Policy,
    num_episodes: int,
    seed: int = 0,
    *,
    counts: Callable[[EpisodeResult], bool] = lambda _: True,
    max_attempts: int | None = None,
    scheduler: Scheduler | None = None,
    execute: int | None = None,
    instructions: Callable[[int], str] | None = None,
    success: str | None = None,
    success_when: SuccessWhen = "end",
    max_steps: int | None = None,
    force: bool = False,
    on_episode: Callable[[EpisodeResult, bool], object] = lambda *_: None,
) -> int:
    """Run episodes of a policy until as many have ended as are asked for.

    As in :func:`holdstep.evaluate`, the episodes that start first are run, each to its end, and
    rows that have none left are suspended; so those that end early are not favoured. For one that
    does not count, its row starts another.

    Args:
        env: the stack; what it records is its wrappers' business.
        policy: as for :func:`holdstep.evaluate`.
        num_episodes: that count.
        seed: of the resets and of a chunked policy's noise.
        counts: whether an episode that has ended counts.
        max_attempts: the most episodes to start, whether they count or not.
        scheduler: see :func:`holdstep.evaluate`, as for the next five.
        execute: of a chunk's actions.
        instructions: of an episode by its number.
        success: where it is written whether an episode succeeded.
        success_when: whether that counts at the end of an episode, or once in it.
        max_steps: the longest that an episode may be [env steps].
        force: accept a scheduler whose actions depend on how long things take.
        on_episode: called with each episode that has ended, and whether it counts.

    Returns:
        How many episodes count: fewer than asked for where attempts ran out.
    """
    check_env(env)
    first = num_episodes if max_attempts is None else min(num_episodes, max_attempts)
    accounts = EpisodeAccounts(env.num_envs, first)
    options = {
        "scheduler": scheduler,
        "execute": execute,
        "ensemble": None,
        "timeline": None,
        "timeout_s": None,
    }
    is_instructed = instructions is not None
    driver = driver_of(env, policy, options, seed=seed, force=force, instructed=is_instructed)
    num_counted = 0

    def note(episode: EpisodeResult) -> None:
        nonlocal num_counted
        is_counted = counts(episode)
        num_counted += is_counted
        if not is_counted and (max_attempts is None or accounts.num_episodes < max_attempts):
            accounts.add_one()
        on_episode(episode, is_counted)

    EvaluationRun(
        driver=driver,
        accounts=accounts,
        meter=EpisodeMeter(env.num_envs, env.device, success_source(env, success), success_when),
        streams=episode_streams(env, None),
        seed=seed,
        max_steps=checked_max_steps(env, max_steps),
        instructions=instructions,
        on_episode=note,
    ).run()
    return num_counted
