"""A file to begin with."""

from __future__ import annotations

EXAMPLE = """\
# A run of teleoperation. holdstep teleop run.yaml --check says what is wrong with it.
# As it stands it needs no hardware: a random policy drives. With another source, you do.

env:
  id: holdstep:PointMass  # holdstep envs lists them
  num_envs: 2
  device: cpu
  seed: 0
  overrides: {}  # settings of the env, such as episode_length_s: 10
  suspend: auto  # how rows are held still: auto, skip, exact, approximate, none

source:  # one for all rows
  kind: policy  # or keyboard, gamepad, se2_keyboard, se3_gamepad, ..., isaacteleop, function
  policy: random  # zero, random, or module:function
# source:
#   kind: keyboard  # a window opens; the arrows drive
#   start_paused: true
# source:
#   kind: isaacteleop
#   pipeline: my_retargeting:pipeline  # builds it; or a graph of nodes: {nodes: ..., outputs: ...}
#   session: replay  # or live
#   mcap: session.mcap

# Several, instead:
# sources:
#   left: {kind: keyboard}
#   right: {kind: gamepad, mapping: {action_dim: 2, moves: [{input: left_x, index: 0}]}}
# groups: {left: [0], right: [1]}

pipeline:
  mode: pipelined  # or sync: computed in the step, for keyboards and gamepads
  on_stale: suspend  # repeat, hold (with hold_action), wait, or suspend
  max_age_frames: 1
  on_error: raise  # suspend, or restart
  stop_timeout_s: 5.0

pacing:
  kind: adaptive  # immediate, or deadline
  target_miss: 0.01

recorder:  # leave it out to record nothing
  path: demos
  num_episodes: 4  # then the run is over; Ctrl-C ends it, too
  compression: none  # lz4, zstd, gzip

loop:
  realtime: false  # true: a step takes as long as it simulates
  max_steps: null
"""
"""Valid as it is, and runs without hardware."""
