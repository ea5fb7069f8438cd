"""The audit of what a service has stored finds each kind of damage."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.simulation.audit import Audit
from tests.simulation.books import Books, Broken
from tests.simulation.frames import Camera, Shot
from tests.simulation.service import Connection

from kvsproducer.client import Frame, StreamInfo
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.mkv import MkvGenerator
from kvsproducer.mkv.tags import tags

SECOND = 10_000_000


class Scene:
    """Three frames that were put, and the fragment that a service stores of them."""

    def __init__(self) -> None:
        self.info = StreamInfo.video("h264", name="s", nal_adaptation=0)
        self.books = Books(0, self.info)
        camera = Camera(0, Shot(SECOND // 5, 3, 0, 40, 0), 0, random.Random(4))
        self.frames = [camera.next_frame() for _ in range(3)]
        for number, frame in enumerate(self.frames):
            self.books.note_put(number, frame, 0, frame.data)
        self.books.note_metadata("place", "door", persistent=False)
        self.tags = tags([("place", "door")])
        self.end = b""  # what is put behind the frames

    def store(self, frames: list[Frame], *, complete: bool = False) -> None:
        generator = MkvGenerator(self.info.tracks, content_type=self.info.content_type)
        data = b""
        for index, frame in enumerate(frames):
            packed = generator.pack(1, frame.flags, frame.pts, frame.dts, 0, len(frame.data))
            header = packed.header
            if not index:
                header = header[: packed.prefix_length] + self.tags + header[packed.prefix_length :]
            data += header + frame.data
        data += self.end
        connection = SimpleNamespace(
            upload=0, absolute=True, order={}, offset=None, opened=0, stored={}
        )
        fragment = SimpleNamespace(parts=(data,), info=SimpleNamespace(number="1"))
        audit = Audit([self.books], complete=complete)
        audit.record("s", cast(Connection, connection), cast(Fragment, fragment))

    def check_described(self, frames: list[Frame]) -> None:
        """Store the frames; their fragment has begun, so its metadata has to be stored as well."""
        self.store(frames)
        self.books.note_put(9, frames[0], 0, b"another fragment begins")
        self.books.check_metadata()


def test_what_was_put_passes() -> None:
    """All three frames are stored, and the tag."""
    scene = Scene()
    scene.store(scene.frames)
    assert scene.books.stored == 3
    scene.books.check_metadata()


def changed(frame: Frame, **members: Any) -> Frame:
    values = {"data": frame.data, "pts": frame.pts, "dts": frame.dts, "flags": frame.flags}
    values |= members
    return Frame(values.pop("data"), values.pop("pts"), **values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda frames: [frames[0], changed(frames[1], data=frames[1].data + b"x")],
        lambda frames: [changed(frames[0], pts=frames[0].pts + SECOND)],
        lambda frames: [changed(frames[1], flags=1)],
        lambda frames: [frames[0], frames[1], frames[1]],
        lambda frames: [changed(frames[0], data=b"\x80" * 8 + b"nobody's")],
        lambda frames: [changed(frames[0], data=b"\x81" * 8 + b"nobody's")],
    ],
    ids=["payload", "time", "no key frame", "order", "frame", "camera"],
)
def test_damage_is_found(damage: Callable[[list[Frame]], list[Frame]]) -> None:
    """Another payload, another time, a fragment without key frame, frames that nobody put."""
    scene = Scene()
    with pytest.raises(Broken):
        scene.store(damage(scene.frames))


def test_a_foreign_tag_is_found() -> None:
    """Nobody put that value."""
    scene = Scene()
    scene.tags = tags([("place", "window")])
    with pytest.raises(Broken, match="which nobody put"):
        scene.store(scene.frames)


def test_metadata_that_ends_a_fragment_was_stored() -> None:
    """It comes behind the frames, with their end mark; a wrong value is found there too."""
    scene = Scene()
    pairs, scene.tags = scene.tags, b""
    with pytest.raises(Broken, match="metadata was lost"):
        scene.check_described(scene.frames)
    scene.end = pairs
    scene.check_described(scene.frames)
    scene.end = tags([("place", "window")])
    with pytest.raises(Broken, match="which nobody put"):
        scene.store(scene.frames)


def test_a_hole_is_found_where_nothing_gives_way() -> None:
    """The second of three frames is not there; where room is scarce it may have been dropped."""
    scene = Scene()
    scene.store([scene.frames[0], scene.frames[2]])
    with pytest.raises(Broken, match="a hole before frame 2"):
        scene.store([scene.frames[0], scene.frames[2]], complete=True)
    scene.store(scene.frames, complete=True)
