"""The format of the endpoint's media files: a journal of self-describing records.

The fragments in a media file and their streams can be found again without the index, so a lost
index loses no media. Layout, all numbers big-endian:

    file head    b"KVSMEDIA", version (4 bytes), mark (16 random bytes), CRC-32 of these
    record       mark, length of the head (4), length of the body (8), CRC-32 of the body (4),
                 CRC-32 of these lengths, that sum and the head (4), head (JSON), body
    heads        {"streams": [[record, last fragment number], ...]}    all streams of the store
                 {"stream": record}                                    one was added or changed
                 {"deleted": ARN}                                      one was deleted
                 {"fragment": [ARN, number, producer timestamp, server timestamp, duration, and
                  the size of each of its four parts]}

Only fragments have a body: their four parts one after the other. The first record of every file
lists all streams, so the newest file has the complete list.

The mark is random and begins each record. After damaged bytes, `scan` searches for the next mark.
Clients do not know the mark, so they cannot send media that `scan` would mistake for a record.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

from kvsproducer.endpoint.fragment import Fragment, FragmentInfo
from kvsproducer.endpoint.members import JsonObject, JsonValue

__all__ = [
    "Damage",
    "Record",
    "RecordError",
    "decode_fragment",
    "encode",
    "encode_fragment",
    "fragment_row",
    "new_file_head",
    "read_file_head",
    "scan",
]

_FILE: Final = struct.Struct(">8sI16sI")
_RECORD: Final = struct.Struct(">16sIQII")
_SUMMED: Final = struct.Struct(">IQI")
_MAGIC: Final = b"KVSMEDIA"
_VERSION: Final = 1
_MARK_BYTES: Final = 16
_PIECE: Final = 1024 * 1024

FILE_HEAD_BYTES: Final = _FILE.size

Sizes: TypeAlias = "tuple[int, int, int, int]"


class RecordError(Exception):
    """The bytes are not a valid record or file head. The text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """A valid record of a file: its position, its total length, and its head."""

    offset: int
    length: int
    head: JsonObject


@dataclass(frozen=True, slots=True)
class Damage:
    """Damaged bytes of a file, from `offset` to `end`: they contain no valid record.

    `torn`: whether the damage reaches the end of the file, as after a power failure during a write.
    """

    offset: int
    end: int
    torn: bool


def new_file_head() -> tuple[bytes, bytes]:
    """Return the head of a new file, and its mark."""
    mark = secrets.token_bytes(_MARK_BYTES)
    fields = _FILE.pack(_MAGIC, _VERSION, mark, 0)[:-4]
    return fields + zlib.crc32(fields).to_bytes(4, "big"), mark


def read_file_head(data: bytes) -> bytes:
    """Return the mark of a file from its first bytes. Raises RecordError."""
    if len(data) < FILE_HEAD_BYTES:
        raise RecordError(f"the file has only {len(data)} bytes, less than its head needs")
    magic, version, mark, checksum = _FILE.unpack(data[:FILE_HEAD_BYTES])
    if magic != _MAGIC or checksum != zlib.crc32(data[: FILE_HEAD_BYTES - 4]):
        raise RecordError("the file does not begin with the head of a `kvs serve` media file")
    if version != _VERSION:
        raise RecordError(
            f"the file has format {version}, but this version reads format {_VERSION}"
        )
    return bytes(mark)


def encode(mark: bytes, head: JsonObject, body: Sequence[bytes] = ()) -> list[bytes]:
    """Encode a record. Return it as a sequence of buffers."""
    text = json.dumps(head, separators=(",", ":")).encode()
    size = checksum = 0
    for part in body:
        size += len(part)
        checksum = zlib.crc32(part, checksum)
    return [
        _RECORD.pack(mark, len(text), size, checksum, _head_sum(len(text), size, checksum, text)),
        text,
        *body,
    ]


def encode_fragment(mark: bytes, arn: str, fragment: Fragment) -> list[bytes]:
    """Encode the record of a fragment. Return it as a sequence of buffers."""
    info = fragment.info
    times = (info.producer_timestamp, info.server_timestamp, info.duration)
    head: JsonObject = {"fragment": [arn, info.number, *times, *fragment.sizes]}
    return encode(mark, head, fragment.parts)


