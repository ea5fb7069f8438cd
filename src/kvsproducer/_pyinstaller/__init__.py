"""PyInstaller finds the hook of this package through the entry point `pyinstaller40`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """Return the folder that contains `hook-kvsproducer.py`, in a list."""
    return [str(Path(__file__).parent)]
