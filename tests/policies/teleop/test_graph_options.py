"""How the options of nodes are read."""

import dataclasses
import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import pytest

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
from isaacteleop.deviceio import TrackerVendor
from isaacteleop.retargeters import TriHandBiManualMotionControllerRetargeter
from isaacteleop.retargeting_engine.interface import TensorGroupType

from holdstep.policies.teleop.graph.options import Options


@dataclasses.dataclass
class Limits:
    low: float
    high: float = 1.0
    names: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError("low must not be above high")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def takes(
    number: float = 0.0,
    count: int = 0,
    flag: bool = False,
    text: str = "",
    mode: Literal["a", "b"] = "a",
    colour: Colour = Colour.RED,
    pair: tuple[int, str] = (0, ""),
    numbers: Sequence[float] = (),
    by_name: Optional[dict[str, list[int]]] = None,  # noqa: UP045  as isaacteleop writes it
    matrix: np.ndarray | None = None,
    weights: "np.ndarray | list[str] | None" = None,
    path: Path | None = None,
    group: TensorGroupType | None = None,
    vendor: "TrackerVendor | None" = None,
    anything: Any = None,
    unsaid=None,
    made: object | None = None,
):
    return {name: value for name, value in locals().items() if value is not None}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", 3, 3.0),
        ("count", 3, 3),
        ("flag", True, True),
        ("mode", "b", "b"),
        ("colour", "blue", Colour.BLUE),
        ("pair", [1, "x"], (1, "x")),
        ("numbers", [1, 2.5], [1.0, 2.5]),
        ("by_name", {"a": [1, 2]}, {"a": [1, 2]}),
        ("path", "a/b", Path("a/b")),
        ("anything", {"a": [1]}, {"a": [1]}),
        ("unsaid", [None], [None]),
        ("weights", ["x"], ["x"]),
    ],
)
def test_values_become_what_is_annotated(name, value, expected):
    problems = []
    read = Options(takes).made({name: value}, problems)[name]
    assert problems == []
    assert read == expected
    assert type(read) is type(expected)


def test_arrays_groups_and_vendors():
    problems = []
    made = Options(takes).made(
        {"matrix": [[1, 2], [3, 4.5]], "vendor": "body.pico-xr", "group": ["a", "b"]}, problems
    )
    assert problems == []
    assert made["matrix"].dtype == np.float64
    assert made["matrix"].tolist() == [[1, 2], [3, 4.5]]
    assert isinstance(made["vendor"], TrackerVendor)
    assert [kind.name for kind in made["group"].types] == ["a", "b"]
    group = Options(takes).made({"group": {"shape": [2, 3]}}, problems)["group"]
    assert group.types[0].shape == (2, 3)
    assert Options(takes).made({"group": "HandInput"}, problems)["group"].name == "hand"


@pytest.mark.parametrize(
    ("name", "value", "place", "message"),
    [
        ("number", True, (), "must be a number, got True."),
        ("number", float("nan"), (), "must be a number, got NaN."),
        ("count", 1.5, (), "must be an integer, got 1.5."),
        ("flag", 1, (), "must be true or false, got 1."),
        ("mode", "c", (), "must be one of a, b, got 'c'."),
        ("colour", "bleu", (), "must be one of red, blue, got 'bleu'. Did you mean: blue?"),
        ("colour", 1, (), "must be one of red, blue, got 1."),
        ("pair", [1], (), "must be a list with 2 entries, got [1]."),
        ("pair", [1, 2], (1,), "must be a text, got 2."),
        ("numbers", [1, "x"], (1,), "must be a number, got 'x'."),
        ("numbers", "12", (), "must be a list, got '12'."),
        ("by_name", {"a": [1.5]}, ("a", 0), "must be an integer, got 1.5."),
        ("by_name", [1], (), "must be a mapping, got [1]."),
        (
            "matrix",
            [[1, 2], [3]],
            (),
            "must be numbers, in lists of one length, got [[1, 2], [3]].",
        ),
        ("matrix", [["1"]], (), "must be numbers, in lists of one length, got [['1']]."),
        ("matrix", 3, (), "must be numbers, in lists of one length, got 3."),
        ("weights", [["x"]], (), "must be numbers, in lists of one length, got [['x']]."),
        ("path", 3, (), "must be a text, got 3."),
        ("group", {"shapes": [1]}, (), "must be a tensor group's name, names of its numbers, or"),
        ("group", ["a", 1], (1,), "must be a text, got 1."),
        ("made", 3, (), "must be an object of Python's (object), which no file can hold"),
    ],
)
def test_values_that_are_something_else(name, value, place, message):
    problems = []
    assert Options(takes).made({name: value}, problems) is None
    (problem,) = problems
    assert problem.place == (name, *place)
    assert problem.message.startswith(message)


def with_limits(limits: Limits, gain: float = 2.0):
    return limits, gain


def with_two(left: Limits, right: Limits | None = None):
    return left, right


def test_the_fields_of_a_configuration_are_options():
    options = Options(with_limits)
    assert options.names == ["gain", "low", "high", "names"]
    problems = []
    made = options.made({"low": 0, "names": ["a"], "gain": 1}, problems)
    assert made == (Limits(low=0.0, names=["a"]), 1.0)
    assert options.made({"low": 3}, problems) is None
    assert options.made({"gain": 3}, problems) is None
    assert [(one.place, one.message) for one in problems] == [
        (("low",), "must not be above high"),
        (("low",), "is missing: Limits needs it."),
    ]


def test_two_configurations_are_an_option_each():
    options = Options(with_two)
    assert options.names == ["left", "right"]
    problems = []
    made = options.made({"left": {"low": 0}, "right": {"low": 0.5}}, problems)
    assert made == (Limits(low=0.0), Limits(low=0.5))
    assert options.made({"left": {"low": 2}, "right": {"lo": 2, "low": 0}}, problems) is None
    assert [one.place for one in problems] == [("left", "low"), ("right", "lo")]
    assert problems[1].at_key


def test_two_hands_of_isaacteleop():
    options = Options(TriHandBiManualMotionControllerRetargeter, without=("name",))
    joints = [f"{side}_{number}" for side in "lr" for number in range(7)]
    problems = []
    node = options.made(
        {
            "left_config": {"hand_joint_names": joints[:7]},
            "right_config": {"hand_joint_names": joints[7:], "controller_side": "right"},
            "target_joint_names": joints,
        },
        problems,
        name="hands",
    )
    assert problems == []
    assert set(node.input_spec()) == {"controller_left", "controller_right"}
