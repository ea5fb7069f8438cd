"""Parses the acks in a PutMedia response from a byte stream.

The service writes JSON objects with flat members, one per HTTP chunk (KVS developer guide,
PutMedia). A proxy may join or split them anywhere. A regular expression parses the exact form that
the service sends. Everything else goes through a tolerant character machine with AWS's grammar. It
ignores text outside objects, unknown members and nested values. Members are separated by commas or
blanks, and values need no quotes.

Invariants: Any split of the input gives the same result. An error costs one ack, never the acks
after it. Memory is bounded. Unlike AWS's parser, this one understands strings and escapes within
nested values, across chunks. The parser does not check whether the client knows the fragment;
`acks` does.

If a closing quote is damaged, the string runs into the next ack. So the parser looks for the bytes
with which each ack of the service begins (`_BEGINNING`). In valid JSON these bytes cannot appear
within a string, because quotes in it are escaped. They cannot stand in the place of a colon or of
the value of a flat member either. If the parser finds them there, it gives up the ack and begins
the next one.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from kvsproducer import limits, wire
from kvsproducer.duration import INVALID_DURATION_VALUE, TICKS_PER_MS, to_datetime
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.wire import AckType

__all__ = ["AckParser", "FragmentAck"]

_S = StatusCode
RESULT_OK: Final = 200


class FragmentAck(NamedTuple):
    """One ack of a PutMedia response.

    `timecode` is the timecode of the fragment, in milliseconds as sent, or None if unknown.
    `sequence_number` is the fragment number. `result` is 200, or the error id of an ERROR ack (7000
    for an unknown id).
    """

    ack_type: AckType
    timecode: int | None = None
    sequence_number: str = ""
    result: int = RESULT_OK

    @property
    def datetime(self) -> dt.datetime | None:
        """`timecode` as a `datetime` in UTC, None if unknown.

        The year is 1970 if the times of the stream are relative.
        """
        return None if self.timecode is None else to_datetime(self.timecode * TICKS_PER_MS)

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> FragmentAck:
        """Return the ack that a versioned structure of AWS's test cases describes.

        Raises INVALID_FRAGMENT_ACK_VERSION, INVALID_ARG.
        """
        values = dict(data)
        version = values.pop("version", limits.FRAGMENT_ACK_VERSION)
        if version != limits.FRAGMENT_ACK_VERSION:
            raise kvs_error(
                _S.INVALID_FRAGMENT_ACK_VERSION,
                f"the fragment ack has version {version!r}; "
                f"only {limits.FRAGMENT_ACK_VERSION} is known",
            )
        try:
            kind = values.pop("ack_type")
            ack_type = AckType[kind.upper()] if isinstance(kind, str) else AckType(kind)  # type: ignore[arg-type]
            return cls(ack_type, **values)  # type: ignore[arg-type]
        except (KeyError, ValueError, TypeError) as error:
            raise kvs_error(
                _S.INVALID_ARG, f"the fragment ack has a wrong or missing member: {error}"
            ) from error


_WELL_FORMED: Final = re.compile(
    rb'\s*+\{"EventType":"(BUFFERING|RECEIVED|PERSISTED|IDLE)","FragmentTimecode":([0-9]{1,18}),'
    rb'"FragmentNumber":"([0-9]{0,128})"\}\s*+'
)
_new_ack: Final = tuple.__new__  # takes half the time of calling the class
_TYPES: Final = {kind.name.encode(): kind for kind in AckType if kind is not AckType.UNDEFINED}
_BLANKS: Final = frozenset(b" \t\n\v\f\r")
_BARE_START: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.")
_NOT_IN_BARE: Final = frozenset(b'"{[]:')
_OPEN, _CLOSE, _QUOTE, _COMMA, _COLON, _ESCAPE = b'{}",:\\'
_OPENING: Final = frozenset(b"{[")
_CLOSING: Final = frozenset(b"}]")
_KNOWN: Final = {
    name.encode()
    for name in (
        wire.ACK_EVENT_TYPE,
        wire.ACK_FRAGMENT_TIMECODE,
        wire.ACK_FRAGMENT_NUMBER,
        wire.ACK_ERROR_ID,
    )
}
_EVENT_TYPE: Final = wire.ACK_EVENT_TYPE.encode()
_BEGINNING: Final = b'{"' + _EVENT_TYPE + b'":"'
_TIMECODE: Final = wire.ACK_FRAGMENT_TIMECODE.encode()
_NUMBER: Final = wire.ACK_FRAGMENT_NUMBER.encode()
_ERROR_ID: Final = wire.ACK_ERROR_ID.encode()


class _At(Enum):
    """The position of the next byte in the grammar."""

    OUTSIDE = auto()
    FIRST_KEY = auto()  # after the opening brace
    NEXT_KEY = auto()  # after a value
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    QUOTED = auto()
    BARE = auto()
    NESTED = auto()


_FLAT: Final = _KNOWN | {wire.ACK_ERROR_CODE.encode()}  # members with flat values
_NO_ACK_BEGINS: Final = frozenset({_At.KEY, _At.COLON, _At.QUOTED})  # where no ack can begin
# a global, because in CPython 3.11 an enum member lookup takes 0.2 us
_OUTSIDE: Final = _At.OUTSIDE


class AckParser:
    """Parses the bytes of one response into acks and errors, in order."""

    __slots__ = (
        "_at",
        "_depth",
        "_escaped",
        "_found",
        "_in_string",
        "_key",
        "_length",
        "_members",
        "_text",
    )

    def __init__(self) -> None:
        self._found = 0  # number of bytes of `_BEGINNING` found; `_reset` keeps it
        self._reset()

    def _reset(self) -> None:
        self._at = _At.OUTSIDE
        self._members: dict[bytes, bytes | None] = {}
        self._key = b""
        self._text = bytearray()
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._length = 0

    def read_one(self, data: bytes) -> FragmentAck | None:
        """Return the ack if `data` is exactly one ack in the usual form, which is the common case.

        Otherwise return None; the caller must then pass `data` to `receive_data`.
        """
        match = _WELL_FORMED.fullmatch(data) if self._at is _OUTSIDE else None
        return None if match is None else _ack_of_match(match)

    def receive_data(self, data: bytes) -> Iterator[FragmentAck | KvsError]:
        """Yield the acks that `data` completes, and errors for those that could not be parsed.

        Errors: INVALID_ACK_KEY_START, INVALID_ACK_DUPLICATE_KEY_NAME,
        INVALID_ACK_INVALID_VALUE_START, INVALID_ACK_INVALID_VALUE_END, INVALID_PARSED_ACK_TYPE,
        MISSING_ERR_ACK_ID, INVALID_ACK_SEGMENT_LEN (an ack that is far too long), and the number
        errors of `utils`.
        """
        position, between = 0, self._at is _OUTSIDE
        while position < len(data):
            if between:  # an ack may begin here: at the start, and after each ack on the slow path
                between = False
                while (match := _WELL_FORMED.match(data, position)) is not None:
                    yield _ack_of_match(match)
                    position = match.end()
                continue
            outcome = self._step(data[position])
            position += 1
            if outcome is not None:
                between = self._at is _OUTSIDE
                yield outcome

    def _step(self, byte: int) -> FragmentAck | KvsError | None:
        """Process one byte."""
        if byte == _OPEN:
            self._found = int(self._is_within_damaged())
        elif self._found:
            self._found = self._found + 1 if byte == _BEGINNING[self._found] else 0
            if self._found == len(_BEGINNING):
                return self._start_next_ack()
        if self._at is _At.OUTSIDE:
            if byte == _OPEN:
                self._at = _At.FIRST_KEY
            return None
        try:
            self._length += 1
            if self._length > limits.MAX_ACK_BYTES:
                raise kvs_error(
                    _S.INVALID_ACK_SEGMENT_LEN,
                    f"the ack has more than {limits.MAX_ACK_BYTES} bytes",
                )
            if _STEPS[self._at](self, byte):
                ack = _make_ack(self._members)
                self._reset()
                return ack
        except KvsError as error:
            self._reset()
            if byte == _OPEN:  # the byte that broke this ack may begin the next
                self._at = _At.FIRST_KEY
            return error
        return None

    def _is_within_damaged(self) -> bool:
        """Return True if an ack that begins at this point shows that the current ack is damaged."""
        return (
            self._at in _NO_ACK_BEGINS
            or (self._at is _At.NESTED and self._in_string)
            or (self._at is _At.VALUE and self._key in _FLAT)
        )

    def _start_next_ack(self) -> KvsError | None:
        """Give up the current ack, because `_BEGINNING` shows that the next one begins.

        Return an error for the current ack, unless it already had one.
        """
        damaged = self._at is not _OUTSIDE
        self._found = 0
        self._reset()
        self._key = _EVENT_TYPE
        self._at = _At.QUOTED
        if not damaged:
            return None
        return kvs_error(
            _S.INVALID_ACK_KEY_START, "the ack is cut off: another ack begins within it"
        )

    # Each step processes a byte and returns whether it ended the object.
    def _key_start(self, byte: int) -> bool:
        if byte == _QUOTE:
            self._at = _At.KEY
            self._text.clear()
        elif self._at is _At.NEXT_KEY and byte == _CLOSE:
            return True
        elif byte not in _BLANKS and not (self._at is _At.NEXT_KEY and byte == _COMMA):
            raise kvs_error(
                _S.INVALID_ACK_KEY_START, f"the ack has byte {byte:#04x} where a key begins"
            )
        return False

    def _in_key(self, byte: int) -> bool:
        if self._ends_string(byte):
            self._key = bytes(self._text)
            self._at = _At.COLON
        return False

    def _colon(self, byte: int) -> bool:
        if byte == _COLON:
            self._at = _At.VALUE
        return False

    def _value_start(self, byte: int) -> bool:
        self._text.clear()
        if byte == _QUOTE:
            self._at = _At.QUOTED
        elif byte in _OPENING:
            self._at = _At.NESTED
            self._depth = 1
        elif byte in _BARE_START:
            self._at = _At.BARE
            self._text.append(byte)
        elif byte not in _BLANKS:
            raise kvs_error(
                _S.INVALID_ACK_INVALID_VALUE_START,
                f"the ack has byte {byte:#04x} where a value begins",
            )
        return False

    def _in_quoted(self, byte: int) -> bool:
        if self._ends_string(byte):
            self._store_member(bytes(self._text))
        return False

    def _in_bare(self, byte: int) -> bool:
        if byte in (_CLOSE, _COMMA) or byte in _BLANKS:
            self._store_member(bytes(self._text))
            return byte == _CLOSE
        if byte in _NOT_IN_BARE:
            raise kvs_error(
                _S.INVALID_ACK_INVALID_VALUE_END,
                f"the ack has byte {byte:#04x} within a value without quotes",
            )
        self._text.append(byte)
        return False

    def _in_nested(self, byte: int) -> bool:
        if self._in_string:
            self._in_string = not self._ends_string(byte)
            self._text.clear()
        elif byte == _QUOTE:
            self._in_string = True
        elif byte in _OPENING:
            self._depth += 1
        elif byte in _CLOSING:
            self._depth -= 1
            if not self._depth:
                self._store_member(None)
        return False

    def _ends_string(self, byte: int) -> bool:
        """Process a byte of a string; return True if it is the closing quote.

        Escape sequences are kept as they are.
        """
        if self._escaped:
            self._escaped = False
        elif byte == _QUOTE:
            return True
        else:
            self._escaped = byte == _ESCAPE
        self._text.append(byte)
        return False

    def _store_member(self, value: bytes | None) -> None:
        """Store a complete member; `value` is None if it was nested."""
        self._at = _At.NEXT_KEY
        if self._key in _KNOWN:
            if self._key in self._members:
                raise kvs_error(
                    _S.INVALID_ACK_DUPLICATE_KEY_NAME,
                    f"the ack has the key {self._key.decode()!r} twice",
                )
            # Numbers are parsed at once, so that a bad one is the first error of its ack.
            if value is not None and self._key in (_TIMECODE, _ERROR_ID):
                _parse_number(value)
            self._members[self._key] = value


_STEPS: Final = {
    _At.FIRST_KEY: AckParser._key_start,
    _At.NEXT_KEY: AckParser._key_start,
    _At.KEY: AckParser._in_key,
    _At.COLON: AckParser._colon,
    _At.VALUE: AckParser._value_start,
    _At.QUOTED: AckParser._in_quoted,
    _At.BARE: AckParser._in_bare,
    _At.NESTED: AckParser._in_nested,
}


def _parse_number(text: bytes) -> int:
    """Parse an unsigned 64-bit decimal number, or -1; like AWS, allow a leading plus sign.

    Raises EMPTY_STRING, INVALID_BASE (a character that is a digit only in a larger base),
    INVALID_DIGIT, INT_OVERFLOW.
    """
    digits = text[1:] if text[:1] in (b"+", b"-") else text
    if not digits:
        raise kvs_error(_S.EMPTY_STRING, f"the ack has {text!r} for a number, which has no digits")
    for byte in digits:
        if not 0x30 <= byte <= 0x39:
            letter = bytes([byte]).isalpha()
            raise kvs_error(
                _S.INVALID_BASE if letter else _S.INVALID_DIGIT,
                f"the ack has {text[:32]!r} for a number",
            )
    value = int(digits[:40])
    if text[:1] == b"-":
        if value != 1:
            raise kvs_error(_S.INVALID_DIGIT, f"the ack has the negative number {text[:32]!r}")
        return -1
    if value > INVALID_DURATION_VALUE:
        raise kvs_error(
            _S.INT_OVERFLOW, f"the ack has the number {text[:32]!r}, which needs over 64 bits"
        )
    return value


def _ack_of_match(match: re.Match[bytes]) -> FragmentAck:
    """Return the ack that a match of `_WELL_FORMED` describes."""
    kind, timecode, number = match.groups()
    return _new_ack(FragmentAck, (_TYPES[kind], int(timecode), number.decode(), RESULT_OK))


def _make_ack(members: dict[bytes, bytes | None]) -> FragmentAck:
    """Return the ack that a complete JSON object describes."""
    kind = _TYPES.get(members.get(_EVENT_TYPE) or b"")
    if kind is None:
        raise kvs_error(
            _S.INVALID_PARSED_ACK_TYPE,
            f"the ack has the unknown EventType {(members.get(_EVENT_TYPE) or b'')[:32]!r}",
        )
    error_id = members.get(_ERROR_ID)
    if kind is AckType.ERROR and error_id is None:
        raise kvs_error(_S.MISSING_ERR_ACK_ID, "the ERROR ack has no ErrorId")
    timecode_text = members.get(_TIMECODE)
    timecode = None if timecode_text is None else _parse_number(timecode_text)
    if timecode in (-1, INVALID_DURATION_VALUE):  # the service does not know the fragment
        timecode = None
    number = (members.get(_NUMBER) or b"")[: limits.MAX_FRAGMENT_NUMBER_LEN]
    result = RESULT_OK if error_id is None else wire.ack_error(_parse_number(error_id)).id
    return FragmentAck(kind, timecode, number.decode("latin-1"), result)
