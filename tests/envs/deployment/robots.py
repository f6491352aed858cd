"""Small robots in MJCF, and contracts that read and write them."""

from __future__ import annotations

from typing import Any

from holdstep.wrappers.export.contract import Actuator, TensorSpec
from tests.wrappers.export.contracts import contract_of

WRITE = "write:robot:set_joint_position_target"


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
