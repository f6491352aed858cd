"""What the tables say of Isaac Lab 2.3 stands in its sources, which are read, not imported."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from holdstep.wrappers.export.semantics.isaaclab import TABLE

WHEEL = Path(sys.prefix) / "compat" / "isaaclab==2.3.2"
SOURCE = WHEEL / "isaaclab" / "source"

pytestmark = pytest.mark.skipif(
    not WHEEL.is_dir(),
    reason=f"Isaac Lab 2.3.2's wheel is not in {WHEEL}: python tests/compat/install.py",
)


@cache
def module(path: str) -> ast.Module | None:
    """A module's tree, None if there is none."""
    parts = path.split(".")
    base = SOURCE.joinpath(parts[0], *parts)
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


@cache
def find_class(module_path: str, name: str) -> tuple[ast.ClassDef, str] | None:
    """A class and the module that defines it, followed through imports."""
    tree = module(module_path)
    for node in tree.body if tree else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node, module_path
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find_class(_imported_from(module_path, node), alias.name)
    return None


def attributes(module_path: str, name: str) -> dict[str, ast.AST] | None:
    """What a class and its bases define: properties, methods and annotated fields."""
    found = find_class(module_path, name)
    if found is None:
        return None
    node, home = found
    own: dict[str, ast.AST] = {}
    for base in node.bases:
        if isinstance(base, ast.Name):
            own |= attributes(home, base.id) or {}
    for statement in ast.walk(node):
        if isinstance(statement, ast.FunctionDef):
            own[statement.name] = statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            own[statement.target.id] = statement
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    own.setdefault(target.attr, statement)
    return own


def _imported_from(module_path: str, node: ast.ImportFrom) -> str:
    parts = module_path.split(".")
    is_package = SOURCE.joinpath(parts[0], *parts).is_dir()
    kept = parts[: len(parts) - node.level + is_package] if node.level else []
    return ".".join([*kept, *filter(None, (node.module or "").split("."))])


def documentation(path: str, attribute: str) -> str:
    """Of a property, or of a field, whose text follows it."""
    home, _, name = path.rpartition(".")
    found = find_class(home, name)
    assert found is not None
    own = attributes(home, name) or {}
    node = own[attribute.partition(".")[0]]
    if isinstance(node, ast.FunctionDef):
        return ast.get_docstring(node) or ""
    body = found[0].body
    after = body[body.index(node) + 1] if node in body else None
    is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    return str(after.value.value) if is_text else ""


ENTRIES = [
    (path, attribute, semantics)
    for path, properties in TABLE.items()
    for attribute, semantics in properties.items()
]


@pytest.mark.parametrize("path", TABLE)
def test_the_class_and_all_that_is_said_of_it_are_there(path):
    home, _, name = path.rpartition(".")
    found, own = find_class(home, name), attributes(home, name)
    assert found is not None, f"there is no class {path}"
    assert own is not None
    assert found[1] == home  # classes are named by the module that defines them
    named = {attribute.partition(".")[0] for attribute in TABLE[path]} - {"*"}
    assert sorted(named - own.keys()) == []


def test_quaternions_are_in_the_order_that_the_sources_say():
    told = 0
    for path, attribute, semantics in ENTRIES:
        if semantics.quaternion_order is None:
            continue
        assert semantics.quaternion_order == "wxyz", (path, attribute)
        text = documentation(path, attribute)
        assert "(x, y, z, w)" not in text, (path, attribute)
        told += "(w, x, y, z)" in text
    assert told >= 25


def test_frames_are_those_that_the_sources_say():
    told = 0
    for path, attribute, semantics in ENTRIES:
        if semantics.role != "state" or "Data" not in path:
            continue
        text = documentation(path, attribute).lower()
        if "world frame" in text and attribute.endswith("_w"):
            told += 1
            assert semantics.frame == "world", (path, attribute)
        if attribute.endswith("_b"):
            assert semantics.frame in ("body", "sensor"), (path, attribute)
    assert told >= 40


def test_targets_are_taken_by_the_parameters_that_are_named():
    methods = [entry for entry in ENTRIES if entry[2].role == "write"]
    assert len(methods) == 3
    for path, attribute, semantics in methods:
        home, _, name = path.rpartition(".")
        function = (attributes(home, name) or {})[attribute]
        assert isinstance(function, ast.FunctionDef)
        parameters = [argument.arg for argument in function.args.args]
        assert parameters[1] == semantics.values[0], attribute
        assert semantics.ids in parameters, attribute


def test_what_its_own_observation_terms_read_is_known():
    """Of assets and sensors; a term that reads more would be a state without a unit."""
    tree = module("isaaclab.envs.mdp.observations")
    assert tree is not None
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "data"
    }
    assert len(read) > 15
    known = {attribute.partition(".")[0] for _, attribute, _ in ENTRIES}
    assert sorted(read - known) == []


def test_a_wrong_entry_would_be_found():
    data = attributes("isaaclab.assets.articulation.articulation_data", "ArticulationData")
    assert data is not None
    assert "default_root_pose" not in data  # Isaac Lab 3.0's
    assert find_class("isaaclab.sensors.pva.pva_data", "PvaData") is None
    tiled = attributes(
        "isaaclab.sensors.camera", "TiledCamera"
    )  # through imports, and its base class
    assert tiled is not None
    assert {"data", "set_world_poses"} <= tiled.keys()
