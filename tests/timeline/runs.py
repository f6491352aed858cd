"""Random runs, and what they mean, worked out the slow and obvious way."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from holdstep.timeline import RowState, TimelineWriter


@dataclass
class Run:
    """Ticks as (begin_us, end_us, active, parked or None, staleness or None); calls and episodes as
    the writer takes them, with times in microseconds."""

    num_envs: int
    ticks: list
    calls: list = field(default_factory=list)
    episodes: list = field(default_factory=list)

    def write(self, path, **kwargs):
        with TimelineWriter(path, num_envs=self.num_envs, clock=lambda: 0.0, **kwargs) as writer:
            self.write_into(writer)

    def write_into(self, writer):
        for begin, end, active, parked, staleness in self.ticks:
            writer.tick(
                active,
                begin_s=begin * 1e-6,
                end_s=end * 1e-6,
                parked_mask=parked,
                staleness_ticks=staleness,
            )
        for env_ids, submitted, begin, end, kind, error in self.calls:
            times = {"submitted_s": submitted * 1e-6, "begin_s": begin * 1e-6, "end_s": end * 1e-6}
            writer.inference(env_ids, **times, kind=kind, error=error)
        for env_id, episode_id, begin, end, total, success in self.episodes:
            writer.episode(
                env_id,
                episode_id,
                begin_tick=begin,
                end_tick=end,
                episode_return=total,
                success=success,
            )

    def states(self):
        matrix = np.full((len(self.ticks), self.num_envs), int(RowState.SUSPENDED))
        for tick, (_, _, active, parked, _) in enumerate(self.ticks):
            if parked is not None:
                matrix[tick][parked] = RowState.PARKED
            matrix[tick][active] = RowState.ACTIVE
        return matrix

    def staleness(self):
        """-1 where a row is not active, or nothing is known, or what was told is negative."""
        matrix = np.full((len(self.ticks), self.num_envs), -1)
        for tick, (_, _, active, _, staleness) in enumerate(self.ticks):
            if staleness is not None:
                matrix[tick][active] = np.maximum(staleness[active], -1)
        return matrix

    def state_at(self, row, time_us):
        """What a row does at a moment that is no edge of anything."""
        states = self.states()
        durations = [end - begin for begin, end, *_ in self.ticks]
        short_gap = np.median(durations) if durations else 0.0
        state = RowState.NO_TICK
        for tick, (begin, end, *_) in enumerate(self.ticks):
            after = self.ticks[tick + 1][0] if tick + 1 < len(self.ticks) else None
            if begin <= time_us <= end:
                state = RowState(states[tick, row])
            elif after is not None and end < time_us < after:
                both_parked = states[tick, row] == states[tick + 1, row] == RowState.PARKED
                if after - end <= short_gap or both_parked:
                    state = RowState(states[tick, row])
            elif after is None and time_us > end and states[tick, row] == RowState.PARKED:
                state = RowState.PARKED
        if state in (RowState.SUSPENDED, RowState.NO_TICK):
            mine = [call for call in self.calls if row in call[0]]
            if any(begin <= time_us < end for _, _, begin, end, *_ in mine):
                return RowState.INFERENCE
            if any(submitted <= time_us < begin for _, submitted, begin, *_ in mine):
                return RowState.QUEUED
        return state


def masks(num_envs):
    """Masks of all densities, since few and many rows are written differently."""
    density = st.sampled_from([0.0, 0.03, 0.5, 0.97, 1.0])
    seeds = st.integers(0, 2**32 - 1)
    return st.builds(lambda p, s: np.random.default_rng(s).random(num_envs) < p, density, seeds)


@st.composite
def runs(draw, max_envs=80, max_ticks=20):
    num_envs = draw(st.integers(1, max_envs))
    ticks, now = [], draw(st.integers(-500, 500))
    staleness = np.full(num_envs, -1)
    for _ in range(draw(st.integers(0, max_ticks))):
        begin = now + draw(st.sampled_from([0, 1, 3, 40, 500]))
        now = begin + draw(st.sampled_from([0, 2, 30, 50]))
        active = draw(masks(num_envs))
        kind = draw(st.sampled_from(["grows", "grows", "new chunk", "anything", "unknown"]))
        staleness = staleness + active
        if kind == "new chunk":
            staleness = np.where(draw(masks(num_envs)), draw(st.integers(-1, 3)), staleness)
        elif kind == "anything":
            seed = draw(st.integers(0, 999))
            staleness = np.random.default_rng(seed).integers(-1, 9, num_envs)
        parked = draw(st.none() | masks(num_envs))
        ticks.append((begin, now, active, parked, None if kind == "unknown" else staleness))
    calls = []
    for _ in range(draw(st.integers(0, 6))):
        submitted = draw(st.integers(-600, now + 600))
        begin = submitted + draw(st.sampled_from([0, 1, 90]))
        end = begin + draw(st.sampled_from([0, 1, 200, 900]))
        env_ids = draw(masks(num_envs)).nonzero()[0].tolist()
        kind = draw(st.sampled_from(["inference", "plan", 'a "kind"\n</script>é\u2028']))
        calls.append((env_ids, submitted, begin, end, kind, draw(st.none() | st.text(max_size=9))))
    episodes = []
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, 20))
        total = draw(st.floats(allow_nan=True, allow_infinity=True))
        end = begin + draw(st.integers(0, 9))
        success = draw(st.none() | st.booleans())
        env_id = draw(st.integers(0, num_envs - 1))
        episodes.append((env_id, draw(st.integers(0, 99)), begin, end, total, success))
    return Run(num_envs, ticks, calls, episodes)


def all_active(num_envs):
    return np.ones(num_envs, dtype=bool)


def rows_active(num_envs, *rows):
    mask = np.zeros(num_envs, dtype=bool)
    mask[list(rows)] = True
    return mask
