from dataclasses import dataclass, field

import pytest

from holdstep.envs.overrides import apply_overrides, check_overrides
from holdstep.errors import ConfigError


@dataclass
class Sim:
    timestep: float = 0.002
    iterations: int = 10
    solver: str = "newton"


@dataclass
class Cfg:
    sim: Sim = field(default_factory=Sim)
    dims: tuple[int, ...] = (64, 64)
    noisy: bool = True
    clip: float | None = None
    names: list[str] = field(default_factory=lambda: ["a", "b"])
    terms: dict[str, Sim] = field(default_factory=lambda: {"a": Sim()})


def test_values_are_set_by_path_and_brought_to_their_type():
    cfg = Cfg()
    apply_overrides(
        cfg,
        {
            "sim.timestep": "1e-3",
            "sim.iterations": 3,
            "dims": [8],
            "names": ("c",),
            "noisy": False,
            "clip": 2.0,
            "terms.a.timestep": 1,
        },
    )
    assert cfg.sim.timestep == 0.001
    assert cfg.sim.iterations == 3
    assert cfg.dims == (8,)
    assert cfg.names == ["c"]
    assert cfg.noisy is False
    assert cfg.clip == 2.0
    assert cfg.terms["a"].timestep == 1.0
    assert isinstance(cfg.terms["a"].timestep, float)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sim.timestp", 1.0, "Did you mean: timestep"),
        ("simulator.timestep", 1.0, "the configuration .Cfg. has no 'simulator'"),
        ("terms.b.timestep", 1.0, "'terms' .dict. has no 'b'.*It has: a"),
        ("sim.iterations", 2.5, "can't be set to 2.5"),
        ("sim.iterations", True, "can't be set to True"),
        ("noisy", 1, "can't be set to 1"),
        ("sim.timestep", "fast", "can't be set to 'fast'"),
        ("sim.solver", 3, "can't be set to 3"),
        ("dims", 8, "can't be set to 8"),
        ("names", "a", "can't be set to 'a'"),
        ("names", {"a": 1}, "can't be set to {'a': 1}"),
        ("terms", 3, "can't be set to 3"),
        ("terms", ["a"], "can't be set to .'a'."),
    ],
)
def test_what_does_not_fit_is_refused(path, value, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides(Cfg(), {path: value})


@pytest.mark.parametrize("value", [1.5, "1.5"])
def test_a_number_that_is_declared_to_be_a_float_may_be_one_though_it_is_whole_now(value):
    @dataclass
    class Episode(Sim):
        length_s: float = 5
        limit_s: float | None = 3
        rows: int = 4

    cfg = Episode()
    apply_overrides(cfg, {"length_s": value, "limit_s": value, "timestep": 1})
    assert (cfg.length_s, cfg.limit_s, cfg.timestep) == (1.5, 1.5, 1.0)
    with pytest.raises(ConfigError, match="'rows' is 4"):
        apply_overrides(cfg, {"rows": value})


def test_a_container_is_replaced_by_one_of_its_kind_or_by_none():
    cfg = Cfg()
    apply_overrides(cfg, {"terms": {}, "names": None})
    assert cfg.terms == {}
    assert cfg.names is None


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("num_envs", "--num-envs"),
        ("device", "--device"),
        ("seed", "--seed"),
        ("name", "the id"),
        ("env_id", "the id"),
        ("render_mode", "render_mode="),
    ],
)
def test_what_has_an_option_of_its_own_is_no_override(name, instead):
    check_overrides({"episode_length_s": 1.0, "scene.num_envs": 3})
    with pytest.raises(ConfigError, match=f"{name!r} is no setting.*{instead}"):
        check_overrides({name: 1})
