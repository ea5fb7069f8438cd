"""Sources from real clips: every container and codec, and the messages about invalid ones."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import sys
import termios
import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from tests.waiting import until

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.mkv.tracks import NalAdaptation, TrackType
from kvsproducer.sources.pipe import Pipe
from kvsproducer.sources.source import Source, open_source
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]
START = 1_700_000_000 * TICKS_PER_SECOND

CLIPS = [
    # suffix, options, codec ids, needs Annex-B adaptation
    ("mp4", {"bframes": 2, "audio": "aac"}, ["V_MPEG4/ISO/AVC", "A_AAC"], False),
    ("mp4", {"codec": "hevc", "bframes": 2}, ["V_MPEGH/ISO/HEVC"], False),
    ("mov", {"audio": "pcm_alaw"}, ["V_MPEG4/ISO/AVC", "A_MS/ACM"], False),
    ("mov", {"bframes": 2, "audio": "pcm_mulaw"}, ["V_MPEG4/ISO/AVC", "A_MS/ACM"], False),
    ("mkv", {"bframes": 3, "audio": "aac"}, ["V_MPEG4/ISO/AVC", "A_AAC"], False),
    ("mkv", {"codec": "hevc", "audio": "aac"}, ["V_MPEGH/ISO/HEVC", "A_AAC"], False),
    ("ts", {"bframes": 2, "audio": "aac"}, ["V_MPEG4/ISO/AVC", "A_AAC"], True),
    ("ts", {"codec": "hevc", "bframes": 2, "audio": "aac"}, ["V_MPEGH/ISO/HEVC", "A_AAC"], True),
    ("h264", {"bframes": 0}, ["V_MPEG4/ISO/AVC"], True),
    ("h264", {"bframes": 2}, ["V_MPEG4/ISO/AVC"], True),
    ("h265", {"codec": "hevc", "bframes": 3}, ["V_MPEGH/ISO/HEVC"], True),
]


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


def check_frames(source: Source, frames: list[Frame], bframes: bool) -> None:
    """Check order, start, and the times of 75 pictures at 25 fps."""
    assert (frames[0].pts - frames[0].lead) // TICKS_PER_MS == START // TICKS_PER_MS
    assert frames[0].key_frame
    decode = [frame.dts for frame in frames]
    assert decode == sorted(decode)
    video = [f for f in frames if f.track_id == 1]
    shown = sorted(f.pts // TICKS_PER_MS for f in video)
    steps = {b - a for a, b in pairwise(shown)}
    assert steps <= {39, 40, 41}
    assert ([f.pts for f in video] != sorted(f.pts for f in video)) == bframes
    assert sum(f.key_frame for f in video) == 3
    assert source.repairs == source.skipped == 0


@pytest.mark.parametrize(("ending", "options", "ids", "annexb"), CLIPS)
def test_every_container_and_codec(
    make_clip: MakeClip, ending: str, options: dict[str, object], ids: list[str], annexb: bool
) -> None:
    """Tracks, adaptation and times are right for each. Every packet becomes a frame."""
    path = make_clip(ending, **options)
    source = open_source(path, start=START)
    assert [track.codec_id for track in source.tracks] == ids
    assert [track.track_id for track in source.tracks] == [1, 2][: len(ids)]
    info = source.stream_info()
    assert (NalAdaptation.ANNEXB_NALS in info.nal_adaptation) == annexb
    assert all(track.codec_private_data for track in source.tracks)
    assert (source.tracks[0].width, source.tracks[0].height) == (160, 120)
    frames = take(source)
    check_frames(source, frames, bframes=bool(options.get("bframes")))
    with av.open(str(path)) as container:
        assert len(frames) == sum(1 for packet in container.demux() if packet.size)


@pytest.mark.parametrize(
    ("ending", "options"),
    [(e, o) for e, o, _, _ in CLIPS if e in ("mkv", "ts", "h264", "h265") and "codec" not in o],
)
def test_standard_input_yields_the_frames_of_the_file(
    make_clip: MakeClip, ending: str, options: dict[str, object]
) -> None:
    """MKV, TS and raw video through a pipe yield the same frames."""
    path = make_clip(ending, **options)
    from_file = take(open_source(path, start=START))
    piped = open_source("-", stdin=io.BytesIO(path.read_bytes()), start=START)
    assert piped.live
    from_pipe = take(piped)
    assert [(f.data, f.pts, f.track_id) for f in from_pipe] == [
        (f.data, f.pts, f.track_id) for f in from_file
    ]


@pytest.mark.parametrize("spec", ["mp4", "testsrc:duration=1"])
def test_frame_rate_without_effect_is_refused(make_clip: MakeClip, spec: str) -> None:
    """Only raw video has no times."""
    with pytest.raises(KvsError, match="has times, which are kept") as caught:
        open_source(spec if ":" in spec else make_clip(spec), frame_rate=30)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert open_source(make_clip("h264", bframes=0), frame_rate=50).frame_rate == 50


@pytest.mark.parametrize("rate", [0, -1, 1001, float("nan"), float("inf")])
def test_invalid_frame_rates(make_clip: MakeClip, rate: float) -> None:
    """Rates that no camera has, and rates that would divide by zero, are refused."""
    with pytest.raises(KvsError, match=r"is not in 0\.01\.\.1000") as caught:
        open_source(make_clip("h264", bframes=0), frame_rate=rate)
    assert caught.value.status is StatusCode.INVALID_ARG


def test_audio_alone_is_one_track(make_clip: MakeClip) -> None:
    """With `tracks="audio"` it is track 1, and any frame may begin a fragment."""
    source = open_source(make_clip("mp4", audio="aac"), tracks="audio")
    assert [(t.track_id, t.track_type) for t in source.tracks] == [(1, TrackType.AUDIO)]
    assert source.content_type == "audio/aac"
    assert all(frame.key_frame for frame in take(source))


def test_wav_with_g711(tmp_path: Path) -> None:
    """A WAV file with A-law sound is a source."""
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_alaw", rate=8000, layout="mono")
        frame = av.AudioFrame("s16", "mono", 1600)
        frame.sample_rate, frame.pts = 8000, 0
        frame.planes[0].update(bytes(3200))
        output.mux([*stream.encode(frame), *stream.encode(None)])
    source = open_source(path)
    assert source.content_type == "audio/alaw"
    assert sum(len(frame.data) for frame in take(source)) == 1600


@pytest.mark.parametrize("text", ["audio=1", "codec=h265,bframes=2,gop=25", "rate=10,audio=mulaw"])
def test_synthetic_source(text: str) -> None:
    """`testsrc:` yields as many pictures as requested, encoded here."""
    source = open_source(f"testsrc:duration=2,size=160x120,{text}", start=START)
    assert source.synthetic
    frames = take(source)
    assert (frames[0].pts - frames[0].lead) // TICKS_PER_MS == START // TICKS_PER_MS
    video = [f for f in frames if f.track_id == 1]
    assert len(video) == 2 * source.frame_rate
    assert ("audio" in text) == (len(video) < len(frames))


def test_stream_info_fits_the_source(make_clip: MakeClip) -> None:
    """Fragments begin at key frames, the order is already right, and overrides are used."""
    source = open_source(make_clip("mp4", bframes=2, audio="aac"))
    info = source.stream_info(retention="PT3H", fragment_duration="PT4S")
    assert (info.retention, info.fragment_duration) == (timedelta(hours=3), timedelta(seconds=4))
    assert info.content_type == "video/h264,audio/aac"
    info.validate()


def test_truncated_file_yields_its_frames_then_the_position(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    """Frames up to the cut are yielded, then UNEXPECTED_EOF with the byte and the time."""
    data = make_clip("mkv", bframes=2, audio="aac").read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    frames: list[Frame] = []
    with (
        open_source(path) as source,
        pytest.raises(KvsError, match="is truncated at byte") as caught,
    ):
        for frame in source.frames():
            frames.append(frame)  # noqa: PERF402  what came before the error counts
    assert 40 < len(frames) < 200
    assert caught.value.status is StatusCode.UNEXPECTED_EOF
    assert caught.value.offset == len(data) // 2


TS = 188


def lose_ts_packets(data: bytes, at: float) -> bytes:
    """Remove some TS packets in the middle, as lost on a network."""
    first = int(len(data) * at) // TS * TS
    return data[:first] + data[first + 3 * TS :]


def overwrite(data: bytes, at: float, length: int = 40) -> bytes:
    """Overwrite some bytes in the middle with zeros, as on a damaged disk."""
    first = int(len(data) * at)
    return data[:first] + bytes(length) + data[first + length :]


DAMAGE: dict[str, tuple[str, dict[str, object], Callable[[bytes, float], bytes]]] = {
    "a loss in TS": ("ts", {}, lose_ts_packets),
    "a loss in TS with sound": ("ts", {"audio": "aac", "bframes": 2}, lose_ts_packets),
    "a loss in TS with H.265": ("ts", {"codec": "hevc"}, lose_ts_packets),
    "a broken sample in MP4": ("mp4", {}, overwrite),
    "a broken sample in MP4 with H.265": ("mp4", {"codec": "hevc"}, overwrite),
    "a broken block in MKV": ("mkv", {}, overwrite),
    "a broken block in MKV with sound": ("mkv", {"audio": "aac", "bframes": 2}, overwrite),
}


@pytest.mark.parametrize("at", [0.4, 0.55, 0.8])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_in_the_middle_loses_one_group(
    make_clip: MakeClip, tmp_path: Path, case: str, at: float
) -> None:
    """The rest is put. A file ends with an error about it, a pipe has `skips`."""
    ending, options, damage = DAMAGE[case]
    clip = make_clip(ending, **options)
    whole = len(take(open_source(clip)))
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(damage(clip.read_bytes(), at))
    with open_source(path, start=START) as source:
        frames, error = take_to_error(source)
    if source.skipped:
        assert error is not None
        assert error.status is StatusCode.MKV_INVALID_FRAME_DATA
        assert f"{source.skipped} of {source.skipped + len(frames)} frames" in error.detail
    else:
        assert error is None
    check_frames_rise(frames)
    assert whole - 60 <= len(frames) <= whole, "at most a group of pictures and some sound"
    assert frames[-1].pts >= START + 2 * TICKS_PER_SECOND, "up to the end"
    if ending == "ts":
        live = open_source("-", stdin=io.BytesIO(path.read_bytes()), start=START)
        assert len(list(live.frames())) == len(frames)
        assert live.skips == source.skips


def take_to_error(source: Source) -> tuple[list[Frame], KvsError | None]:
    frames: list[Frame] = []
    try:
        for frame in source.frames():
            frames.append(frame)  # noqa: PERF402  what came before the error counts
    except KvsError as error:
        return frames, error
    return frames, None


def check_frames_rise(frames: list[Frame]) -> None:
    decode = [frame.dts for frame in frames]
    assert decode == sorted(decode)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("ts", {}),
        ("ts", {"audio": "aac", "bframes": 2}),
        ("mkv", {}),
        ("mkv", {"audio": "aac"}),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_joined_file_continues(
    make_clip: MakeClip, tmp_path: Path, ending: str, options: dict[str, object], live: bool
) -> None:
    """In `cat a b`, the second recording follows the first. At most its last frame is lost."""
    clip = make_clip(ending, **options)
    path = tmp_path / f"joined.{ending}"
    path.write_bytes(2 * clip.read_bytes())
    one = len(take(open_source(clip)))
    stdin = io.BytesIO(path.read_bytes())
    source = open_source("-", stdin=stdin, start=START) if live else open_source(path, start=START)
    frames, error = take_to_error(source)
    assert (error is not None) == (source.skipped > 0 and not live)
    check_frames_rise(frames)
    assert len(frames) + source.skipped >= 2 * one - 1
    assert len(frames) >= 2 * one - 3
    video = [frame.pts for frame in frames if frame.track_id == 1]
    assert max(b - a for a, b in pairwise(sorted(video))) <= 200 * TICKS_PER_MS
    length = max(video) - min(video)
    assert 5.8 * TICKS_PER_SECOND <= length <= 6.2 * TICKS_PER_SECOND


def bad_inputs(folder: Path, make_clip: MakeClip) -> dict[str, tuple[Path, StatusCode]]:
    clip = make_clip("mp4").read_bytes()
    vp9 = folder / "vp9.mkv"
    with av.open(str(vp9), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        output.mux([*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)])
    files = {
        "text.mp4": (b"hello\n" * 100, StatusCode.FORMAT_ERROR),
        "text.txt": (b"hello\n" * 100, StatusCode.FORMAT_ERROR),
        "empty.mp4": (b"", StatusCode.FORMAT_ERROR),
        "cut.mp4": (clip[: len(clip) // 2], StatusCode.UNEXPECTED_EOF),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    cases = {name: (folder / name, status) for name, (_, status) in files.items()}
    return cases | {
        "vp9.mkv": (vp9, StatusCode.FORMAT_ERROR),
        "missing": (folder / "missing.mp4", StatusCode.OPEN_FILE_FAILED),
        "folder": (folder, StatusCode.OPEN_FILE_FAILED),
    }


def test_invalid_input_has_a_status_and_names_the_file(make_clip: MakeClip, tmp_path: Path) -> None:
    """Each kind of invalid file has its own status, and the message names the file."""
    for name, (path, status) in bad_inputs(tmp_path, make_clip).items():
        with pytest.raises(KvsError) as caught:
            open_source(path)
        assert caught.value.status is status, name
        assert path.name in caught.value.detail


def test_missing_track_of_the_wanted_kind(make_clip: MakeClip) -> None:
    """Asking for sound of a silent clip reports the tracks that it has."""
    with pytest.raises(KvsError, match=r"no audio track; it has video \(H\.264\)") as caught:
        open_source(make_clip("mp4"), tracks="audio")
    assert caught.value.status is StatusCode.TRACK_INFO_MISSING


@pytest.mark.parametrize("spec", ["codec=h264", "codec=h265", "codec=h264,bframes=2,audio=1"])
def test_close_ends_the_codecs_of_an_open_iterator(
    spec: str, codec_threads: Callable[[], int]
) -> None:
    """Its threads end although the iterator still exists. The iterator raises "closed"."""
    before = codec_threads()
    source = open_source(f"testsrc:size=320x240,{spec}")
    frames = source.frames()
    next(frames)
    assert codec_threads() > before
    source.close()
    source.close()
    until(lambda: codec_threads() <= before, 5)
    for closed in (frames, source.frames()):
        with pytest.raises(KvsError, match="testsrc: is closed") as caught:
            next(closed)  # none of the frames read ahead
        assert caught.value.status is StatusCode.INVALID_OPERATION


def test_close_of_a_raw_file_ends_its_decoder(
    make_clip: MakeClip, codec_threads: Callable[[], int]
) -> None:
    """A decoder finds the display order of raw pictures, and it has threads too."""
    before = codec_threads()
    with open_source(make_clip("h264", bframes=2)) as source:
        frames = source.frames()
        next(frames)
        assert codec_threads() > before
    until(lambda: codec_threads() <= before, 5)
    with pytest.raises(KvsError, match="is closed"):
        next(frames)


@pytest.mark.parametrize("part", [0, 8, 16])
def test_released_error_keeps_no_decoder(
    part: int, make_clip: MakeClip, tmp_path: Path, codec_threads: Callable[[], int]
) -> None:
    """Neither does its source. Part 0 is read before the first frame is requested."""
    data = bytearray(make_clip("h264", bframes=2).read_bytes())
    at = data.find(b"\0\0\1", len(data) * part // 17)
    data[at + 4 : at + 400] = b"\xff" * 396
    path = tmp_path / "damaged.h264"
    path.write_bytes(data)

    def read() -> StatusCode | None:
        try:
            take(open_source(path))
        except KvsError as error:
            return error.status
        return None

    before = codec_threads()
    assert read() is StatusCode.MKV_INVALID_FRAME_DATA
    until(lambda: codec_threads() <= before, 5, seen=codec_threads)


class Reading(threading.Thread):
    """A thread that reads all frames of a source. `result` is how it ended."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.frames = 0
        self.reports_seen: list[StatusCode] = []
        self.enough = False
        self._source = source

    def run(self) -> None:
        try:
            for _ in self._source.frames():
                self.frames += 1
                if self.enough:
                    return
        except KvsError as error:
            self.reports_seen.append(error.status)

    def __enter__(self) -> Reading:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough = True
        self.join(20)


