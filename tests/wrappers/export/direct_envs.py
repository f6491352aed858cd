"""Direct envs for the export's tests: variants of the double pendulum, many with a defect."""

from __future__ import annotations

import torch

from holdstep.envs.reference.direct_pendulum import MAX_EFFORT, DirectPendulum
from holdstep.wrappers.export.markers import constant, reads, recalls, remembers, writes

ELSEWHERE: dict[str, torch.Tensor] = {}
"""Tensors that are no attribute of any env."""


class Plain(DirectPendulum):
    """Observations and targets as short as can be; ``extra`` is for subclasses."""

    def extra(self):
        return self.last_action

    def _get_observations(self):
        joint_pos = reads("state:pendulum:joint_pos", self.joint_pos, unit="rad")
        policy = torch.cat((joint_pos, self.extra().expand(-1, 2), joint_pos), dim=1)
        return {"policy": policy, "critic": torch.cat((policy, policy[:, :1]), dim=1)}

    def _pre_physics_step(self, actions):
        self.actions = actions.clamp(-1.0, 1.0)

    def _apply_action(self):
        self.effort = writes("write:pendulum:effort", MAX_EFFORT * self.actions, unit="N m")


class UnmarkedView(Plain):
    """State behind a property."""

    def extra(self):
        return 0.1 * self.joint_vel  # here


class UnmarkedAttribute(Plain):
    """State in an attribute."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.speeds = torch.zeros(self.num_envs, 2)

    def _advance(self, actions):
        result = super()._advance(actions)
        self.speeds = result[0][:, 2:4].clone()
        return result

    def extra(self):
        return self.speeds * 2.0  # here


class UnmarkedElsewhere(Plain):
    """State that is no attribute."""

    def extra(self):
        return ELSEWHERE["rows"][: len(self._rows)] + 1.0  # here


class UnmarkedClock(Plain):
    """The episode's clock."""

    def extra(self):
        return self._length[:, None] * 0.1  # here


class SameInAllRows(Plain):
    """A wind that blows alike in all rows, and changes."""

    wind_change = 0.5

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.wind = torch.ones(self.num_envs, 1)

    def _advance(self, actions):
        self.wind = self.wind + self.wind_change
        return super()._advance(actions)

    def extra(self):
        return self.wind * 2.0  # here


class SameShared(SameInAllRows):
    """The same without rows."""

    def extra(self):
        return (self.wind[0] * 2.0).expand(self.num_envs, 1)  # here


class PythonNumber(Plain):
    """A number that is read, and changes elsewhere."""

    level = 0.0

    def _advance(self, actions):
        self.level = self.level + 1.0
        return super()._advance(actions)

    def extra(self):
        return self.last_marked() * 0.0 + self.level

    def last_marked(self):
        return reads("state:pendulum:joint_vel", self.joint_vel)


class UnmarkedMemory(Plain):
    """A filter whose state has no marker."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.filtered = torch.zeros(self.num_envs, 2)

    def extra(self):
        return self.last_marked()

    def last_marked(self):
        return reads("state:pendulum:joint_vel", self.joint_vel)

    def _pre_physics_step(self, actions):
        self.filtered = 0.5 * self.filtered + 0.5 * actions  # here
        self.actions = self.filtered


class NeverRemembered(UnmarkedMemory):
    """A memory without a next value."""

    def _pre_physics_step(self, actions):
        self.actions = 0.5 * recalls("memory:filtered", self.filtered) + 0.5 * actions


class RemembersTooOften(UnmarkedMemory):
    """A memory of physics steps."""

    def _pre_physics_step(self, actions):
        self.actions = actions

    def _apply_action(self):
        self.filtered = remembers("memory:filtered", 0.5 * self.actions)
        super()._apply_action()


class Filtered(Plain):
    """Memories in both places: a filter that begins at 1, and a history of positions."""

    _num_states = 14
    reset_mark = 1.0

    @property
    def filtered(self):
        return self._rows[:, 8:10]

    @property
    def history(self):
        return self._rows[:, 10:14].reshape(-1, 2, 2)

    def _initial_state(self, mask):
        state = super()._initial_state(mask)
        ones, zeros = torch.ones_like(state[:, :2]), torch.zeros_like(state[:, :4])
        return torch.cat((state, ones, zeros), dim=1)

    def _advance(self, actions):
        rows, reward, terminated = super()._advance(actions)
        rows[:, 8:10], rows[:, 10:14] = self.actions, self.pushed.flatten(1)
        return rows, reward, terminated

    def extra(self):
        history = recalls("memory:frames", self.history, kind="history")
        return history.mean(dim=1)

    def _pre_physics_step(self, actions):
        joint_pos = reads("state:pendulum:joint_pos", self.joint_pos)
        history = recalls("memory:frames", self.history)
        self.pushed = torch.cat((history[:, 1:], joint_pos[:, None]), dim=1)
        remembers("memory:frames", self.pushed)
        old = recalls("memory:filtered", self.filtered.clone(), reset=self.reset_mark)
        self.actions = remembers("memory:filtered", old.mul_(0.7).add_(0.3 * actions))


class WrongReset(Filtered):
    """The marker says another reset than the env does."""

    reset_mark = 0.25


class SpringPerSubstep(Filtered):
    """A controller in ``_apply_action`` that reads the state before each physics step."""

    def _apply_action(self):
        joint_pos = reads("state:pendulum:joint_pos", self.joint_pos)
        joint_vel = reads("state:pendulum:joint_vel", self.joint_vel)
        effort = 9.0 * (self.actions - joint_pos) - 0.5 * joint_vel
        self.effort = writes("write:pendulum:effort", effort, unit="N m")


class Randomized(Plain):
    """A gain of each row's own."""

    nominal: float | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = torch.linspace(0.5, 1.5, self.num_envs)[:, None]

    def extra(self):
        return reads("state:pendulum:joint_vel", self.joint_vel)

    def _pre_physics_step(self, actions):
        self.actions = actions * constant("gain", self.gain, nominal=self.nominal)


