"""``evaluate``: how good a policy is, without favouring short episodes."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.distributed import Rank, process_group
from holdstep.envs.contract import TorchVectorEnv
from holdstep.errors import ConfigError, EvaluationError
from holdstep.policies.chunked.protocol import ChunkedPolicy
from holdstep.policies.evaluation.accounting import EpisodeAccounts
from holdstep.policies.evaluation.drivers import EpisodeDriver, PolicyDriver
from holdstep.policies.evaluation.intervals import checked_confidence
from holdstep.policies.evaluation.metadata import metadata_of
from holdstep.policies.evaluation.meter import EpisodeMeter, SuccessWhen
from holdstep.policies.evaluation.ranks import result_of_all
from holdstep.policies.evaluation.result import EvalResult
from holdstep.policies.evaluation.run import EvaluationRun
from holdstep.policies.evaluation.streams import episode_streams
from holdstep.policies.evaluation.success import EvalStep, success_source
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.chunk import ActionChunkReplay

if TYPE_CHECKING:
    from pathlib import Path

    from holdstep.envs.contract import Obs
    from holdstep.policies.chunked.ensemble import TemporalEnsembling
    from holdstep.policies.chunked.schedulers.base import Scheduler

Policy = Callable[["Obs"], torch.Tensor] | ChunkedPolicy
Instructions = Sequence[str] | Callable[[int], str]

_ENDLESS = 100_000
"""Env steps; no episode that anybody evaluates is longer."""

_PATIENCE = datetime.timedelta(days=1)
"""Of a rank that has run its episodes, for those that are slower."""


def evaluate(
    env: TorchVectorEnv,
    policy: Policy,
    num_episodes: int,
    seed: int = 0,
    *,
    scheduler: Scheduler | None = None,
    execute: int | None = None,
    ensemble: TemporalEnsembling | None = None,
    instructions: Instructions | None = None,
    success: str | Callable[[EvalStep], torch.Tensor] | None = None,
    success_when: SuccessWhen = "end",
    confidence: float = 0.95,
    max_steps: int | None = None,
    per_episode_seeds: bool | None = None,
    progress: bool = False,
    force: bool = False,
    timeline: str | Path | None = None,
    timeout_s: float | None = None,
    rank: Rank | None = None,
) -> EvalResult:
    """Run a policy for a number of episodes, and say how good it is.

    Counted are the first ``num_episodes`` episodes that *start*, each run to its end, and no
    others: counting the first that *end* favours short episodes. Rows that have no episode left are
    suspended if the stack has a :class:`~holdstep.wrappers.SuspendOnWait`; otherwise they are
    stepped on, and nothing of that is counted.

    With random streams of each row's own (the reference envs, ``SuspendOnWait(rng="per_env")``,
    Gymnasium's sync and async vectors), episode ``i`` gets a seed that depends on ``seed`` and
    ``i`` alone. Where the env's rows and the policy's answers are independent of other rows, the
    episode's result is then the same for any number of rows and any scheduler of class ``exact``.
    It costs one more reset of the rows that start. Otherwise, a seed repeats a run with the same
    number of rows.

    The env is reset at the start; reset it before you use it otherwise. Reads one small tensor per
    step to the host.

    Args:
        env: the stack. Its other wrappers see all steps and resets.
        policy: actions ``[N, A]`` from observations by group, called without gradients, or a
            :class:`~holdstep.policies.ChunkedPolicy`. A callable may have
            ``reset(done_mask)``, called with None at the start and then after every step, and
            ``set_instructions(env_ids, texts)``.
        num_episodes: how many episodes count.
        seed: of the resets and of a chunked policy's noise, from 0 to ``2**31 - 1``.
        scheduler: who is inferred when, for a chunked policy; by default ``Cohort()``.
        execute: how many actions of a chunk are executed; by default all.
        ensemble: average the chunks that speak of the same step.
        instructions: what the episodes are to do: one text per episode, in the order in which they
            start, or a function of the episode's number.
        success: where it is written whether an episode succeeded: the name of an info entry or of a
            termination term, or a function that is called with each :class:`EvalStep` and returns
            bool ``[N]``. None: info entry or term ``"success"``, if there is one.
        success_when: ``"end"``: what is said in the last step of an episode counts; ``"once"``: an
            episode succeeds if it is ever said in it.
        confidence: level of the intervals.
        max_steps: the longest that an episode may be [env steps]; it is an error if one is longer.
            By default twice the env's time limit, or 100000 for envs that do not know theirs.
        per_episode_seeds: whether every episode gets a seed of its own; None: where that can be.
        progress: show a progress bar.
        force: accept a scheduler whose actions depend on how long things take.
        timeline: write a trace of a chunked policy's run to this file.
        timeout_s: the longest that a step waits for a chunked policy [s].
        rank: of several processes that evaluate together, this one
            (``Rank.of_environment()`` under ``torchrun``): each runs every ``world_size``-th
            episode, and all return the result of all. By default, this process evaluates alone.

    Raises:
        ConfigError: an argument can't be used, or the scheduler is of class ``timing``.
        CapabilityError: ``per_episode_seeds=True`` where that can't be.
        EvaluationError: an episode does not end, of whichever rank; ``error.partial`` has those
            that did.

    >>> from holdstep.envs import make
    >>> env = make("holdstep:PointMass", num_envs=8, device="cpu", seed=0)
    >>> def to_the_goal(obs):
    ...     return 2.0 * obs["policy"][:, 4:] - 1.5 * obs["policy"][:, 2:4]
    >>> result = evaluate(env, to_the_goal, num_episodes=20)
    >>> result.success_rate, len(result.episodes)
    (1.0, 20)
    """
    check_env(env)
    _check_undiscounted(env)
    checked_confidence(confidence)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ConfigError(f"seed must be an integer from 0 to 2**31 - 1, got {seed!r}.")
    rank = Rank() if rank is None else rank
    accounts = EpisodeAccounts(env.num_envs, num_episodes, rank)
    max_steps = checked_max_steps(env, max_steps)
    source = success_source(env, success)
    meter = EpisodeMeter(env.num_envs, env.device, source, success_when)
    streams = episode_streams(env, per_episode_seeds)
    texts = _instruction_of(instructions, num_episodes)
    options = {
        "scheduler": scheduler,
        "execute": execute,
        "ensemble": ensemble,
        "timeline": timeline,
        "timeout_s": timeout_s,
    }
    driver = driver_of(env, policy, options, seed=seed, force=force, instructed=texts is not None)
    bar = _progress_bar(accounts.num_episodes) if progress else contextlib.nullcontext(_nothing)
    with process_group(rank, timeout=_PATIENCE) as group, bar as advance:
        started_s = time.perf_counter()
        run = EvaluationRun(
            driver=driver,
            accounts=accounts,
            meter=meter,
            streams=streams,
            # Ranks whose rows draw from the resets' own seed would all run the same episodes.
            seed=seed if streams.scope == "episode" else rank.seed(seed),
            max_steps=max_steps,
            instructions=texts,
            on_episode=lambda _: advance(),
        )

        failure = None
        try:
            run.run()
        except EvaluationError as error:
            failure = error
        own = EvalResult(
            episodes=run.episodes,
            num_episodes=num_episodes,
            confidence=float(confidence),
            determinism=driver.determinism,
            seed_scope=streams.scope,
            success_source=source.description,
            idle_rows="suspended" if driver.parks_rows else "stepped",
            seed=seed,
            num_envs=env.num_envs,
            num_steps=run.num_steps,
            wall_time_s=time.perf_counter() - started_s,
            num_by_instruction=dict(Counter(map(texts, range(num_episodes)))) if texts else {},
            metadata=metadata_of(env, policy) | driver.metadata,
        )
        return result_of_all(own, failure, rank, group)


def driver_of(
    env: TorchVectorEnv,
    policy: Policy,
    chunk_options: dict[str, Any],
    *,
    seed: int,
    force: bool,
    instructed: bool,
) -> EpisodeDriver:
    """Who steps the env: for a policy of chunks, or for one that acts at every step.

    Raises:
        ConfigError: it is neither, or an option is not for it.
    """
    if isinstance(policy, ChunkedPolicy):
        from holdstep.policies.evaluation.chunk_driver import ChunkDriver

        return ChunkDriver(
            env, policy, seed=seed, force=force, instructed=instructed, **chunk_options
        )
    if not callable(policy):
        raise ConfigError(
            "policy must be a callable obs -> actions or a ChunkedPolicy (spec, infer, reset); got "
            f"{type(policy).__name__}."
        )
    unused = [name for name, value in chunk_options.items() if value is not None]
    if unused:
        raise ConfigError(
            f"{', '.join(unused)} can be given for a ChunkedPolicy only; {type(policy).__name__} "
            "acts at every step."
        )
    return PolicyDriver(env, policy)


def check_env(env: TorchVectorEnv) -> None:
    """Refuse what is no holdstep env."""
    if not isinstance(env, TorchVectorEnv):
        raise ConfigError(
            f"evaluate() takes a holdstep env, got {type(env).__name__}. Adapt it first: "
            "holdstep.envs.adapt(env); of a view for an RL library, take its .env."
        )


def _check_undiscounted(env: TorchVectorEnv) -> None:
    replay = find_wrapper(env, ActionChunkReplay)
    if replay is not None and replay.gamma != 1.0:
        raise ConfigError(
            "Returns are sums of rewards, but this env's ActionChunkReplay discounts those within "
            f"a chunk by gamma={replay.gamma}. Evaluate with gamma=1.0."
        )


def checked_max_steps(env: TorchVectorEnv, max_steps: int | None) -> int:
    """The longest that an episode may be [env steps]: as given, or twice the time limit."""
    if max_steps is not None:
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ConfigError(f"max_steps must be an integer of at least 1, got {max_steps!r}.")
        return max_steps
    limit = env.max_episode_length
    if limit is None:
        return _ENDLESS
    if limit > _ENDLESS:
        raise ConfigError(
            f"An episode of this env may last {limit} steps, which is to say for ever; play "
            "configurations often have no time limit. Make the env with one, or say by max_steps "
            "when to give up."
        )
    return 2 * limit


def _instruction_of(
    instructions: Instructions | None, num_episodes: int
) -> Callable[[int], str] | None:
    if instructions is None or callable(instructions):
        return instructions
    if isinstance(instructions, str) or not isinstance(instructions, Sequence):
        raise ConfigError(
            "instructions must be a list with one text per episode, or a function of the episode's "
            f"number (one for all: lambda episode: 'pick up the cube'); got {instructions!r}."
        )
    if len(instructions) != num_episodes:
        raise ConfigError(
            f"{num_episodes} episodes need as many instructions, got {len(instructions)}."
        )
    return instructions.__getitem__


def _nothing() -> None:
    pass


@contextlib.contextmanager
def _progress_bar(num_episodes: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("episodes", total=num_episodes)
        yield lambda: bar.advance(task)
