"""Settings are written so that they can be read again, by anybody."""

import enum
from functools import partial

import numpy as np
import pytest
import yaml

from holdstep.errors import CheckpointError
from holdstep.policies.rsl_rl.run_dir import RunDir


class Kind(enum.StrEnum):
    FAST = "fast"


def test_settings_become_plain_yaml(tmp_path):
    (tmp_path / "params").mkdir()
    run = RunDir(tmp_path)
    agent = {
        "class_name": RunDir,
        "method": RunDir.create,
        "scale": np.float32(0.5),
        "wide": np.float64(0.25),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "array": np.arange(2),
        "kind": Kind.FAST,
        "dims": (64, 64),
    }
    run.write_params({}, agent | {"other": partial(int)})
    text = (tmp_path / "params" / "agent.yaml").read_text()
    read = yaml.safe_load(text)
    assert read.pop("other").startswith("functools.partial")
    assert read == {
        "class_name": "holdstep.policies.rsl_rl.run_dir:RunDir",
        "method": "holdstep.policies.rsl_rl.run_dir:RunDir.create",
        "scale": 0.5,
        "wide": 0.25,
        "count": 3,
        "flag": True,
        "array": [0, 1],
        "kind": "fast",
        "dims": [64, 64],
    }
    assert run.read_agent()["count"] == 3


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"- 1\n", b"a: !!python/name:os.x"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "agent.yaml").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"agent\.yaml"):
        RunDir(tmp_path).read_agent()
