"""Golden cases of codec private data (`cpd.jsonl`).

A case may have a `truth`: the settings of the encoder or bit writer that made the input. Then our
result must equal the truth. Otherwise, where our result differs from the C producer's, a listed
rule must derive the right result from the input; parameter sets are read by `oracle`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import oracle
from common import SUCCESS, Case, Outcome, Result, Verdict, failed, failure, input_bytes, run

from kvsproducer.codecs import (
    aac_config,
    h264,
    h265,
    parse_aac_config,
    parse_bitmap_info,
    parse_pcm_config,
    pcm_config,
)

_BAD_WIDTH, _BAD_HEIGHT = failure(oracle.BAD_WIDTH), failure(oracle.BAD_HEIGHT)


def matches(case: Case) -> bool:
    return "expect" in case and (("codec" in case and "cpd" in case) or "generate" in case)


def check(case: Case, rules: frozenset[str]) -> Verdict:
    """Compare our result with the C producer's, the truth and the results of listed rules."""
    expected = dict(case["expect"])
    got = _ours(case)
    if "truth" in case:
        right = _from_truth(case["truth"])
        if got != right:
            return failed(right, got)
        return Verdict(Outcome.PASSED if got == expected else Outcome.QUIRK, "truth")
    if got == expected and "quirk" not in case:
        return Verdict(Outcome.PASSED)
    for name in sorted(rules):
        rule_result = RULES[name](case)
        if rule_result is not None:
            return Verdict(Outcome.QUIRK, name) if got == rule_result else failed(rule_result, got)
    return failed(expected, got)


def _ours(case: Case) -> Result:
    if "generate" in case:
        args = case["args"]
        rest = (args["freq"], args["channels"])
        if case["generate"] == "aaccpd":
            return run(lambda: {"cpd": aac_config(args["object_type"], *rest).hex()})
        return run(lambda: {"cpd": pcm_config(args["format"], *rest).hex()})
    return run(lambda: _PARSERS[case["codec"]](input_bytes(case["cpd"])))


def _h264(cpd: bytes) -> Result:
    sps = h264.parse_cpd(cpd)
    return {"width": sps.width, "height": sps.height}


def _h265(cpd: bytes) -> Result:
    sps = h265.parse_cpd(cpd)
    return {"width": sps.width, "height": sps.height}


def _aac(cpd: bytes) -> Result:
    config = parse_aac_config(cpd)
    return {"freq": config.sampling_frequency, "channels": config.channels}


def _pcm(cpd: bytes) -> Result:
    config = parse_pcm_config(cpd)
    return {
        "freq": config.sampling_frequency,
        "channels": config.channels,
        "bits": config.bits,
    }


def _bih(cpd: bytes) -> Result:
    info = parse_bitmap_info(cpd)
    return {"width": info.width, "height": info.height}


_PARSERS: Mapping[str, Callable[[bytes], Result]] = {
    "h264": _h264,
    "h265": _h265,
    "aac": _aac,
    "pcm": _pcm,
    "bih": _bih,
}


def _from_truth(truth: Mapping[str, float]) -> Result:
    """Return the truth, or a refusal if the picture is too large for 16-bit width and height."""
    if not 0 <= truth.get("width", 0) <= 0xFFFF:
        return _BAD_WIDTH
    if not 0 <= truth.get("height", 0) <= 0xFFFF:
        return _BAD_HEIGHT
    return {"status": SUCCESS, **truth}


def _oracle_size(codec: str, unit: bytes) -> Result:
    try:
        width, height = (oracle.h264_size if codec == "h264" else oracle.h265_size)(unit)
    except oracle.Refused as refusal:
        return failure(refusal.args[0])
    return {"status": SUCCESS, "width": width, "height": height}


def _sps_of(case: Case) -> bytes | None:
    """Return the first SPS of an H.264 or H.265 case, for each form of codec private data."""
    if case.get("codec") not in ("h264", "h265"):
        return None
    cpd, h264_codec = input_bytes(case["cpd"]), case["codec"] == "h264"
    if len(cpd) < 8:
        return None
    if oracle.begins_with_start_code(cpd):
        try:
            units = oracle.annexb_units(cpd)
        except oracle.Refused:
            return None
        heads = (0x27, 0x47, 0x67) if h264_codec else (0x42, 0x43)
        return next((unit for unit in units if unit and unit[0] in heads), None)
    if not h264_codec:
        return cpd if cpd[0] in (0x42, 0x43) else _sps_of_hvcc(cpd)
    if cpd[0] == 1 and cpd[4] >= 0xFC and cpd[5] > 0xE0:
        size = int.from_bytes(cpd[6:8])
        return cpd[8 : 8 + size] if 0 < size <= len(cpd) else None
    return cpd


