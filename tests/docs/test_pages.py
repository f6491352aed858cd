"""Every page does what it says: its blocks are run from top to bottom, in one folder."""

import importlib.util
import sys

import pytest

from holdstep.envs import TorchVectorEnv
from tests.conftest import silenced
from tests.docs.given import GIVEN
from tests.docs.made import Made
from tests.docs.pages import PAGES, blocks_of
from tests.docs.running import run_blocks
from tests.docs.smaller import SMALLER

RUN_PAGES = [page for page in PAGES if any(block.runs_here for block in blocks_of(page))]

MJLAB, RSL_RL = {"mjlab": "mjlab"}, {"rsl_rl": "rsl-rl"}
TELEOP = {"isaacteleop": "teleop", "flatbuffers": "teleop"}
EXPORT = MJLAB | {"onnxruntime": "export"}
NEEDED = {
    "README": EXPORT | RSL_RL | {"imageio_ffmpeg": "video"},
    "action_chunks": RSL_RL,
    "adapters": MJLAB,
    "cli": EXPORT | RSL_RL | {"matplotlib": "plot", "zmq": "groot"},
    "coming_from/isaacteleop": TELEOP,
    "coming_from/mjlab": MJLAB,
    "coming_from/torchrl": {"torchrl": "torchrl"},
    "datasets": {"matplotlib": "plot", "pyarrow": "convert", "minari": "minari"},
    "deployment": EXPORT | {"matplotlib": "plot"},
    "export": EXPORT,
    "generation": MJLAB | RSL_RL,
    "index": MJLAB,
    "lazy_rendering": MJLAB,
    "learning": RSL_RL,
    "problems/running_elsewhere": EXPORT,
    "quickstart": MJLAB | RSL_RL | {"imageio_ffmpeg": "video"},
    "remote_policies": {"zmq": "groot", "websockets": "openpi"},
    "rl_libraries": RSL_RL | {name: name for name in ("stable_baselines3", "skrl", "torchrl")},
    "scale": MJLAB | RSL_RL,
    "suspension": MJLAB,
    "teleop": TELEOP | {"pygame": "devices"},
    "timeline": {"matplotlib": "plot"},
    "troubleshooting": MJLAB,
}
"""Packages beyond holdstep's own, and the extras that bring them."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    sys.modules.pop("my_policies", None)  # the next page has its own


@pytest.mark.parametrize("page", RUN_PAGES)
def test_blocks_of_a_page_run(page, made):
    for package, extra in NEEDED.get(page, {}).items():
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the page needs {package}, which the extra '{extra}' brings")
    namespace = {"__name__": page} | (GIVEN[page](made) if page in GIVEN else {})
    blocks = list(blocks_of(page, changed=SMALLER.get(page)))
    with silenced():
        try:
            assert run_blocks(blocks, namespace) == sum(block.runs_here for block in blocks)
        finally:
            for value in namespace.values():
                if isinstance(value, TorchVectorEnv):
                    value.close()
