"""AAC AudioSpecificConfig, ADTS and G.711 WAVEFORMATEX."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

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
from kvsproducer.codecs.audio import AAC_SAMPLE_RATES
from kvsproducer.status import KvsError, MkvError, StatusCode

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
def test_what_no_aac_configuration_can_say_is_refused(arguments: tuple[int, int, int]) -> None:
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
def test_what_is_no_g711_is_refused(arguments: tuple[int, int, int]) -> None:
    assert status_of(pcm_config, *arguments) is S.INVALID_ARG


@given(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\xff\xf1", b"\x06\0", b"\x17", b"\xff", b"\x2b"]),
)
def test_any_bytes_end_in_a_result_or_a_status(data: bytes, head: bytes) -> None:
    for parse in (parse_aac_config, parse_adts, strip_adts, parse_pcm_config):
        with suppress(MkvError):
            parse(head + data)
