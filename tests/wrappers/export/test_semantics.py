"""The semantics tables: looked up by inheritance, extended by users, honoured where marked."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch

from holdstep.errors import ConfigError
from holdstep.wrappers.export.semantics import (
    Semantics,
    const,
    isaaclab,
    isaaclab3,
    mjlab,
    refused,
    register_semantics,
    registered_semantics,
    state,
    unregister_semantics,
)
from holdstep.wrappers.export.semantics.lookup import (
    SemanticsLookup,
    class_path,
    element_names,
    select_names,
    tables_of,
)

TABLES = {"mjlab": mjlab.TABLE, "isaaclab": isaaclab.TABLE, "isaaclab3": isaaclab3.TABLE}


class RobotData:
    @property
    def joint_pos(self):
        raise NotImplementedError

    @property
    def mass(self):
        raise NotImplementedError


class BackendData(RobotData):
    @property
    def joint_pos(self):
        return torch.zeros(1, 2)


PATH = class_path(RobotData)


def lookup_in(**entries):
    return SemanticsLookup(({PATH: entries},))


def test_a_subclass_has_what_its_base_declares():
    lookup = lookup_in(joint_pos=state("joint_position", "rad"), mass=const("mass", "kg"))
    assert lookup.find(BackendData, "joint_pos").kind == "joint_position"
    assert lookup.find(BackendData, "mass").role == "const"
    assert lookup.find(BackendData, "unknown") is None
    assert lookup.find(int, "joint_pos") is None


def test_the_nearest_class_counts():
    near = {class_path(BackendData): {"joint_pos": state("near")}}
    lookup = SemanticsLookup(({PATH: {"joint_pos": state("far")}}, near))
    assert lookup.find(BackendData, "joint_pos").kind == "near"


def test_what_users_register_comes_first_and_goes_again():
    lookup = lookup_in(joint_pos=state("table"))
    with registered_semantics(PATH, {"joint_pos": state("user")}):
        assert lookup.find(BackendData, "joint_pos").kind == "user"
        with registered_semantics(PATH, {"joint_pos": state("inner")}):
            assert lookup.find(BackendData, "joint_pos").kind == "inner"
        assert lookup.find(BackendData, "joint_pos").kind == "user"
    assert lookup.find(BackendData, "joint_pos").kind == "table"


def test_registering_for_good():
    lookup = lookup_in()
    register_semantics(PATH, {"joint_pos": state("one")})
    register_semantics(PATH, {"mass": const("two")})
    assert lookup.find(BackendData, "joint_pos").kind == "one"
    assert lookup.find(BackendData, "mass").kind == "two"
    unregister_semantics(PATH)
    unregister_semantics(PATH)
    assert lookup.find(BackendData, "joint_pos") is None


@pytest.mark.parametrize(
    ("path", "entries"),
    [("Robot", {}), ("a b.C", {}), ("a.B", {"x": "state"}), ("a..B", {"x": state("y")})],
)
def test_what_cannot_be_registered(path, entries):
    with pytest.raises(ConfigError):
        register_semantics(path, entries)


def test_a_whole_class_can_be_refused():
    lookup = lookup_in(**{"*": refused("it can't.")})
    assert lookup.refusal(BackendData) == "it can't."
    assert lookup.refusal(int) is None


def marked(**mark):
    def getter(self):
        raise NotImplementedError

    defaults = {"kind": None, "element_names": None, "const": False}
    getter._leapp_semantics = SimpleNamespace(**{**defaults, **mark})
    return getter


def test_marks_of_isaac_lab_are_honoured_through_overrides():
    class Base:
        joint_pos = property(marked(kind=SimpleNamespace(value="state/joint/position")))
        limits = property(marked(const=True))
        axes = property(marked(element_names=["x", "y", "z"]))
        nested = property(marked(element_names=[["a", "b"], ["x", "y"]]))
        set_target = marked(kind="target/joint/position")

    class Backend(Base):
        joint_pos = property(lambda self: 1)

        def set_target(self, target):
            return target

    lookup = SemanticsLookup(())
    assert lookup.find(Backend, "joint_pos") == Semantics("state", "joint_position")
    assert lookup.find(Backend, "limits").role == "const"
    assert lookup.find(Backend, "axes").elements == ("x", "y", "z")
    assert lookup.find(Backend, "nested").elements is None
    write = lookup.find(Backend, "set_target")
    assert (write.role, write.values, write.kind) == ("write", ("target",), "joint_position_target")


def test_a_table_comes_before_marks():
    class Data:
        joint_pos = property(marked(kind="from the mark"))

    lookup = SemanticsLookup(({class_path(Data): {"joint_pos": state("from the table")}},))
    assert lookup.find(Data, "joint_pos").kind == "from the table"


@pytest.mark.parametrize("simulator", TABLES)
def test_tables_are_data(simulator):
    assert tables_of(simulator) == (TABLES[simulator],)
    for path, entries in TABLES[simulator].items():
        packages = ("mjlab",) if simulator == "mjlab" else ("isaaclab", "isaaclab_tasks")
        assert path.split(".")[0] in packages
        for name, entry in entries.items():
            assert isinstance(entry, Semantics), (path, name)
            parts = name.split(".")  # an entry of a dictionary is named after a dot
            is_name = len(parts) <= 2 and all(part.isidentifier() for part in parts)
            assert entry.reason if entry.role == "refused" else is_name, (path, name)
            assert bool(entry.values) == (entry.role == "write"), (path, name)
            assert entry.nominal is None or entry.role == "const", (path, name)


def test_quaternion_orders_differ_between_simulators():
    data = "isaaclab.assets.articulation"
    two = isaaclab.TABLE[f"{data}.articulation_data.ArticulationData"]
    three = isaaclab3.TABLE[f"{data}.base_articulation_data.BaseArticulationData"]
    assert two["root_quat_w"].quaternion_order == "wxyz"
    assert three["root_quat_w"].quaternion_order == "xyzw"
    assert three["root_quat_w"].elements == ("x", "y", "z", "w")


def test_mjlabs_table_names_what_exists():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    importlib.import_module("mjlab.envs")
    importlib.import_module("mjlab.tasks")
    for path, entries in mjlab.TABLE.items():
        module, name = path.rsplit(".", 1)
        cls = getattr(importlib.import_module(module), name)
        assert class_path(cls) == path
        known = set(dir(cls)) | {
            field for base in cls.__mro__ for field in getattr(base, "__annotations__", ())
        }
        instance_only = {"target_pos", "vel_command_b", "episode_length_buf", "*"}
        assert set(entries) - known <= instance_only, path


def test_every_property_of_mjlabs_entities_is_in_the_table():
    data = pytest.importorskip("mjlab.entity.data", reason="the extra 'mjlab' is not installed")
    properties = {n for n, value in vars(data.EntityData).items() if isinstance(value, property)}
    table = mjlab.TABLE["mjlab.entity.data.EntityData"]
    assert properties - set(table) == {"joint_torques"}  # which only raises


def test_names_of_elements():
    entity = SimpleNamespace(joint_names=["hip", "knee"], body_names=())
    assert element_names(state("x", elements="joints"), entity) == ("hip", "knee")
    assert element_names(state("x", elements="bodies"), entity) is None
    assert element_names(state("x", elements=("a", "b")), entity) == ("a", "b")
    assert element_names(None, entity) is None


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (None, ("a", "b", "c")),
        (slice(None), ("a", "b", "c")),
        (slice(1, None), ("b", "c")),
        ([2, 0], ("c", "a")),
        (torch.tensor([1]), ("b",)),
        (2, ("c",)),
    ],
)
def test_selected_names(ids, expected):
    assert select_names(("a", "b", "c"), ids) == expected
    assert select_names(None, ids) is None
