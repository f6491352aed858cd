"""Run a slow policy that returns 16 actions per inference, on many arms, without wasting any of it.

    python examples/chunked_policy.py                   # 8 arms lift their cubes; about a minute
    python examples/chunked_policy.py --serve groot     # the same policy behind a GR00T server
    python examples/chunked_policy.py --serve openpi    # or behind an openpi server

The policy is a script: it reads where the hand and the cube are from its observation, and answers
with the next 16 joint commands towards the cube, around it, or up. Inverse kinematics make it slow
enough to be worth sharing: one inference serves all arms. Arms whose episode ends in between are
suspended until then; no arm is ever fed with zeros.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mujoco
import numpy as np
import torch
import tyro
from rich.console import Console

from holdstep import evaluate
from holdstep.cli.quiet import quiet_simulators
from holdstep.envs import make
from holdstep.policies import (
    ChunkedPolicy,
    ChunkRequest,
    ChunkResult,
    ChunkSpec,
    EvalResult,
    EvalStep,
)
from holdstep.wrappers import SuspendOnWait

OPEN, CLOSED = 0.037, 0.0
"""Positions of the left finger [m]; the right one mirrors it."""

ABOVE, GRASP = 0.12, 0.03
"""Heights of the point between the fingertips [m]."""

REACH = 0.3
"""The farthest that a joint moves within one chunk [rad]."""


@dataclass
class Arguments:
    """How many arms, and where the policy runs."""

    num_envs: int = 8
    """Arms that are simulated at once."""

    num_episodes: int = 8
    """Episodes that count."""

    serve: Literal["no", "groot", "openpi"] = "no"
    """Put the policy behind a server of this protocol, on this machine."""

    episode_length_s: float = 8.0
    """Time for each [s]."""

    seed: int = 0
    """Where the cubes lie."""

    timeline: Path | None = None
    """Write a trace of the run to this file; `holdstep timeline FILE` draws it."""


class ScriptedLift:
    """Reach for the cube, grasp it, lift it: 16 joint commands at a time.

    A function of the observation alone: the command that is being followed is part of it.

    Args:
        model: the arm with its cube, in MuJoCo's own format.
        default: joint positions that observations are relative to [rad, m].
        offset: joint commands of a zero action [rad, m].
        scale: of actions.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        *,
        default: np.ndarray,
        offset: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self.spec = ChunkSpec(chunk_length=16, action_dim=7, obs_keys=("critic",))
        self._model = model
        self._default, self._offset, self._scale = default, offset, scale
        self._site = model.site("robot/grasp_site").id

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The next 16 commands of each arm that asks, one arm after the other."""
        seen = request.obs["critic"].cpu().double().numpy()
        actions = np.stack([self._plan(row) for row in seen])
        return ChunkResult(actions=torch.from_numpy(actions).float())

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing is remembered."""

    def _plan(self, seen: np.ndarray) -> np.ndarray:
        # Eight joint positions and velocities, hand to cube, cube to goal, the last action.
        joints, _, to_cube, to_goal, last_action = np.split(seen, [8, 16, 19, 22])
        joints = joints + self._default
        command = last_action * self._scale + self._offset
        if not last_action.any():  # the first of an episode
            command = joints[:7]
        data = mujoco.MjData(self._model)
        data.qpos[:8] = joints
        mujoco.mj_kinematics(self._model, data)
        hand = data.site_xpos[self._site].copy()
        cube, aside = hand + to_cube, np.linalg.norm(to_cube[:2])
        if command[6] < OPEN / 2 and np.linalg.norm(to_cube) < 0.03:  # it is in the hand
            up = cube + to_goal if hand[2] > ABOVE else np.array([*hand[:2], ABOVE + 0.05])
            goal = np.append(self._reach(data, up), CLOSED)
        elif aside > 0.05 or (aside > 0.008 and hand[2] > GRASP + 0.03):
            goal = np.append(self._reach(data, np.array([*cube[:2], ABOVE])), OPEN)
        elif hand[2] > GRASP + 0.015:
            goal = np.append(self._reach(data, np.array([*cube[:2], GRASP])), OPEN)
        else:
            goal = np.append(command[:6], CLOSED)
        step = goal - command
        step[:6] *= min(1.0, REACH / max(np.abs(step[:6]).max(), 1e-6))
        ramp = np.minimum(np.arange(1, 17) / 12, 1.0)[:, None]
        planned: np.ndarray = (command + ramp * step - self._offset) / self._scale
        return planned

    def _reach(self, data: mujoco.MjData, target: np.ndarray) -> np.ndarray:
        """Joint positions at which the hand points down at a target, by damped least squares."""
        model, arm = self._model, np.arange(6)
        closing, down = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])
        goal = np.stack((np.cross(closing, down), closing, down), axis=1)
        jacobian = np.zeros((6, model.nv))
        for _ in range(60):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], self._site)
            turn = 0.5 * np.cross(data.site_xmat[self._site].reshape(3, 3), goal, axis=0).sum(1)
            error = np.concatenate((target - data.site_xpos[self._site], 0.3 * turn))
            rows = jacobian[:, arm] * np.array([1, 1, 1, 0.3, 0.3, 0.3])[:, None]
            step = rows.T @ np.linalg.solve(rows @ rows.T + 1e-4 * np.eye(6), error)
            data.qpos[arm] = np.clip(data.qpos[arm] + step, *model.jnt_range[arm].T)
        # The motors are springs: pull them as far beyond the target as gravity bends them.
        data.qvel[:] = 0.0
        mujoco.mj_forward(model, data)
        joints: np.ndarray = data.qpos[arm] + data.qfrc_bias[arm] / model.actuator_gainprm[arm, 0]
        return joints


