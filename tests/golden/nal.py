"""Golden cases of NAL unit conversion (`nal.jsonl`).

Where our output differs from the C producer's, it must equal the output of `oracle`, and a listed
rule must name the defect of the C producer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import oracle
from common import (
    SUCCESS,
    Case,
    Outcome,
    Result,
    Verdict,
    failed,
    failure,
    input_bytes,
    output_form,
    run,
)

from kvsproducer.codecs import annexb_to_avcc, avcc_to_annexb, h264, h265, split_annexb, unescape


def matches(case: Case) -> bool:
    return "op" in case and "input" in case


def check(case: Case, rules: frozenset[str]) -> Verdict:
    """Compare our output with the C producer's, or with the oracle's where a rule applies."""
    data, expected = input_bytes(case["input"]), dict(case["expect"])
    form = expected.get("output", "")
    got = run(lambda: {"output": output_form(OURS[case["op"]](data), form)})
    if got == expected and "quirk" not in case:
        return Verdict(Outcome.PASSED)
    try:
        right: Result = {"status": SUCCESS, "output": output_form(ORACLE[case["op"]](data), form)}
    except oracle.Refused as refusal:
        right = failure(refusal.args[0])
    if got != right:
        return failed(right if "quirk" in case else expected, got)
    if got == expected:
        return Verdict(Outcome.PASSED)
    explained = [rule for rule in sorted(rules) if RULES[rule](case["op"], data, expected)]
    if not explained:
        return failed(expected, got)
    return Verdict(Outcome.QUIRK, explained[0])


def _prefixed(units: list[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(4) + unit for unit in units)


OURS: Mapping[str, Callable[[bytes], bytes]] = {
    "annexb_to_avcc": lambda data: b"".join(annexb_to_avcc(data)[0]),
    "annexb_to_avcc_remove_epb": lambda data: _prefixed(
        [unescape(bytes(unit)) for unit in split_annexb(data)]
    ),
    "avcc_to_annexb": lambda data: b"".join(avcc_to_annexb(data)[0]),
    "h264_cpd_to_avcc": h264.cpd_to_avcc,
    "h265_cpd_to_hvcc": h265.cpd_to_hvcc,
}


def _start_codes(data: bytes) -> bytes:
    units = oracle.prefixed_units(data)
    if not data or units is None:
        raise oracle.Refused(0x3200000E)
    return b"".join(b"\0\0\0\x01" + unit for unit in units)


ORACLE: Mapping[str, Callable[[bytes], bytes]] = {
    "annexb_to_avcc": lambda data: _prefixed(oracle.annexb_units(data)),
    "annexb_to_avcc_remove_epb": lambda data: _prefixed(
        [oracle.without_emulation(unit) for unit in oracle.annexb_units(data)]
    ),
    "avcc_to_annexb": _start_codes,
    "h264_cpd_to_avcc": oracle.h264_record,
    "h265_cpd_to_hvcc": oracle.h265_record,
}


def _zeros_before_start_code(op: str, data: bytes, expected: Result) -> bool:
    return expected["status"] == "0x3200000d" and re.search(rb"\0{4,}\x01", data) is not None


def _trailing_zeros(op: str, data: bytes, expected: Result) -> bool:
    return expected["status"] == SUCCESS and data.endswith(b"\0")


def _no_start_code(op: str, data: bytes, expected: Result) -> bool:
    from_annexb = op.startswith("annexb")
    return from_annexb and expected["status"] == SUCCESS and not oracle.begins_with_start_code(data)


def _empty_units(op: str, data: bytes, expected: Result) -> bool:
    empty = re.search(rb"\0\0\x01(?:\0*\Z|\0*\0\0\x01)", data)
    return op.startswith("annexb") and expected["status"] == SUCCESS and empty is not None


def _emulation_lengths(op: str, data: bytes, expected: Result) -> bool:
    return op == "annexb_to_avcc_remove_epb"


def _avcc_trailer(op: str, data: bytes, expected: Result) -> bool:
    if op != "h264_cpd_to_avcc" or expected["status"] != SUCCESS:
        return False
    output = expected["output"]
    head = output if isinstance(output, str) else output["head"]
    return bytes.fromhex(head)[1] in oracle.CHROMA_PROFILES


def _first_sets_only(op: str, data: bytes, expected: Result) -> bool:
    if op != "h264_cpd_to_avcc" or expected["status"] != SUCCESS:
        return False
    sets = [unit[0] & 31 for unit in set(oracle.cpd_units(data)) if unit]
    return sets.count(7) > 1 or sets.count(8) > 1


def _hvcc_fields(op: str, data: bytes, expected: Result) -> bool:
    return op == "h265_cpd_to_hvcc"


RULES: Mapping[str, Callable[[str, bytes, Result], bool]] = {
    "zeros_before_start_code": _zeros_before_start_code,
    "trailing_zeros": _trailing_zeros,
    "no_start_code": _no_start_code,
    "empty_units": _empty_units,
    "emulation_lengths": _emulation_lengths,
    "avcc_trailer": _avcc_trailer,
    "first_sets_only": _first_sets_only,
    "hvcc_fields": _hvcc_fields,
}
