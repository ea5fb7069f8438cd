"""Frames are checked before they are stored; `test_playable` tests the formats themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.client.conftest import NOW

from kvsproducer import client as kvs
from kvsproducer.status import InvalidFrame, KvsError

Desks = Callable[..., Any]


def test_formats_are_known_by_track(desk: Desks) -> None:
    """Each track has a fast check; nothing is outdated or queued at first."""
    formats = desk().stream._intake._formats
    assert set(formats.plain) == set(formats.by_track)
    assert not formats.outdated
    assert not formats.queued


@pytest.mark.parametrize(
    ("info", "data"),
    [
        (kvs.StreamInfo.audio("aac"), b"\xff\xf1\x7c\x80\x01\x3f\xfc" + b"x" * 9),  # rate 15
        (kvs.StreamInfo.audio("aac"), b"\xff\xf1\x50\x00\x01\x3f\xfc" + b"x" * 9),  # no channels
        (kvs.StreamInfo.video("h264"), b"\0\0\0\1\x65\x88\x80\x40"),  # no parameter sets
        (kvs.StreamInfo.video("h265"), b""),
        (kvs.StreamInfo.video("h264"), b"\xff\xd8\xff\xe0JPEG"),
    ],
)
def test_an_invalid_frame_raises_invalid_frame(info: kvs.StreamInfo, data: bytes) -> None:
    """The codec readers raise InvalidMedia, but callers of `put_frame` catch one class."""
    client = kvs.Client(kvs.DeviceInfo(), now=NOW, dice=lambda sides: sides // 2)
    stream = client.open_stream(replace(info, name="door"), NOW)
    with pytest.raises(KvsError) as caught:
        stream.put_frame(kvs.Frame(data, NOW, key_frame=True), NOW)
    assert type(caught.value) is InvalidFrame
