"""Types of nodes: isaacteleop's, and one's own."""

import importlib
import inspect
import sys

import pytest

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
from isaacteleop.retargeting_engine.interface import BaseRetargeter, OutputSelector

from holdstep.documents.problems import FieldsError
from holdstep.errors import ConfigError
from holdstep.policies.teleop import NODE_TYPES, GraphConfig, NodeConfig, register_node
from holdstep.policies.teleop.graph import node_types
from holdstep.policies.teleop.graph.node_types import node_type
from holdstep.policies.teleop.graph.options import Options
from tests.policies.teleop.graphs import PedalsToAction

PACKAGES = ("retargeters", "retargeting_engine.deviceio_source_nodes")
PACKAGES += ("retargeting_engine.interface", "retargeting_engine.utilities")
PACKAGES += ("teleop_session_manager",)
NOT_FROM_DATA = {"HapticSink", "MessageChannelSource", "MessageChannelSink"}
"""These take objects: a device, a tracker, a queue."""
OLD_NAMES = {"TwoButtonTeleopStateManager"}


def test_every_node_of_isaacteleop_has_a_name():
    found, absent = set(), set()
    for package in PACKAGES:
        module = importlib.import_module(f"isaacteleop.{package}")
        for name in module.__all__:
            try:
                value = getattr(module, name)
            except ModuleNotFoundError:  # needs packages that are not installed here
                absent.add(name)
                continue
            if inspect.isclass(value) and issubclass(value, BaseRetargeter):
                found |= set() if inspect.isabstract(value) else {name}
    assert found - NODE_TYPES.keys() == NOT_FROM_DATA | OLD_NAMES
    assert NODE_TYPES.keys() - found - absent == {"Button"}
    assert {name for name in absent if not name.endswith("Config")} <= NODE_TYPES.keys()


@pytest.mark.parametrize("name", NODE_TYPES)
def test_every_type_can_be_made_from_data(name):
    try:
        make = node_type(name)
    except ModuleNotFoundError as error:
        pytest.skip(" ".join(str(error).split()))
    options = Options(make, without=("name", "parameter_state"))
    problems = []
    made = options.made({"not_an_option": 1}, problems, name="node")
    assert made is None
    assert problems[0].message.startswith(f"is no option of {make.__name__}.")
    # Of each that has to be given, it is said that it is; nothing else is wrong.
    assert all("is missing" in problem.message for problem in problems[1:])


class Mine(PedalsToAction):
    """A retargeter of the user's own."""


def doubled(name: str, pedals: OutputSelector, *, width: int = 2):
    return Mine(name, width).connect({"pedals": pedals})


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(node_types, "_registered", {})


@pytest.mark.parametrize("make", [Mine, doubled])
@pytest.mark.parametrize("by_path", [False, True])
def test_ones_own_nodes_by_path_and_by_name(registered, make, by_path):
    if not by_path:
        register_node("Mine", make)
        register_node("Mine", make)
    graph = GraphConfig(
        nodes={
            "pedals": NodeConfig(type="Generic3AxisPedalSource"),
            "mine": NodeConfig(
                type=f"{__name__}:{make.__name__}" if by_path else "Mine",
                options={"width": 5},
                inputs={"pedals": "pedals.pedals"},
            ),
        },
        outputs={"action": "mine.action"},
    )
    pipeline, _ = graph()
    assert pipeline.output_types()["action"].types[0].shape == (5,)
    assert [leaf.name for leaf in pipeline.get_leaf_nodes()] == ["pedals"]


def test_a_name_means_one_thing(registered):
    register_node("Mine", Mine)
    with pytest.raises(ConfigError, match="'Mine' already"):
        register_node("Mine", doubled)
    for name in ("TensorReorderer", "a:b", ""):
        with pytest.raises(ConfigError):
            register_node(name, Mine)
    with pytest.raises(ConfigError, match="Did you mean: Mine"):
        node_type("Min")


OWN = """
from isaacteleop.retargeting_engine.interface import BaseRetargeter, OutputSelector
from tests.policies.teleop.graphs import Slow

class Odd(Slow):
    def __init__(self, name, width=2, *, reason="width"):
        if reason == "width":
            raise ValueError("width has to be even")
        raise KeyError(reason)

class Nameless(Slow):
    def __init__(self):
        super().__init__("nobody")

def nothing(name: str, source: OutputSelector):
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_nodes.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_nodes", raising=False)


@pytest.mark.parametrize(
    ("node", "place", "message"),
    [
        ({"type": "my_nodes:Odd", "options": {"width": 3}}, ("options", "width"), "has to be even"),
        ({"type": "my_nodes:Odd", "options": {"reason": "a"}}, ("options",), "KeyError: 'a'"),
        ({"type": "my_nodes:Nameless"}, ("type",), "'my_nodes:Nameless' takes no argument name"),
        ({"type": "my_nodes:OWN"}, ("type",), "'my_nodes:OWN': the module 'my_nodes' has no 'OWN'"),
        ({"type": "my_nodes:nothing"}, ("inputs", "source"), "is missing"),
        (
            {"type": "my_nodes:nothing", "inputs": {"source": "value.value"}},
            ("type",),
            "'my_nodes:nothing' made a NoneType",
        ),
    ],
)
def test_what_is_wrong_with_ones_own_nodes(own, node, place, message):
    value = NodeConfig(type="ValueInput", options={"tensor_type": {"shape": [2]}})
    given_inputs = node.get("inputs", {})
    if "nothing" not in node["type"]:
        given_inputs = {"value": "value.value"}
    graph = GraphConfig(
        nodes={"value": value, "own": NodeConfig(**{**node, "inputs": given_inputs})},
        outputs={"action": "own.action", "value": "value.value"},
    )
    with pytest.raises(FieldsError) as caught:
        graph()
    (problem,) = caught.value.found
    assert problem.place == ("nodes", "own", *place)
    assert problem.message.startswith(message)
