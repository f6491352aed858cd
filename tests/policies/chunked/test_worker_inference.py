"""The life of the thread that policies are called in, and of what it is given."""

import gc
import threading
import time
import weakref

import torch

from holdstep.policies.chunked.worker_inference import WorkerInference
from tests.policies.chunked.test_check_result import request_of
from tests.policies.chunked.test_inference import LONG_S, Logbook, collect, running


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name == "holdstep-inference"]


def test_closing_beside_a_call_that_hangs_takes_about_a_second():
    policy, entered, go_on = Logbook(), threading.Event(), threading.Event()
    policy.infer_hook = lambda request: (entered.set(), go_on.wait(LONG_S))
    before = set(worker_threads())
    inference = WorkerInference(policy, device=torch.device("cpu"))
    (thread,) = set(worker_threads()) - before
    assert thread.daemon  # or the process could not end
    inference.submit(0, request_of(1))
    inference.submit(1, request_of(1, first=1))
    assert entered.wait(LONG_S)
    begin_s = time.perf_counter()
    inference.close()
    assert 0.9 < time.perf_counter() - begin_s < 5
    go_on.set()
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert ("infer", [1]) not in policy.calls  # what had not been begun is never asked for


def test_closing_an_idle_worker_ends_its_thread_at_once():
    before = set(worker_threads())
    inference = WorkerInference(Logbook(), device=torch.device("cpu"))
    (thread,) = set(worker_threads()) - before
    inference.close()
    assert not thread.is_alive()
    inference.close()


def test_a_worker_that_is_thrown_away_ends_its_thread_and_lets_go_of_the_policy():
    policy, before = Logbook(), set(worker_threads())
    inference = WorkerInference(policy, device=torch.device("cpu"))
    (thread,) = set(worker_threads()) - before
    inference.submit(0, request_of(1))
    collect(inference, 1)
    gone = weakref.ref(policy)
    del inference, policy
    gc.collect()
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert gone() is None


def test_a_worker_that_is_thrown_away_during_a_call_ends_after_it():
    policy, entered, go_on = Logbook(), threading.Event(), threading.Event()
    policy.infer_hook = lambda request: (entered.set(), go_on.wait(LONG_S))
    before = set(worker_threads())
    inference = WorkerInference(policy, device=torch.device("cpu"))
    (thread,) = set(worker_threads()) - before
    inference.submit(0, request_of(1))
    assert entered.wait(LONG_S)
    del inference
    gc.collect()
    assert thread.is_alive()
    go_on.set()
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_a_request_is_let_go_of_once_it_is_answered():
    """Else the images of the last one would stay on the device until the next."""
    with running("worker", Logbook()) as inference:
        request = request_of(1)
        image = weakref.ref(request.obs["policy"])
        inference.submit(0, request)
        del request
        finished = collect(inference, 1)
        assert image() is not None
        del finished
        for _ in range(200):  # the thread lets go a moment after it has answered
            gc.collect()
            if image() is None:
                break
            time.sleep(0.01)
        assert image() is None
