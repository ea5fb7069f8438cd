"""Tests of AAC AudioSpecificConfig, ADTS and G.711 WAVEFORMATEX."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.codecs import (
    AacConfig,
    PcmConfig,
    PcmFormat,
    aac_config,
    parse_aac_config,
    parse_adts,
    parse_pcm_config,
    pcm_config,
    strip_adts,
)
from kvsproducer.codecs.audio import AAC_SAMPLE_RATES, adts_config
from kvsproducer.status import InvalidMedia, KvsError, StatusCode

S = StatusCode


def status_of(call: Any, *args: Any) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        call(*args)
    return caught.value.status


@pytest.mark.parametrize("rate", AAC_SAMPLE_RATES)
@pytest.mark.parametrize("config", range(1, 8))
def test_aac_configurations_round_trip(rate: int, config: int) -> None:
    channels = 8 if config == 7 else config
    for object_type in (0, 1, 2, 22, 30, 32, 42, 95):
        made = aac_config(object_type, rate, config)
        assert parse_aac_config(made) == AacConfig(object_type, rate, config, channels, rate)


AAC_CASES = [
    ("AAC LC, 44100 Hz, stereo", "1210", (2, 44100, 2)),
    ("with what ffmpeg appends", "121056e500", (2, 44100, 2)),
    ("channels in a program config element", "1200", (2, 44100, 0)),
    ("explicit rate of 44099 Hz", "17805621 90", (2, 44099, 2)),
]


@pytest.mark.parametrize(("what", "cpd", "wanted"), AAC_CASES)
def test_aac_configurations(what: str, cpd: str, wanted: tuple[int, int, int]) -> None:
    config = parse_aac_config(bytes.fromhex(cpd))
    assert (config.object_type, config.sampling_frequency, config.channels) == wanted


def test_he_aac_gives_the_rate_of_the_core_and_of_the_output(build: Any) -> None:
    u = build.u
    sbr = parse_aac_config(build.pack([u(5, 5), u(4, 7), u(4, 2), u(4, 4), u(5, 2)]))
    assert (sbr.sampling_frequency, sbr.output_frequency, sbr.channels) == (22050, 44100, 2)
    stereo = parse_aac_config(build.pack([u(5, 29), u(4, 6), u(4, 1), u(4, 3), u(5, 2)]))
    assert (stereo.channels, stereo.output_frequency) == (1, 48000)
    written = [u(5, 5), u(4, 7), u(4, 2), u(4, 15), u(24, 44101), u(5, 2)]
    assert parse_aac_config(build.pack(written)).output_frequency == 44101
    cut = parse_aac_config(bytes.fromhex("2a10"))
    assert (cut.sampling_frequency, cut.output_frequency) == (44100, 44100)


AAC_REFUSED = [
    ("too short", "12", S.MKV_INVALID_AAC_CPD),
    ("cut after an escaped type", "ffff", S.MKV_INVALID_AAC_CPD),
    ("channel configuration 8", "1240", S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG),
    ("reserved rate", "1690", S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX),
    ("explicit rate that is cut", "1790", S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX),
]


@pytest.mark.parametrize(("what", "cpd", "status"), AAC_REFUSED)
def test_bad_aac_configurations_have_their_status(what: str, cpd: str, status: StatusCode) -> None:
    assert status_of(parse_aac_config, bytes.fromhex(cpd)) is status


@pytest.mark.parametrize(
    "arguments",
    [(2, 12345, 2), (2, 44100, 0), (2, 44100, 8), (31, 44100, 2), (96, 44100, 2), (-1, 8000, 1)],
)
def test_impossible_aac_configurations_are_refused(arguments: tuple[int, int, int]) -> None:
    assert status_of(aac_config, *arguments) is S.INVALID_ARG


# from ffmpeg's ADTS muxer: AAC LC, 44100 Hz, stereo; 7 bytes of header and 4 of payload
ADTS = bytes.fromhex("fff15080017ffc 21004980")


def test_an_adts_header_is_parsed_and_stripped() -> None:
    header = parse_adts(ADTS)
    assert (header.object_type, header.sampling_frequency, header.channel_config) == (2, 44100, 2)
    assert (header.size, header.frame_size, header.samples) == (7, 11, 1024)
    payload = strip_adts(ADTS)
    assert payload == ADTS[7:]
    assert payload.obj is ADTS


def test_an_adts_header_with_a_checksum_is_two_bytes_longer() -> None:
    with_checksum = b"\xff\xf0" + ADTS[2:7] + b"\xab\xcd" + ADTS[9:]
    assert parse_adts(with_checksum).size == 9
    assert strip_adts(with_checksum) == ADTS[9:]


def test_bad_adts_headers_have_their_status() -> None:
    for bad in (
        b"",
        ADTS[:6],
        b"\xfe" + ADTS[1:],
        b"\xff\xf3" + ADTS[2:],
        ADTS[:4] + b"\0" + ADTS[5:],
    ):
        assert status_of(parse_adts, bad) is S.MKV_INVALID_AAC_CPD
    assert status_of(strip_adts, ADTS + b"\0") is S.MKV_INVALID_AAC_CPD
    reserved = ADTS[:2] + b"\x74" + ADTS[3:]
    assert status_of(parse_adts, reserved) is S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX


@pytest.mark.parametrize("law", PcmFormat)
@pytest.mark.parametrize("channels", [1, 2])
def test_g711_configurations_round_trip(law: PcmFormat, channels: int) -> None:
    made = pcm_config(law, 8000, channels)
    assert len(made) == 18
    assert parse_pcm_config(made) == PcmConfig(law, 8000, channels, 0)


def test_a_wave_format_of_16_bytes_is_enough() -> None:
    data = bytes.fromhex("06000100401f0000401f000001000800")
    assert parse_pcm_config(data) == PcmConfig(PcmFormat.ALAW, 8000, 1, 8)
    assert status_of(parse_pcm_config, data[:15]) is S.MKV_INVALID_AMS_ACM_CPD
    assert status_of(parse_pcm_config, b"\1" + data[1:]) is S.MKV_INVALID_AMS_ACM_CPD


@pytest.mark.parametrize(
    "arguments", [(1, 8000, 1), (6, 7999, 1), (6, 192001, 1), (7, 8000, 0), (7, 8000, 3)]
)
def test_invalid_g711_configurations_are_refused(arguments: tuple[int, int, int]) -> None:
    assert status_of(pcm_config, *arguments) is S.INVALID_ARG


@given(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\xff\xf1", b"\x06\0", b"\x17", b"\xff", b"\x2b"]),
)
def test_any_bytes_give_a_result_or_a_status(data: bytes, head: bytes) -> None:
    for parse in (parse_aac_config, parse_adts, strip_adts, parse_pcm_config):
        with suppress(InvalidMedia):
            parse(head + data)


def adts_of(payload: bytes) -> bytes:
    """Make a frame with an ADTS header: AAC LC, 48 kHz, channel configuration 0."""
    size = 7 + len(payload)
    head = 0xFFF1 << 40 | 1 << 38 | 3 << 34 | size << 13 | 0x7FF << 2
    return head.to_bytes(7) + payload


def test_channel_configuration_0_uses_the_program_config_element(tmp_path: Path) -> None:
    """The result is FFmpeg's configuration of the same track, without its extension at the end."""
    path = tmp_path / "sound.aac"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48000, layout="2.1")
        for number in range(4):
            frame = av.AudioFrame("fltp", "2.1", 1024)
            frame.sample_rate, frame.pts = 48000, 1024 * number
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        wanted = bytes(stream.codec_context.extradata or b"")
    data = path.read_bytes()
    config = adts_config(data[: parse_adts(data).frame_size])
    assert wanted.startswith(config)
    assert len(config) > 5
    parsed = parse_aac_config(config)
    assert (parsed.sampling_frequency, parsed.channel_config, parsed.channels) == (48000, 0, 0)


def test_a_program_config_element_with_everything() -> None:
    """The element has all mixdowns and each kind of channel."""
    element = "0000010011000100010001010010001"
    element += "10011101011110" + "00001" * 3 + "0001" * 2 + "00001"
    head = "0001000110000000" + element
    body = "101" + element
    frame = adts_of(
        int(body + "0" * (-len(body) % 8) + "0000000110101010", 2).to_bytes(-(-len(body) // 8) + 2)
    )
    wanted = head + "0" * (-len(head) % 8) + "0000000110101010"
    assert adts_config(frame) == int(wanted, 2).to_bytes(len(wanted) // 8)


@pytest.mark.parametrize("payload", [b"", b"\x20\0\0", b"\xa0", b"\xa0\x11\x11"])
def test_channel_configuration_0_without_its_element_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMedia) as caught:
        adts_config(adts_of(payload))
    assert caught.value.status is StatusCode.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG


def test_other_channel_configurations_need_no_element() -> None:
    data = bytearray(adts_of(b"\0\0"))
    data[3] |= 0x80  # two channels
    assert adts_config(bytes(data)) == aac_config(2, 48000, 2)
