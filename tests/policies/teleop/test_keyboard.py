"""Keyboards through SDL itself, with its driver that needs no screen."""

import importlib
import os
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from holdstep.envs import make
from holdstep.errors import BackendUnavailableError, ConfigError, MissingExtraError
from holdstep.policies.teleop import (
    KeyboardSource,
    Se2Gamepad,
    Se2Keyboard,
    Se3Keyboard,
    source_class,
)
from holdstep.policies.teleop.devices import sdl_names, sdl_shared
from holdstep.wrappers import PipelinedActions, SuspendOnWait
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from tests.policies.teleop.requests import request

pygame = pytest.importorskip("pygame", reason="the extra 'devices' is not installed")
from tests.policies.teleop.sdl import keys, thread_names, until  # noqa: E402

ONE = {"action_dim": 1, "moves": [{"input": "w", "index": 0}], "commands": {"r": "reset"}}

DISPLAYS = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    until(lambda: "holdstep-sdl" not in thread_names())


@pytest.fixture
def started():
    sources = []

    def start(source, env_ids=(0,)):
        sources.append(source)
        source.start(env_ids)
        return source

    yield start
    for source in sources:
        source.stop()


def heard(source, name, value=1.0):
    until(lambda: source._listener.inputs._values.get(name) == value)


def test_keys_move_an_arm_as_in_isaac_lab(started):
    arm = started(Se3Keyboard(pos_sensitivity=0.25, rot_sensitivity=0.5))
    assert arm.action_dim == 7
    assert arm.compute(request()).actions.tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    expected = {
        "w": (0, 0.25), "s": (0, -0.25), "a": (1, 0.25), "d": (1, -0.25), "q": (2, 0.25),
        "e": (2, -0.25), "z": (3, 0.5), "x": (3, -0.5), "t": (4, 0.5), "g": (4, -0.5),
        "c": (5, 0.5), "v": (5, -0.5),
    }  # fmt: skip
    for key, (index, value) in expected.items():
        keys(key)
        heard(arm, key)
        action = [0.0] * 6 + [1.0]
        action[index] = value
        assert arm.compute(request()).actions.tolist() == [action]
        keys("-" + key)
        heard(arm, key, 0.0)
    keys("k", "-k")
    until(lambda: arm.compute(request()).actions[0, 6] == -1.0)


def test_keys_move_a_base_as_in_isaac_lab(started):
    base = started(Se2Keyboard())
    for key, expected in {
        "UP": (0.8, 0, 0), "KP8": (0.8, 0, 0), "DOWN": (-0.8, 0, 0), "LEFT": (0, 0.4, 0),
        "KP4": (0, 0.4, 0), "RIGHT": (0, -0.4, 0), "z": (0, 0, 1), "x": (0, 0, -1),
        "KP7": (0, 0, 1), "KP9": (0, 0, -1),
    }.items():  # fmt: skip
        keys(key)
        heard(base, key.lower())
        assert base.compute(request()).actions[0].tolist() == pytest.approx(expected)
        keys("-" + key)
        heard(base, key.lower(), 0.0)
    without_gripper = Se3Keyboard(gripper_term=False)
    assert without_gripper.action_dim == 6


def test_a_tap_between_two_frames_is_not_lost(started):
    source = started(KeyboardSource(ONE))
    keys("w", "-w", "r", "-r")
    heard(source, "r", 0.0)
    result = source.compute(request())
    assert result.events == SourceEvents(reset=True, reset_env_ids=(0,))
    assert not source.compute(request()).events


def test_when_the_window_loses_the_keyboard_nothing_is_held(started):
    source = started(KeyboardSource(ONE))
    keys("w")
    heard(source, "w")
    assert source.compute(request()).actions.tolist() == [[1.0]]
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    heard(source, "w", 0.0)
    assert source.compute(request()).actions.tolist() == [[0.0]]


def test_a_closed_window_stops_every_device(started):
    sources = [started(KeyboardSource(ONE), (row,)) for row in range(2)]
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    for source in sources:
        until(lambda source=source: source._listener.inputs._closed)
        result = source.compute(request())
        assert result.state is ExecutionState.STOPPED
        assert result.actions is None


def test_several_keyboards_share_one_window(started):
    arrows = {"action_dim": 1, "moves": [{"input": "up", "index": 0, "scale": 2.0}]}
    first, second = started(KeyboardSource(ONE), (0,)), started(KeyboardSource(arrows), (1,))
    assert thread_names().count("holdstep-sdl") == 1
    keys("w")
    heard(second, "w")
    assert first.compute(request()).actions.tolist() == [[1.0]]
    assert second.compute(request()).actions.tolist() == [[0.0]]
    keys("UP")
    heard(second, "up")
    first.stop()
    assert second.compute(request()).actions.tolist() == [[2.0]]
    second.stop()
    assert "holdstep-sdl" not in thread_names()
    assert not pygame.display.get_init()


