"""``holdstep doctor``."""

from __future__ import annotations

from dataclasses import dataclass

EXTRAS = {
    "mjlab": ("mjlab", "mujoco-warp", "warp-lang"),
    "mujoco": ("mujoco",),
    "rsl-rl": ("rsl-rl-lib", "tensorboard"),
    "sb3": ("stable-baselines3",),
    "skrl": ("skrl",),
    "torchrl": ("torchrl",),
    "groot": ("pyzmq", "msgpack"),
    "openpi": ("websockets",),
    "lerobot": ("lerobot",),
    "teleop": ("isaacteleop", "mcap"),
    "devices": ("pygame-ce",),
    "export": ("leapp", "onnx", "onnxruntime", "onnxscript"),
    "compression": ("hdf5plugin",),
    "convert": ("pyarrow", "pillow"),
    "minari": ("minari",),
    "video": ("imageio", "imageio-ffmpeg"),
    "plot": ("matplotlib",),
}
"""Packages that each extra brings."""


@dataclass
class Doctor:
    """Print what is installed, which backends work here, and what is missing.

    Example: holdstep doctor
    """

    def run(self) -> int:
        """Look at packages and devices; import each backend and list its envs."""
        import platform
        import sys
        from importlib.metadata import PackageNotFoundError, version

        import torch
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from holdstep._version import __version__
        from holdstep.cli.quiet import quiet_simulators
        from holdstep.envs.registry import BACKENDS, list_envs

        console = Console(emoji=False)
        console.print(
            f"holdstep {__version__}, Python {platform.python_version()} ({sys.executable}), "
            f"{platform.system()} {platform.machine()}",
            highlight=False,
        )
        console.print(f"torch {torch.__version__}: {_devices()}", highlight=False)

        packages = Table("package", "version", "extra", title="Packages")
        for extra, names in {"": ("gymnasium", "h5py", "numpy"), **EXTRAS}.items():
            for name in names:
                try:
                    found = version(name)
                except PackageNotFoundError:
                    found = f'[yellow]missing[/yellow]: pip install "holdstep\\[{extra}]"'
                packages.add_row(name, found, extra)
        console.print(packages)

        backends = Table("backend", "envs", "state", title="Backends")
        for prefix in BACKENDS:
            try:
                with console.status(f"importing {prefix}"), quiet_simulators():
                    count = str(len(list_envs(prefix)))
            except Exception as error:  # any failure of a backend is what the doctor is asked for
                backends.add_row(
                    prefix, "-", f"[yellow]{type(error).__name__}[/yellow]: {escape(str(error))}"
                )
            else:
                backends.add_row(prefix, count, "[green]works[/green]")
        console.print(backends)
        return 0


def _devices() -> str:
    import torch

    if not torch.cuda.is_available():
        return "no CUDA device, the CPU is used"
    names = [
        f"cuda:{index} {torch.cuda.get_device_name(index)}"
        for index in range(torch.cuda.device_count())
    ]
    return ", ".join(names)
