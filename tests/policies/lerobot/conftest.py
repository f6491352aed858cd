"""Small lerobot policies with random weights, and a torchvision that can be imported."""

from __future__ import annotations

import pytest
import torch

# Tests of this folder that need no lerobot are run with all the others.
NEEDED = "lerobot is not installed in this environment: `make lerobot` makes one that has it"

_declared: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Import torchvision, beside a torch without CUDA too.

    PyPI's torchvision is built for CUDA. Its extension doesn't load beside a CPU's torch, which it
    gets over with a warning, but it then describes operators that nobody has declared, and fails.
    Here they are declared, and not implemented: lerobot's networks use torchvision's ResNets, which
    are plain torch, and whoever calls one of these operators gets an error.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        import torchvision
    assert torchvision.models.resnet18


@pytest.fixture(scope="session")
def lerobot():
    """The package; tests that need it are skipped, visibly, where it is not installed."""
    package = pytest.importorskip("lerobot", reason=NEEDED)
    import_torchvision()
    return package
