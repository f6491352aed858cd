import asyncio
import concurrent.futures
import contextlib
import gc
import threading
import time

import pytest

from holdstep.errors import ConfigError, SuspensionError, SuspensionTimeoutError
from holdstep.wrappers import waits as waits_module
from holdstep.wrappers.waits import Waits, checked_waits
from tests.wrappers.fake_clock import FakeClock


def waiting(*waits, clock=None):
    """Row ``i`` waits for ``waits[i]``."""
    all_waits = Waits(clock or FakeClock())
    all_waits.add(range(len(waits)), waits)
    return all_waits


def rows(finished):
    return sorted(row for wait in finished for row in wait.env_ids)


@contextlib.contextmanager
def loop_in_a_thread():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def a_future():
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def only_woken(monkeypatch):
    """Futures have to report themselves: nobody looks at them again by chance."""
    monkeypatch.setattr(waits_module, "_LOOK_AGAIN_S", 1000.0)
    start_s = time.monotonic()
    yield
    assert time.monotonic() - start_s < 10  # of the 20 after which the tests look a last time


def test_what_is_done_is_taken_once():
    future, other = concurrent.futures.Future(), concurrent.futures.Future()
    waits = waiting(future, other, future)
    assert waits.take_finished() == []
    assert waits.env_ids == [0, 1, 2]
    future.set_result("anything")
    (finished,) = waits.take_finished()
    assert finished.env_ids == [0, 2]
    assert finished.error is None
    assert waits.take_finished() == []
    assert waits.env_ids == [1]
    other.set_result(None)
    assert rows(waits.take_finished()) == [1]
    assert not waits


def test_each_callable_is_looked_at_once():
    class Planner:
        calls = 0

        def ready(self):
            self.calls += 1
            return self.calls == 3

    planner = Planner()
    waits = waiting(planner.ready, planner.ready)  # two objects, one method
    for calls in (1, 2):
        assert waits.take_finished() == []
        assert planner.calls == calls
    assert rows(waits.take_finished()) == [0, 1]


def test_postponed_rows_get_later_what_was_seen_when_others_waited_for_it_too():
    answers = iter([True])
    waits = waiting(once := lambda: next(answers), once, lambda: 1 / 0)
    waits.postponed.update([1, 2])
    assert rows(waits.take_finished()) == [0]
    assert waits.take_finished() == []
    assert waits.env_ids == [1, 2]
    waits.postponed.clear()
    first, second = waits.take_finished()
    assert (second.env_ids, first.env_ids) == ([1], [2])
    assert second.error is None
    assert isinstance(first.error, ZeroDivisionError)
    assert not waits


def test_waiting_for_postponed_rows_alone_would_never_end():
    waits = waiting(concurrent.futures.Future(), lambda: False)
    waits.postponed.update([0, 1])
    with pytest.raises(SuspensionError, match="never end"):
        waits.block(None)


def test_failures_are_handed_over():
    failed, cancelled = concurrent.futures.Future(), concurrent.futures.Future()

    def broken():
        raise ZeroDivisionError("of the planner")

    waits = waiting(failed, cancelled, broken, lambda: False)
    failed.set_exception(OSError("disk"))
    cancelled.cancel()
    errors = {wait.env_ids[0]: wait.error for wait in waits.take_finished()}
    assert isinstance(errors[0], OSError)
    assert isinstance(errors[1], concurrent.futures.CancelledError)
    assert isinstance(errors[2], ZeroDivisionError)
    assert waits.env_ids == [3]


def test_an_interrupt_in_a_callable_gets_through_and_loses_nothing():
    def interrupted():
        raise KeyboardInterrupt

    future = concurrent.futures.Future()
    future.set_result(None)
    waits = waiting(future, interrupted)
    with pytest.raises(KeyboardInterrupt):
        waits.take_finished()
    assert waits.env_ids == [0, 1]


def test_dropped_rows_wait_no_longer():
    future = concurrent.futures.Future()
    waits = waiting(future, future, lambda: False)
    waits.drop([0, 2, 7])
    assert waits.env_ids == [1]
    future.set_result(None)
    assert rows(waits.take_finished()) == [1]
    assert not future.cancelled()


