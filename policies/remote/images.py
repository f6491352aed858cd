"""Images as policies take them: uint8, channels last, resized where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch.nn import functional

from holdstep.errors import ConfigError

ImageLayout = Literal["hwc", "chw"]


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """How an env's images are, and how they are sent.

    Floats are taken to be in [0, 1]: they are multiplied by 255, rounded, and limited to 0..255.

    Attributes:
        layout: of the env's images, ``"hwc"`` (channels last) or ``"chw"``.
        size: height and width [pixels] to resize to, on the device of the images and before they
            are moved; None leaves them as they are. Bilinear with antialiasing.
        keep_aspect: fit the image into ``size`` and fill the rest with black, as openpi's own
            clients do, instead of stretching it.
    """

    layout: ImageLayout = "hwc"
    size: tuple[int, int] | None = None
    keep_aspect: bool = False

    def __post_init__(self) -> None:
        if self.layout not in get_args(ImageLayout):
            raise ConfigError(f"An image layout is 'hwc' or 'chw', got {self.layout!r}.")
        if self.size is not None and (
            len(self.size) != 2
            or any(isinstance(edge, bool) or not isinstance(edge, int) for edge in self.size)
            or min(self.size) < 1
        ):
            raise ConfigError(
                f"image_size must be (height, width) in pixels, or None; got {self.size!r}."
            )

    def apply(self, images: torch.Tensor, *, name: str) -> torch.Tensor:
        """Images of any leading dimensions, uint8 and channels last.

        Args:
            images: ``[..., H, W, 3]``, or ``[..., 3, H, W]`` where the layout is ``"chw"``; uint8
                or floats in [0, 1].
            name: of the observation group, for messages.

        Returns:
            ``[..., H, W, 3]`` uint8 on the same device.

        Raises:
            ConfigError: another shape or dtype.
        """
        channels = -1 if self.layout == "hwc" else -3
        if images.ndim < 4 or images.shape[channels] != 3:
            raise ConfigError(
                f"The group {name!r} is to be sent as RGB images of layout {self.layout!r}, but "
                f"has shape {list(images.shape)}. {_hint(images, self.layout)}"
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ConfigError(
                f"The group {name!r} is to be sent as images, but has dtype {images.dtype}. "
                "Images are uint8, or floats in [0, 1]."
            )
        height, width = images.shape[-3:-1] if self.layout == "hwc" else images.shape[-2:]
        if self.size is not None and self.size != (height, width):
            return self._resized(images)
        if images.is_floating_point():
            images = _to_uint8(images * 255)
        return images if self.layout == "hwc" else images.movedim(-3, -1).contiguous()

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        assert self.size is not None
        scale = 255.0 if images.is_floating_point() else 1.0
        if self.layout == "hwc":
            images = images.movedim(-1, -3)
        leading = images.shape[:-3]
        flat = images.reshape(-1, *images.shape[-3:]).float() * scale
        height, width = self.size
        if self.keep_aspect:
            ratio = max(flat.shape[-1] / width, flat.shape[-2] / height)
            height = max(1, min(height, int(flat.shape[-2] / ratio)))
            width = max(1, min(width, int(flat.shape[-1] / ratio)))
        flat = functional.interpolate(flat, (height, width), mode="bilinear", antialias=True)
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        right, bottom = self.size[1] - width - left, self.size[0] - height - top
        flat = functional.pad(flat, (left, right, top, bottom))
        flat = _to_uint8(flat).movedim(-3, -1).contiguous()
        return flat.reshape(*leading, *flat.shape[1:])


def _to_uint8(scaled: torch.Tensor) -> torch.Tensor:
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _hint(images: torch.Tensor, layout: ImageLayout) -> str:
    other = "chw" if layout == "hwc" else "hwc"
    channels = -1 if other == "hwc" else -3
    if images.ndim >= 4 and images.shape[channels] == 3:
        return f"It looks like {other!r}: set image_layout={other!r}."
    return "Expected [B, H, W, 3], or [B, T, H, W, 3] with a history of T frames."