def test_the_window_says_what_keys_do_and_how_it_is(started):
    source = started(KeyboardSource(ONE, start_paused=True))
    assert source.compute(request()).state is ExecutionState.PAUSED
    until(lambda: pygame.display.get_surface() is not None)
    listener = source._listener
    assert listener.help == (("w", "action 0 +1"), ("r", "reset"))
    until(lambda: listener.status == "PAUSED")
    surface = pygame.display.get_surface()
    colors = {tuple(surface.get_at((x, y)))[:3] for x in range(200) for y in range(100)}
    assert len(colors) > 2  # something is written


def test_the_window_shows_what_the_env_looks_like(started):
    source = KeyboardSource(ONE)
    source.show(np.zeros((4, 4, 3), np.uint8))  # not open yet: nowhere to show it
    started(source)
    source.show(np.full((120, 160, 3), (200, 10, 20), np.uint8))
    until(lambda: tuple(pygame.display.get_surface().get_at((100, 100)))[:3] == (200, 10, 20))
    height = pygame.display.get_surface().get_height()
    assert height > 300  # as wide as the window, and the lines below
    env = make("holdstep:PointMass", num_envs=1, device="cpu", render_mode="rgb_array")
    env.reset(seed=0)
    source.show(env.render()[0])
    until(lambda: pygame.display.get_surface().get_height() != height)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ConfigError, match=r"An image is uint8 \[H, W, 3\]"):
            source.show(wrong)


def test_starting_again_forgets_what_was_held(started):
    source = started(KeyboardSource(ONE))
    keys("w")
    heard(source, "w")
    source.start((0,))
    assert source.compute(request()).actions.tolist() == [[0.0]]
    assert thread_names().count("holdstep-sdl") == 1
    source.stop()
    source.stop()


@pytest.mark.parametrize("order", ["space", "escape", "unseen", "failure", "none"])
def test_started_again_it_is_paused_unless_it_was_driving(started, order):
    commands = {"space": "pause", "escape": "stop"}
    source = started(KeyboardSource({**ONE, "commands": commands}))
    assert source.compute(request()).state is ExecutionState.RUNNING
    if order in commands or order == "unseen":
        key = "space" if order == "unseen" else order
        keys(key.upper(), "-" + key.upper())
        heard(source, key, 0.0)
        if order != "unseen":
            assert source.compute(request(1)).state is not ExecutionState.RUNNING
    elif order == "failure":
        source._listener.failure = RuntimeError("the server went away")
    expected = ExecutionState.RUNNING if order == "none" else ExecutionState.PAUSED
    for _ in range(2):
        source.start((0,))
        result = source.compute(request(2))
        assert (result.state, bool(result.events)) == (expected, False)
    if order == "none":
        return
    # What the host says on this occasion is not the operator's "go on".
    repeated = SourceEvents(state=ExecutionState.RUNNING)
    assert source.compute(request(3, host_events=repeated)).state is ExecutionState.PAUSED
    keys("SPACE", "-SPACE")
    until(lambda: source.compute(request(4)).state is ExecutionState.RUNNING)
    source.start((0,))
    assert source.compute(request(5)).state is ExecutionState.RUNNING


def test_a_start_that_fails_does_not_make_the_next_one_drive(started, monkeypatch):
    source = started(KeyboardSource({**ONE, "commands": {"space": "pause"}}))
    keys("SPACE", "-SPACE")
    until(lambda: source.compute(request()).state is ExecutionState.PAUSED)
    source.stop()
    with monkeypatch.context() as without:
        for name in DISPLAYS:
            without.delenv(name, raising=False)
        with pytest.raises(BackendUnavailableError):
            source.start((0,))
    source.start((0,))
    assert source.compute(request()).state is ExecutionState.PAUSED


def test_a_keyboard_needs_a_display(monkeypatch):
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendUnavailableError, match=r"no display.*gamepad"):
        KeyboardSource(ONE).start((0,))
    assert "SDL_VIDEODRIVER" not in os.environ
    assert not pygame.display.get_init()


def test_a_display_that_somebody_else_uses_is_left_alone():
    pygame.display.init()
    try:
        with pytest.raises(BackendUnavailableError, match="in use in this process"):
            KeyboardSource(ONE).start((0,))
        assert pygame.display.get_init()
    finally:
        pygame.display.quit()


def test_a_driver_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "none-such")
    with pytest.raises(BackendUnavailableError, match="SDL can't be opened"):
        KeyboardSource(ONE).start((0,))


