"""The stack that a run of teleoperation steps, made from its file."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError
from holdstep.policies.teleop.config.source_config import (
    DeviceConfig,
    FunctionConfig,
    IsaacTeleopConfig,
    PolicyConfig,
    kind_of,
)
from holdstep.wrappers import PipelinedActions, RecordEpisodes

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv
    from holdstep.policies.teleop.config import RunConfig


@dataclass(frozen=True)
class TeleopStack:
    """What is stepped.

    Attributes:
        env: the whole of it.
        recorder: in it, if anything is recorded.
        sources: by name.
    """

    env: PipelinedActions
    recorder: RecordEpisodes | None
    sources: Mapping[Hashable, Any]


def make_stack(run: RunConfig) -> TeleopStack:
    """Build the env, the sources, and what lies between.

    Raises:
        ConfigError: something in the file does not fit the env, or can't be imported.
        HoldstepError: as ``make`` and the wrappers.
    """
    from holdstep.cli.evaluate import suspended
    from holdstep.envs import make

    devices = [s for s in run.sources_by_name.values() if isinstance(s, DeviceConfig)]
    with contextlib.ExitStack() as stack:
        env = make(
            run.env.id,
            num_envs=run.env.num_envs,
            device=run.env.device,
            seed=run.env.seed,
            render_mode="rgb_array" if devices and run.loop.show else None,
            **run.env.overrides,
        )
        stack.callback(env.close)
        env = suspended(env, run.env.suspend)
        sources: dict[Hashable, Any] = {
            name: _source(source, run, env, f"sources.{name}" if run.sources else "source")
            for name, source in run.sources_by_name.items()
        }
        recorder = _recorder(run, env)
        if recorder is not None:
            stack.callback(recorder.close)
        pipelined = PipelinedActions(
            env if recorder is None else recorder,
            sources,
            groups={name: list(rows) for name, rows in run.rows_by_name.items()},
            pacing=run.pacing,
            **_options(run, env),
        )
        stack.pop_all()  # it is the caller's now
    return TeleopStack(pipelined, recorder, sources)


def _source(source: Any, run: RunConfig, env: TorchVectorEnv, place: str) -> Any:
    from holdstep.cli.policies import make_policy
    from holdstep.cli.serve import maker
    from holdstep.policies.teleop.registry import source_class
    from holdstep.wrappers.pipeline import FunctionSource

    if isinstance(source, FunctionConfig):
        make = maker(source.function, f"{place}.function")
        return make if run.pipeline.worker == "process" else make()
    if isinstance(source, PolicyConfig):
        policy = make_policy(env, env_id=run.env.id, policy=source.policy, seed=run.env.seed)
        if not callable(policy):
            raise ConfigError(
                f"{place}.policy must make a callable obs -> actions; {source.policy!r} made a "
                f"{type(policy).__name__}."
            )
        return FunctionSource(policy)
    if isinstance(source, IsaacTeleopConfig):
        return _isaacteleop(source, place)
    cls: Any = source_class(kind_of(source))
    if "mapping" not in source.options() and kind_of(source) == "keyboard":
        return cls.for_env(env, **source.options())
    return cls(**source.options())


def _isaacteleop(source: IsaacTeleopConfig, place: str) -> Any:
    from holdstep.cli.serve import maker
    from holdstep.policies.teleop.config.session_source import session_source

    pipeline = source.pipeline
    if isinstance(pipeline, str):
        return session_source(source, maker(pipeline, f"{place}.pipeline"))
    return session_source(source, pipeline)


def _recorder(run: RunConfig, env: TorchVectorEnv) -> RecordEpisodes | None:
    section = run.recorder
    if section is None:
        return None
    keys = list(section.keys)
    if not keys:
        keys = ["obs", "actions", "rewards", "terminated", "truncated", "teleop"]
        if env.capabilities.scene_state:
            keys.append("states")
    return RecordEpisodes(
        env,
        section.path,
        keys=keys,
        max_episodes=section.num_episodes,
        success=section.success,
        success_when=section.success_when,
        success_filter=section.success_filter,
        partial=section.partial,
        compression=section.compression,
        durability=section.durability,
        attributes=section.attributes,
    )


def _options(run: RunConfig, env: TorchVectorEnv) -> dict[str, Any]:
    """Options of the pipeline, as the env takes them."""
    import torch

    from holdstep.cli.serve import maker

    options = run.pipeline.options()
    hold_action = run.pipeline.hold_action
    if hold_action is not None:
        shape = tuple(env.single_action_space.shape or ())
        if shape != (len(hold_action),):
            raise ConfigError(
                f"pipeline.hold_action has {len(hold_action)} entries; actions of {run.env.id} "
                f"have the shape {shape}."
            )
        options["hold_action"] = torch.tensor(hold_action, device=env.device)
    if run.pipeline.external_inputs is not None:
        options["external_inputs"] = maker(run.pipeline.external_inputs, "pipeline.external_inputs")
    return options
