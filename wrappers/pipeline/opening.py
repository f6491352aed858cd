"""Sources and options made into pipelines, none of which runs yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdstep.errors import ConfigError
from holdstep.wrappers.pipeline.computing import CheckedActions, Computing
from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline
from holdstep.wrappers.pipeline.worker import InlineWorker, Worker
from holdstep.wrappers.pipeline.worker_stream import WorkerStream
from holdstep.wrappers.pipeline.worker_thread import ThreadWorker

if TYPE_CHECKING:
    import threading

    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.pipeline.groups import RowsOfSource
    from holdstep.wrappers.pipeline.options import PipelineOptions
    from holdstep.wrappers.waits import WaitClock


def opened(
    groups: Sequence[RowsOfSource],
    options: PipelineOptions,
    *,
    env: TorchVectorEnv,
    clock: WaitClock,
    news: threading.Event,
) -> list[SourcePipeline]:
    """A pipeline for each source.

    Args:
        groups: the sources and their rows.
        options: of the wrapper.
        env: the stack inside.
        clock: time.
        news: what workers set when they have something.

    Raises:
        ConfigError: a source says by its ``action_dim`` that its actions are none of the env's.
    """
    for group in groups:
        check_width(group, env)
    return [
        SourcePipeline(group, _worker(group, options, env, clock, news), options)
        for group in groups
    ]


def check_width(group: RowsOfSource, env: TorchVectorEnv) -> None:
    """Refuse a source that says that its actions are of another width, before it is opened.

    Raises:
        ConfigError: its ``action_dim`` is not the env's.
    """
    shape = tuple(env.single_action_space.shape or ())
    width = getattr(group.source, "action_dim", None)
    if width is not None and shape != (width,):
        raise ConfigError(
            f"Actions of {group.name} have {width} entries (its action_dim), those of the env "
            f"the shape {shape}. Change the mapping or the pipeline, or name another output."
        )


def _worker(
    group: RowsOfSource,
    options: PipelineOptions,
    env: TorchVectorEnv,
    clock: WaitClock,
    news: threading.Event,
) -> Worker:
    is_sync = options.mode == "sync"
    computing = Computing(
        source=group.source,
        check=CheckedActions(
            env.single_action_space, num_rows=len(group.env_ids), device=env.device
        ),
        clock=clock,
        # What comes from another process is a copy already.
        copies=not is_sync and options.worker == "thread",
        stream=None if is_sync or env.device.type == "cpu" else WorkerStream(env.device),
    )
    pacer = options.pacing.pacer()
    if is_sync:
        return InlineWorker(computing, group.env_ids, pacer)
    return ThreadWorker(
        computing, group.env_ids, pacer, news=news, name=f"holdstep source {group.key}"
    )
