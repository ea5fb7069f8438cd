"""Make the index of a data folder agree with its media files when the store starts.

The index can be rebuilt from the media files (`journal`, `index`). After a regular stop they agree,
and no media file is read. Otherwise:

- If a file is longer than its size in the index, the additional bytes are read, and their fragments
  are added to the index. This happens after a crash, and if the index is old or new (because it was
  lost or damaged).
- The list of streams is read from the first record of the newest file, with all later changes.
- Bytes that are not a valid record stay in the file, and a new file begins. If records follow them,
  the file was damaged, and it is never deleted. If none follow, a write was unfinished.
- A file that was replaced by another one is read completely.
- A file that became shorter is read completely. The fragments at its end are lost, with a warning.
- If a file is missing but has fragments that have not expired, the store does not start: the folder
  may not be mounted.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kvsproducer.endpoint import journal
from kvsproducer.endpoint.index import DamagedIndex, Index, Location, Row, Written
from kvsproducer.endpoint.journal import Damage, Record
from kvsproducer.endpoint.members import JsonObject
from kvsproducer.endpoint.payloads import FilePayloads
from kvsproducer.endpoint.streams import StreamRecord

__all__ = ["open_index", "recover"]

_log = logging.getLogger(__name__)

_BATCH: Final = 1000  # fragments that are added to the index in one transaction


def open_index(path: Path) -> Index:
    """Open the index of a data folder. If it is damaged, rename it and create a new one.

    Raises OSError if it cannot be opened or was written by another version.
    """
    try:
        return Index(path)
    except DamagedIndex as error:
        aside = _set_aside(path)
        _log.warning(
            "the index %s is damaged (%s): it was renamed to %s and is rebuilt from the media",
            path,
            error,
            aside.name,
        )
    try:
        return Index(path)
    except DamagedIndex as error:
        raise OSError(errno.EIO, f"cannot create a new index: {error}", str(path)) from error


def recover(index: Index, payloads: FilePayloads, now: int) -> None:
    """Make the index agree with the files. `now` is in ticks.

    Raises OSError if media is missing or unreadable; see the module's docstring.
    """
    sizes = payloads.sizes()
    begun = {number: size for number, size in sizes.items() if not _is_blank(payloads, number)}
    for number, written in index.written().items():
        mark = payloads.mark(number) if number in begun else ""
        if mark and written.mark and mark != written.mark:
            _log.warning("%s was replaced by another file: it is read again", payloads.path(number))
            index.forget_files([number])
    known = {number: written.size for number, written in index.written().items()}
    indexed = dict(known)  # the index has the streams up to here, even if files became shorter
    for number in [n for n, size in begun.items() if size < known.get(n, 0)]:
        _forget_shorter_file(index, payloads, number, known.pop(number) - begun[number])
    ahead = [number for number in sorted(begun) if begun[number] > known.get(number, 0)]
    if ahead:
        _recover_streams(index, payloads, begun, indexed)
    closed = {
        number for number in ahead if _add_tail(index, payloads, number, known.get(number, 0))
    }
    _check_missing(index, payloads, set(known) - set(begun), now)
    payloads.list_streams = lambda: [
        [record, last_number] for _, record, last_number in index.streams_with_numbers()
    ]
    newest = max((*sizes, *known), default=1)
    if not (sizes or known) or (newest in begun and newest not in closed):
        payloads.continue_at(newest)
    else:
        payloads.begin(newest + 1)


def _is_blank(payloads: FilePayloads, number: int) -> bool:
    """Return whether a file has no data: a crash came before its first bytes reached the disk."""
    with payloads.path(number).open("rb") as file:
        head = file.read(journal.FILE_HEAD_BYTES)
    return len(head) < journal.FILE_HEAD_BYTES or not any(head)


def _forget_shorter_file(index: Index, payloads: FilePayloads, number: int, missing: int) -> None:
    """Remove from the index a file that became shorter, so that it is read completely."""
    _log.warning(
        "%s became %d bytes shorter: of its %d fragments, those at the end are lost",
        payloads.path(number),
        missing,
        index.fragments_in_file(number),
    )
    index.forget_files([number])


def _recover_streams(
    index: Index, payloads: FilePayloads, sizes: dict[int, int], known: dict[int, int]
) -> None:
    """Update the streams in the index from the newest media file.

    The file begins with a list of all streams; later records contain changes. If the index already
    has part of that file, start with the streams in the index, and read only the rest of the file.
    """
    streams = {arn: (text, last) for arn, text, last in index.streams_with_numbers()}
    listing = max(known, default=0)
    for number in sorted((n for n in sizes if n > listing), reverse=True):
        found = next(_records(payloads, number, 0), None)
        if isinstance(found, Record) and "streams" in found.head:
            listing = number
            break
    if not listing:
        raise OSError(
            errno.EIO,
            "no media file has a list of streams; restore a complete file or the index, or move"
            " the damaged files away to start without them",
            str(payloads.folder),
        )
    for number in sorted(n for n in sizes if n >= listing):
        try:
            for found in _records(payloads, number, known.get(number, 0)):
                if isinstance(found, Record):
                    _apply(streams, found.head)
        except ValueError as error:
            raise OSError(
                errno.EINVAL,
                f"the record of a stream cannot be read: {error}; it may be a newer version's",
                str(payloads.path(number)),
            ) from error
    index.replace_streams(streams)


def _apply(streams: dict[str, tuple[str, str]], head: JsonObject) -> None:
    """Apply the head of one journal record to `streams`.

    `streams` maps the ARN of each stream to its description and its last fragment number."""
    listed, changed, deleted = head.get("streams"), head.get("stream"), head.get("deleted")
    if isinstance(listed, list):
        streams.clear()
        for item in listed:
            assert isinstance(item, list), "the checksum is right, so `encode` wrote it"
            text, last_number = map(str, item)
            streams[StreamRecord.from_json(text).arn] = text, last_number
    elif isinstance(changed, str):
        arn = StreamRecord.from_json(changed).arn
        streams[arn] = changed, streams.get(arn, ("", ""))[1]
    elif isinstance(deleted, str):
        streams.pop(deleted, None)


def _add_tail(index: Index, payloads: FilePayloads, number: int, start: int) -> bool:
    """Add all fragments of a file, beginning at `start`, to the index.

    Returns whether the file is damaged, so that nothing may be appended to it.
    """
    path, mark = payloads.path(number), payloads.mark(number)
    index.drop_file_tail(number, start)
    rows: list[Row] = []
    count = 0
    closed = False
    end = path.stat().st_size
    for found in _records(payloads, number, start):
        if isinstance(found, Damage):
            closed = True
            if found.torn:
                end = (
                    found.offset
                )  # if the file is replaced by a complete copy, it is read from here on
            _log.warning(
                "%s: bytes %d to %d have no complete fragment (%s)",
                path,
                found.offset,
                found.end,
                "an unfinished write" if found.torn else "damaged; the file will not be deleted",
            )
            if not found.torn:
                index.save_damaged(Written(number, found.offset, mark))
            continue
        row = journal.fragment_row(found.head)
        if row is None:
            continue
        arn, info, sizes = row
        rows.append((arn, info, Location(number, found.offset, found.length, sizes)))
        count += 1
        if len(rows) == _BATCH:
            index.add_fragments(rows, Written(number, found.offset + found.length, mark))
            rows.clear()
    index.add_fragments(rows, Written(number, end, mark))
    if count:
        _log.warning("%s: %d fragments were missing in the index, and were added", path, count)
    return closed


def _records(payloads: FilePayloads, number: int, start: int) -> Iterator[Record | Damage]:
    file, mark = payloads.open_file(number)
    with file:
        yield from journal.scan(file, mark, max(start, journal.FILE_HEAD_BYTES))


def _check_missing(index: Index, payloads: FilePayloads, missing: set[int], now: int) -> None:
    """Remove missing files from the index. Raises OSError if one had media that is not expired."""
    records = index.streams()
    for number in sorted(missing):
        count = sum(
            index.count_in_file(number, record.arn, now - record.retention) for record in records
        )
        if count:
            raise OSError(
                errno.ENOENT,
                f"the file is missing, and the index lists {count} fragments in it; mount or"
                f" restore the folder {payloads.folder}, or delete index.sqlite3 beside it to start"
                " with the media that is there (the index is then rebuilt)",
                str(payloads.path(number)),
            )
    index.forget_files(missing)


def _set_aside(path: Path) -> Path:
    """Rename the damaged index and SQLite's additional files. Return the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside
