import math

import pytest

from holdstep.envs import make
from holdstep.errors import ConfigError
from holdstep.policies.teleop import ActionMapping, Move, Toggle
from holdstep.policies.teleop.devices.keyboard import KEYBOARD_COMMANDS, mapping_for_env


def test_plain_data_and_objects_are_the_same():
    data = {
        "action_dim": 3,
        "moves": [{"input": "W", "index": 0, "scale": 0.5}, {"input": "a", "index": 1}],
        "toggles": [{"input": "k", "index": 2, "off": 0.0, "on": 1.0}],
        "commands": {"R": "reset", "return": ["success", "reset"]},
        "low": -1.0,
        "high": [1.0, 2.0, 3.0],
    }
    mapping = ActionMapping.of(data)
    assert mapping == ActionMapping(
        action_dim=3,
        moves=(Move(input="w", index=0, scale=0.5), Move(input="a", index=1)),
        toggles=(Toggle(input="k", index=2, off=0.0, on=1.0),),
        commands={"r": ("reset",), "return": ("success", "reset")},
        low=(-1.0, -1.0, -1.0),
        high=(1.0, 2.0, 3.0),
    )
    assert ActionMapping.of(mapping) is mapping
    assert mapping.inputs == {"w", "a", "k", "r", "return"}
    assert mapping.describe() == [
        ("w", "action 0 +0.5"),
        ("a", "action 1 +1"),
        ("k", "action 2: 0 or 1"),
        ("r", "reset"),
        ("return", "success, reset"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_dim": 0}, "action_dim"),
        ({"action_dim": True}, "action_dim"),
        ({"moves": [{"input": "w", "index": 2}]}, "entries 0 to 1"),
        ({"moves": [{"input": "w", "index": -1}]}, r"mapping.moves\[0\]: index of 'w'"),
        ({"moves": [{"input": "", "index": 0}]}, r"mapping.moves\[0\]: Move.input"),
        ({"moves": [{"index": 0}]}, r"mapping.moves\[0\].input is missing"),
        ({"moves": [{"input": "w"}]}, r"mapping.moves\[0\].index is missing"),
        ({"moves": [{"input": "w", "index": 0, "scal": 1}]}, "Did you mean: scale"),
        ({"moves": {"w": 0}}, "mapping.moves must be a list"),
        ({"moves": ["w"]}, r"mapping.moves\[0\] must be settings"),
        ({"moves": [{"input": "w", "index": 0, "scale": math.inf}]}, "scale of 'w'"),
        ({"moves": [{"input": "w", "index": 0, "scale": "fast"}]}, r"mapping.moves\[0\]"),
        ({"moves": [{"input": "w", "index": 0, "dead_zone": 1.0}]}, "dead_zone of 'w'"),
        ({"toggles": [{"input": "w", "index": 5}]}, "entry 5"),
        ({"commands": {"r": "rest"}}, "Did you mean: reset"),
        ({"commands": ["reset"]}, "mapping.commands"),
        ({"movs": []}, "Did you mean: moves"),
        ({"neutral": [0.0]}, "neutral has 1 numbers"),
        ({"low": [0.0] * 3}, "low has 3 numbers"),
        ({"low": 1.0, "high": -1.0}, "Entry 0 of the action has bounds that leave nothing"),
        ({"low": [0.0, 0.5], "high": [0.0, 0.4]}, "Entry 1 .* low 0.5, high 0.4"),
        ({"high": [1.0, math.nan]}, "Entry 1 of the action has bounds"),
        (
            {"moves": [{"input": "w", "index": 0}], "commands": {"w": "reset"}},
            "'w' has two meanings",
        ),
        (
            {"moves": [{"input": "w", "index": 0}], "toggles": [{"input": "k", "index": 0}]},
            "Entry 0 of the action is moved in two ways",
        ),
        (
            {"moves": [{"input": "w", "index": 0}, {"input": "s", "index": 0, "integrate": True}]},
            "Entry 0 of the action is moved in two ways",
        ),
    ],
)
def test_what_can_not_be_meant_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        ActionMapping.of({"action_dim": 2, **change})


def test_the_width_is_needed():
    with pytest.raises(ConfigError, match="action_dim is missing"):
        ActionMapping.of({"moves": []})
    with pytest.raises(ConfigError, match="mapping must be settings"):
        ActionMapping.of(["w"])


def test_keys_for_any_env_go_to_its_bounds():
    env = make("holdstep:PointMass", num_envs=1, device="cpu")
    mapping = mapping_for_env(env, (("left", "right"), ("down", "up")), KEYBOARD_COMMANDS)
    assert [(move.input, move.index, move.scale) for move in mapping.moves] == [
        ("left", 0, -1.0),
        ("right", 0, 1.0),
        ("down", 1, -1.0),
        ("up", 1, 1.0),
    ]
    with pytest.raises(ConfigError, match="vectors of up to 1 entries"):
        mapping_for_env(env, (("left", "right"),), KEYBOARD_COMMANDS)