def _sps_of_hvcc(record: bytes) -> bytes | None:
    """Return the first unit of the SPS array, or None if the record before it is incomplete."""
    rest = record[23:]
    while len(rest) > 5:
        kind, count, rest = rest[0] & 63, int.from_bytes(rest[1:3]), rest[3:]
        for _ in range(count):
            size = int.from_bytes(rest[:2])
            if size + 2 > len(rest):
                return None
            if kind == 33:
                return rest[2 : 2 + size] if count == 1 else None
            rest = rest[2 + size :]
    return None


def _memory_error(case: Case) -> Result | None:
    """The C producer read past its buffer; the right result is that for the actual bytes."""
    unit = _sps_of(case) if "memory error" in case.get("quirk", "") else None
    return None if unit is None else _oracle_size(case["codec"], unit)


def _zeros_before_start_code(case: Case) -> Result | None:
    unit = _sps_of(case)
    refused = case["expect"]["status"] in ("0x3200000d", "0x32000015", "0x32000018")
    if unit is None or not refused or not re.search(rb"\0{4,}\x01", input_bytes(case["cpd"])):
        return None
    return _oracle_size(case["codec"], unit)


def _sps_fields(case: Case) -> Result | None:
    unit = _sps_of(case)
    if unit is None:
        return None
    if case["codec"] == "h264":
        # The C producer misreads emulation prevention and scaling lists. It treats an avcC as a
        # bare SPS unless it has one SPS and 4-byte lengths.
        scaling = len(unit) > 1 and unit[1] in oracle.CHROMA_PROFILES
        cpd = input_bytes(case["cpd"])
        other_avcc = cpd[0] == 1 and cpd[4:6] != b"\xff\xe1"
        misread = b"\0\0\x03" in unit or scaling or other_avcc
    else:
        payload = oracle.without_emulation(unit[2:])
        # The C producer reads the last constraint byte and the level as sub-layer flags, and
        # reads any unit in the SPS array of an hvcC record as an SPS.
        other_unit = unit[:1] not in (b"\x42", b"\x43")
        misread = len(payload) < 13 or payload[0] >> 1 & 7 or payload[11] & 0xC0 or other_unit
    return _oracle_size(case["codec"], unit) if misread else None


def _picture_16_bits(case: Case) -> Result | None:
    """An H.265 picture is too large for the 16-bit width and height."""
    unit = _sps_of(case) if case.get("codec") == "h265" else None
    result = None if unit is None else _oracle_size("h265", unit)
    return result if result in (_BAD_WIDTH, _BAD_HEIGHT) else None


def _avcc_empty_sps(case: Case) -> Result | None:
    cpd = input_bytes(case["cpd"]) if case.get("codec") == "h264" else b""
    if len(cpd) < 8 or cpd[0] != 1 or cpd[6:8] != b"\0\0":
        return None
    return failure(0x32000012)


def _bitmap_16_bits(case: Case) -> Result | None:
    cpd = input_bytes(case["cpd"]) if case.get("codec") == "bih" else b""
    if len(cpd) < 40:
        return None
    width, height = (int.from_bytes(cpd[at : at + 4], "little", signed=True) for at in (4, 8))
    if 0 <= width <= 0xFFFF and abs(height) <= 0xFFFF:
        return {"status": SUCCESS, "width": width, "height": abs(height)}
    return failure(0x32000016)


def _aac_fields(case: Case) -> Result | None:
    """Channel configuration 7 means 8 channels; escaped object types and explicit rates."""
    cpd = input_bytes(case["cpd"]) if case.get("codec") == "aac" else b""
    if len(cpd) < 2:
        return None
    bits = oracle.Bits(cpd)
    try:
        if bits.u(5) == 31:
            bits.u(6)
        index = bits.u(4)
        written = index == 15 and len(bits.text) >= 28
        freq = bits.u(24) if written else dict(enumerate(_AAC_RATES)).get(index, 0)
        channels = {7: 8}.get(config := bits.u(4), config)
    except oracle.Refused:
        return failure(0x32000025)
    if config > 7:
        return failure(0x32000024)
    if not freq:
        return failure(0x32000023)
    return {"status": SUCCESS, "freq": freq, "channels": channels}


_AAC_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip


def _aac_object_type(case: Case) -> Result | None:
    args = case.get("args", {})
    if args.get("object_type", 0) < 31 or case["expect"]["status"] != SUCCESS:
        return None
    if not 32 <= args["object_type"] <= 95:
        return failure(2)
    rate = _AAC_RATES.index(args["freq"])
    text = f"11111{args['object_type'] - 32:06b}{rate:04b}{args['channels']:04b}00000"
    return {"status": SUCCESS, "cpd": f"{int(text, 2):06x}"}


RULES: Mapping[str, Callable[[Case], Result | None]] = {
    "memory_error": _memory_error,
    "zeros_before_start_code": _zeros_before_start_code,
    "sps_fields": _sps_fields,
    "picture_16_bits": _picture_16_bits,
    "avcc_empty_sps": _avcc_empty_sps,
    "bitmap_16_bits": _bitmap_16_bits,
    "aac_fields": _aac_fields,
    "aac_object_type": _aac_object_type,
}
