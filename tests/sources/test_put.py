"""`put_media` with the real local endpoint: what is stored, and what is raised."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest
from botocore.session import Session
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer.cli.recording import Recording
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.endpoint import Fault, LocalEndpoint, local_endpoint
from kvsproducer.service.connection import ConnectionOptions
from kvsproducer.sources import PutProgress, open_source, put_media, pyav
from kvsproducer.sources import put as put_module
from kvsproducer.sources.spec import PatternSpec
from kvsproducer.status import kvs_error

MakeClip = Callable[..., Path]
START = 1_700_000_000 * TICKS_PER_SECOND


@pytest.fixture(scope="module")
def endpoint() -> Iterator[LocalEndpoint]:
    with local_endpoint() as running:
        yield running


@pytest.fixture
def options(endpoint: LocalEndpoint) -> ConnectionOptions:
    session = Session()
    session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    return ConnectionOptions(region_name="us-west-2", session=session, endpoint_url=endpoint.url)


def test_second_ctrl_c_loses_no_frame(
    options: ConnectionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C comes just before the stream is closed. Frames are stored and reported."""
    began: list[object] = []

    def closed(stream: kvs.Stream, limit_s: float) -> object:
        began.append(stream)
        if len(began) == 1:
            raise KeyboardInterrupt
        return real(stream, limit_s)

    def interrupt(progress: PutProgress) -> None:
        if progress.frames and not began:
            raise KeyboardInterrupt

    real = put_module._closed
    monkeypatch.setattr(put_module, "_closed", closed)
    with pytest.raises(KeyboardInterrupt) as caught:
        put_media("testsrc:size=64x64", "echo", progress=interrupt, retention="PT1H", **options)
    (note,) = caught.value.__notes__
    assert note.endswith("frames that were put are stored")
    assert note.split()[0] == note.split()[2] != "0"


