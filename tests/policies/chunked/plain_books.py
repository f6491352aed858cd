"""A second, slow implementation of the chunk books: one Python object and list per row."""

from dataclasses import dataclass, field

from holdstep.policies.chunked.handover import Handover

HANDOVERS = {
    "exact": lambda lead: Handover(),
    "append": lambda lead: Handover(lead=lead),
    "discard at the end": lambda lead: Handover(lead=lead, skip_elapsed=True),
    "discard on arrival": lambda lead: Handover(lead=lead, skip_elapsed=True, on_arrival=True),
    "rtc": lambda lead: Handover(lead=lead, skip_elapsed=True, with_prefix=True),
}


@dataclass(frozen=True)
class Action:
    """The ``index``-th action of a chunk, inferred from an observation after so many steps."""

    chunk: int
    index: int
    observed_at: int


@dataclass
class PlainRow:
    """What one row has to do, has done, and waits for."""

    mode: str
    lead: int
    execute: int
    queue: list = field(default_factory=list)
    newest: int = 0
    episode: int = 0
    chunk: int = 0
    steps: int = 0
    live: bool = True
    ticket: int | None = None
    left_when_observed: int | None = None
    observed_at: int | None = None
    idle_since: int | None = 0
    dropped: int = 0
    done: list = field(default_factory=list)

    @property
    def wanting(self):
        return self.live and self.ticket is None and len(self.queue) <= min(self.lead, self.newest)

    @property
    def idle(self):
        return self.live and self.ticket is None and not self.queue

    @property
    def runnable(self):
        return self.live and bool(self.queue)

    def observe(self):
        """Whether it is observed now for its next chunk."""
        if not self.wanting or self.left_when_observed is not None:
            return False
        self.left_when_observed, self.observed_at = len(self.queue), self.steps
        return True

    def arrive(self, serial, length, *, mode, observed_at):
        """A chunk has come whose first ``length`` actions mean something."""
        chunk = [Action(serial, index, observed_at) for index in range(length)]
        left = self.left_when_observed or 0
        old = self.queue
        if mode in ("exact", "append"):
            new = chunk[: self.execute]
        elif mode == "discard on arrival":
            executed_meanwhile = left - len(old)
            new = chunk[executed_meanwhile : left + self.execute]
            old = [] if new else old
        else:
            new = chunk[left : left + self.execute]
        self.queue, self.newest = old + new, len(new)
        self.ticket = self.left_when_observed = None
        self.chunk += 1
        if self.queue:
            self.idle_since = None

    def advance(self, tick):
        action = self.queue.pop(0)
        self.done.append((self.episode, action, self.steps - action.observed_at))
        self.steps += 1
        if not self.queue:
            self.idle_since = tick

    def begin_episode(self, tick):
        self.dropped += len(self.queue)
        self.queue, self.ticket, self.left_when_observed = [], None, None
        self.episode, self.chunk, self.idle_since = self.episode + 1, 0, tick