def fragment_row(head: JsonObject) -> tuple[str, FragmentInfo, Sizes] | None:
    """Return (ARN, information, sizes of the parts) from the head of a fragment's record.

    Returns None if the head belongs to another kind of record.
    """
    fields = head.get("fragment")
    if not isinstance(fields, list):
        return None
    arn, number = map(str, fields[:2])
    # The checksum is right, so these are the integers that `encode_fragment` wrote.
    producer, server, duration, *sizes = (value for value in fields[2:] if isinstance(value, int))
    header, leading, cluster, trailing = sizes
    info = FragmentInfo(number, producer, server, duration, sum(sizes))
    return arn, info, (header, leading, cluster, trailing)


def decode_fragment(data: bytes) -> Fragment:
    """Return the fragment in a complete record. Raises RecordError if any byte has changed."""
    head, body = _decode(data)
    row = fragment_row(head)
    if row is None:
        raise RecordError("the record is not a fragment's")
    parts = []
    for size in row[2]:
        parts.append(bytes(body[:size]))
        body = body[size:]
    header, leading, cluster, trailing = parts
    return Fragment(row[1], header, leading, cluster, trailing)


def scan(file: BinaryIO, mark: bytes, start: int) -> Iterator[Record | Damage]:
    """Yield all valid records and damaged parts of a file, in order, beginning at `start`.

    Every byte is read, because a record is valid only if its checksums match. Raises OSError.
    """
    end = os.fstat(file.fileno()).st_size
    position = start
    while position < end:
        record = _read_record(file, mark, position, end)
        if record is not None:
            yield record
            position += record.length
            continue
        following = position
        found: Record | None = None
        while found is None:
            following = _find(file, mark, following + 1)
            if following < 0:
                yield Damage(position, end, torn=True)
                return
            found = _read_record(file, mark, following, end)
        yield Damage(position, following, torn=False)
        position = following


def _read_record(file: BinaryIO, mark: bytes, offset: int, end: int) -> Record | None:
    """Return the record at `offset`, or None if there is none or any byte of it has changed."""
    file.seek(offset)
    fields = file.read(_RECORD.size)
    if len(fields) < _RECORD.size or not fields.startswith(mark):
        return None
    _, head_length, size, checksum, head_sum = _RECORD.unpack(fields)
    length = _RECORD.size + head_length + size
    if offset + length > end:
        return None
    text = file.read(head_length)
    if _head_sum(head_length, size, checksum, text) != head_sum:
        return None
    actual = 0
    while size:
        piece = file.read(min(size, _PIECE))
        if not piece:
            return None
        actual = zlib.crc32(piece, actual)
        size -= len(piece)
    return Record(offset, length, _head(text)) if actual == checksum else None


def _find(file: BinaryIO, mark: bytes, start: int) -> int:
    """Return the position of the next mark at or after `start`, or -1."""
    file.seek(start)
    window = b""
    while piece := file.read(_PIECE):
        window += piece
        found = window.find(mark)
        if found >= 0:
            return start + found
        kept = min(len(window), _MARK_BYTES - 1)
        start += len(window) - kept
        window = window[len(window) - kept :]
    return -1


def _decode(data: bytes) -> tuple[JsonObject, memoryview]:
    if len(data) < _RECORD.size:
        raise RecordError("the record is cut off")
    _, head_length, size, checksum, head_sum = _RECORD.unpack(data[: _RECORD.size])
    text = data[_RECORD.size : _RECORD.size + head_length]
    body = memoryview(data)[_RECORD.size + head_length :]
    if len(body) != size or _head_sum(head_length, size, checksum, text) != head_sum:
        raise RecordError("the head of the record is damaged")
    if zlib.crc32(body) != checksum:
        raise RecordError("the checksum of the media is wrong")
    return _head(text), body


def _head(text: bytes) -> JsonObject:
    head: JsonValue = json.loads(text)
    assert isinstance(head, dict), "the checksum is right, so `encode` wrote it"
    return head


def _head_sum(head_length: int, size: int, checksum: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(_SUMMED.pack(head_length, size, checksum)))
