"""Where PyInstaller finds the hook of this package (entry point `pyinstaller40`)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """The folder with `hook-kvsproducer.py`."""
    return [str(Path(__file__).parent)]
