"""Edit lists: frames that they cut are hidden or removed, and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.mkv.tracks import FrameFlags
from kvsproducer.sources.edits import Edits
from kvsproducer.sources.media import Kind, MediaPacket
from kvsproducer.sources.source import Source, open_source
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]
STEP = 40 * TICKS_PER_MS


def pictures(text: str) -> list[MediaPacket]:
    """Parse `K` key, `p` other, `H` hidden key, `h` hidden; a digit repeats from a picture on."""
    packets: list[MediaPacket] = []
    place = 0
    for letter in text:
        if letter.isdigit():
            place = int(letter)
            continue
        packet = MediaPacket(
            Kind.VIDEO, b"x", place * STEP, place * STEP, STEP, letter in "KH", len(packets)
        )
        packet.hidden = letter in "Hh"
        packets.append(packet)
        place += 1
    return packets


@pytest.mark.parametrize(
    ("text", "kept", "left_out"),
    [
        ("Kppp", "K0 p1 p2 p3", 0),
        ("HhpK", "H0 h1 p2 K3", 0),  # cut in the middle of a group
        ("HhhKp", "K3 p4", 3),  # a whole group cut
        ("KppHhh0HhKp", "K0 p1 p2 K2 p3", 5),
        ("Kphhh", "K0 p1", 3),  # cut at the end
        ("KpphKp", "K0 p1 p2 h3 K4 p5", 0),
        ("KpphHhp", "K0 p1 p2 h3 H4 h5 p6", 0),
        ("Kppp2Hhp", "K0 p1 p2 p3 H3 h3 p4", 0),  # needed again, and not shown again
        ("KhpKp", "K0 h1 p2 K3 p4", 0),
    ],
)
def test_hidden_pictures(text: str, kept: str, left_out: int) -> None:
    """They stay while a shown picture may need them, at times that do not decrease."""
    edits = Edits()
    out = list(edits.apply(pictures(text)))
    letters = {(True, False): "K", (False, False): "p", (True, True): "H", (False, True): "h"}
    assert " ".join(f"{letters[p.key_frame, p.hidden]}{(p.dts or 0) // STEP}" for p in out) == kept
    assert edits.left_out == {Kind.VIDEO: left_out, Kind.AUDIO: 0}


@pytest.mark.parametrize(
    ("hidden", "after", "kept", "left_out"),
    [(0, 5, 5, 0), (4, 5, 9, 0), (5, 5, 5, 5), (100, 5, 5, 100), (3, 0, 0, 3)],
)
def test_hidden_sound(hidden: int, after: int, kept: int, left_out: int) -> None:
    """The first 0.1 s starts the decoder. More hidden sound was cut."""
    sound = [
        MediaPacket(Kind.AUDIO, b"x", n, n, 21 * TICKS_PER_MS, True, n, hidden=n < hidden)
        for n in range(hidden + after)
    ]
    edits = Edits()
    out = list(edits.apply(sound))
    assert len(out) == kept
    assert not any(packet.hidden for packet in out)
    assert edits.left_out[Kind.AUDIO] == left_out


def test_sound_hidden_later_is_removed() -> None:
    sound = [MediaPacket(Kind.AUDIO, b"x", n, n, 1, True, n, hidden=n == 2) for n in range(4)]
    edits = Edits()
    assert [packet.number for packet in edits.apply(sound)] == [0, 1, 3]
    assert edits.left_out[Kind.AUDIO] == 1


def trim(data: bytes, start_ms: int, duration_ms: int) -> bytes:
    """Return an MP4 whose edit lists show `duration_ms` from `start_ms` on.

    `ffmpeg -ss -c copy` writes such files.
    """
    out = bytearray(data)
    at = -1
    while (at := out.find(b"elst", at + 1)) >= 0:
        media = int.from_bytes(out[at + 16 : at + 20])
        scale = int.from_bytes(out[(mdhd := out.find(b"mdhd", at)) + 16 : mdhd + 20])
        out[at + 12 : at + 16] = duration_ms.to_bytes(4)
        out[at + 16 : at + 20] = (media + start_ms * scale // 1000).to_bytes(4)
    return bytes(out)


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


@pytest.mark.parametrize("bframes", [0, 2])
def test_trimmed_file(make_clip: MakeClip, tmp_path: Path, bframes: int) -> None:
    """It begins 1.4 s into the clip, in the middle of its second group, and lasts 1 s."""
    path = tmp_path / "trimmed.mp4"
    clip = make_clip("mp4", bframes=bframes, audio="aac")
    path.write_bytes(trim(clip.read_bytes(), 1400, 1000))
    source = open_source(path, start=0)
    frames = take(source)
    video = [frame for frame in frames if frame.track_id == 1]
    shown = sorted(f.pts // TICKS_PER_MS for f in video if not f.flags & FrameFlags.INVISIBLE)
    assert len(shown) == 25
    assert shown[-1] - shown[0] == 24 * 40
    assert source.hidden == len(video) - 25
    assert 10 <= source.hidden <= 12
    sound = sum(frame.track_id == 2 for frame in frames)
    assert 47 <= sound <= 49
    assert source.cut_away > 0
    assert source.repairs == source.skipped == 0


def test_cut_away_counts_only_put_tracks(make_clip: MakeClip, tmp_path: Path) -> None:
    """Hidden sound does not count if only video is put."""
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(trim(make_clip("mp4", audio="aac").read_bytes(), 400, 2000))
    counts = []
    for source in (open_source(path, tracks="video"), open_source(path, tracks="audio")):
        take(source)
        counts.append(source.cut_away)
    assert counts[0] == 15  # the last 0.6 s
    assert counts[1] > 15
    both = open_source(path)
    take(both)
    assert both.cut_away == sum(counts)


def test_file_without_frames(make_clip: MakeClip, remux: Callable[..., Path]) -> None:
    """The beginning of a fragmented MP4 has only descriptions of tracks."""
    path = remux(make_clip("mp4"), "init.mp4", movflags="frag_keyframe+empty_moov")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])
    with pytest.raises(KvsError, match=r"init\.mp4 has no frames") as caught:
        open_source(path)
    assert caught.value.status is StatusCode.FORMAT_ERROR


def test_file_without_a_key_frame(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """All pictures are skipped, and the error at the end reports it."""
    path = tmp_path / "clip.h264"
    units = make_clip("h264", bframes=0).read_bytes().split(b"\0\0\0\1")
    path.write_bytes(b"\0\0\0\1".join(u for u in units if not u or u[0] & 31 != 5))
    with pytest.raises(KvsError, match="none of its 72 frames can be put: it has no key frame"):
        take(open_source(path))


def test_track_without_frames_is_not_put(make_clip: MakeClip, remux: Callable[..., Path]) -> None:
    """The service requires every declared track in every fragment."""
    path = remux(
        make_clip("mkv", audio="aac"), "half.mkv", lambda packet, _: packet.stream.type == "video"
    )
    source = open_source(path)
    assert source.content_type == "video/h264"
    assert source.warnings == [f"the audio track of {path} has no frames and is not put"]
    assert len(take(source)) == 75
