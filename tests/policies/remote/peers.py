"""Policies, requests, and servers in processes of their own, for the tests of remote policies.

python -m tests.policies.remote.peers groot 0
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.remote import GrootMapping, GrootServer, OpenPiMapping, OpenPiServer

L, A = 4, 3
ROOT = Path(__file__).parents[3]


class SeededPolicy:
    """Actions that depend on everything that a request holds, so that whatever gets lost shows.

    A state of at least ``slow_from`` in its first column makes an inference last ``slow_s``.
    """

    spec = ChunkSpec(chunk_length=L, action_dim=A)
    slow_from, slow_s = 100.0, 30.0

    def __init__(self, **spec):
        self.spec = ChunkSpec(chunk_length=L, action_dim=A, **spec)
        self.batches = []
        self.resets = []

    def infer(self, request: ChunkRequest) -> ChunkResult:
        self.batches.append(request)
        if (request.obs["state"][:, 0] >= self.slow_from).any():
            time.sleep(self.slow_s)
        base = request.obs["state"][:, :A].double()
        base = base + request.seeds[:, None] + 10 * request.episode_ids[:, None]
        base = base + 100 * request.chunk_ids[:, None] + 1000 * request.env_ids[:, None]
        if "camera" in request.obs:
            base = base + request.obs["camera"].double().mean(dim=(1, 2, 3))[:, None]
        base = (
            base
            + torch.tensor([float(len(text)) for text in request.instructions] or 0.0)[..., None]
        )
        steps = torch.arange(1, L + 1, dtype=torch.float64)
        return ChunkResult(
            actions=torch.sin(base[:, None, :] * steps[None, :, None]).float(),
            valid_lengths=1 + request.env_ids % L,
        )

    def reset(self, env_ids, episode_ids):
        self.resets.append((env_ids.tolist(), episode_ids.tolist()))


def request_of(num_rows: int, *, seed: int = 0, camera: bool = True, instructions=True):
    """Rows with a camera, a state and words."""
    generator = torch.Generator().manual_seed(seed)
    obs = {"state": torch.randn(num_rows, 5, generator=generator)}
    if camera:
        size = (num_rows, 12, 16, 3)
        obs["camera"] = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    ids = torch.randperm(1000, generator=generator)[:num_rows]
    return ChunkRequest(
        obs=obs,
        env_ids=ids,
        episode_ids=ids % 7,
        chunk_ids=ids % 5,
        seeds=torch.randint(0, 2**62, (num_rows,), generator=generator),
        instructions=[f"task {i} ü" * (i % 4) for i in range(num_rows)] if instructions else (),
    )


GROOT = GrootMapping(
    video={"camera": "camera"}, state={"state": "state"}, action={"action": A}, language_key="task"
)
OPENPI = OpenPiMapping(images={"camera": "camera"}, state={"state": "state"}, action_dim=A)
STATE_GROOT = GrootMapping(state={"state": "state"}, action={"action": A})
STATE_OPENPI = OpenPiMapping(state={"state": "state"}, action_dim=A, prompt_key=None)


class ServerProcess:
    """A server in a process of its own, which can be killed, stopped and started again."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.policies.remote.peers", self.protocol]
        self.process = subprocess.Popen(
            [*command, str(self.port)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.port = int(self.process.stdout.readline())

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    server = {"groot": GrootServer, "openpi": OpenPiServer}[sys.argv[1]]
    server(SeededPolicy(), port=int(sys.argv[2])).serve_forever(
        on_listening=lambda _, port: print(port, flush=True)
    )
