"""What the tests of action chunks share: a spy, and a second, plain implementation."""

from dataclasses import dataclass, field

import torch

from holdstep.wrappers import Stage, VectorWrapper


class Spy(VectorWrapper):
    """Sees each step of the env: what was applied to which row, in which of its episodes."""

    stage = Stage.RECORD

    def __init__(self, env):
        super().__init__(env)
        self.episode = torch.zeros(self.num_envs, dtype=torch.int64)
        self.ticks = []

    def step(self, actions):
        result = self.env.step(actions)
        active = result[4]["active"].cpu()
        self.ticks.append(
            {"actions": actions.clone(), "active": active, "episode": self.episode.clone()}
        )
        self.episode += (result[2] | result[3]).cpu()
        return result

    def applied(self, row):
        """Episode and action of each tick in which a row advanced; then forgets nothing."""
        return [
            (int(tick["episode"][row]), tick["actions"][row])
            for tick in self.ticks
            if tick["active"][row]
        ]


@dataclass
class Row:
    """What one row gains in one step of chunks."""

    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    num_steps: int = 0
    over: bool = False
    final_obs: dict | None = None


@dataclass
class PlainReplay:
    """Plays chunks on an env that leaves out rows by itself, one row after the other in Python.

    ``waits[row]`` is how many looks at its wait are left until it is done; None for suspended rows
    that wait for nothing. A row that is not in it is not suspended.
    """

    env: object
    execute: int
    gamma: float
    waits: dict = field(default_factory=dict)

    def step(self, chunks):
        rows = [Row() for _ in range(self.env.num_envs)]
        while True:
            self.look()
            going = [row not in self.waits and not rows[row].over for row in range(len(rows))]
            actions = torch.zeros(self.env.action_space.shape)
            for index, row in enumerate(rows):
                if going[index]:
                    actions[index] = chunks[index, row.num_steps]
            result = self.env.step_masked(actions, torch.tensor(going))
            obs, reward, terminated, truncated, info = result
            for index, row in enumerate(rows):
                if not going[index]:
                    continue
                row.reward += self.gamma**row.num_steps * float(reward[index])
                row.terminated = bool(terminated[index])
                row.truncated = bool(truncated[index])
                row.num_steps += 1
                ended = row.terminated or row.truncated
                row.over = ended or row.num_steps == self.execute
                if ended:
                    row.final_obs = {
                        name: value[index] for name, value in info["final_obs"].items()
                    }
            if not any(went and not row.over for went, row in zip(going, rows, strict=True)):
                return obs, rows

    def look(self):
        """As SuspendOnWait does before each tick; again and again while every row is suspended."""
        looked = False
        while not looked or len(self.waits) == self.env.num_envs:
            looked = True
            for row, left in list(self.waits.items()):
                if left is not None:
                    self.waits[row] = left - 1
                    if left <= 1:
                        del self.waits[row]


def looks(count):
    """A condition that is true at the ``count``-th look."""
    left = [count]

    def done():
        left[0] -= 1
        return left[0] <= 0

    return done


def check_equal(step, plain, num_envs):
    """What ``ActionChunkReplay.step`` returned against the second implementation."""
    obs, reward, terminated, truncated, info = step
    plain_obs, rows = plain
    for name in obs:
        assert torch.equal(obs[name], plain_obs[name]), name
    torch.testing.assert_close(
        reward, torch.tensor([row.reward for row in rows]), rtol=1e-5, atol=1e-6
    )
    assert terminated.tolist() == [row.terminated for row in rows]
    assert truncated.tolist() == [row.truncated for row in rows]
    assert info["num_steps"].tolist() == [row.num_steps for row in rows]
    assert info["active"].tolist() == [row.num_steps > 0 for row in rows]
    assert info["num_steps"].dtype == torch.int64
    assert info["_final_obs"].tolist() == [row.final_obs is not None for row in rows]
    for index in range(num_envs):
        expected = rows[index].final_obs
        if expected is None:
            expected = {name: value[index] for name, value in plain_obs.items()}
        for name, value in info["final_obs"].items():
            assert torch.equal(value[index], expected[name]), (index, name)
            assert torch.equal(info["final_info"][name][index], value[index])