def test_close_while_another_thread_reads(make_clip: MakeClip) -> None:
    """FFmpeg is reading the file. The reader ends with an error that gives the reason."""
    reading, going_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            if self.tell() > len(self.getbuffer()) // 2:
                reading.set()
                going_on.wait(20)
            return super().read1(min(size or 0, 4096))

    data = make_clip("ts").read_bytes()
    stdin = Slow(data)
    source = open_source("-", stdin=stdin)
    with Reading(source) as reader:
        assert reading.wait(20)
        source.close()
        going_on.set()
        reader.join(20)
        assert reader.reports_seen == [StatusCode.INVALID_OPERATION]
        assert stdin.tell() < len(data)


def test_close_while_another_thread_reads_an_endless_source(
    codec_threads: Callable[[], int],
) -> None:
    """The endless reader ends, and so does its encoder."""
    before = codec_threads()
    source = open_source("testsrc:size=320x240,duration=0")
    with Reading(source) as reader:
        until(lambda: reader.frames > 10)
        source.close()
        reader.join(5)
        assert reader.reports_seen == [StatusCode.INVALID_OPERATION]
    until(lambda: codec_threads() <= before, 5)


@contextmanager
def fifo(path: Path, data: bytes) -> Iterator[tuple[Source, FileIO]]:
    """Yield a source that reads a FIFO with some data in it, and the FIFO's other end."""
    os.mkfifo(path)
    with ThreadPoolExecutor() as pool:
        opening = pool.submit(open_source, path)
        with path.open("wb", buffering=0) as writer:
            writer.write(data)
            yield opening.result(20), writer


