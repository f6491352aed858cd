"""Sources that do as they are told, and wrappers that see what reaches the env."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time

import torch

from holdstep.wrappers import VectorWrapper
from holdstep.wrappers.pipeline import ActionSource, SourceResult
from holdstep.wrappers.pipeline.worker import Worker


class Told(ActionSource):
    """Answers with what a function makes of the request; remembers all that it was asked."""

    def __init__(self, answer=None, *, uses_obs=False, action_dim=1):
        self.uses_obs = uses_obs
        self.requests = []
        self.calls = []
        self.threads = set()
        self._action_dim = action_dim
        self._answer = answer or (lambda request: {})

    def start(self, env_ids):
        self.calls.append("start")
        self.threads.add(threading.get_ident())

    def compute(self, request):
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        answer = self._answer(request)
        if not isinstance(answer, dict):
            return answer
        default = torch.full((len(request.env_ids), self._action_dim), request.frame_id / 1000)
        return SourceResult(**{"actions": default, **answer})

    def stop(self):
        self.calls.append("stop")
        self.threads.add(threading.get_ident())


class Gate:
    """Lets computations through, one per :meth:`open`; to be called by a source."""

    def __init__(self):
        self._allowed = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)

    def __call__(self, request):
        self.entered.release()
        assert self._allowed.acquire(timeout=20)
        return {}

    def open(self, times=1):
        self._allowed.release(times)


class SeenActions(VectorWrapper):
    """What reached the env: actions, and the rows that advanced."""

    def __init__(self, env):
        super().__init__(env)
        self.actions = []
        self.active = []
        self.num_resets = 0
        self.reset_rows = []

    def step(self, actions):
        return self._seen(actions, self.env.step(actions))

    def step_masked(self, actions, active_mask):
        return self._seen(actions, self.env.step_masked(actions, active_mask))

    def reset(self, *, seed=None, options=None):
        ids = (options or {}).get("env_ids")
        if ids is None or len(ids):
            self.num_resets += 1
            self.reset_rows.append(None if ids is None else torch.as_tensor(ids).tolist())
        return self.env.reset(seed=seed, options=options)

    def _seen(self, actions, result):
        self.actions.append(actions.clone())
        self.active.append(result[4]["active"].clone())
        return result


class Counted(VectorWrapper):
    """Adds to the observations how many steps a row has made, and in which episode it is."""

    def __init__(self, env):
        super().__init__(env)
        self.count = torch.zeros(self.num_envs)
        self.episode = torch.zeros(self.num_envs)

    def reset(self, *, seed=None, options=None):
        obs, info = self.env.reset(seed=seed, options=options)
        ids = (options or {}).get("env_ids")
        rows = torch.arange(self.num_envs) if ids is None else torch.as_tensor(ids)
        self.episode[rows] += 1
        return self._with_counts(obs), info

    def step(self, actions):
        return self._counted(self.env.step(actions))

    def step_masked(self, actions, active_mask):
        return self._counted(self.env.step_masked(actions, active_mask))

    def _counted(self, result):
        obs, reward, terminated, truncated, info = result
        self.count += info["active"]
        self.episode += terminated | truncated
        return self._with_counts(obs), reward, terminated, truncated, info

    def _with_counts(self, obs):
        return {**obs, "count": self.count.clone(), "episode": self.episode.clone()}


class ByHand(Worker):
    """A worker that does what a test says, when it says so; there is no thread."""

    def start(self):
        self._start_source(BaseException)

    def wake(self):
        pass

    def restart(self):
        self._stop_source(BaseException)
        self._desk.recover()
        self._start_source(BaseException)

    def begin_stop(self):
        self._stop_source(BaseException)

    def join(self, timeout_s):
        return True

    def interrupt(self):
        pass

    @property
    def can_begin(self):
        return self._desk.can_begin

    @property
    def running(self):
        return self._desk.running

    def begin(self):
        return self._desk.begin()

    def finish(self):
        """Compute what was begun; if that raises, the source has failed."""
        self._compute(self._desk.running, Exception)


def eventually(condition, timeout_s=20.0):
    """Wait until something that other threads do has happened."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it has not happened"
        time.sleep(0.001)


@contextlib.contextmanager
def nothing_left_running():
    """Whatever is started inside has ended at the end."""
    before = set(threading.enumerate())
    children = set(multiprocessing.active_children())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not left, f"threads were left running: {left}"
    assert set(multiprocessing.active_children()) <= children
