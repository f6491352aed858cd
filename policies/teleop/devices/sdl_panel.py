"""The window that hears the keyboard, and shows what the keys do and what the env looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_BACKGROUND = (24, 26, 32)
_TEXT = (226, 228, 233)
_STATUS = (122, 198, 255)
_LINE_HEIGHT = 20
_MARGIN = 12
_WIDTH = 480
_COLUMN = 120


class Block(NamedTuple):
    """What the window shows of one device.

    Attributes:
        title: of the block.
        inputs: names of its inputs, and what each does.
        status: below them.
        image: uint8 ``[H, W, 3]``, above them; or None.
    """

    title: str
    inputs: tuple[tuple[str, str], ...]
    status: str
    image: npt.NDArray[np.uint8] | None = None


class SdlPanel:
    """A small window with a block for each device; drawn again when one of them changes.

    Args:
        pygame: the package, its display opened.
    """

    def __init__(self, pygame: Any) -> None:
        self._pygame = pygame
        self._shown: list[Block] = []
        pygame.font.init()
        self._font = pygame.font.Font(None, _LINE_HEIGHT)
        self._surface = pygame.display.set_mode((_WIDTH, 200))
        pygame.display.set_caption("holdstep")

    def show(self, blocks: Sequence[Block]) -> None:
        """Show these."""
        if len(blocks) == len(self._shown) and all(
            new[:3] == old[:3] and new.image is old.image
            for new, old in zip(blocks, self._shown, strict=True)
        ):
            return
        self._shown = list(blocks)
        rows = [row for block in blocks for row in self._rows(block)]
        height = max(sum(row.get_height() for row in rows) + 2 * _MARGIN, 200)
        if height != self._surface.get_height():
            self._surface = self._pygame.display.set_mode((_WIDTH, height))
        self._surface.fill(_BACKGROUND)
        top = _MARGIN
        for row in rows:
            self._surface.blit(row, (_MARGIN, top))
            top += row.get_height()
        self._pygame.display.flip()

    def _rows(self, block: Block) -> list[Any]:
        rows = [self._line(("",)), self._line((block.title,))]
        rows += [self._line(each) for each in block.inputs]
        rows += [self._line((block.status,), _STATUS)]
        return rows if block.image is None else [self._picture(block.image), *rows]

    def _line(self, columns: Sequence[str], color: tuple[int, int, int] = _TEXT) -> Any:
        row = self._pygame.Surface((_WIDTH - 2 * _MARGIN, _LINE_HEIGHT))
        row.fill(_BACKGROUND)
        for column, text in enumerate(columns):
            row.blit(self._font.render(text, True, color), (column * _COLUMN, 0))
        return row

    def _picture(self, image: npt.NDArray[np.uint8]) -> Any:
        height, width = image.shape[:2]
        picture = self._pygame.image.frombuffer(image.tobytes(), (width, height), "RGB")
        wide = _WIDTH - 2 * _MARGIN
        return self._pygame.transform.smoothscale(picture, (wide, max(height * wide // width, 1)))