def test_close_of_a_fifo_that_is_being_read(make_clip: MakeClip, tmp_path: Path) -> None:
    """Its file is closed once FFmpeg has returned, so the writer gets an error."""
    data = make_clip("ts").read_bytes()
    half = len(data) // 2
    with fifo(tmp_path / "fifo", data[:half]) as (source, writer), Reading(source) as reader:

        def waits() -> bool:
            """Return whether FFmpeg waits for more data."""
            frame = sys._current_frames()[reader.ident or 0]
            left = array("i", [0])
            fcntl.ioctl(writer, termios.FIONREAD, left)
            return frame.f_code is Pipe.read.__code__ and left[0] == 0

        until(waits)
        source.close()
        writer.write(data[half : half + 4096])
        reader.join(5)
        assert reader.reports_seen == [StatusCode.INVALID_OPERATION]
        with pytest.raises(BrokenPipeError):
            writer.write(b"more")


def test_interrupt_while_closing_leaves_no_file_open(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during FFmpeg's read is raised after the file was closed."""

    def interrupt(_: Pipe) -> None:
        raise KeyboardInterrupt

    data = make_clip("ts").read_bytes()
    with fifo(tmp_path / "fifo", data[: len(data) // 2]) as (source, writer):
        monkeypatch.setattr(Pipe, "check", interrupt)
        with pytest.raises(KeyboardInterrupt):
            source.close()
        with pytest.raises(BrokenPipeError):
            writer.write(b"more")


@pytest.mark.parametrize("delay_s", [0.1, 0.15, 0.2])
def test_close_in_a_signal_handler(delay_s: float) -> None:
    """It is called while its own thread reads, at most one frame ahead."""
    source = open_source("testsrc:size=320x240,duration=0")
    closed: list[bool] = []
    after = 0

    def close(*_: object) -> None:
        source.close()
        closed.append(True)

    usual = signal.signal(signal.SIGALRM, close)
    try:
        signal.setitimer(signal.ITIMER_REAL, delay_s)
        with pytest.raises(KvsError, match="testsrc: is closed"):
            for _ in source.frames():
                after += bool(closed)
                if after > 1:
                    break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


def test_mpeg_ps_with_times_for_some_pictures_only(make_clip: MakeClip, tmp_path: Path) -> None:
    """Small pictures share a PES packet with one time. The others' times come from the decoder."""
    clip, path = make_clip("ts", bframes=2, width=32, height=32), tmp_path / "clip.mpg"
    with av.open(str(clip)) as read, av.open(str(path), "w", format="mpeg") as written:
        stream = written.add_stream_from_template(read.streams[0])
        for packet in read.demux():
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    with av.open(str(path)) as container:
        missing = sum(packet.pts is None for packet in container.demux() if packet.size)
    assert missing > 10
    source = open_source(path, start=START)
    frames = take(source)
    right = take(open_source(clip, start=START))
    assert [f.pts // TICKS_PER_MS for f in frames] == [f.pts // TICKS_PER_MS for f in right]
    assert source.repairs >= missing
    check_frames_rise(frames)


class RealTime(io.BytesIO):
    """A pipe whose bytes arrive at the pace of the media: reading advances a clock."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self.now = 1000 * TICKS_PER_SECOND
        self._per_byte = seconds * TICKS_PER_SECOND / len(data)

    def read1(self, size: int | None = -1) -> bytes:
        piece = super().read1(min(1316, size or 0))
        self.now += int(len(piece) * self._per_byte)
        return piece

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * TICKS_PER_SECOND)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("ts", {}),
        ("ts", {"audio": "aac", "bframes": 2}),
        ("mkv", {"audio": "aac"}),
        ("flv", {}),
        ("h264", {"bframes": 0}),
        ("h265", {"codec": "hevc", "bframes": 0}),
    ],
)
def test_live_frames_have_their_arrival_times(
    make_clip: MakeClip,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    options: dict[str, object],
) -> None:
    """The first frame has the arrival time of the first byte, and none is ahead of its arrival."""
    stdin = RealTime(make_clip(ending, **options).read_bytes(), 3)
    monkeypatch.setattr("kvsproducer.sources.pipe.monotonic", lambda: stdin.now)
    monkeypatch.setattr("kvsproducer.sources.source.monotonic", lambda: stdin.now)
    monkeypatch.setattr("time.sleep", stdin.sleep)
    offset = START - stdin.now
    source = open_source("-", stdin=stdin, clock=lambda: stdin.now + offset)
    assert stdin.now > 1000.1 * TICKS_PER_SECOND, "probing takes its time"
    frames, ahead = [], []
    for frame in source.frames():
        frames.append(frame)
        ahead.append(frame.dts - (stdin.now + offset))
    start = min(frame.pts for frame in frames)
    assert abs(start - START) < TICKS_PER_SECOND // 4
    assert max(ahead) <= 0
    assert 2.5 < (max(frame.pts for frame in frames) - start) / TICKS_PER_SECOND < 3.5


def test_damage_that_stops_the_demuxer_is_skipped(make_clip: MakeClip, tmp_path: Path) -> None:
    """The damage looks like another stream of FLV. FFmpeg continues, and so does the source."""
    clip = make_clip("flv", audio="aac")
    data, whole = bytearray(clip.read_bytes()), len(take(open_source(clip)))
    tag = data.index(b"\x08\x00", len(data) // 2)  # an audio tag becomes a script data tag
    data[tag : tag + 40] = b"\x09\x00\x00\x20" + bytes(range(36))
    path = tmp_path / "damaged.flv"
    path.write_bytes(data)
    with open_source(path) as source:
        frames, error = take_to_error(source)
    assert whole - 40 < len(frames) <= whole
    assert error is None or "the rest is put" in str(error).lower()


@pytest.mark.parametrize("given", [0, None, io.BytesIO(b"media"), 1.5, ["clip.mp4"]])
def test_invalid_types_of_sources_are_refused(given: Any) -> None:
    """A number would be a file descriptor, and media in memory would be ignored."""
    with pytest.raises(KvsError, match=f"source= is {type(given).__name__}") as caught:
        open_source(given)
    assert caught.value.status is StatusCode.INVALID_ARG
    with pytest.raises(KvsError, match="OPEN_FILE_FAILED"):
        open_source(b"/nowhere/clip.mp4")  # type: ignore[arg-type]


def test_join_with_another_kind_of_picture(make_clip: MakeClip, tmp_path: Path) -> None:
    """A camera restarts with another size and with B-frames. Their times stay right."""
    first, second = make_clip("ts"), make_clip("ts", width=320, height=240, bframes=2)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with open_source(path, start=START) as source:
        frames, _ = take_to_error(source)
    assert source.repairs == 0
    shown = sorted(frame.pts // TICKS_PER_MS for frame in frames)
    assert len(shown) >= 148
    assert max(b - a for a, b in pairwise(shown)) <= 200
    assert min(b - a for a, b in pairwise(shown)) >= 39
    check_frames_rise(frames)
