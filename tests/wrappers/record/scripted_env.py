"""An env that returns random bits, and a recorder that clones them: what a recording must equal."""

from dataclasses import dataclass, field

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from holdstep.envs import Capabilities, TorchVectorEnv
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.lazy_obs import LazyObs, Tick
from holdstep.wrappers import VectorWrapper

CPU = torch.device("cpu")
NAMES = "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool"
TORCH = {name: getattr(torch, name) for name in NAMES.split()}


@dataclass
class Script:
    """What the env does.

    Attributes:
        groups: dtype and shape of each observation group.
        ends: in each step, rows that terminate and rows that are truncated.
        final: whether final observations are told.
        entries: dtype and shape of each info entry; in half of the steps, and of random rows.
        states: whether there are states of a scene.
        lazy: groups that are drawn on request.
        strided: whether tensors are not contiguous.
        seed: of the random bits.
    """

    groups: dict = field(default_factory=lambda: {"policy": ("float32", (3,))})
    num_envs: int = 2
    ends: list = field(default_factory=list)
    final: bool = True
    entries: dict = field(default_factory=dict)
    states: bool = False
    lazy: tuple = ()
    strided: bool = False
    seed: int = 0
    device: torch.device = CPU


class ScriptedEnv(TorchVectorEnv):
    """Plays a script, over and over."""

    final_obs_enabled = True

    def __init__(self, script):
        self.script = script
        self.num_envs, self.device = script.num_envs, script.device
        self.capabilities = Capabilities(freeze="skip", final_obs=True, scene_state=script.states)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = gymnasium.spaces.Dict(
            {
                name: gymnasium.spaces.Box(
                    0, 1, shape, np.float32 if dtype == "bfloat16" else np.dtype(dtype)
                )
                for name, (dtype, shape) in script.groups.items()
            }
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.backend_env = None
        self.random = np.random.default_rng(script.seed)
        self.num_steps = 0
        self.num_drawn = 0
        self.final_state_enabled_ = False
        self.last = {}

    @property
    def final_state_enabled(self):
        return self.final_state_enabled_

    @final_state_enabled.setter
    def final_state_enabled(self, value):
        self.final_state_enabled_ = value

    def bits(self, dtype, shape):
        """Any bits at all: NaNs of every kind, denormals, negative zeros."""
        shape = (self.num_envs, *shape)
        if dtype == "bool":
            values = torch.from_numpy(self.random.integers(0, 2, shape).astype(bool))
        else:
            size = torch.empty(0, dtype=TORCH[dtype]).element_size()
            raw = self.random.integers(0, 256, (*shape, size)).astype(np.uint8)
            values = torch.from_numpy(raw).view(TORCH[dtype]).squeeze(-1)
        if self.script.strided:  # every other element of a tensor that is twice as large
            wide = torch.stack([values, values], -1)
            values = wide[..., 0]
        return values.to(self.device)

    def observe(self):
        made = {name: self.bits(*kind) for name, kind in self.script.groups.items()}
        if not self.script.lazy:
            return made
        ready = {name: value for name, value in made.items() if name not in self.script.lazy}

        def draw(name):
            self.num_drawn += 1
            return {name: made[name]}

        return LazyObs(list(made), ready, Tick(draw))

    def scene_state(self):
        return {"body/pose": self.bits("float32", (7,))} if not self.last else dict(self.last)

    def _move(self):
        self.last = {}
        if self.script.states:
            self.last = self.scene_state()

    def reset(self, *, seed=None, options=None):
        self._move()
        return self.observe(), {}

    def step(self, actions):
        return self.step_masked(actions, torch.ones(self.num_envs, dtype=torch.bool))

    def step_masked(self, actions, active_mask):
        active = active_mask.to(self.device)
        ends = self.script.ends or [([], [])]
        flags = [torch.zeros(self.num_envs, dtype=torch.bool) for _ in range(2)]
        for flag, rows in zip(flags, ends[self.num_steps % len(ends)], strict=True):
            flag[rows] = True
        terminated, truncated = (flag.to(self.device) & active for flag in flags)
        self.num_steps += 1
        done = terminated | truncated
        info = {"active": active}
        if self.script.final and bool(done.any()):
            info["final_obs"] = {n: self.bits(*kind) for n, kind in self.script.groups.items()}
            info["_final_obs"] = done
            if self.final_state_enabled_:
                info["final_state"] = {"body/pose": self.bits("float32", (7,))}
                info["_final_state"] = done
        for name, kind in self.script.entries.items():
            # In the first step always, so that it is known what there is.
            if self.num_steps == 1 or self.random.integers(2):
                info[name] = self.bits(*kind)
                info[f"_{name}"] = torch.from_numpy(
                    self.random.integers(0, 2, self.num_envs).astype(bool)
                ).to(self.device)
        self._move()
        reward = self.bits("float32", ())
        return self.observe(), reward, terminated, truncated, info

    def row_control(self, *, level, rng):
        from holdstep.envs.native_skip import NativeSkip

        return NativeSkip(self, level=level, rng=rng)

    def close_extras(self, **kwargs):
        pass


class CloningRecorder(VectorWrapper):
    """Remembers every value of every row by cloning it: slow, and nothing else to get wrong.

    Args:
        env: to be put inside of a ``RecordEpisodes`` or around it.
        keys: of observations that count.
        entries: names of info entries.
        states: whether states count.
    """

    def __init__(self, env, *, keys=None, entries=(), states=False):
        super().__init__(env)
        self.keys, self.entries, self.states = keys, entries, states
        self.episodes = []
        self.examples = {}
        self.current = [None] * self.num_envs
        self.ids = [-1] * self.num_envs

    def observed(self, obs, row):
        names = list(obs) if self.keys is None else self.keys
        values = {f"obs/{name}": obs[name][row].clone() for name in names}
        if self.states:
            states = self.unwrapped.scene_state()
            values |= {f"states/{name}": value[row].clone() for name, value in states.items()}
        return values

    def begin(self, obs, row, seed=None):
        self.ids[row] += 1
        self.current[row] = {"row": row, "id": self.ids[row], "steps": [], "seed": seed,
                             "observed": [self.observed(obs, row)]}  # fmt: skip

    def finish(self, row, ended, final):
        episode = self.current[row]
        if episode is None or not episode["steps"]:
            return
        if ended in ("terminated", "truncated"):
            episode["observed"][-1] = final
        self.episodes.append(episode | {"ended": ended})

    def reset(self, *, seed=None, options=None):
        obs, info = self.env.reset(seed=seed, options=options)
        rows = range(self.num_envs)
        if options and "env_ids" in options:
            ids = options["env_ids"]
            rows = canonical_env_ids(ids, num_envs=self.num_envs, device=self.device).tolist()
        for row in rows:
            self.finish(row, "reset", None)
            self.begin(obs, row, seed)
        return obs, info

    def step(self, actions):
        return self.add(actions, self.env.step(actions))

    def step_masked(self, actions, active_mask):
        return self.add(actions, self.env.step_masked(actions, active_mask))

    def add(self, actions, result):
        obs, reward, terminated, truncated, info = result
        for name in self.entries:
            if name not in self.examples:  # it is there in the first step
                self.examples[name] = torch.zeros_like(info[name])
        for row in info["active"].nonzero().flatten().tolist():
            if self.current[row] is not None:
                step = {"actions": actions[row].clone(), "rewards": reward[row].clone(),
                        "terminated": terminated[row].clone(),
                        "truncated": truncated[row].clone()}  # fmt: skip
                for name in self.entries:
                    is_set = name in info and bool(info[f"_{name}"][row])
                    step[f"info/_{name}"] = torch.tensor(is_set)
                    step[f"info/{name}"] = info.get(name, self.examples[name])[row].clone()
                self.current[row]["steps"].append(step)
                self.current[row]["observed"].append(self.observed(obs, row))
            if terminated[row] or truncated[row]:
                final = None
                if "final_obs" in info:
                    final = {f"obs/{n}": v[row].clone() for n, v in info["final_obs"].items()
                             if self.keys is None or n in self.keys}  # fmt: skip
                    if self.states:
                        final |= {f"states/{n}": v[row].clone()
                                  for n, v in info["final_state"].items()}  # fmt: skip
                self.finish(row, "terminated" if terminated[row] else "truncated", final)
                self.begin(obs, row)
        return result

    def stop(self):
        for row in range(self.num_envs):
            self.finish(row, "closed", None)

    def by_id(self):
        return {(e["row"], e["id"]): arrays_of(e) | {"ended": e["ended"]} for e in self.episodes}


def arrays_of(episode):
    """The arrays that the episode must have in a dataset, as bytes by name."""
    arrays = {}
    for name in episode["steps"][0]:
        arrays[name] = torch.stack([step[name] for step in episode["steps"]])
    observed = episode["observed"]
    known = observed[-1] is not None
    for name in observed[0]:
        values = torch.stack([at[name] for at in observed if at is not None])
        if name.startswith("states/"):
            arrays[name] = values[1:]
            arrays["initial_" + name.replace("states", "state", 1)] = values[:1]
        else:
            arrays[name] = values[: len(episode["steps"])]
            if known:
                arrays[f"final_{name}"] = values[-1:]
    return {name: as_bytes(value) for name, value in arrays.items()}


def as_bytes(tensor):
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    tensor = tensor.cpu().contiguous()
    return tuple(tensor.shape), tensor.view(torch.uint8).numpy().tobytes()


def read_by_id(dataset):
    """The same of what was recorded."""
    found = {}
    for episode in dataset:
        key = (episode.attributes["env_id"], episode.attributes["episode_id"])
        assert key not in found, f"episode {key} twice"
        arrays = {name: episode.arrays[name] for name in episode.arrays}
        found[key] = {
            name: (values.shape, np.ascontiguousarray(values).tobytes())
            for name, values in arrays.items()
        } | {"ended": episode.ended}
        assert episode.num_steps == len(arrays.get("actions", next(iter(arrays.values()))))
    return found