def test_a_failure_of_sdl_is_raised_and_can_be_started_again(started, monkeypatch):
    source = started(KeyboardSource({**ONE, "commands": {"space": "pause"}}))
    thread = sdl_shared._shared[0]

    def failing(event):
        raise RuntimeError("the server went away")

    monkeypatch.setattr(thread, "_hear", failing)
    keys("w")
    until(lambda: source._listener.failure is not None)
    with pytest.raises(BackendUnavailableError, match="the server went away"):
        source.compute(request())
    until(lambda: not thread.alive)
    source.start((0,))
    assert source.compute(request()).state is ExecutionState.PAUSED
    keys("SPACE", "-SPACE")
    until(lambda: source.compute(request()).state is ExecutionState.RUNNING)
    keys("w")
    heard(source, "w")
    assert source.compute(request()).actions.tolist() == [[1.0]]


def test_keys_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match=r"A keyboard has no 'entr'. Did you mean: \w+"):
        KeyboardSource({"action_dim": 1, "commands": {"entr": "reset"}})


def test_a_source_that_was_not_started():
    with pytest.raises(ConfigError, match="was not started"):
        KeyboardSource(ONE).compute(request())


def test_every_key_has_a_name():
    names = sdl_names.key_names(pygame)
    assert names[pygame.K_w] == ("w",)
    assert "left" in names[pygame.K_LEFT]
    assert {"kp0", "kp_0"} <= set(names[pygame.K_KP0])


def test_a_keyboard_drives_any_env_by_name(started):
    env = make("holdstep:PointMass", num_envs=2, device="cpu", seed=0)
    obs, _ = env.reset()
    source = started(source_class("keyboard").for_env(env), (0, 1))
    keys("RIGHT", "DOWN")
    heard(source, "right")
    heard(source, "down")
    for frame_id in range(10):
        actions = source.compute(request(frame_id, (0, 1))).actions
        new_obs, *_ = env.step(actions)
    moved = (new_obs["policy"] - obs["policy"])[:, :2]
    assert (moved[:, 0] > 0.1).all()
    assert (moved[:, 1] < -0.1).all()


def test_keyboards_for_arms_and_bases_look_at_the_env():
    def env_of(width):
        return SimpleNamespace(single_action_space=Box(-1.0, 1.0, (width,)))

    assert Se2Keyboard.for_env(env_of(3), v_x_sensitivity=0.5).mapping == (
        Se2Keyboard(v_x_sensitivity=0.5).mapping
    )
    for width in (6, 7):
        arm = Se3Keyboard.for_env(env_of(width), start_paused=True)
        assert (type(arm), arm.action_dim) == (Se3Keyboard, width)
    with pytest.raises(ConfigError, match=r"Se3Keyboard makes actions of 6 or 7 .*shape \(8,\)"):
        Se3Keyboard.for_env(env_of(8))
    with pytest.raises(ConfigError, match="Se2Keyboard makes actions of 3 entries"):
        Se2Keyboard.for_env(env_of(2))


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_a_keyboard_drives_pauses_and_resets_only_its_row(mode):
    env = make("holdstep:PointMass", num_envs=2, device="cpu", seed=0, max_episode_length=100_000)
    env = SuspendOnWait(env)
    source = KeyboardSource.for_env(env)
    env = PipelinedActions(env, source, groups=[[1]], mode=mode)
    obs, _ = env.reset()
    begin = obs["policy"][:, 0].clone()
    others = torch.zeros(2, 2)
    env.step(others)

    def step_until(condition):
        nonlocal obs, info
        end = time.monotonic() + 20.0
        while time.monotonic() < end:
            obs, *_, info = env.step(others)
            if condition():
                return
            time.sleep(0.002)
        pytest.fail("it did not happen")

    info = {}
    keys("RIGHT")
    step_until(lambda: obs["policy"][1, 0] > begin[1] + 0.02)
    assert obs["policy"][0, 0] == begin[0]
    keys("-RIGHT", "SPACE", "-SPACE")
    step_until(lambda: not info["active"][1])
    assert info["active"][0]
    keys("SPACE", "-SPACE")
    step_until(lambda: info["active"].all())
    keys("r", "-r")
    step_until(lambda: info["pipeline"]["operator_reset"][1])
    assert not info["pipeline"]["operator_reset"][0]
    assert env.episode_length_buf[1] <= 1 < env.episode_length_buf[0]
    env.close()


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(MissingExtraError, match=r'pip install "holdstep\[devices\]"'):
        KeyboardSource(ONE)
    with pytest.raises(MissingExtraError, match=r'pip install "holdstep\[devices\]"'):
        Se2Gamepad()


def test_importing_devices_starts_nothing():
    importlib.import_module("holdstep.policies.teleop.devices")
    assert all("sdl" not in thread.name for thread in threading.enumerate())
