"""Container tracks as KVS tracks: codec ids, codec private data, adaptation, refusals."""

from __future__ import annotations

import re

import pytest

from kvsproducer.codecs.audio import parse_aac_config, parse_pcm_config
from kvsproducer.mkv.tracks import NalAdaptation, TrackType
from kvsproducer.sources.media import Kind, MediaTrack
from kvsproducer.sources.tracks import put_track
from kvsproducer.status import KvsError, StatusCode

SPS = bytes.fromhex("6764000dacd94141fa10000003001000000303 20f14299 60".replace(" ", ""))
PPS = bytes.fromhex("68ebe3cb22c0")
ANNEXB = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS
AVCC = b"\x01\x64\x00\x0d\xff\xe1" + len(SPS).to_bytes(2, "big") + SPS + b"\x01\x00\x06" + PPS
ADTS_FRAME = bytes.fromhex("fff14c4000fffc") + b"x"  # AAC LC, 48 kHz, mono; length 7 bytes and 1
BOTH = NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS


def test_length_prefixed_video_keeps_its_record() -> None:
    """The avcC record and the frames are unchanged."""
    track = MediaTrack(Kind.VIDEO, "h264", AVCC, 320, 240)
    put = put_track(track, b"", alone=True, name="clip")
    assert put.info.codec_private_data == AVCC
    assert put.info.codec_id == "V_MPEG4/ISO/AVC"
    assert (put.info.track_id, put.info.track_type) == (1, TrackType.VIDEO)
    assert (put.adaptation, put.media) == (NalAdaptation.NONE, "video/h264")


@pytest.mark.parametrize("extradata", [ANNEXB, b"\x00\x00\x01\x09\xf0" + ANNEXB, b""])
def test_annexb_video_is_converted_by_the_client(extradata: bytes) -> None:
    """Only parameter sets are kept, behind start codes. The client makes records of them."""
    track = MediaTrack(Kind.VIDEO, "h264", extradata)
    put = put_track(track, b"", alone=True, name="clip")
    start = b"\x00\x00\x00\x01"
    expected = start + SPS + start + PPS if extradata else b""
    assert put.info.codec_private_data == expected
    assert put.adaptation == BOTH


IDR = b"\x00\x00\x00\x01\x65\x88"


def test_undecodable_video_is_refused() -> None:
    """Neither the first Annex-B key frame nor the container has parameter sets."""
    track = MediaTrack(Kind.VIDEO, "h264")
    with pytest.raises(KvsError, match="clip has no parameter sets") as caught:
        put_track(track, IDR, alone=True, name="clip")
    assert caught.value.status is StatusCode.FORMAT_ERROR
    put_track(track, ANNEXB + IDR, alone=True, name="clip")
    put_track(
        track, b"\x00\x00\x00\x01\x41\x9a", alone=True, name="clip"
    )  # parameter sets may follow later


@pytest.mark.parametrize(("alone", "advice"), [(True, "OUT.mp4$"), (False, "--tracks video")])
def test_advice_about_sound_fits(alone: bool, advice: str) -> None:
    """For a sound file, the error does not suggest leaving the sound out."""
    with pytest.raises(KvsError, match="MP3") as caught:
        put_track(MediaTrack(Kind.AUDIO, "mp3"), b"", alone=alone, name="clip")
    assert re.search(advice, caught.value.detail)
    assert ("--tracks" in caught.value.detail) == (not alone)


def test_h265_has_its_own_codec_id() -> None:
    """HEVC is H.265 in every name of KVS."""
    put = put_track(MediaTrack(Kind.VIDEO, "hevc"), b"", alone=True, name="clip")
    assert (put.info.codec_id, put.media) == ("V_MPEGH/ISO/HEVC", "video/h265")