def test_a_row_that_waits_for_something_else_by_now_is_not_taken():
    waits, later = Waits(FakeClock()), concurrent.futures.Future()

    def exchange():
        waits.drop([0])
        waits.add([0], [later])
        return False

    waits.add([0, 1, 2], [lambda: True, exchange, lambda: True])
    assert rows(waits.take_finished()) == [2]
    assert waits.env_ids == [0, 1]


def test_a_row_that_waits_anew_for_the_same_is_not_forgotten():
    waits, done = Waits(FakeClock()), concurrent.futures.Future()
    done.set_result(None)

    def start_over():
        waits.clear()
        waits.add([0], [done])
        return False

    waits.add([0, 1], [done, start_over])
    assert rows(waits.take_finished()) == []
    assert waits.env_ids == [0]
    assert rows(waits.take_finished()) == [0]


def test_what_was_forgotten_in_a_look_is_not_looked_at():
    waits = Waits(FakeClock())
    waits.add([0, 1], [lambda: waits.clear(), lambda: 1 / 0])
    assert waits.take_finished() == []


def test_a_condition_that_fails_after_it_resumed_its_row_is_not_silent():
    waits = Waits(FakeClock())

    def broken():
        waits.drop([0])
        raise OSError

    waits.add([0], [broken])
    (finished,) = waits.take_finished()
    assert finished.env_ids == []
    assert isinstance(finished.error, OSError)


def test_blocking_ends_when_it_is_no_longer_needed():
    clock = FakeClock()
    waits = waiting(lambda: False, clock=clock)
    assert waits.block(None, needed=lambda: clock.time_s < 1) == []
    assert clock.time_s == pytest.approx(1, abs=0.01)
    assert waits.env_ids == [0]


def test_a_future_calls_back_once_however_often_it_is_waited_for():
    waits = Waits(FakeClock())

    def wait_often(future):
        for _ in range(5):
            waits.add([0], [future])
            waits.drop([0])

    future = concurrent.futures.Future()
    wait_often(future)
    assert len(future._done_callbacks) == 1

    async def wait_in_a_loop():
        future = asyncio.get_running_loop().create_future()
        wait_often(future)
        assert future.remove_done_callback(waits._notify) == 1

    asyncio.run(wait_in_a_loop())
    del future
    gc.collect()
    assert not waits._listened  # keeps no future alive


@pytest.mark.filterwarnings("error")
def test_a_condition_that_returns_something_to_wait_for():
    future = concurrent.futures.Future()
    waits = waiting(lambda: coroutine_function(), lambda: future)
    for finished in waits.take_finished():
        assert isinstance(finished.error, ConfigError)
        assert "must return a bool" in str(finished.error)
    gc.collect()
    assert not waits


def test_blocking_ends_when_a_future_is_done():
    clock, future = FakeClock(), concurrent.futures.Future()
    clock.at(0.3, lambda: future.set_result(None))
    waits = waiting(future, concurrent.futures.Future(), clock=clock)
    assert rows(waits.block(None)) == [0]
    assert clock.time_s == 0.3  # woken, not found at the next look
    assert waits.env_ids == [1]


@pytest.mark.usefixtures("only_woken")
def test_blocking_on_a_future_that_another_thread_completes():
    future = concurrent.futures.Future()
    waits = Waits()
    waits.add([4], [future])
    timer = threading.Timer(0.05, lambda: future.set_result(None))
    timer.start()
    assert rows(waits.block(20.0)) == [4]
    timer.join()


def test_callables_are_looked_at_with_pauses_between():
    clock = FakeClock()
    waits = waiting(lambda: clock.time_s > 0.05, clock=clock)
    assert rows(waits.block(None)) == [0]
    assert 2 < len(clock.pauses) < 200
    assert clock.time_s == pytest.approx(0.05, abs=0.01)


def test_time_is_over():
    clock = FakeClock()
    waits = waiting(concurrent.futures.Future(), lambda: False, clock=clock)
    with pytest.raises(SuspensionTimeoutError, match=r"Rows \[0, 1\].*within 2.5 s") as caught:
        waits.block(2.5)
    assert isinstance(caught.value, TimeoutError | SuspensionError)
    assert isinstance(caught.value, TimeoutError)
    assert clock.time_s == pytest.approx(2.5)
    assert waits.env_ids == [0, 1]


def test_what_is_done_already_is_taken_without_a_pause():
    clock = FakeClock()
    assert rows(waiting(lambda: True, clock=clock).block(1.0)) == [0]
    assert clock.pauses == []


