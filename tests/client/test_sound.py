"""Sound: where its fragments begin, alone and beside pictures, and that all of it is stored."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.presets import audio_track, video_track
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000
RECORD = b"\x12\x10"
MODES = list(kvs.FrameOrderMode)
PASS_THROUGH = kvs.FrameOrderMode.PASS_THROUGH


def open_stream(tracks: Iterable[str], **info: Any) -> tuple[kvs.Client, kvs.Stream]:
    """Open a stream with a track per codec, numbered from 1; its payloads are not checked."""
    client = kvs.Client(kvs.DeviceInfo(), now=NOW, dice=lambda sides: sides // 2)
    made = []
    for number, codec in enumerate(tracks, 1):
        track = audio_track(codec, number)[0] if codec != "h264" else video_track(codec)[0]
        made.append(
            {
                "track_id": number,
                "track_type": track.track_type,
                "codec_id": track.codec_id,
                "codec_private_data": RECORD.hex() if codec == "aac" else "",
            }
        )
    values = {"name": "s", "tracks": made, "content_type": "video/h264,audio/aac", **info}
    return client, client.open_stream(kvs.StreamInfo.from_dict(values), NOW)


def fragments(stream: kvs.Stream) -> list[list[tuple[int, int]]]:
    """Return the fragments in the view: track and pts in ms of each block."""
    parser = MkvParser()
    view = stream._core.buffer.view
    for index in range(view.tail, view.head):
        item = view[index]
        parser.receive_data(item.header + b"".join(item.payload))
    found: list[list[tuple[int, int]]] = []
    start = 0
    for event in iter(parser.next_event, None):
        if isinstance(event, mkv.ClusterStart):
            start = event.timecode
            found.append([])
        elif isinstance(event, mkv.Block):
            found[-1].append((event.track_number, start + event.relative_timecode - NOW // MS))
    return found


def pictures(groups: int) -> list[tuple[int, int, bool]]:
    """Return decode and display times in ms of groups I P B B P B B ... of 25 frames."""
    out = []
    for number in range(25 * groups):
        place = number % 25
        shown = number + 2 if place % 3 == 1 and place else number - 1 if place else number
        out.append((40 * number, 40 * (shown + 2), place == 0))
    return out


@pytest.mark.parametrize("flagged", [False, True])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode is not PASS_THROUGH])
def test_reordered_pictures_and_their_sound_are_all_stored(
    mode: kvs.FrameOrderMode, flagged: bool
) -> None:
    """The flags of the sound do not matter: fragments begin with key pictures."""
    _, stream = open_stream(("h264", "aac"), frame_order_mode=mode)
    sound = 60  # ms: the first picture is shown at 80
    for dts, pts, key in pictures(4):
        stream.put_frame(kvs.Frame(b"p", NOW + pts * MS, dts=NOW + dts * MS, key_frame=key), NOW)
        while sound < dts + 40:
            late = mode is not kvs.FrameOrderMode.MULTI_TRACK_NO_COMPARISON
            at = NOW + (sound if late else pts) * MS
            stream.put_frame(kvs.Frame(b"s", at, track_id=2, key_frame=flagged), NOW)
            sound += 20
    stream.stop(NOW)
    account = stream.account()
    assert not [e for e in iter(stream.next_event, None) if isinstance(e, kvs.FrameDropped)]
    assert account.dropped == 0
    assert account.skipped <= 2, "the sound before the first picture"
    found = fragments(stream)
    assert len(found) == 4
    assert all(fragment[0][0] == 1 for fragment in found)
    assert sum(map(len, found)) == account.accepted


@pytest.mark.parametrize("info", [{}, {"key_frame_fragmentation": False}])
@pytest.mark.parametrize("flags", ["none", "all", "some"])
@pytest.mark.parametrize("codec", ["aac", "alaw", "mulaw"])
def test_sound_alone_is_cut_by_the_fragment_duration(
    codec: str, flags: str, info: dict[str, Any]
) -> None:
    """Any packet may begin a fragment, because encoders flag each packet or none."""
    _, stream = open_stream((codec,), **info)
    for number in range(350):
        key = flags == "all" or (flags == "some" and number % 7 == 3)
        frame = kvs.Frame(b"s", NOW + number * 20 * MS, duration=20 * MS, key_frame=key)
        stream.put_frame(frame, NOW)
    assert stream.account() == (350, 0, 0, 0, 350)
    starts = [fragment[0][1] for fragment in fragments(stream)]
    assert starts == [0, 2000, 4000, 6000]


@pytest.mark.parametrize("mode", MODES)
def test_sound_alone_continues_after_a_gap_or_an_ended_fragment(
    mode: kvs.FrameOrderMode,
) -> None:
    """The next packet begins a fragment; none is skipped."""
    _, stream = open_stream(("alaw",), frame_order_mode=mode)
    for pts in (0, 20, 40_000, 40_020):
        stream.put_frame(kvs.Frame(b"s", NOW + pts * MS), NOW)
    if mode not in (
        kvs.FrameOrderMode.DTS_ONE_MS_COMPENSATE,
        kvs.FrameOrderMode.PTS_ONE_MS_COMPENSATE,
    ):
        stream.put_frame(kvs.Frame.end_of_fragment(), NOW)
    stream.put_frame(kvs.Frame(b"s", NOW + 40_040 * MS), NOW)
    assert stream.account() == (5, 0, 0, 0, 5)
    assert [len(fragment) for fragment in fragments(stream)] in ([2, 2, 1], [2, 3])


def test_sound_alone_without_times_is_cut_by_the_clock() -> None:
    """A stream without frame timecodes uses the time of the put."""
    _, stream = open_stream(("alaw",), frame_timecodes=False)
    for number in range(60):
        stream.put_frame(kvs.Frame(b"s", 5), NOW + number * 100 * MS)
    assert [len(fragment) for fragment in fragments(stream)] == [20, 20, 20]


@pytest.mark.parametrize("every", [1, 3])
def test_key_frames_in_quick_succession_begin_few_fragments(every: int) -> None:
    """A key frame within 200 ms of a fragment's start goes into that fragment."""
    _, stream = open_stream(("h264",))
    for number in range(90):
        frame = kvs.Frame(b"p", NOW + number * SECOND // 30, key_frame=number % every == 0)
        stream.put_frame(frame, NOW)
    starts = [fragment[0][1] for fragment in fragments(stream)]
    assert stream.account().accepted == 90
    assert all(later - start >= 200 for start, later in pairwise(starts))
    assert 10 <= len(starts) <= 15


def test_a_key_frame_after_an_ended_fragment_begins_one() -> None:
    """An ended fragment cannot continue."""
    _, stream = open_stream(("h264",))
    for number in range(4):
        stream.put_frame(kvs.Frame(b"p", NOW + number * 40 * MS, key_frame=True), NOW)
        if number == 1:
            stream.put_frame(kvs.Frame.end_of_fragment(), NOW)
    assert [len(fragment) for fragment in fragments(stream)] == [2, 2]


def test_key_flags_of_sound_are_ignored_beside_pictures() -> None:
    """They begin no fragment, and no sound is stored before the first picture."""
    _, stream = open_stream(("h264", "aac"))
    stream.put_frame(kvs.Frame(b"s", NOW, track_id=2, key_frame=True), NOW)
    assert stream.account() == (0, 0, 0, 1, 0)
    for number in range(50):
        pts = NOW + number * 40 * MS
        stream.put_frame(kvs.Frame(b"p", pts, key_frame=number % 25 == 0), NOW)
        stream.put_frame(kvs.Frame(b"s", pts, track_id=2, key_frame=True), NOW)
    assert [len(fragment) for fragment in fragments(stream)] == [50, 50]
    assert stream.account() == (100, 0, 0, 1, 100)