@contextlib.contextmanager
def served(policy: ScriptedLift, protocol: str) -> Iterator[ChunkedPolicy]:
    """The policy itself, or a client of a server on this machine behind which it is."""
    width, length = policy.spec.action_dim, policy.spec.chunk_length
    if protocol == "groot":
        from holdstep.policies.remote import GrootMapping, GrootPolicy, GrootServer

        groot = GrootMapping(state={"arm_and_cube": "critic"}, action={"joints": width})
        with GrootServer(policy, mapping=groot) as server:
            client = GrootPolicy(port=server.port, mapping=groot, chunk_length=length)
            with contextlib.closing(client):
                yield client
    elif protocol == "openpi":
        from holdstep.policies.remote import OpenPiMapping, OpenPiPolicy, OpenPiServer

        openpi = OpenPiMapping(state={"arm_and_cube": "critic"}, action_dim=width, prompt_key=None)
        with OpenPiServer(policy, mapping=openpi) as server:
            client = OpenPiPolicy(port=server.port, mapping=openpi, chunk_length=length)
            with contextlib.closing(client):
                yield client
    else:
        yield policy


def main(arguments: Arguments) -> EvalResult:
    """Evaluate the policy, print how often it lifted the cube to its goal, and return that."""
    torch.set_num_threads(1)
    console = Console()
    with console.status("building the env"), quiet_simulators():
        env = make(
            "mjlab:Mjlab-Lift-Cube-Yam",
            num_envs=arguments.num_envs,
            device="cpu",
            seed=arguments.seed,
            episode_length_s=arguments.episode_length_s,
        )
    sim: Any = env.backend_env
    action = sim.action_manager.get_term("joint_pos")
    policy = ScriptedLift(
        sim.sim.mj_model,
        default=sim.scene["robot"].data.default_joint_pos[0].double().numpy(),
        offset=action._offset[0].double().numpy(),
        scale=action._scale[0].double().numpy(),
    )
    cube = sim.scene["cube"].data

    def cube_in_the_air(step: EvalStep) -> torch.Tensor:
        """Whether it is higher than it can lie, bool ``[N]``."""
        height: torch.Tensor = cube.root_link_pos_w[:, 2]
        return height > 0.1

    with contextlib.ExitStack() as stack:
        # "skip": the physics of arms that wait is not even computed.
        suspending = SuspendOnWait(env, level="skip", rng="per_env")
        stack.callback(suspending.close)
        asked = stack.enter_context(served(policy, arguments.serve))
        stack.enter_context(quiet_simulators())
        result = evaluate(
            suspending,
            asked,
            arguments.num_episodes,
            seed=arguments.seed,
            success=cube_in_the_air,
            success_when="once",
            progress=True,
            timeline=arguments.timeline,
        )
    console.print(result.table())
    return result


if __name__ == "__main__":
    main(tyro.cli(Arguments))
