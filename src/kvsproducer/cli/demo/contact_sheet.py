"""Draw a contact sheet: small pictures in a grid, as one PNG file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kvsproducer.cli.console import writing

__all__ = ["ContactSheet", "contact_sheet"]

_COLUMNS: Final = 4
_ROWS: Final = 3
_CELL_WIDTH: Final = 240  # pixels
_CELL_HEIGHT: Final = 136
_GAP: Final = 4
_PAPER: Final = bytes((32, 32, 32))


class ContactSheet:
    """A grid of `cells` pictures of `cell_width` x `cell_height` pixels, 3 bytes a pixel."""

    cells: Final = _COLUMNS * _ROWS
    cell_width: Final = _CELL_WIDTH
    cell_height: Final = _CELL_HEIGHT

    def __init__(self) -> None:
        self._pictures: list[bytes] = []

    def draw(self, pictures: list[bytes]) -> None:
        """Set the pictures of the sheet, in order. Pictures after the first `cells` are ignored."""
        self._pictures = pictures[: self.cells]

    def pixels(self) -> tuple[bytes, int, int]:
        """Return the sheet as (pixels row by row, width, height), without empty rows."""
        rows = -(-len(self._pictures) // _COLUMNS)
        width = _GAP + _COLUMNS * (_CELL_WIDTH + _GAP)
        height = _GAP + rows * (_CELL_HEIGHT + _GAP)
        sheet = bytearray(_PAPER * (width * height))
        for number, picture in enumerate(self._pictures):
            row, column = divmod(number, _COLUMNS)
            left = _GAP + column * (_CELL_WIDTH + _GAP)
            top = _GAP + row * (_CELL_HEIGHT + _GAP)
            for y in range(_CELL_HEIGHT):
                at = 3 * ((top + y) * width + left)
                line = picture[3 * y * _CELL_WIDTH : 3 * (y + 1) * _CELL_WIDTH]
                sheet[at : at + 3 * _CELL_WIDTH] = line
        return bytes(sheet), width, height


@contextmanager
def contact_sheet(path: Path) -> Iterator[ContactSheet]:
    """Yield a sheet. When the block ends, write it to `path` if it has pictures.

    Raises WRITE_TO_FILE_FAILED.
    """
    from kvsproducer.sources.pyav import write_png

    sheet = ContactSheet()
    yield sheet
    pixels, width, height = sheet.pixels()
    if pixels and height > _GAP:
        with writing(str(path)):
            write_png(str(path), pixels, width, height)
