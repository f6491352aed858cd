"""Sources for processes of their own; a module that is quickly imported."""

import os
import time

from holdstep.wrappers.pipeline.events import SourceEvents
from holdstep.wrappers.pipeline.source import ActionSource, SourceResult


class OddError(Exception):
    """Can't be unpickled."""

    def __init__(self, code, name):
        super().__init__(f"{name} failed with {code}")


class Follower(ActionSource):
    """Acts as it sees; tells its process, and does what the inputs ask for."""

    uses_obs = True
    obs_keys = ("policy",)

    def __init__(self, path=None):
        self.path = path

    def start(self, env_ids):
        self.env_ids = env_ids

    def compute(self, request):
        do = request.external_inputs.get("do")
        if do == "raise":
            raise ValueError("no tracking")
        if do == "raise odd":
            raise OddError(3, "arm")
        if do == "hang":
            time.sleep(60)
        if do == "exit":
            os._exit(3)
        return SourceResult(
            actions=request.obs["policy"][:, :1] * 0.5,
            events=SourceEvents(reset=bool(request.external_inputs.get("operator reset"))),
            context={
                "pid": os.getpid(),
                "keys": list(request.obs),
                "ids": self.env_ids,
                "host": request.host_events,
                "inputs": request.external_inputs.get("array"),
            },
        )

    def stop(self):
        if self.path is not None:
            with open(self.path, "a") as file:
                file.write("stopped\n")


class Refused(ActionSource):
    """Can't be started, as something outside is not there."""

    def start(self, env_ids):
        raise ConnectionRefusedError("no server at port 5555")

    def compute(self, request):
        raise AssertionError


def no_device():
    """A factory that fails."""
    raise EOFError("the device has sent nothing")


def not_a_source():
    """A factory that makes none."""
    return 3
