"""Simulators run outside inference mode, whatever mode the caller's loop runs in."""

from __future__ import annotations

import torch


class OrdinaryTensors:
    """A context: tensors made inside can be written to later, in any mode.

    rsl_rl steps envs under ``torch.inference_mode``. Buffers that a simulator makes there can't be
    changed in place outside of it, so that the env would be of no use after training.
    """

    def __init__(self) -> None:
        self._mode = torch.inference_mode(False)

    def __enter__(self) -> None:
        self._mode.__enter__()
        torch.set_grad_enabled(False)  # until the mode ends, which puts the caller's setting back

    def __exit__(self, *exc_info: object) -> None:
        self._mode.__exit__(*exc_info)
