"""Interrupts that raise or hang, while sources are stopped."""

import threading
import time

import pytest

from tests.wrappers.pipeline.test_pipelined_actions import stack
from tests.wrappers.pipeline.tools import Told, eventually, nothing_left_running


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


class Hangs(Told):
    """Hangs in its second frame until a test lets it go, or its interrupt does."""

    def __init__(self, interrupt):
        super().__init__()
        self.hangs, self.let_go = threading.Event(), threading.Event()
        self._interrupt = interrupt

    def compute(self, request):
        if request.frame_id:
            self.hangs.set()
            assert self.let_go.wait(20)
        return super().compute(request)

    def interrupt(self):
        self._interrupt(self)


def raises(source):
    raise OSError("no such device")


def waits(source):
    source.let_go.wait(20)


def lets_go(source):
    source.let_go.set()


def test_an_interrupt_that_raises_or_hangs_keeps_neither_close_nor_the_other_sources():
    sources = [Hangs(raises), Hangs(waits), Hangs(lets_go)]
    env = stack(sources, num_envs=3, stop_timeout_s=0.4)
    env.reset()
    env.step()
    env.step()
    for source in sources:
        assert source.hangs.wait(20)
    begin_s = time.monotonic()
    with pytest.warns(RuntimeWarning) as caught:
        env.close()
    assert time.monotonic() - begin_s < 2
    told = [str(warning.message) for warning in caught]
    assert sum("did not stop within 0.4 s" in text for text in told) == 2
    assert sum("no such device" in text for text in told) == 1
    assert sources[2].calls == ["start", "stop"]
    for source in sources:
        source.let_go.set()
    eventually(lambda: all(source.calls == ["start", "stop"] for source in sources))
    eventually(
        lambda: (
            len(threading.enumerate()) == 1
            or not any("holdstep source" in thread.name for thread in threading.enumerate())
        )
    )
    time.sleep(0.05)
