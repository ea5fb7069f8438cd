"""Frames are looked at before they are stored; what they look like is `test_playable`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Desks = Callable[..., Any]


def test_a_track_is_plain_while_its_frames_need_no_second_look(desk: Desks) -> None:
    """Formats are known by track; nothing is outdated or queued at first."""
    formats = desk().stream._intake._formats
    assert set(formats.plain) == set(formats.by_track)
    assert not formats.outdated
    assert not formats.queued
