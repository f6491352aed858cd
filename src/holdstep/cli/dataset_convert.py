"""``holdstep dataset convert``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from holdstep.wrappers.record import Dataset
    from holdstep.wrappers.record.formats.conversion import Conversion


@dataclass
class Convert:
    """Write a dataset in the format of another library, for its own loader.

    isaaclab and robomimic are one .hdf5 file, lerobot (version 3) and minari a folder.

    Example: holdstep dataset convert demos --to lerobot --out demos_lerobot --success succeeded
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into, or an .hdf5 file."""

    to: Literal["isaaclab", "robomimic", "lerobot", "minari"]
    """The format."""

    out: Path
    """A new file or folder; nothing is ever written over what exists. For minari the folder of
    datasets, which may exist."""

    success: Literal["all", "succeeded", "failed"] = "all"
    """Only episodes that succeeded, or only those that did not."""

    key: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """lerobot, minari: ARRAY=NAME, such as obs/policy=observation.state; may be given several
    times, and only what is named is then written."""

    fps: int | None = None
    """lerobot: steps per second; by default what the recording says."""

    task: str | None = None
    """lerobot: what is done, in words; by default each episode's instruction, or the env's name."""

    video: bool = False
    """lerobot: images as video, which is smaller and lossy, instead of PNG."""

    dataset_id: str | None = None
    """minari: such as cartpole/recorded-v0; by default from the env's name."""

    compression: Literal["none", "lz4", "zstd", "gzip"] = "none"
    """isaaclab, robomimic: how arrays are compressed; lz4 and zstd need the extra 'compression',
    for reading too."""

    def run(self) -> int:
        """Convert, and print what was written."""
        from rich.console import Console

        from holdstep.cli.dataset_notes import print_note, print_pending
        from holdstep.cli.dataset_progress import episode_progress
        from holdstep.cli.paths import print_path
        from holdstep.wrappers.record import Dataset

        console = Console(emoji=False)
        self._refuse_options_of_other_formats()
        with (
            Dataset(self.path, success=self.success) as dataset,
            episode_progress(console, f"writing {self.out}", len(dataset)) as step,
        ):
            conversion = self._convert(dataset, step)
        for note in conversion.notes:
            print_note(console, note)
        print_pending(console, dataset)
        print_path(conversion.path, console, f"{conversion.num_episodes} episodes")
        return 0

    def _convert(self, dataset: Dataset, on_episode: Callable[[], None]) -> Conversion:
        keys = parse_keys(self.key)
        if self.to == "lerobot":
            from holdstep.wrappers.record.formats.lerobot import export_lerobot

            return export_lerobot(
                dataset,
                self.out,
                fps=self.fps,
                keys=keys,
                task=self.task,
                video=self.video,
                on_episode=on_episode,
            )
        if self.to == "minari":
            from holdstep.wrappers.record.formats.minari import export_minari

            return export_minari(
                dataset, self.out, dataset_id=self.dataset_id, keys=keys, on_episode=on_episode
            )
        if self.to == "robomimic":
            from holdstep.wrappers.record.formats.robomimic import export_robomimic

            return export_robomimic(
                dataset, self.out, compression=self.compression, on_episode=on_episode
            )
        from holdstep.wrappers.record.formats.isaaclab import export_isaaclab

        return export_isaaclab(
            dataset, self.out, compression=self.compression, on_episode=on_episode
        )

    def _refuse_options_of_other_formats(self) -> None:
        from holdstep.errors import ConfigError

        for option, formats in _FORMATS_OF.items():
            value = getattr(self, option)
            if value not in ((), None, False, "none") and self.to not in formats:
                raise ConfigError(
                    f"--{option.replace('_', '-')} is for {' and '.join(formats)}, not for "
                    f"{self.to}."
                )


_FORMATS_OF = {
    "key": ("lerobot", "minari"),
    "fps": ("lerobot",),
    "task": ("lerobot",),
    "video": ("lerobot",),
    "dataset_id": ("minari",),
    "compression": ("isaaclab", "robomimic"),
}


def parse_keys(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Names in the other format by paths of arrays; None where nothing was given.

    Raises:
        ConfigError: a text is not ``ARRAY=NAME``.

    >>> parse_keys(("obs/policy=observation.state",))
    {'obs/policy': 'observation.state'}
    """
    from holdstep.errors import ConfigError

    keys: dict[str, str] = {}
    for text in texts:
        path, equals, name = text.partition("=")
        if not equals or not path or not name or path in keys:
            raise ConfigError(
                "--key takes ARRAY=NAME, each array once, as in --key "
                f"obs/policy=observation.state; got {text!r}."
            )
        keys[path] = name
    return keys or None