def test_interrupted_put_releases_the_codecs(
    options: ConnectionOptions, codec_threads: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes an encoder that is encoding at that moment.

    A forked child does not have the codecs' threads, and garbage collection there would wait for
    them.
    """
    before = codec_threads()
    running: list[int] = []

    def pictures(pattern: PatternSpec) -> Iterator[av.VideoFrame]:
        yield from islice(real(pattern), 10)
        running.append(codec_threads())
        raise KeyboardInterrupt

    real = pyav._pictures
    monkeypatch.setattr(pyav, "_pictures", pictures)
    note = ""
    try:
        put_media("testsrc:size=320x240", "interrupted", retention="PT1H", **options)
    except KeyboardInterrupt as interrupt:
        (note,) = interrupt.__notes__
    assert note.startswith("10 of 10 frames")
    assert running[0] > before
    until(lambda: codec_threads() <= before, 5)


@pytest.mark.parametrize("fault", ["stream_options", "device_info"])
def test_put_that_cannot_begin_releases_the_codecs(
    fault: str, options: ConnectionOptions, codec_threads: Callable[[], int]
) -> None:
    """This also holds without a producer, and while the error is kept.

    The caller's source stays open.
    """
    wrong: dict[str, Any] = {
        "stream_options": {"no_such_member": 1},
        "device_info": kvs.DeviceInfo(stream_count=-1),
    }
    given: dict[str, Any] = {**options, fault: wrong[fault]}
    before = codec_threads()
    with pytest.raises(kvs.KvsError) as caught:
        put_media("testsrc:size=320x240", "none", **given)
    until(lambda: codec_threads() <= before, 5, seen=codec_threads)
    del caught
    with open_source("testsrc:size=320x240,duration=1") as own:
        with pytest.raises(kvs.KvsError):
            put_media(own, "none", **given)
        assert len(list(own.frames())) == own.frame_rate


def stored(stream: str, options: ConnectionOptions, count: int) -> list[kvs.ReadFrame]:
    """Return `count` frames of the stream from GetMedia."""
    frames: list[kvs.ReadFrame] = []
    for fragment in fragments(stream, options):
        frames += fragment.frames
        if len(frames) >= count:
            break
    return frames


def fragments(stream: str, options: ConnectionOptions) -> Iterator[kvs.ReadFragment]:
    """Yield the stream's fragments from GetMedia."""
    return kvs.get_media(
        stream,
        region_name=options["region_name"],
        session=options["session"],
        endpoint_url=options["endpoint_url"],
    )


def test_file_is_stored_frame_by_frame(make_clip: MakeClip, options: ConnectionOptions) -> None:
    """With one call, all frames of the file are in the stream, with the same times."""
    clip = make_clip("mp4", bframes=2, audio="aac")
    seen: list[PutProgress] = []
    result = put_media(clip, "file", start=START, retention="PT2H", progress=seen.append, **options)
    with open_source(clip, start=START) as source:
        expected = [(f.track_id, f.pts // TICKS_PER_MS, f.data) for f in source.frames()]
    assert result.frames == len(expected)
    assert result.fragments == 3
    assert result.bytes == sum(len(data) for _, _, data in expected)
    got = stored("file", options, len(expected))
    assert [(f.track_number, f.timestamp // TICKS_PER_MS, bytes(f.data)) for f in got] == expected
    assert seen[-1].persisted == 3
    assert seen[-1].latency is not None


def test_open_groups_of_pictures_make_fragments(tmp_path: Path, options: ConnectionOptions) -> None:
    """x265's defaults have a key frame every 5 s, followed by leading pictures.

    30 s make several fragments, and the stored frames decode to the same pictures.
    """
    clip, copy = tmp_path / "open.mkv", tmp_path / "copy.mkv"
    with av.open(str(clip), "w") as written:
        track = written.add_stream("libx265", rate=5)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        track.options = {"preset": "medium", "x265-params": "keyint=25:log-level=none"}
        for number in range(150):
            picture = av.VideoFrame(64, 48, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes((3 * number + at) % 256 for at in range(plane.buffer_size)))
            picture.pts = number
            written.mux(track.encode(picture))
        written.mux(track.encode(None))
    result = put_media(clip, "open", retention="PT2H", **options)
    assert (result.frames, result.fragments) == (150, 6)
    with closing(Recording(str(copy))) as recording:
        fragments = kvs.get_media(
            "open",
            region_name=options["region_name"],
            session=options["session"],
            endpoint_url=options["endpoint_url"],
        )
        for fragment in islice(fragments, 6):
            recording.add(fragment)
    assert shown(copy) == shown(clip)


def shown(path: Path) -> list[bytes]:
    """Return the brightness of every picture, in display order."""
    with av.open(str(path)) as container:
        return [bytes(picture.planes[0]) for picture in container.decode(video=0)]


def test_annexb_is_stored_length_prefixed(make_clip: MakeClip, options: ConnectionOptions) -> None:
    """Raw H.264 is converted to the format that MKV players need. No frame is missing."""
    result = put_media(make_clip("h264", bframes=2), "raw", retention="PT2H", **options)
    got = stored("raw", options, result.frames)
    assert len(got) == result.frames == 75
    for frame in got:
        assert int.from_bytes(frame.data[:4], "big") <= len(frame.data) - 4


def test_realtime_takes_its_time(options: ConnectionOptions) -> None:
    """REALTIME paces a recording: 1 s of media takes 1 s."""
    result = put_media("testsrc:duration=1,size=64x64,gop=25", "paced", retention="PT2H", **options)
    assert result.elapsed >= 0.9 * TICKS_PER_SECOND
    assert result.frames == 25


def test_truncated_file_stores_what_it_has_then_raises(
    make_clip: MakeClip, tmp_path: Path, options: ConnectionOptions
) -> None:
    """The frames before the cut are stored. The error has the position, and a note the amount."""
    data = make_clip("mkv", bframes=2, audio="aac").read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(kvs.KvsError) as caught:
        put_media(path, "cut", retention="PT2H", **options)
    assert caught.value.status is kvs.StatusCode.UNEXPECTED_EOF
    (note,) = caught.value.__notes__
    count = int(note.split()[0])
    assert f"{count} of {count} frames" in note
    assert len(stored("cut", options, count)) == count > 40


def test_producer_of_the_caller_is_used_and_left_open(
    make_clip: MakeClip, options: ConnectionOptions
) -> None:
    """Two clips are put through one producer, which stays usable."""
    clip = make_clip("mp4")
    with kvs.Producer(**options) as producer:
        for name in ("own-1", "own-2"):
            assert put_media(clip, name, retention="PT2H", producer=producer).frames == 75


def test_offline_without_retention_is_refused(
    make_clip: MakeClip, options: ConnectionOptions
) -> None:
    """No ack would report that a frame is stored."""
    with pytest.raises(kvs.KvsError) as caught:
        put_media(
            make_clip("mp4"),
            "none",
            retention=0,
            streaming_type=kvs.StreamingType.OFFLINE,
            **options,
        )
    assert caught.value.status is kvs.StatusCode.OFFLINE_MODE_WITH_ZERO_RETENTION


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_setting_the_wall_clock_does_not_change_the_pace(
    options: ConnectionOptions, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    """The monotonic clock paces the put: no frame waits for an hour or is early."""
    real, step = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + step[0])

    def set_clock(progress: PutProgress) -> None:
        if progress.frames > 10:
            step[0] = step_s * 10**9

    name = f"clock{step_s}"
    source = "testsrc:duration=2,size=64x64,gop=25"
    result = put_media(source, name, retention="PT2H", progress=set_clock, **options)
    assert result.frames == 50
    assert 1.9 <= result.elapsed / TICKS_PER_SECOND <= 8


def test_result_counts_damaged_frames(
    make_clip: MakeClip, tmp_path: Path, options: ConnectionOptions
) -> None:
    """The rest is stored, and then the error is raised. The first key frame may come late."""
    data = make_clip("ts").read_bytes()
    middle = len(data) // 2 // 188 * 188
    path = tmp_path / "damaged.ts"
    path.write_bytes(data[:middle] + data[middle + 3 * 188 :])
    with pytest.raises(kvs.KvsError, match="of 75 frames cannot be put") as caught:
        put_media(path, "damaged", retention="PT2H", **options)
    (note,) = caught.value.__notes__
    count = int(note.split()[0])
    assert 50 <= count < 75
    assert len(stored("damaged", options, count)) == count


@pytest.mark.parametrize(
    ("ending", "live"), [("mkv", True), ("ts", True), ("mkv", False), ("mp4", False)]
)
def test_pictures_continue_when_sound_stops(
    make_clip: MakeClip,
    remux: Callable[..., Path],
    tmp_path: Path,
    options: ConnectionOptions,
    ending: str,
    *,
    live: bool,
) -> None:
    """The service accepts no fragment without a declared track: a session without sound follows.

    Every picture is stored and decodes.
    """
    values = {"duration_s": Fraction(40), "rate": Fraction(10), "width": 64, "height": 48}
    whole = make_clip(ending, audio="aac", gop=10, **values)

    def short(packet: av.Packet, number: int) -> bool:
        return packet.stream.type == "video" or number < 400

    clip, copy = remux(whole, f"short.{ending}", short), tmp_path / "copy.mkv"
    name = f"short-{ending}-{live}"
    source: Any = clip
    if live:
        source = open_source("-", stdin=io.BytesIO(clip.read_bytes()), start=START)
    result = put_media(source, name, retention="PT2H", **options)
    assert any("sound" in line and "video continues" in line for line in result.warnings)
    if ending != "ts":  # FFmpeg divides the packets of TS differently
        assert (result.frames, result.skipped) == (800, 0)
    with closing(Recording(str(copy))) as recording:
        for fragment in islice(fragments(name, options), result.fragments):
            recording.add(fragment)
    parts = sorted(tmp_path.glob("copy*.mkv"), key=lambda path: path.stem)
    assert [picture for part in parts for picture in shown(part)] == shown(clip)


@pytest.mark.parametrize(
    ("ending", "track", "first_s", "last_s"),
    [
        ("flv", "audio", 0, 2),  # no track has its length
        ("ts", "audio", 0, 0.01),  # one packet, too far from the end for FFmpeg to find
        ("ts", "video", 0, 3.5),
        ("flv", "video", 0, 3.5),
        ("mkv", "audio", 28, 99),  # in Matroska, all tracks end at the same time
        ("mp4", "audio", 28, 99),
        ("mp4", "audio", 33, 10),  # a silence in the middle
        ("mkv", "audio", 33, 10),
        ("ts", "audio", 33, 10),
        ("mkv", "video", 33, 10),
        ("mp4", "video", 33, 10),
        ("ts", "video", 28, 99),
        ("mp4", "video", 28, 99),
        ("mp4", "video", 0, 3),  # the last picture is a key frame
        ("ts", "video", 0, 0.01),
    ],
)
def test_file_is_stored_completely_although_a_track_is_missing_for_long(
    make_clip: MakeClip,
    remux: Callable[..., Path],
    options: ConnectionOptions,
    ending: str,
    track: str,
    first_s: float,
    last_s: float,
) -> None:
    """The track has frames only from `first_s` to `last_s`, or only outside of that."""
    values = {"duration_s": Fraction(40), "rate": Fraction(10), "width": 64, "height": 48}
    whole = make_clip("mkv", audio="aac", gop=10, **values)
    kept = dict.fromkeys(("video", "audio"), 0)

    def keep(packet: av.Packet, number: int) -> bool:
        time_s = float((packet.pts or 0) * packet.time_base)
        begun, going = time_s >= first_s, time_s <= last_s
        here = (begun and going) if first_s < last_s else (begun or going)
        here |= packet.stream.type != track
        kept[packet.stream.type] += here
        return here

    clip = remux(whole, f"part.{ending}", keep)
    name = f"part-{ending}-{track}-{first_s}-{last_s}"
    result = put_media(clip, name, retention="PT2H", **options)
    left_out = sum(int(w.split()[0]) for w in result.warnings if "next key frame" in w)
    assert left_out < 50, "a second of sound: it comes back between two key frames"
    assert result.frames + left_out == sum(kept.values())
    assert len(stored(name, options, result.frames)) == result.frames


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize(("ending", "pause_s"), [("mp4", 0.6), ("mkv", 8), ("flv", 40)])
def test_pause_in_a_recording_loses_nothing(
    make_clip: MakeClip,
    remux: Callable[..., Path],
    options: ConnectionOptions,
    ending: str,
    pause_s: float,
    bframes: int,
) -> None:
    """Sound returns a little before the pictures."""
    whole = make_clip("mp4", audio="aac", bframes=bframes)
    counts = dict.fromkeys(("video", "audio"), 0)

    def shift(packet: av.Packet, number: int) -> bool:
        kind = packet.stream.type
        counts[kind] += 1
        if number >= {"video": 50, "audio": 90}[kind]:
            step = round(pause_s / packet.time_base)
            packet.pts, packet.dts = (packet.pts or 0) + step, (packet.dts or 0) + step
        return True

    name = f"pause-{ending}-{bframes}"
    clip = remux(whole, f"pause.{ending}", shift)
    result = put_media(clip, name, retention="PT2H", **options)
    assert result.frames == sum(counts.values())
    assert result.duration > (pause_s + 2.9) * TICKS_PER_SECOND
    assert len(stored(name, options, result.frames)) == result.frames


def test_returning_sound_is_stored_from_the_next_key_frame_on(
    make_clip: MakeClip, remux: Callable[..., Path], options: ConnectionOptions
) -> None:
    """Earlier sound is part of no fragment, and the result counts it."""
    values = {"duration_s": Fraction(40), "rate": Fraction(10), "width": 64, "height": 48}
    whole = make_clip("mkv", audio="aac", gop=10, **values)

    def gap(packet: av.Packet, number: int) -> bool:
        back = packet.time_base * (packet.pts or 0) > 25.5
        return packet.stream.type == "video" or number < 400 or back

    clip = remux(whole, "gap.mkv", gap)
    source = open_source("-", stdin=io.BytesIO(clip.read_bytes()), start=START)
    result = put_media(source, "gap", retention="PT2H", **options)
    (left_out,) = (line for line in result.warnings if "next key frame" in line)
    assert 15 < int(left_out.split()[0]) < 30, "half a second of sound"
    assert len(stored("gap", options, result.frames)) == result.frames
    with open_source(clip, start=START) as again:
        assert result.frames + int(left_out.split()[0]) == len(list(again.frames()))


def test_frame_that_the_producer_refuses_is_counted(
    make_clip: MakeClip, options: ConnectionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad frame does not end a put. If every frame is bad, the first one does."""
    put_frame, bad = kvs.Stream.put_frame, {30, 31}

    def refuse(stream: kvs.Stream, frame: kvs.Frame) -> None:
        if (frame.pts - START) // (40 * TICKS_PER_MS) in bad:
            raise kvs_error(kvs.StatusCode.MKV_INVALID_FRAME_DATA, "bad")
        put_frame(stream, frame)

    monkeypatch.setattr(kvs.Stream, "put_frame", refuse)
    clip = make_clip("mp4", bframes=0)
    with pytest.raises(kvs.KvsError, match="2 of 75 frames cannot be put") as caught:
        put_media(clip, "refused", start=START, retention="PT2H", **options)
    assert f"73 of 75 frames of {clip} are stored" in caught.value.__notes__
    assert any(
        "first refusal was MKV_INVALID_FRAME_DATA" in note for note in caught.value.__notes__
    )
    result = put_media(
        open_source("-", stdin=io.BytesIO(make_clip("ts").read_bytes()), start=START),
        "refused-live",
        retention="PT2H",
        **options,
    )
    assert (result.frames, result.skipped) == (73, 2)
    bad.update(range(75))
    with pytest.raises(kvs.KvsError, match="bad"):
        put_media(clip, "all-refused", start=START, retention="PT2H", **options)


# --- outages ------------------------------------------------------------------------------------
SMALL = {"buffer_duration": 2}
STALL = Fault(on="PutMedia", do="stall", after_bytes=2_000, seconds=4)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a producer wait only 0.1 s for space, not 15 s."""
    monkeypatch.setattr("kvsproducer.limits.MAX_BLOCKING_PUT_WAIT", TICKS_PER_SECOND // 10)


@pytest.fixture
def stalling(options: ConnectionOptions) -> Iterator[ConnectionOptions]:
    """Let the first upload read nothing for 4 s."""
    with local_endpoint(faults=[STALL]) as endpoint:
        yield ConnectionOptions(**{**options, "endpoint_url": endpoint.url})


@pytest.mark.usefixtures("impatient")
def test_offline_put_waits_as_long_as_an_outage_lasts(
    make_clip: MakeClip, stalling: ConnectionOptions
) -> None:
    """Without this, a producer waits only for its own time limit."""
    clip = make_clip("mp4", duration_s=20, bframes=0)
    result = put_media(clip, "outage", stream_options=SMALL, **stalling)
    assert (result.frames, result.fragments) == (500, 20)
    assert result.elapsed > TICKS_PER_SECOND


def test_timeout_limits_the_wait_for_space(
    make_clip: MakeClip, stalling: ConnectionOptions
) -> None:
    """The error has the number of stored frames. The others get the same time to be stored."""
    clip = make_clip("mp4", duration_s=20, bframes=0)
    with pytest.raises(TimeoutError, match="the buffer has no space") as caught:
        put_media(clip, "outage", stream_options=SMALL, timeout=1, **stalling)
    (note,) = caught.value.__notes__
    assert re.fullmatch(
        rf"\d+ of 500 frames of {re.escape(str(clip))} are stored; [1-9]\d* were dropped", note
    )


def test_timeout_of_the_last_acks_counts_the_frames_of_the_file(
    make_clip: MakeClip, stalling: ConnectionOptions
) -> None:
    """All frames were put, so none are left to count."""
    clip = make_clip("mp4", bframes=0)
    with pytest.raises(kvs.KvsError) as caught:
        put_media(clip, "outage", timeout=1, **stalling)
    (note,) = caught.value.__notes__
    assert " of 75 frames of " in note


@pytest.mark.usefixtures("impatient")
def test_limits_of_device_info_are_used(make_clip: MakeClip, stalling: ConnectionOptions) -> None:
    patience = kvs.ClientInfo(offline_buffer_availability_timeout=0.2)
    device_info = kvs.DeviceInfo(client_info=patience)
    with pytest.raises(TimeoutError, match="the buffer has no space"):
        put_media(
            make_clip("mp4", duration_s=20, bframes=0),
            "outage",
            stream_options=SMALL,
            timeout=1,
            device_info=device_info,
            **stalling,
        )


def test_time_for_counting_the_rest_of_a_file_is_limited(
    make_clip: MakeClip, stalling: ConnectionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long file is not read to its end for a message."""
    monkeypatch.setattr(put_module, "_COUNT_LIMIT_S", -1.0)
    clip = make_clip("mp4", duration_s=20, bframes=0)
    with pytest.raises(TimeoutError) as caught:
        put_media(clip, "outage", stream_options=SMALL, timeout=1, **stalling)
    assert " of more than " in caught.value.__notes__[0]


def test_result_reports_another_retention_than_requested(
    make_clip: MakeClip, options: ConnectionOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """Media in a stream without retention cannot be read later."""
    clip = make_clip("mp4")
    first = put_media("testsrc:size=64x64,duration=1", "brief", retention=0, **options)
    assert first.warnings == ()
    second = put_media(clip, "brief", retention="PT48H", **options)
    (warning,) = second.warnings
    assert warning.startswith("stream 'brief' exists and keeps no media, not for P2D as asked")
    assert warning in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source": 0}, "source= is int and not a path"),
        ({"source": io.BytesIO(b"x")}, "source= is BytesIO and not a path"),
        ({"source": b"\0\0\0\1g"}, "Write media in memory to a file first"),
        ({"source": "a\0b"}, "source= is str and not a path"),
        ({"source": b"x" * 5000}, "source= is bytes and not a path"),
        ({"source": None}, "source= is NoneType"),
        ({"stream_name": 0}, "stream_name= is int"),
        ({"stream_name": ""}, "stream_name= is empty"),
        ({"frame_rate": "25"}, "frame_rate='25' is not a number"),
        ({"stream_options": [1]}, "stream_options= is list: give a mapping"),
        ({"progress": 1}, "progress= is int: give a function"),
        ({"device_info": 3}, "device_info= is int: give a DeviceInfo"),
        ({"metrics_port": "a"}, "port='a'"),
        ({"metrics_port": 70_000}, "port=70000 is not a port"),
    ],
)
def test_wrong_types_are_refused(wrong: dict[str, Any], said: str) -> None:
    """By a KvsError that says what to give instead, before anything is connected."""
    given: dict[str, Any] = {"source": "testsrc:size=64x48,duration=1", "stream_name": "x"}
    given |= {"endpoint_url": "http://127.0.0.1:9"} | wrong
    with pytest.raises(kvs.KvsError) as caught:
        put_media(given.pop("source"), given.pop("stream_name"), **given)
    assert caught.value.status is kvs.StatusCode.INVALID_ARG
    assert said in caught.value.detail
