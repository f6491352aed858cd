"""A clock on which waiting takes no time."""

from holdstep.wrappers.waits import WaitClock


class FakeClock(WaitClock):
    """Its time passes only in pauses, and things happen at set times."""

    def __init__(self):
        self.time_s = 0.0
        self.pauses = []
        self._events = []

    def at(self, time_s, action):
        """Have something happen at a time."""
        self._events.append((time_s, action))
        self._events.sort(key=lambda event: event[0])

    def now(self):
        return self.time_s

    def pause(self, woken, timeout_s):
        assert timeout_s > 0
        if len(self.pauses) > 10_000:
            raise AssertionError("waits for ever")
        self.pauses.append(timeout_s)
        end_s = self.time_s + timeout_s
        while self._events and self._events[0][0] <= end_s and not woken.is_set():
            self.time_s, action = self._events.pop(0)
            action()
        if not woken.is_set():
            self.time_s = end_s
