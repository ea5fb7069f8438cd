"""The ack parser accepts any split of its input, and an error costs one ack only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from kvsproducer.client.ack import AckParser, FragmentAck
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.wire import AckType

PERSISTED = b'{"EventType":"PERSISTED","FragmentTimecode":1000,"FragmentNumber":"7"}'
CASES = {
    PERSISTED: [FragmentAck(AckType.PERSISTED, 1000, "7")],
    b' {"EventType" : "IDLE"}\r\n' + PERSISTED: [
        FragmentAck(AckType.IDLE),
        FragmentAck(AckType.PERSISTED, 1000, "7"),
    ],
    b'{"X":{"a":["}",{"b":"\\""}]},"EventType":"RECEIVED","FragmentTimecode":5}': [
        FragmentAck(AckType.RECEIVED, 5)
    ],
    b'{"EventType":"ERROR","FragmentTimecode":-1,"ErrorId":4006}': [
        FragmentAck(AckType.ERROR, None, "", 4006)
    ],
    b'{"EventType":"ERROR","ErrorId":12}': [FragmentAck(AckType.ERROR, None, "", 7000)],
    b"[" + PERSISTED + b"," + PERSISTED + b"]": [FragmentAck(AckType.PERSISTED, 1000, "7")] * 2,
    b'{"EventType":BUFFERING,"FragmentTimecode":"12"}': [FragmentAck(AckType.BUFFERING, 12)],
}
BROKEN = {
    b"{EventType:1}": StatusCode.INVALID_ACK_KEY_START,
    b'{"EventType":"IDLE","EventType":"IDLE"}': StatusCode.INVALID_ACK_DUPLICATE_KEY_NAME,
    b'{"EventType":@}': StatusCode.INVALID_ACK_INVALID_VALUE_START,
    b'{"FragmentTimecode":12"3}': StatusCode.INVALID_ACK_INVALID_VALUE_END,
    b'{"EventType":"Received"}': StatusCode.INVALID_PARSED_ACK_TYPE,
    b'{"EventType":"ERROR"}': StatusCode.MISSING_ERR_ACK_ID,
    b'{"FragmentTimecode":1_0}': StatusCode.INVALID_DIGIT,
    b'{"FragmentTimecode":0x1}': StatusCode.INVALID_BASE,
    b'{"FragmentTimecode":18446744073709551616}': StatusCode.INT_OVERFLOW,
    b'{"FragmentTimecode":""}': StatusCode.EMPTY_STRING,
    b'{"FragmentTimecode":-5}': StatusCode.INVALID_DIGIT,
    b'{"X":"' + b"x" * 70_000: StatusCode.INVALID_ACK_SEGMENT_LEN,
}


def read(*chunks: bytes) -> list[FragmentAck | StatusCode]:
    parser = AckParser()
    found = [item for chunk in chunks for item in parser.receive_data(chunk)]
    return [item.status if isinstance(item, KvsError) else item for item in found]


@pytest.mark.parametrize("text", CASES)
def test_any_split_of_the_bytes_gives_the_same_acks(text: bytes) -> None:
    """The input is given at once, byte by byte, and split at random places."""
    dice = random.Random(len(text))
    assert read(text) == CASES[text]
    assert read(*(text[i : i + 1] for i in range(len(text)))) == CASES[text]
    for _ in range(20):
        cuts = sorted(dice.sample(range(len(text)), 3))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert read(*pieces) == CASES[text]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:24].decode())
def test_a_broken_ack_does_not_affect_others(text: bytes) -> None:
    """Its own status is reported, and the ack after it is parsed."""
    found = read(text + b" }" + PERSISTED)
    assert found[0] == BROKEN[text]
    assert found[-1] == FragmentAck(AckType.PERSISTED, 1000, "7")


def test_from_dict_checks_the_version_of_an_ack() -> None:
    """`from_dict` accepts version 0 only."""
    assert FragmentAck.from_dict({"version": 0, "ack_type": "IDLE"}).ack_type is AckType.IDLE
    with pytest.raises(KvsError) as caught:
        FragmentAck.from_dict({"version": 1, "ack_type": 3})
    assert caught.value.status is StatusCode.INVALID_FRAGMENT_ACK_VERSION
    with pytest.raises(KvsError) as caught:
        FragmentAck.from_dict({"ack_type": "NONE"})
    assert caught.value.status is StatusCode.INVALID_ARG


def test_a_byte_that_breaks_an_ack_may_begin_the_next() -> None:
    """An opening brace within a bare value ends the current ack and begins the next."""
    first, second = AckParser().receive_data(b'{"FragmentTimecode":12' + PERSISTED)
    assert isinstance(first, KvsError)
    assert first.status is StatusCode.INVALID_ACK_INVALID_VALUE_END
    assert second == FragmentAck(AckType.PERSISTED, 1000, "7")


def test_fast_path_resumes_after_an_ack_that_was_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the ack that was split between two reads is parsed byte by byte."""
    one = b'{"EventType":"RECEIVED","FragmentTimecode":5,"FragmentNumber":"1"}\n'
    steps = []
    step = AckParser._step

    def counted(parser: AckParser, byte: int) -> FragmentAck | KvsError | None:
        steps.append(byte)
        return step(parser, byte)

    monkeypatch.setattr(AckParser, "_step", counted)
    parser = AckParser()
    assert list(parser.receive_data(one[:40])) == []
    assert len(list(parser.receive_data(one[40:] + 100 * one))) == 101
    assert len(steps) < len(one)


def numbered_ack(number: int) -> bytes:
    """Return an ack as the service writes it; every fourth one is an ERROR."""
    kind = b"PERSISTED" if number % 4 else b"ERROR"
    error = b"" if number % 4 else b',"ErrorCode":"INVALID_MKV_DATA","ErrorId":4006'
    text = b'{"EventType":"%b","FragmentTimecode":%d,"FragmentNumber":"9134%d"%b}\r\n'
    return text % (kind, 1000 + number, number, error)


def damages(text: bytes) -> Iterator[bytes]:
    """Yield damaged acks: a byte changed, removed or inserted at each place, or the rest cut."""
    for at in range(len(text) - 2):
        yield text[:at]
        yield text[:at] + text[at + 1 :]
        for byte in b'"{}[],:0a\\\x00\xa2':
            yield text[:at] + bytes([byte]) + text[at:]
            yield text[:at] + bytes([byte]) + text[at + 1 :]


@pytest.mark.parametrize("damaged", range(4))
@pytest.mark.parametrize("whole", [True, False], ids=["a chunk each", "joined"])
def test_one_damaged_ack_does_not_affect_the_next(damaged: int, whole: bool) -> None:
    """This holds wherever it is damaged."""
    acks = [numbered_ack(number) for number in range(5)]
    others = {1000 + number for number in range(5) if number != damaged}
    for broken in damages(acks[damaged]):
        chunks = [*acks[:damaged], broken, *acks[damaged + 1 :]]
        found = read(*(chunks if whole else [b"".join(chunks)]))
        timecodes = {ack.timecode for ack in found if isinstance(ack, FragmentAck)}
        assert others <= timecodes, broken


def test_a_nested_value_may_look_like_an_ack() -> None:
    """It is skipped like any other nested value."""
    assert read(b'{"X":' + PERSISTED + b',"EventType":"IDLE"}') == [FragmentAck(AckType.IDLE)]


def test_time_of_an_ack_is_its_timecode_in_utc() -> None:
    """It is None for an ack without a timecode."""
    ack = FragmentAck(AckType.PERSISTED, 1_700_000_000_123)
    assert ack.datetime == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert FragmentAck(AckType.IDLE).datetime is None
