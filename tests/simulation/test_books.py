"""The books of a simulated world tell a kept promise from a broken one."""

from __future__ import annotations

import pytest
from tests.simulation.books import Books, Broken

from kvsproducer.client import Frame, FrameAccount, FrameDropped, StreamInfo, TimestampCorrected
from kvsproducer.client.events import DropReason, FragmentStored

MS = 10_000


def kept() -> Books:
    """Three frames were put: the first is stored, the last was dropped."""
    books = Books(0, StreamInfo.video("h264", name="s"))
    for number in range(3):
        books.note_put(
            number, Frame(b"%d" % number, number * 40 * MS, key_frame=True), 0, b"%d" % number
        )
    books.note_stored(0, b"0", 1, 0, 5)
    books.note_event(FrameDropped("s", 80 * MS, 80 * MS, 1, DropReason.OVERFLOW))
    return books


def test_what_is_stored_or_told_is_accounted_for() -> None:
    """Nothing is held, nothing is missing."""
    books = kept()
    books.note_stored(1, b"1", 1, 40, 5)
    books.note_event(FragmentStored("s", 0, 40 * MS, 2, "1", 0.1))
    books.check_account(FrameAccount(3, 2, 1, 0, 0), heard=True)
    books.check_end(FrameAccount(3, 2, 1, 0, 0))
    assert books.dropped_but_stored == 0


@pytest.mark.parametrize(
    "account",
    [
        FrameAccount(3, 1, 1, 0, 0),  # does not add up
        FrameAccount(3, 2, 1, 0, 0),  # more than the service has
        FrameAccount(3, 1, 2, 0, 0),  # a drop that was not told
        FrameAccount(2, 1, 1, 0, 0),  # a frame too few
    ],
)
def test_an_account_that_is_wrong_is_found(account: FrameAccount) -> None:
    """Each way of being wrong."""
    with pytest.raises(Broken):
        kept().check_account(account, heard=True)


def test_a_frame_that_is_neither_stored_nor_told_is_found() -> None:
    """The count of drops is right; the frame is another."""
    with pytest.raises(Broken, match="frame 1"):
        kept().check_end(FrameAccount(3, 2, 1, 0, 0))


@pytest.mark.parametrize(
    ("number", "payload", "track", "timecode"),
    [(1, b"?", 1, 40), (1, b"1", 1, 41), (7, b"7", 1, 0)],
)
def test_a_changed_frame_is_found(number: int, payload: bytes, track: int, timecode: int) -> None:
    """Another payload, another time, a frame that nobody put."""
    with pytest.raises(Broken):
        kept().note_stored(number, payload, track, timecode, 5)


def test_a_frame_that_is_stored_again_without_need_is_found() -> None:
    """Its final ack had been heard when the connection was opened that carried it again."""
    books = kept()
    books.note_stored(0, b"0", 1, 0, 9)
    books.note_settled(0, 10)
    books.note_settled(0, 20)
    books.note_stored(0, b"0", 1, 0, 10)
    with pytest.raises(Broken, match="without need"):
        books.note_stored(0, b"0", 1, 0, 11)


def test_a_frame_that_was_far_off_is_stored_between_its_neighbours() -> None:
    """With its own time only if nothing came after it; drops are told with the new time."""
    books = Books(0, StreamInfo.video("h264", name="s"))
    for number, off in enumerate((0, 90_000, 0)):
        time = (number * 40 + off) * MS
        books.note_put(number, Frame(b"0", time, key_frame=True), 0, b"0", off * MS)
    books.note_stored(1, b"0", 1, 90_040, 5)
    with pytest.raises(Broken, match="far off"):
        books.note_stored(1, b"0", 1, 81, 5)
    books.note_outlier(1)
    books.note_stored(1, b"0", 1, 40, 5)
    with pytest.raises(Broken, match="far off"):
        books.note_stored(1, b"0", 1, 90_040, 5)
    with pytest.raises(Broken, match="not far off"):
        books.note_event(TimestampCorrected("s", 1, 80 * MS, 50 * MS))
    books.note_event(TimestampCorrected("s", 1, 90_040 * MS, 40 * MS))
    assert books.put[1].dts == 40 * MS


def test_stream_without_times_stores_what_it_gave() -> None:
    """A frame has the time of its put, or the one that the event names."""
    books = Books(0, StreamInfo.video("h264", name="s", frame_timecodes=False))
    for number, wall in enumerate((40, 80, 70)):
        books.note_put(number, Frame(b"%d" % number, 0), wall * MS, b"%d" % number)
    books.note_event(TimestampCorrected("s", 1, 70 * MS, 81 * MS))
    books.note_stored(2, b"2", 1, 81, 5)
    with pytest.raises(Broken, match="has timecode 70"):
        books.note_stored(2, b"2", 1, 70, 5)


def test_sound_may_be_corrected_while_pictures_are_silent() -> None:
    """Pictures not, unless one is alone: each of them shows where the source's time is."""
    books = Books(0, StreamInfo.audio_video("h264", "aac", name="s"))
    books.silences = books.mistimed = True
    books.note_put(0, Frame(b"0", 40 * MS), 0, b"0")
    books.note_put(1, Frame(b"1", 90 * MS, track_id=2), 0, b"1")
    books.note_put(2, Frame(b"2", 80 * MS), 0, b"2")
    books.note_put(3, Frame(b"3", 2000 * MS), 0, b"3")
    books.note_event(TimestampCorrected("s", 2, 90 * MS, 50 * MS))
    with pytest.raises(Broken, match="not far off"):
        books.note_event(TimestampCorrected("s", 1, 80 * MS, 50 * MS))
    books.note_event(TimestampCorrected("s", 1, 2000 * MS, 80 * MS))


def test_metadata_has_to_arrive_with_a_fragment() -> None:
    """What was put before a key frame does; a foreign tag is found at once."""
    books = Books(0, StreamInfo.video("h264", name="s"))
    books.note_metadata("place", "1: door", persistent=False)
    books.check_metadata()
    books.note_put(0, Frame(b"0", 0, key_frame=True), 0, b"0")
    with pytest.raises(Broken, match="metadata was lost"):
        books.check_metadata()
    books.note_tag("place", "1: door")
    books.check_metadata()
    for name, value in (("place", "2: door"), ("room", "1: door")):
        with pytest.raises(Broken, match="which nobody put"):
            books.note_tag(name, value)
