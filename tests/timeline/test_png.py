import itertools
import time

import numpy as np
import pytest

from holdstep.errors import TimelineError
from holdstep.timeline import RowState, crop, draw_png, read_timeline
from holdstep.timeline.palette import COLORS, ERROR_COLOR, LABELS, rgb
from tests.timeline.runs import Run, all_active, rows_active

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")

# How people see who lack one kind of cone: Machado, Oliveira & Fernandes 2009, severity 1.
VISION = {
    "all cones": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab_of(color, vision):
    """CIE L*a*b* of a colour, as someone with this vision sees it."""
    values = np.array(rgb(color))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colors_can_be_told_apart(vision):
    seen = {state: lab_of(color, vision) for state, color in COLORS.items()}
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 18, (a.name, b.name)
    red, violet = (lab_of(c, vision) for c in (ERROR_COLOR, COLORS[RowState.INFERENCE]))
    assert np.linalg.norm(red - violet) > 18


def test_every_state_has_a_color_and_a_name():
    assert set(COLORS) == set(LABELS) == set(RowState)


def image_of(run, tmp_path, **kwargs):
    import matplotlib.image

    run.write(tmp_path / "run.jsonl", metadata={"what": "a $x^$ name <b>"})
    timeline = read_timeline(tmp_path / "run.jsonl")
    path = draw_png(timeline, tmp_path / "made" / "run.png", **kwargs)
    assert path.read_bytes().startswith(b"\x89PNG")
    return matplotlib.image.imread(path)[:, :, :3]


def share_of(image, color):
    return float((np.abs(image - np.array(rgb(color))).max(axis=2) < 0.02).mean())


def test_a_picture_has_the_colors_of_what_happened(tmp_path):
    active = [rows_active(4, 0, 1, 2, 3), rows_active(4, 0, 1), rows_active(4, 0)]
    parked = rows_active(4, 3)
    ticks = [(1000 * t, 1000 * t + 900, active[t % 3], parked, np.full(4, t)) for t in range(30)]
    calls = [([1, 2], 5000, 6000, 9000, "inference", None), ([2], 20_000, 20_000, 25_000, "i", "x")]
    run = Run(4, ticks, calls, [(0, 0, 0, 9, 1.0, True), (1, 0, 3, 20, 1.0, False)])
    image = image_of(run, tmp_path, title="a title")
    assert image.shape[1] == 1560
    for state in (RowState.ACTIVE, RowState.SUSPENDED, RowState.PARKED):
        assert share_of(image, COLORS[state]) > 0.02, state
    for state in (RowState.QUEUED, RowState.INFERENCE):
        assert share_of(image, COLORS[state]) > 0.001, state
    assert share_of(image, ERROR_COLOR) > 0.001


def test_what_did_not_happen_is_not_there(tmp_path):
    image = image_of(Run(2, [(0, 100, all_active(2), None, None)]), tmp_path)
    assert share_of(image, COLORS[RowState.ACTIVE]) > 0.2
    for state in (RowState.SUSPENDED, RowState.QUEUED, RowState.INFERENCE):
        assert share_of(image, COLORS[state]) == 0
    assert share_of(image, COLORS[RowState.PARKED]) < 0.001  # the edges of letters are grey too


@pytest.mark.parametrize(
    "run",
    [
        Run(1, [(0, 1, rows_active(1), None, None)]),
        Run(3, [], [([0, 1], 0, 4, 9, "inference", None)]),
        Run(130, [(0, 9, all_active(130), None, None)], [], [(3, 0, 0, 0, 0.0, None)]),
        Run(2, [(t, t, all_active(2), None, None) for t in range(5)]),
        Run(
            2,
            [(0, 9, all_active(2), None, None)],
            [([1], 0, i, 50 + i, "i", None) for i in range(9)],
        ),
    ],
    ids=["one tick", "only calls", "many rows", "ticks without length", "many calls at once"],
)
def test_odd_runs_are_drawn_too(run, tmp_path):
    assert image_of(run, tmp_path).shape[1] == 1560


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(TimelineError, match="nothing to draw"):
        image_of(Run(2, []), tmp_path)
    assert not (tmp_path / "made" / "run.png").exists()


def test_a_part_shows_the_rows_of_the_env(tmp_path):
    Run(8, [(0, 9, all_active(8), None, None)]).write(tmp_path / "run.jsonl")
    part = crop(read_timeline(tmp_path / "run.jsonl"), rows=slice(4, 8))
    draw_png(part, tmp_path / "part.png")


def test_no_window_system_is_touched(tmp_path, monkeypatch):
    import sys

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    image_of(Run(1, [(0, 9, all_active(1), None, None)]), tmp_path)
    assert "matplotlib.pyplot" not in sys.modules


def test_a_large_batch_is_drawn_in_seconds(tmp_path):
    """As a picture, not as 4096 rows of rectangles."""
    num_envs, rng = 4096, np.random.default_rng(0)
    ticks, calls = [], []
    for tick in range(640):
        gap = 300 * (tick // 16)
        active = rng.random(num_envs) < 0.95
        ticks.append((100 * tick + gap, 100 * tick + gap + 95, active, None, None))
        if tick % 16 == 15:
            now = 100 * tick + gap + 95
            calls.append((list(range(num_envs)), now, now + 5, now + 300, "inference", None))
    start = time.perf_counter()
    image = image_of(Run(num_envs, ticks, calls), tmp_path)
    assert time.perf_counter() - start < 40  # about 6 on an idle machine
    assert image.shape[0] < 1400
