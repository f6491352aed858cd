"""Pick up a cube with one script per env, whose slow planner stops only its own env.

    python examples/scripted_pick.py            # four arms; about 15 s on one CPU core
    python examples/scripted_pick.py --help

mjlab simulates all arms as one batch. Still, each arm is driven by an `async def` that reads like
the script of a single robot: plan, reach, plan, grasp, plan, lift. While a script waits for the
planner, `run_per_env` suspends its env: simulated time stands still there, bit for bit, while the
other arms move on. However slow the planner is, the arms do the same.
"""

from __future__ import annotations

import asyncio
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from holdstep.cli.quiet import quiet_simulators
from holdstep.envs import make
from holdstep.wrappers import EnvHandle, PerEnvResult, SuspendOnWait, run_per_env

OPEN, CLOSED = 0.037, 0.0
"""Positions of the left finger [m]; the right one mirrors it."""

ABOVE, GRASP, LIFTED = 0.12, 0.03, 0.25
"""Heights of the point between the fingertips [m]."""


@dataclass
class Arguments:
    """How many arms, and how slow their planner is."""

    num_envs: int = 4
    """Arms that are simulated at once."""

    num_episodes: int = 4
    """Picks in total, over all arms."""

    think_s: float = 0.5
    """The time that one plan takes for the first arm [s]; for each next arm, 50% more."""

    seed: int = 0
    """Where the cubes lie."""


@dataclass(frozen=True)
class Pick:
    """What one script has to tell.

    Attributes:
        lifted: whether the cube hangs in the air at the end.
        height: of the cube at the end [m].
        plans: when each plan was begun and when it was ready, on the wall clock [s].
        stood_still: whether the arm's state was bit for bit the same after each plan as before.
    """

    lifted: bool
    height: float
    plans: list[tuple[float, float]]
    stood_still: bool


class Planner:
    """Inverse kinematics, in MuJoCo's own data on the CPU: safe to call from several threads.

    Args:
        model: the simulated arm with its cube, in MuJoCo's own format.
        think_s: how long a plan takes at least [s].
    """

    def __init__(self, model: mujoco.MjModel, *, think_s: float) -> None:
        self.model = model
        self.think_s = think_s
        self._site = model.site("robot/grasp_site").id
        self._arm = np.arange(6)  # six joints, then two fingers, then the cube

    def plan(self, qpos: np.ndarray, target: np.ndarray, yaw: float, env_id: int) -> np.ndarray:
        """Joint positions to command so that the open hand points down at a target.

        Args:
            qpos: where everything is now.
            target: for the point between the fingertips, from the arm's base [m].
            yaw: of the axis along which the fingers close [rad].
            env_id: of the arm; plans for different arms take differently long.

        Returns:
            Positions of the six joints [rad], float64 ``[6]``.
        """
        time.sleep(self.think_s * (1 + 0.5 * env_id))  # stands for a planner worth waiting for
        data = mujoco.MjData(self.model)
        data.qpos[:] = qpos
        closing = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        goal = np.stack((np.cross(closing, down), closing, down), axis=1)
        jacobian = np.zeros((6, self.model.nv))
        for _ in range(100):  # damped least squares
            mujoco.mj_kinematics(self.model, data)
            mujoco.mj_comPos(self.model, data)
            mujoco.mj_jacSite(self.model, data, jacobian[:3], jacobian[3:], self._site)
            now = data.site_xmat[self._site].reshape(3, 3)
            turn = 0.5 * np.cross(now, goal, axis=0).sum(axis=1)
            error = np.concatenate((target - data.site_xpos[self._site], 0.3 * turn))
            arm = jacobian[:, self._arm] * np.array([1, 1, 1, 0.3, 0.3, 0.3])[:, None]
            step = arm.T @ np.linalg.solve(arm @ arm.T + 1e-4 * np.eye(6), error)
            limits = self.model.jnt_range[self._arm]
            data.qpos[self._arm] = np.clip(data.qpos[self._arm] + step, *limits.T)
        # The motors are springs: pull them as far beyond the target as gravity bends them.
        data.qvel[:] = 0.0
        mujoco.mj_forward(self.model, data)
        gains = self.model.actuator_gainprm[self._arm, 0]
        planned: np.ndarray = data.qpos[self._arm] + data.qfrc_bias[self._arm] / gains
        return planned