def test_adts_headers_are_removed() -> None:
    """TS has AAC with ADTS headers; KVS gets raw frames and an AudioSpecificConfig."""
    track = MediaTrack(Kind.AUDIO, "aac", sample_rate=48000, channels=1)
    frame = ADTS_FRAME[:3] + bytes.fromhex("40011ffc") + b"x"
    put = put_track(track, frame, alone=False, name="clip")
    config = parse_aac_config(put.info.codec_private_data)
    assert (config.object_type, config.sampling_frequency, config.channels) == (2, 48000, 1)
    assert put.info.track_id == 2
    assert put.payload(frame) == b"x"


def test_raw_aac_keeps_its_configuration() -> None:
    """MP4 already has the AudioSpecificConfig."""
    track = MediaTrack(Kind.AUDIO, "aac", b"\x11\x88", sample_rate=48000, channels=1)
    put = put_track(track, b"\xde\x02", alone=True, name="clip")
    assert put.info.codec_private_data == b"\x11\x88"
    assert put.info.track_id == 1
    assert put.payload(b"\xff\xf1") == b"\xff\xf1"


@pytest.mark.parametrize(("codec", "form"), [("pcm_alaw", 6), ("pcm_mulaw", 7)])
def test_g711_gets_a_wave_format(codec: str, form: int) -> None:
    """G.711 is A_MS/ACM with a WAVEFORMATEX."""
    track = MediaTrack(Kind.AUDIO, codec, sample_rate=8000, channels=1)
    put = put_track(track, b"\xd5", alone=False, name="clip")
    config = parse_pcm_config(put.info.codec_private_data)
    assert (config.format, config.sampling_frequency, config.channels) == (form, 8000, 1)
    assert put.info.codec_id == "A_MS/ACM"


@pytest.mark.parametrize(
    ("track", "said"),
    [
        (MediaTrack(Kind.VIDEO, "vp9"), r"video codec is VP9; KVS plays H.264 and H.265"),
        (MediaTrack(Kind.AUDIO, "opus"), r"audio codec is Opus; KVS plays AAC and G.711"),
    ],
)
def test_other_codecs_are_refused_by_name(track: MediaTrack, said: str) -> None:
    """The error names the codec and those that would work."""
    with pytest.raises(KvsError, match=said) as caught:
        put_track(track, b"", alone=False, name="clip")
    assert caught.value.status is StatusCode.FORMAT_ERROR
    assert "ffmpeg" in caught.value.detail


def test_aac_without_any_configuration_is_refused() -> None:
    """No player could play it."""
    with pytest.raises(KvsError) as caught:
        put_track(MediaTrack(Kind.AUDIO, "aac"), b"\xde\x02", alone=True, name="clip")
    assert caught.value.status is StatusCode.MKV_INVALID_AAC_CPD


@pytest.mark.parametrize(
    ("track", "codec_id", "media"),
    [
        (MediaTrack(Kind.VIDEO, "av1", b"\x81", width=64, height=48), "V_AV1", "video/av1"),
        (MediaTrack(Kind.AUDIO, "mp3", sample_rate=44100, channels=2), "A_MPEG/L3", "audio/mpeg"),
    ],
)
def test_any_codec_is_stored_unchanged(track: MediaTrack, codec_id: str, media: str) -> None:
    """It is stored only with the option, which the refusal names."""
    put = put_track(track, b"", alone=True, name="clip", any_codec=True)
    assert (put.info.codec_id, put.media, put.info.track_id) == (codec_id, media, 1)
    assert put.info.codec_private_data == track.extradata
    assert (put.info.width, put.info.channels) == (track.width, track.channels)
    with pytest.raises(KvsError, match="--any-codec stores it as it is"):
        put_track(track, b"", alone=True, name="clip")


def test_any_codec_needs_a_name_in_matroska() -> None:
    """A codec without a name in Matroska is still refused."""
    track = MediaTrack(Kind.VIDEO, "cinepak")
    with pytest.raises(KvsError, match=r"is CINEPAK; KVS plays H.264 and H.265\. Convert"):
        put_track(track, b"", alone=True, name="clip", any_codec=True)
