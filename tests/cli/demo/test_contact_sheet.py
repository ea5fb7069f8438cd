"""The contact sheet: the position of each picture."""

from __future__ import annotations

from pathlib import Path

import av

from kvsproducer.cli.demo.contact_sheet import ContactSheet, contact_sheet

SIZE = ContactSheet.cell_width * ContactSheet.cell_height


def test_pictures_stand_in_a_grid() -> None:
    """The second row begins with the fifth picture; rows are as many as needed."""
    sheet = ContactSheet()
    sheet.draw([bytes((n, n, n)) * SIZE for n in range(100, 106)])
    pixels, width, height = sheet.pixels()
    assert len(pixels) == 3 * width * height

    def at(column: int, row: int) -> int:
        x = 4 + column * (ContactSheet.cell_width + 4) + 10
        y = 4 + row * (ContactSheet.cell_height + 4) + 10
        return pixels[3 * (y * width + x)]

    assert [at(c, r) for r in range(2) for c in range(4)] == [100, 101, 102, 103, 104, 105, 32, 32]


def test_the_sheet_is_a_png(tmp_path: Path) -> None:
    """It is written at the end, if there are pictures."""
    path = tmp_path / "sheet.png"
    with contact_sheet(path):
        pass
    assert not path.exists()
    with contact_sheet(path) as sheet:
        sheet.draw([b"\x00\x80\xff" * SIZE])
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).width == 4 + 4 * (ContactSheet.cell_width + 4)
