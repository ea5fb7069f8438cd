"""Which tracks of a file are put or ignored, and which media is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.mkv.tracks import TrackType
from kvsproducer.sources.pyav import write_png
from kvsproducer.sources.source import Source, open_source
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]
START = 1_700_000_000 * TICKS_PER_SECOND


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


def test_cover_picture_is_not_video(make_clip: MakeClip, tmp_path: Path) -> None:
    """Music files have one, which is a video track of one frame for FFmpeg."""
    cover, song = tmp_path / "cover.png", tmp_path / "song.mkv"
    write_png(str(cover), bytes(3 * 16 * 16), 16, 16)
    with (
        av.open(str(make_clip("mkv", audio="aac"))) as read,
        av.open(str(song), "w") as written,
    ):
        sound = written.add_stream_from_template(read.streams.audio[0])
        written.add_attachment("cover.png", "image/png", cover.read_bytes())
        for packet in read.demux(audio=0):
            if packet.size:
                packet.stream = sound
                written.mux(packet)
    source = open_source(song)
    assert [track.track_type for track in source.tracks] == [TrackType.AUDIO]
    assert source.ignored == ["stream 1 (picture PNG)"]
    assert len(take(source)) > 100


def one_frame(stream: av.VideoStream | av.AudioStream, codec: str) -> list[av.Packet]:
    """Return the first frame of a stream, grey or silent."""
    if isinstance(stream, av.VideoStream):
        picture = av.VideoFrame(64, 48, stream.pix_fmt or "")
        picture.pts = 0
        return [*stream.encode(picture), *stream.encode(None)]
    sound = av.AudioFrame("s16" if codec == "mp2" else "fltp", "stereo", 1024)
    sound.sample_rate, sound.pts = 48000, 0
    for plane in sound.planes:
        plane.update(bytes(plane.buffer_size))
    return [*stream.encode(sound), *stream.encode(None)]


def several_tracks(path: Path, clip: Path, *codecs: str) -> Path:
    """Write the clip's tracks after one-frame tracks with these codecs."""
    with av.open(str(clip)) as read, av.open(str(path), "w") as written:
        added: list[av.VideoStream | av.AudioStream] = []
        for codec in codecs:
            if codec in ("mpeg4", "mjpeg"):
                video = written.add_stream(codec, rate=25)
                assert isinstance(video, av.VideoStream)
                video.width, video.height = 64, 48
                video.pix_fmt = "yuv420p" if codec == "mpeg4" else "yuvj420p"
                added.append(video)
            else:
                sound = written.add_stream(codec, rate=48000, layout="stereo")
                assert isinstance(sound, av.AudioStream)
                added.append(sound)
        copied = {s.index: written.add_stream_from_template(s) for s in read.streams}
        for stream, codec in zip(added, codecs, strict=True):
            written.mux(one_frame(stream, codec))
        for packet in read.demux():
            if packet.size:
                packet.stream = copied[packet.stream.index]
                written.mux(packet)
    return path


@pytest.mark.parametrize(
    ("codecs", "taken", "ignored"),
    [
        (["ac3"], ["stream 2 (audio AAC)"], ["stream 0 (audio AC-3)"]),
        (["mjpeg"], ["stream 1 (video H.264)"], ["stream 0 (video Motion JPEG)"]),
        (["aac"], ["stream 0 (audio AAC)"], ["stream 2 (audio AAC)"]),
        (
            ["mpeg4", "ac3"],
            ["stream 2 (video H.264)", "stream 3 (audio AAC)"],
            ["stream 0 (video MPEG-4 Part 2)", "stream 1 (audio AC-3)"],
        ),
        ([], [], []),
    ],
)
def test_first_track_that_fits_is_chosen(
    make_clip: MakeClip, tmp_path: Path, codecs: list[str], taken: list[str], ignored: list[str]
) -> None:
    """It is named, and so are the ignored ones."""
    path = several_tracks(tmp_path / "clip.mkv", make_clip("mkv", audio="aac"), *codecs)
    for any_codec in (False, True):
        source = open_source(path, any_codec=any_codec)
        assert (source.taken, source.ignored) == (taken, ignored)
        assert source.content_type == "video/h264,audio/aac"
    assert sum(frame.track_id == 1 for frame in take(source)) == 75


def test_without_a_fitting_track_the_first_is_named(make_clip: MakeClip, tmp_path: Path) -> None:
    """Its sound is not dropped silently."""
    path = several_tracks(tmp_path / "clip.mkv", make_clip("mkv"), "ac3", "mp2")
    with pytest.raises(KvsError, match=r"the audio codec is AC-3; KVS plays AAC and G\.711"):
        open_source(path)
    assert len(take(open_source(path, tracks="video"))) == 75
    assert open_source(path, any_codec=True).content_type == "video/h264,audio/ac3"


def test_encrypted_media_is_refused(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """It cannot be played without the key. `any_codec` stores it for owners of the key."""
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "ab" * 16}
    path = remux(make_clip("mp4", audio="aac"), "secret.mp4", **key, encryption_kid="cd" * 16)
    with pytest.raises(KvsError, match=r"secret.mp4 is encrypted: \w+ frame 0 at .* needs a key"):
        open_source(path)
    with pytest.raises(KvsError, match="is encrypted: audio frame 0"):
        open_source(path, tracks="audio")
    frames = take(open_source(path, any_codec=True))
    assert sum(frame.track_id == 1 for frame in frames) == 75


def test_still_picture_is_not_video(tmp_path: Path) -> None:
    """HEIF and AVIF files have the boxes of an MP4."""
    path = tmp_path / "still.avif"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libsvtav1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame(64, 64, "yuv420p")
        picture.pts = 0
        output.mux([*stream.encode(picture), *stream.encode(None)])
    with pytest.raises(KvsError, match=r"is a still picture \(AVIF\), not video") as caught:
        open_source(path)
    assert caught.value.status is StatusCode.FORMAT_ERROR