def test_blocking_for_nothing():
    with pytest.raises(SuspensionError, match="until="):
        Waits(FakeClock()).block(None)


@pytest.mark.usefixtures("only_woken")
def test_blocking_for_an_event_loop_in_another_thread():
    with loop_in_a_thread() as loop:
        future = asyncio.run_coroutine_threadsafe(a_future(), loop).result()
        waits = Waits()
        waits.add([2], [future])
        loop.call_soon_threadsafe(loop.call_later, 0.05, future.set_result, None)
        assert rows(waits.block(20.0)) == [2]


def test_asyncio_failures_are_handed_over():
    async def failures():
        loop = asyncio.get_running_loop()
        failed, cancelled = loop.create_future(), loop.create_future()
        failed.set_exception(OSError())
        cancelled.cancel()
        return [wait.error for wait in waiting(failed, cancelled).take_finished()]

    failed, cancelled = asyncio.run(failures())
    assert isinstance(failed, OSError)
    assert isinstance(cancelled, asyncio.CancelledError)


def test_blocking_the_loop_that_is_waited_for_is_refused():
    async def block():
        waits = waiting(asyncio.get_running_loop().create_future(), lambda: False)
        with pytest.raises(SuspensionError, match=r"await env\.wait_any"):
            waits.block(None)
        assert waits.env_ids == [0, 1]

    asyncio.run(block())


def test_blocking_in_a_loop_for_something_outside_it_is_fine():
    async def block():
        clock, future = FakeClock(), concurrent.futures.Future()
        clock.at(1.0, lambda: future.set_result(None))
        return rows(waiting(future, clock=clock).block(None))

    assert asyncio.run(block()) == [0]


@pytest.mark.parametrize("closed", [True, False])
def test_blocking_for_a_loop_that_does_not_run_is_refused(closed):
    loop = asyncio.new_event_loop()
    waits = waiting(loop.create_future())
    if closed:
        loop.close()
    with pytest.raises(SuspensionError, match="does not run"):
        waits.block(None)
    loop.close()


def test_awaiting_lets_the_loop_run():
    async def finish():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.01, future.set_result, None)
        return rows(await waiting(future, lambda: False).finished(20.0))

    assert asyncio.run(finish()) == [0]


@pytest.mark.usefixtures("only_woken")
def test_awaiting_what_another_thread_completes():
    async def finish():
        future = concurrent.futures.Future()
        timer = threading.Timer(0.02, lambda: future.set_result(None))
        timer.start()
        finished = rows(await waiting(future).finished(20.0))
        timer.join()
        return finished

    assert asyncio.run(finish()) == [0]


def test_awaiting_with_a_time_out_and_for_nothing():
    async def finish(waits):
        await waits.finished(0.01)

    with pytest.raises(SuspensionTimeoutError, match=r"Rows \[0\]"):
        asyncio.run(finish(waiting(concurrent.futures.Future())))
    with pytest.raises(SuspensionError, match="until="):
        asyncio.run(finish(Waits()))


def test_a_future_calls_nobody_who_has_stopped_waiting():
    future = concurrent.futures.Future()
    waits = waiting(future)
    with pytest.raises(SuspensionTimeoutError):
        waits.block(0.5)

    async def finish():
        with pytest.raises(SuspensionTimeoutError):
            await waits.finished(0.001)

    asyncio.run(finish())
    assert waits._listeners == ()
    future.set_result(None)
    assert rows(waits.take_finished()) == [0]


async def coroutine_function():
    return True


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        (3, "must be a"),
        ("soon", "must be a"),
        (coroutine_function, "coroutine"),
        (lambda row: True, "without arguments"),
        ([concurrent.futures.Future()], "1 entries for 2"),
        ([lambda: True, None], "must be a"),
    ],
    ids=["number", "text", "async", "argument", "length", "none-in-list"],
)
def test_what_is_no_wait(until, reason):
    with pytest.raises(ConfigError, match=reason):
        checked_waits(until, 2)


def test_a_coroutine_is_no_wait():
    coroutine = coroutine_function()
    with pytest.raises(ConfigError, match="create_task"):
        checked_waits(coroutine, 1)
    coroutine.close()


def test_waits_by_row():
    first, second = concurrent.futures.Future(), concurrent.futures.Future()
    assert checked_waits(first, 2) == [first, first]
    assert checked_waits((first, second), 2) == [first, second]
