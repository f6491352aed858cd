"""lerobot's policies (ACT, diffusion, pi0, SmolVLA and others) as chunked policies."""

from holdstep.policies.lerobot.policy import LeRobotPolicy

__all__ = ["LeRobotPolicy"]
