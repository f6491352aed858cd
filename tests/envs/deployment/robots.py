"""Small robots in MJCF, and contracts that read and write them."""

from __future__ import annotations

from typing import Any

import torch

from holdstep.envs import DeploymentEnv, MujocoHost
from holdstep.wrappers.export.contract import Actuator, TensorSpec
from holdstep.wrappers.export.contract_file import write_contract
from tests.wrappers.export.contracts import contract_of

WRITE = "write:robot:set_joint_position_target"
JOINTS = ("shoulder", "elbow")


def arm(actuators: str = "", *, prefix: str = "", options: str = "") -> str:
    """Two joints on a base that moves freely, without gravity or contacts."""
    return f"""
    <mujoco>
      <option timestep="0.005" gravity="0 0 0" integrator="implicitfast" {options}/>
      <worldbody>
        <body name="{prefix}base" pos="0 0 1">
          <freejoint name="{prefix}floating"/>
          <geom size=".2" mass="20" contype="0" conaffinity="0"/>
          <site name="{prefix}imu" pos=".1 0 0"/>
          <body name="{prefix}upper" pos=".2 0 0">
            <joint name="{prefix}shoulder" axis="0 1 0" damping=".1" armature=".05"/>
            <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03" mass="1"
                  contype="0" conaffinity="0"/>
            <body name="{prefix}lower" pos=".3 0 0">
              <joint name="{prefix}elbow" axis="0 0 1" damping=".1" armature=".05"/>
              <geom type="capsule" fromto="0 0 0 .3 .05 0" size=".03" mass="1"
                    contype="0" conaffinity="0"/>
            </body>
          </body>
        </body>
      </worldbody>
      <actuator>{actuators}</actuator>
      <sensor><gyro name="{prefix}gyro" site="{prefix}imu"/></sensor>
      <keyframe>
        <key name="bent" qpos="0 0 1 1 0 0 0 .3 -.4"/>
      </keyframe>
    </mujoco>
    """


POSITION = """
<position joint="shoulder" kp="20" kv="1"/><position joint="elbow" kp="20" kv="1"/>
"""
MOTOR = """<motor joint="shoulder" gear="2"/><motor joint="elbow"/>"""


def arm_contract(*, actuator: Actuator | None = None, **changes: Any) -> Any:
    """Reads joint positions, writes position targets, elbow first."""
    joints = ("elbow", "shoulder")
    given = {
        "inputs": (TensorSpec.of("state:robot:joint_pos", (2,), unit="rad", element_names=joints),),
        "memories": (),
        "outputs": (TensorSpec.of(WRITE, (2,), unit="rad", element_names=joints),),
        "actuators": () if actuator is None else (actuator,),
        "models": (),
    }
    return contract_of(**(given | changes))


def host_of(actuators: str = POSITION, *, xml: str | None = None, **options: Any) -> MujocoHost:
    """An arm in plain MuJoCo."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(arm(actuators) if xml is None else xml)
    return MujocoHost(model, **options)


class Runner:
    """Writes one target, the elbow's first."""

    def __init__(self, target: Any = (0.5, -0.25), connection: str = WRITE) -> None:
        self.target = torch.tensor([target])
        self.connection = connection

    def step(self, inputs: Any) -> Any:
        return {self.connection: self.target}

    def reset(self, env_ids: Any = None) -> None:
        pass


def deploy_arm(
    folder: Any, host: Any, contract: Any = None, runner: Any = None, **options: Any
) -> DeploymentEnv:
    """A contract on a host, reset."""
    write_contract(contract or arm_contract(), folder)
    env = DeploymentEnv(host, folder, runner=runner or Runner(), **options)
    env.reset()
    return env


def torques_of(env: DeploymentEnv, num_steps: int = 12) -> list[Any]:
    """Joint torques in each physics step, with the state before it."""
    seen: list[Any] = []
    host: Any = env.host
    step = host.step

    def watched() -> None:
        before = (host.data.qpos[7:].copy(), host.data.qvel[6:].copy())
        step()
        seen.append((*before, host.data.qfrc_actuator[6:] + host.data.qfrc_applied[6:]))

    host.step = watched
    for _ in range(num_steps):
        env.step()
    return seen
