import threading

import pytest

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.worker import Worker


@pytest.fixture
def gate():
    """An event that jobs can wait for; set at the end, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


def test_jobs_are_done_in_order_in_another_thread():
    worker = Worker("test", max_bytes=10)
    done = []
    for number in range(50):
        worker.submit(lambda n=number: done.append((n, threading.get_ident())), num_bytes=1)
    worker.wait()
    assert [number for number, _ in done] == list(range(50))
    assert {thread for _, thread in done}.isdisjoint({threading.get_ident()})
    worker.close()
    worker.close()


def test_a_caller_that_is_too_fast_waits_for_memory(gate):
    worker = Worker("test", max_bytes=10)
    started = threading.Event()
    worker.submit(lambda: (started.set(), gate.wait()), num_bytes=8)
    started.wait()
    worker.submit(lambda: None, num_bytes=2)  # just fits
    assert worker.held_bytes == 10
    submitted = threading.Event()

    def submit_more():
        worker.submit(lambda: None, num_bytes=1)
        submitted.set()

    thread = threading.Thread(target=submit_more)
    thread.start()
    assert not submitted.wait(0.05)
    gate.set()
    assert submitted.wait(5)
    thread.join()
    worker.wait()
    assert worker.held_bytes == 0
    assert worker.blocked_s > 0.02
    worker.close()


def test_a_job_that_is_larger_than_the_bound_is_done_alone():
    worker = Worker("test", max_bytes=10)
    done = []
    for number in range(3):
        worker.submit(lambda n=number: done.append(n), num_bytes=1000)
    worker.close()
    assert done == [0, 1, 2]


def test_close_finishes_what_was_submitted(gate):
    worker = Worker("test", max_bytes=100)
    done = []
    worker.submit(gate.wait, num_bytes=1)
    worker.submit(lambda: done.append(1), num_bytes=1)
    threading.Timer(0.02, gate.set).start()
    worker.close()
    assert done == [1]
    with pytest.raises(RecordingError, match="closed"):
        worker.submit(lambda: None, num_bytes=0)


def test_a_failure_is_raised_by_the_next_call_and_ends_everything(gate):
    worker = Worker("test", max_bytes=5)
    done = []

    def fail():
        gate.wait()
        raise OSError("the disk is gone")

    worker.submit(fail, num_bytes=5)
    waiting = []

    def submit_more():
        with pytest.raises(RecordingError) as caught:
            worker.submit(lambda: done.append(1), num_bytes=5)
        waiting.append(caught.value)

    thread = threading.Thread(target=submit_more)
    thread.start()
    gate.set()
    thread.join(5)
    assert isinstance(waiting[0].__cause__, OSError)
    for call in (worker.wait, lambda: worker.submit(lambda: None, num_bytes=0), worker.close):
        with pytest.raises(RecordingError, match="the disk is gone"):
            call()
    worker.close()
    assert not done


def test_a_bound_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        Worker("test", max_bytes=0)