class CountsInObs(Plain):
    """A Python number that an observation changes."""

    count = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.count = 0

    def extra(self):
        self.count += 1
        return reads("state:pendulum:joint_vel", self.joint_vel)


class DecidesByValue(Plain):
    """A branch that a trace would bake in."""

    def extra(self):
        joint_vel = reads("state:pendulum:joint_vel", self.joint_vel)
        return -joint_vel if bool((joint_vel > 0).all()) else joint_vel


class TwoMeanings(Plain):
    """One connection, two tensors."""

    def extra(self):
        return reads("state:pendulum:joint_pos", self.joint_pos + 1.0)


class TwoShapes(Plain):
    """One connection, two shapes."""

    def extra(self):
        return reads("state:pendulum:joint_pos", self.joint_pos[:, :1])


class NoConnection(Plain):
    """A connection that is none."""

    def extra(self):
        return reads("pendulum.joint_vel", self.joint_vel)


class WrongRole(Plain):
    """An input that is called a target."""

    def extra(self):
        return reads("write:pendulum:joint_vel", self.joint_vel)


class WritesNothing(Plain):
    """No target is marked."""

    def extra(self):
        return reads("state:pendulum:joint_vel", self.joint_vel)

    def _apply_action(self):
        self.effort = MAX_EFFORT * self.actions


class Sink(Plain):
    """A target that goes to something that is not the env's."""

    def extra(self):
        return reads("state:pendulum:joint_vel", self.joint_vel)

    def _apply_action(self):
        torque = MAX_EFFORT * self.actions
        self.effort = writes("write:pendulum:effort:both", torque, to=ELSEWHERE["sink"].append)


class CountsRows(Plain):
    """Makes tensors for as many rows as there are, and attributes only when it runs."""

    def extra(self):
        joint_vel = reads("state:pendulum:joint_vel", self.joint_vel)
        return torch.zeros(self.num_envs, 2) + joint_vel

    def _pre_physics_step(self, actions):
        self.made_late = actions * 0.5

    def _advance(self, actions):
        self.actions = 0.5 * actions
        return super()._advance(actions)

    def _apply_action(self):
        joint_pos = reads("state:pendulum:joint_pos", self.joint_pos)
        self.effort = writes("write:pendulum:effort", self.made_late - joint_pos)


class Privileged(DirectPendulum):
    """A critic that sees more than a host has; what the policy sees has no use for it."""

    def _get_observations(self):
        obs = super()._get_observations()
        wind = reads("env:wind", self._rows[:, :1] * 3.0)
        obs["critic"] = torch.cat((obs["policy"], wind), dim=1)
        return obs


class Untidy(Filtered):
    """Writes in place to what it gets and keeps, makes attributes in its steps, draws numbers."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scratch = torch.zeros(self.num_envs, 2)

    def _get_observations(self):
        obs = super()._get_observations()
        obs["critic"] = obs["critic"] + torch.rand(1)
        return obs

    def _advance(self, actions):
        result = super()._advance(actions)
        self.made_in_a_step = result[0][:, :2].clone()
        return result

    def _pre_physics_step(self, actions):
        super()._pre_physics_step(actions)
        self.scratch[:] = actions
        self.scratch.mul_(0.5)
        # What was just remembered is what is recalled from then on.
        again = recalls("memory:filtered", self.actions.clone())
        joint_pos = reads("state:pendulum:joint_pos", self.joint_pos)
        self.late = again.add_(self.scratch).sub_(joint_pos)

    def _apply_action(self):
        self.effort = writes("write:pendulum:effort", MAX_EFFORT * self.late)
