"""The wheel holds exactly the packages of the tree, and works without the tree."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROOTS = {
    "holdstep": "src/holdstep",
    "holdstep.envs": "envs",
    "holdstep.policies": "policies",
    "holdstep.wrappers": "wrappers",
}


def tree_files():
    """Python files as they should lie in the wheel."""
    files = set()
    for package, folder in ROOTS.items():
        for file in (REPOSITORY / folder).rglob("*.py"):
            relative = file.relative_to(REPOSITORY / folder)
            if package == "holdstep" and relative.parts[0] in ("envs", "policies", "wrappers"):
                continue  # the links
            files.add("/".join((*package.split("."), *relative.parts)))
    return files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools would otherwise leave build/ and egg-info in the working tree.
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        original, copy = REPOSITORY / name, source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_symlink():
            copy.symlink_to(original.readlink())
        elif original.is_file():
            copy.write_bytes(original.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_tree(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {name for name in names if name.endswith(".py")}
    assert packed == tree_files()
    assert "holdstep/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_works_alone(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import holdstep, holdstep.envs\n"
        f"assert holdstep.__file__.startswith({str(tmp_path)!r}), holdstep.__file__\n"
        "env = holdstep.envs.make('holdstep:CartPole', num_envs=2, device='cpu')\n"
        "print(holdstep.envs.check_vector_env(env))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CheckReport" in done.stdout


def test_every_package_is_listed():
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    listed = set(config["tool"]["setuptools"]["packages"])
    present = {name.rpartition("/")[0].replace("/", ".") for name in tree_files()}
    assert listed == present


def test_links_lead_to_the_packages():
    for name in ("envs", "policies", "wrappers"):
        link = REPOSITORY / "src" / "holdstep" / name
        assert link.is_symlink()
        assert link.resolve() == (REPOSITORY / name).resolve()
