"""Stream descriptions: limits with their statuses, creators, versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kvsproducer.client import (
    FrameOrderMode,
    NalAdaptation,
    StorePressurePolicy,
    StreamInfo,
    StreamingType,
    ViewOverflowPolicy,
)
from kvsproducer.mkv.tracks import TrackInfo, TrackType
from kvsproducer.status import KvsError, StatusCode

TRACK = TrackInfo(1, TrackType.VIDEO, "V_X")
GOOD = StreamInfo(name="door", tracks=(TRACK,))
BAD = {
    StatusCode.INVALID_STREAM_NAME_LENGTH: {"name": "n" * 257},
    StatusCode.MAX_TAG_COUNT: {"tags": (("a", "b"),) * 51},
    StatusCode.INVALID_TAG_NAME_LEN: {"tags": (("n" * 129, ""),)},
    StatusCode.INVALID_TAG_VALUE_LEN: {"tags": (("n", "v" * 1025),)},
    StatusCode.INVALID_RETENTION_PERIOD: {"retention": 3599},
    StatusCode.TRACK_INFO_MISSING: {"tracks": ()},
    StatusCode.MAX_TRACK_COUNT_EXCEEDED: {"tracks": (TRACK,) * 4},
    StatusCode.MKV_INVALID_TRACK_UID: {"tracks": (TrackInfo(0, TrackType.VIDEO, "V"),)},
    StatusCode.DUPLICATE_TRACK_ID_FOUND: {"tracks": (TRACK, TRACK)},
    StatusCode.OFFLINE_MODE_WITH_ZERO_RETENTION: {
        "streaming_type": StreamingType.OFFLINE,
        "retention": 0,
    },
}


@pytest.mark.parametrize("status", BAD)
def test_each_limit_has_its_status(status: StatusCode) -> None:
    """Values within the limits are accepted."""
    GOOD.validate()
    with pytest.raises(KvsError) as caught:
        replace(GOOD, **BAD[status]).validate()  # type: ignore[arg-type]
    assert caught.value.status is status


def test_with_defaults_returns_a_copy_with_defaults_for_zeros() -> None:
    """The original does not change."""
    info = replace(
        GOOD,
        frame_rate=0,
        buffer_duration=0,
        timecode_scale=0,
        streaming_type=StreamingType.OFFLINE,
        max_latency=5,
    )
    resolved = info.with_defaults()
    assert (resolved.frame_rate, resolved.timecode_scale) == (24, 10_000)
    assert (resolved.buffer_duration, resolved.replay_duration) == (
        timedelta(seconds=20),
        timedelta(0),
    )
    assert resolved.max_latency == timedelta(0)
    assert info.frame_rate == 0


def test_creators_make_tracks_of_the_common_codecs() -> None:
    """`video`, `audio` and `audio_video` accept any field by name."""
    both = StreamInfo.audio_video("h265", "aac", buffer_duration="PT10S", name="x")
    assert both.content_type == "video/h265,audio/aac"
    assert [track.track_id for track in both.tracks] == [1, 2]
    assert both.frame_order_mode is FrameOrderMode.PTS_ONE_MS_COMPENSATE_EOFR
    assert (both.buffer_duration, both.replay_duration) == (
        timedelta(seconds=10),
        timedelta(seconds=5),
    )
    assert StreamInfo.audio("alaw").tracks[0].track_id == 1
    assert NalAdaptation.ANNEXB_NALS in StreamInfo.video().nal_adaptation
    for bad in ({"codec": "vp9"}, {"codec": "h264", "nonsense": 1}):
        with pytest.raises(KvsError) as caught:
            StreamInfo.video(**bad)  # type: ignore[arg-type]
        assert caught.value.status is StatusCode.INVALID_ARG


def test_old_versions_keep_their_meaning() -> None:
    """Members that did not exist in a version have the behaviour of that version."""
    data = {
        "tracks": [
            {"track_id": 1, "codec_id": "V", "track_type": "video"},
            {"track_id": 2, "codec_id": "A", "track_type": "audio", "codec_private_data": "1210"},
        ],
        "allow_stream_creation": False,
    }
    oldest = StreamInfo.from_dict({**data, "version": 0})
    assert oldest.frame_order_mode is FrameOrderMode.PTS_ONE_MS_COMPENSATE
    assert oldest.store_pressure_policy is StorePressurePolicy.OOM
    assert oldest.view_overflow_policy is ViewOverflowPolicy.DROP_TAIL_VIEW_ITEM
    assert oldest.allow_stream_creation
    newest = StreamInfo.from_dict({**data, "version": 3, "streaming_type": "near-realtime"})
    assert not newest.allow_stream_creation
    assert newest.streaming_type is StreamingType.NEAR_REALTIME
    assert newest.tracks[1].codec_private_data == bytes.fromhex("1210")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"version": 4}, StatusCode.INVALID_STREAM_INFO_VERSION),
        ({"tracks": None}, StatusCode.TRACK_INFO_MISSING),
        ({"tags": None}, StatusCode.DEVICE_TAGS_COUNT_NON_ZERO_TAGS_NULL),
        ({"tags": [{"name": "a", "version": 1}]}, StatusCode.INVALID_TAG_VERSION),
        ({"streaming_type": "live"}, StatusCode.INVALID_ARG),
        ({"tracks": 5}, StatusCode.INVALID_ARG),
        ({"nal_adaptation": "x"}, StatusCode.INVALID_ARG),
    ],
)
def test_invalid_data_has_its_status(data: dict[str, object], status: StatusCode) -> None:
    """The status names the problem in a configuration file."""
    with pytest.raises(KvsError) as caught:
        StreamInfo.from_dict(data)
    assert caught.value.status is status


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""),
        ("0142C01e", bytes.fromhex("0142c01e")),
        ("base64:AULAHg==", bytes.fromhex("0142c01e")),
        ("base64:AULAHg", bytes.fromhex("0142c01e")),
        (
            "sprop-parameter-sets=Z0LAHg==,aM4=",
            bytes.fromhex("00000001 6742c01e 00000001 68ce"),
        ),
    ],
)
def test_codec_private_data_may_be_text(text: str, data: bytes) -> None:
    """It is hexadecimal, base64, or from SDP."""
    info = StreamInfo.from_dict(
        {"tracks": [{"track_id": 1, "codec_id": "V", "codec_private_data": text}]}
    )
    assert info.tracks[0].codec_private_data == data


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("0142c", StatusCode.INVALID_ARG_LEN),
        ("01 4", StatusCode.INVALID_DIGIT),
        ("01zz", StatusCode.INVALID_BASE),
        ("base64:AULA?g==", StatusCode.INVALID_BASE64_ENCODE),
        ("base64:", StatusCode.INVALID_ARG_LEN),
        ("sprop-parameter-sets=Z0LAHg==,aM4?", StatusCode.INVALID_BASE64_ENCODE),
    ],
)
def test_invalid_codec_private_data_has_the_status_of_the_conversion(
    text: str, status: StatusCode
) -> None:
    """The statuses are those of `utils`."""
    with pytest.raises(KvsError) as caught:
        StreamInfo.from_dict(
            {"tracks": [{"track_id": 1, "codec_id": "V", "codec_private_data": text}]}
        )
    assert caught.value.status is status


@pytest.mark.parametrize(
    "members",
    [
        {"tracks": "video"},
        {"tracks": ["video"]},
        {"tracks": [{"track_id": 1, "colour": "red"}]},
        {"nal_adaptation": "annexb"},
        {"replay_duration": [1]},
    ],
)
def test_members_of_a_wrong_type_are_refused(members: dict[str, object]) -> None:
    """This applies to files and creators."""
    with pytest.raises(KvsError) as caught:
        StreamInfo.from_dict(members)
    assert caught.value.status is StatusCode.INVALID_ARG
    with pytest.raises(KvsError) as caught:
        StreamInfo.video("h264", buffer_duration=[1])
    assert caught.value.status is StatusCode.INVALID_ARG


def test_a_description_without_tracks_can_be_read_but_not_validated() -> None:
    """Limits are checked by `validate`; the KMS key has one too."""
    with pytest.raises(KvsError) as caught:
        StreamInfo.from_dict({"name": "door"}).validate()
    assert caught.value.status is StatusCode.TRACK_INFO_MISSING
    with pytest.raises(KvsError) as caught:
        replace(GOOD, kms_key_id="k" * 2049).validate()
    assert caught.value.status is StatusCode.INVALID_ARG_LEN


def test_frame_duration_comes_from_the_frame_rate() -> None:
    """The default frame rate gives none."""
    assert GOOD.frame_duration == 0
    assert replace(GOOD, frame_rate=25).frame_duration == 400_000
    assert replace(GOOD, frame_rate=0).frame_duration == 0


@pytest.mark.parametrize("retention", ["P5000D", timedelta(days=3650, seconds=1), "P11Y"])
def test_retention_above_the_maximum_is_refused(retention: str | timedelta) -> None:
    """KVS keeps media for 10 years at most; it is refused before the service is called."""
    with pytest.raises(
        KvsError, match=r"the service takes 3,650 days \(10 years\) at most"
    ) as caught:
        replace(GOOD, retention=retention).validate()  # type: ignore[arg-type]
    assert caught.value.status is StatusCode.INVALID_RETENTION_PERIOD
    replace(GOOD, retention=timedelta(days=3650)).validate()


@pytest.mark.parametrize(
    "members",
    [
        {"frame_rate": "25"},
        {"frame_rate": True},
        {"timecode_scale": 0.5},
        {"name": 5},
        {"segment_uuid": "text"},
    ],
)
def test_constructor_refuses_members_of_other_types(members: dict[str, Any]) -> None:
    """The error names the member and its value."""
    ((name, value),) = members.items()
    with pytest.raises(KvsError, match=rf"{name} is {value!r}( \(\w+\))?; give") as caught:
        replace(GOOD, **members)
    assert caught.value.status is StatusCode.INVALID_ARG


@pytest.mark.parametrize(
    ("retention", "hint"),
    [(24, "24 hours are retention=86400"), (0.5, None), (169, None)],
)
def test_short_retention_may_be_meant_in_hours(retention: float, hint: str | None) -> None:
    """KVS counts in hours, this library in seconds."""
    with pytest.raises(KvsError) as caught:
        replace(GOOD, retention=retention).validate()
    assert caught.value.status is StatusCode.INVALID_RETENTION_PERIOD
    assert ("hours" in caught.value.detail) == bool(hint)
    assert (hint or "") in caught.value.detail


def test_codec_private_data_must_be_bytes() -> None:
    """A hex string is a likely mistake."""
    with pytest.raises(KvsError, match="codec_private_data is of type str; give bytes") as caught:
        StreamInfo.video("h264", codec_private_data="0142")  # type: ignore[arg-type]
    assert caught.value.status is StatusCode.INVALID_ARG
    info = StreamInfo.video("h264", codec_private_data=bytearray(b"\1"))
    assert info.tracks[0].codec_private_data == b"\1"


def test_tracks_of_a_configuration_may_be_track_objects() -> None:
    """They are used unchanged, next to mappings."""
    info = StreamInfo.from_dict({"name": "door", "tracks": [TRACK]})
    assert info.tracks == (TRACK,)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"codec_id": 5}, r"TrackInfo\.codec_id is 5 \(int\); give a str"),
        ({"codec": "V_X"}, "a track is invalid: .*'codec'"),
    ],
)
def test_wrong_member_of_a_track_is_named(members: dict[str, Any], message: str) -> None:
    """Whether its type is wrong, or there is no such member."""
    track = {"track_id": 1, "codec_id": "V_X", **members}
    with pytest.raises(KvsError, match=message) as caught:
        StreamInfo.from_dict({"name": "door", "tracks": [track]})
    assert caught.value.status is StatusCode.INVALID_ARG