class Arm:
    """One arm, as its script sees it.

    Args:
        handle: steps the arm's env.
        sim: mjlab's env of all arms. A script may look at everything in it; a policy would not.
        planner: of all arms.
        pool: where it computes. It must not do so in the event loop, which drives all arms.
    """

    def __init__(
        self, handle: EnvHandle, sim: Any, planner: Planner, pool: ThreadPoolExecutor
    ) -> None:
        self.handle = handle
        self.plans: list[tuple[float, float]] = []
        self.stood_still = True
        self._sim = sim
        self._planner = planner
        self._pool = pool
        action = sim.action_manager.get_term("joint_pos")
        self._offset, self._scale = action._offset[0].numpy(), action._scale[0].numpy()
        self._command = self.qpos()[:7]

    def qpos(self) -> np.ndarray:
        """Positions of six joints, two fingers and the cube, float64 ``[15]``; a copy."""
        positions: torch.Tensor = self._sim.sim.data.qpos[self.handle.env_id]
        return np.array(positions.tolist())

    def cube(self) -> np.ndarray:
        """Where the cube is, from the arm's base: x, y, z [m]."""
        origin: np.ndarray = self._sim.scene.env_origins[self.handle.env_id].numpy()
        position: np.ndarray = self.qpos()[8:11] - origin
        return position

    def cube_yaw(self) -> float:
        """How far the fingers have to turn to close on two faces of the cube [rad]."""
        w, x, y, z = self.qpos()[11:15]
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)

    async def plan(self, x: float, y: float, height: float, yaw: float) -> np.ndarray:
        """Joint positions for a place of the hand. Until they are ready, this env is suspended."""
        before = self._sim.sim.data.qpos[self.handle.env_id].clone()
        started = time.perf_counter()
        joints: np.ndarray = await asyncio.get_running_loop().run_in_executor(
            self._pool,
            functools.partial(
                self._planner.plan, self.qpos(), np.array([x, y, height]), yaw, self.handle.env_id
            ),
        )
        self.plans.append((started, time.perf_counter()))
        self.stood_still &= torch.equal(before, self._sim.sim.data.qpos[self.handle.env_id])
        return joints

    async def move(self, joints: np.ndarray, finger: float, *, num_steps: int) -> None:
        """Move evenly to a command: six joints [rad] and a finger [m]."""
        start, end = self._command, np.append(joints, finger)
        for step in range(1, num_steps + 1):
            if self.handle.done:  # such as a hand that has hit the ground
                return
            self._command = start + (end - start) * min(1.0, step / (0.7 * num_steps))
            await self.handle.step((self._command - self._offset) / self._scale)


async def pick(handle: EnvHandle, *, sim: Any, planner: Planner, pool: ThreadPoolExecutor) -> Pick:
    """The script: one episode of one arm."""
    await handle.reset()
    arm = Arm(handle, sim, planner, pool)
    await arm.move(arm.qpos()[:6], OPEN, num_steps=10)  # meanwhile the cube falls to the ground
    (x, y, _), yaw = arm.cube(), arm.cube_yaw()

    above = await arm.plan(x, y, ABOVE, yaw)
    await arm.move(above, OPEN, num_steps=40)
    around = await arm.plan(x, y, GRASP, yaw)
    await arm.move(around, OPEN, num_steps=25)
    await arm.move(around, CLOSED, num_steps=15)
    up = await arm.plan(x, y, LIFTED, yaw)
    await arm.move(up, CLOSED, num_steps=40)

    # To return before the episode's time is up ends it: the row is reset for the next one.
    height = float(arm.cube()[2])
    lifted = height > 0.1 and not handle.done
    return Pick(lifted, height, arm.plans, arm.stood_still)


def main(arguments: Arguments) -> PerEnvResult[Pick]:
    """Run the picks, print what came of them, and return it."""
    torch.set_num_threads(1)
    console = Console()
    with console.status("building the env"), quiet_simulators():
        env = make(
            "mjlab:Mjlab-Lift-Cube-Yam",
            num_envs=arguments.num_envs,
            device="cpu",
            seed=arguments.seed,
        )
        # "skip": the physics of suspended rows is not even computed.
        suspending = SuspendOnWait(env, level="skip")
    planner = Planner(env.backend_env.sim.mj_model, think_s=arguments.think_s)
    started = time.perf_counter()
    with ThreadPoolExecutor(arguments.num_envs) as pool, quiet_simulators():
        script = functools.partial(pick, sim=env.backend_env, planner=planner, pool=pool)
        try:
            result = run_per_env(
                suspending,
                script,
                num_episodes=arguments.num_episodes,
                seed=arguments.seed,
                progress=True,
            )
        finally:
            suspending.close()
    wall_s = time.perf_counter() - started

    table = Table("env", "cube at [m]", "lifted", "env steps", "planning [s]", "stood still")
    for record in result.episodes:
        told = record.return_value
        planning_s = sum(end - start for start, end in told.plans)
        table.add_row(
            str(record.env_id),
            f"{told.height:.2f}",
            "yes" if told.lifted else "no",
            str(record.length),
            f"{planning_s:.1f}",
            "yes" if told.stood_still else "NO",
        )
    console.print(table)
    all_plans_s = sum(end - start for told in result.return_values for start, end in told.plans)
    console.print(
        f"{all_plans_s:.1f} s of planning and {result.num_steps} steps of the batch "
        f"in {wall_s:.1f} s"
    )
    return result


if __name__ == "__main__":
    main(tyro.cli(Arguments))
