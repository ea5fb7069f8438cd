"""The index of the endpoint's store: the list of streams and fragments, in SQLite.

The store's writer thread uses one connection, and readers share another one under a lock. With
write-ahead logging, readers do not wait for a commit. Without a path there is one connection to a
database in memory.

The index of a data folder can be rebuilt from the media files (`journal`), which are on the disk
before a commit. So a commit may reach the disk later (synchronous = NORMAL). After a power failure
the index may lack the last commits, and the next start adds them again (`recovery`). The table
`files` stores how many bytes of each media file are in the index.

Fragment numbers are stored as text of 47 digits, so sorting as text sorts by number.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from kvsproducer.endpoint.fragment import FragmentInfo
from kvsproducer.endpoint.streams import StreamRecord

__all__ = ["Axis", "DamagedIndex", "Index", "Location", "Row", "Span", "Written"]

_BUSY_TIMEOUT_S: Final = 30.0

_VERSION: Final = 2  # format 1 had no table `files`, and its media files had no record heads
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS streams (
  id INTEGER PRIMARY KEY AUTOINCREMENT, arn TEXT UNIQUE NOT NULL, record TEXT NOT NULL,
  last_number TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS fragments (
  stream INTEGER NOT NULL, number TEXT NOT NULL,
  producer_timestamp INTEGER NOT NULL, server_timestamp INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  file INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
  header INTEGER NOT NULL, leading INTEGER NOT NULL,
  cluster INTEGER NOT NULL, trailing INTEGER NOT NULL,
  PRIMARY KEY (stream, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  file INTEGER PRIMARY KEY, size INTEGER NOT NULL, mark TEXT NOT NULL,
  damaged INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_producer ON fragments (stream, producer_timestamp);
CREATE INDEX IF NOT EXISTS by_server ON fragments (stream, server_timestamp);
CREATE INDEX IF NOT EXISTS by_file ON fragments (file);
"""
_NOT_DAMAGED: Final = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
# Only these constants and column names are joined into queries, never values of requests (S608).
_SIZE: Final = "header + leading + cluster + trailing"
_INFO: Final = f"number, producer_timestamp, server_timestamp, duration, {_SIZE}"
_NUMBERS: Final = (
    "producer_timestamp, server_timestamp, duration, file, offset, length,"
    " header, leading, cluster, trailing"
)
_TYPES: Final = ", ".join(f"typeof({name})" for name in _NUMBERS.split(", "))
_CONTRADICTIONS: Final = f"""
SELECT count(*) FROM fragments LEFT JOIN files USING (file)
WHERE min({_TYPES}) != 'integer' OR max({_TYPES}) != 'integer'
   OR min(offset, header, leading, cluster, trailing) < 0 OR {_SIZE} > length
   OR offset + length > ifnull(files.size, 0)
"""  # noqa: S608
_OF_STREAM: Final = "stream = (SELECT id FROM streams WHERE arn = ?)"


class DamagedIndex(Exception):
    """The index is damaged. The text says how."""


class Axis(StrEnum):
    """The two timestamps by which fragments can be selected. The values are column names."""

    PRODUCER = "producer_timestamp"
    SERVER = "server_timestamp"


@dataclass(frozen=True, slots=True)
class Span:
    """A time range in ticks, both ends inclusive. It selects the fragments that begin in it."""

    axis: Axis
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where a fragment's record is stored: `length` bytes of a file, starting at `offset`.

    `sizes` are the sizes of the four parts of the fragment. The parts are at the end of the record.
    """

    file: int
    offset: int
    length: int
    sizes: tuple[int, int, int, int]

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Written:
    """How many bytes (`size`) of a media file were written, or were added to the index.

    `mark` is the random mark of the file (`journal`). A different mark shows that the file was
    replaced by another file with the same number.
    """

    file: int
    size: int
    mark: str = ""


Row: TypeAlias = "tuple[str, FragmentInfo, Location]"  # ARN, information, location


class Index:
    """The tables of streams and fragments.

    Only the store's writer thread may call methods that write.

    Raises OSError if another version created the index. Raises DamagedIndex if the index cannot be
    read or is inconsistent.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            self._write = _connect(path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise _to_public_error(error) from error
        try:
            if path is not None:
                _check(self._write)
            with self._write:
                self._write.executescript(_SCHEMA)
                self._write.execute(f"PRAGMA user_version = {_VERSION}")
            self._read = self._write if path is None else _connect(path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._write.close()
            raise _to_public_error(error) from error
        except BaseException:
            self._write.close()
            raise
        # In memory both are one connection, which SQLite lets only one thread use at a time.
        self._lock = threading.RLock()
        self._shared = path is None

    def close(self) -> None:
        """Close both connections."""
        with self._lock:
            self._read.close()
            self._write.close()

    # --- writing ---------------------------------------------------------------------------
    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction. Raises sqlite3.Error if the disk fails."""
        if self._shared:
            with self._lock, self._write:
                yield self._write
        else:
            with self._write:
                yield self._write

    def save_stream(self, record: StreamRecord, written: Written | None = None) -> None:
        """Add or replace a stream. `written` is the new size of the media file with the change."""
        with self.transaction() as db:
            _save_stream(db, record.arn, record.to_json())
            _save_size(db, written)

    def delete_stream(self, arn: str, written: Written | None = None) -> None:
        """Remove a stream and its fragments."""
        with self.transaction() as db:
            _delete_stream(db, arn)
            _save_size(db, written)

    def add_fragments(self, rows: Iterable[Row], written: Written | None = None) -> None:
        """Add fragments, except those of a deleted stream."""
        with self.transaction() as db:
            for arn, info, location in rows:
                db.execute(
                    "INSERT INTO fragments SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                    " FROM streams WHERE arn = ?",
                    (
                        info.number,
                        info.producer_timestamp,
                        info.server_timestamp,
                        info.duration,
                        location.file,
                        location.offset,
                        location.length,
                        *location.sizes,
                        arn,
                    ),
                )
                _raise_last_number(db, arn, info.number)
            _save_size(db, written)

    def expire(self, ends: Iterable[tuple[str, int]]) -> int:
        """Remove fragments that arrived before an instant. Return how many.

        `ends` has an ARN and an instant for each stream.
        """
        with self.transaction() as db:
            return db.executemany(
                f"DELETE FROM fragments WHERE {_OF_STREAM}"  # noqa: S608
                " AND server_timestamp < ?",
                ends,
            ).rowcount

    # --- writing, for `recovery` -----------------------------------------------------------
    def replace_streams(self, streams: Mapping[str, tuple[str, str]]) -> None:
        """Replace all streams. `streams` maps each ARN to (record, last fragment number).

        Streams that are not in `streams` are deleted with their fragments.
        """
        with self.transaction() as db:
            for (arn,) in db.execute("SELECT arn FROM streams").fetchall():
                if arn not in streams:
                    _delete_stream(db, arn)
            for arn, (record, last_number) in streams.items():
                _save_stream(db, arn, record)
                _raise_last_number(db, arn, last_number)

    def save_damaged(self, written: Written) -> None:
        """Store the size of a damaged media file, and mark the file so that it is never deleted."""
        with self.transaction() as db:
            _save_size(db, written)
            db.execute("UPDATE files SET damaged = 1 WHERE file = ?", (written.file,))

    def forget_files(self, files: Iterable[int]) -> None:
        """Remove media files, and their fragments, from the index."""
        with self.transaction() as db:
            for file in files:
                db.execute("DELETE FROM fragments WHERE file = ?", (file,))
                db.execute("DELETE FROM files WHERE file = ?", (file,))

    def drop_file_tail(self, file: int, size: int) -> int:
        """Remove fragments that extend beyond the first `size` bytes of a file. Return how many."""
        with self.transaction() as db:
            return db.execute(
                "DELETE FROM fragments WHERE file = ? AND offset + length > ?", (file, size)
            ).rowcount

    # --- reading ---------------------------------------------------------------------------
    def streams(self) -> list[StreamRecord]:
        """Return every stream, oldest first."""
        rows = self._rows("SELECT record FROM streams ORDER BY id")
        return [StreamRecord.from_json(row[0]) for row in rows]

    def last_number(self, arn: str) -> str:
        """Return the highest fragment number that the stream ever had, or ""."""
        rows = self._rows("SELECT last_number FROM streams WHERE arn = ?", arn)
        return str(rows[0][0]) if rows else ""

    def streams_with_numbers(self) -> list[tuple[str, str, str]]:
        """Return (ARN, record, last number) of every stream, oldest first."""
        return self._rows("SELECT arn, record, last_number FROM streams ORDER BY id")

    def written(self) -> dict[int, Written]:
        """Map the number of each media file to how much of the file is in the index."""
        rows = self._rows("SELECT file, size, mark FROM files")
        return {row[0]: Written(*row) for row in rows}

    def files(self) -> set[int]:
        """Return the numbers of files that must be kept: with fragments, or damaged."""
        rows = self._rows(
            "SELECT DISTINCT file FROM fragments UNION SELECT file FROM files WHERE damaged"
        )
        return {row[0] for row in rows}

    def fragments_in_file(self, file: int) -> int:
        """Return how many fragments a media file has."""
        return int(self._rows("SELECT count(*) FROM fragments WHERE file = ?", file)[0][0])

    def count_in_file(self, file: int, arn: str, oldest: int) -> int:
        """Return how many fragments of a stream in a file arrived at `oldest` or later."""
        query = f"SELECT count(*) FROM fragments WHERE {_OF_STREAM}"  # noqa: S608
        rows = self._rows(f"{query} AND file = ? AND server_timestamp >= ?", arn, file, oldest)
        return int(rows[0][0])

    def page(self, arn: str, oldest: int, span: Span, after: str, limit: int) -> list[FragmentInfo]:
        """Return up to `limit` fragments, ordered by number.

        The result has fragments that begin in `span`, arrived at `oldest` or later, and have a
        number above `after`.
        """
        return self._infos(
            f"{span.axis.value} BETWEEN ? AND ? AND number > ? ORDER BY number LIMIT ?",
            (arn, oldest, span.start, span.end, after, limit),
        )

    def next_after(self, arn: str, oldest: int, number: str) -> FragmentInfo | None:
        """Return the fragment with the lowest number above `number`; "" is below all numbers."""
        found = self._infos("number > ? ORDER BY number LIMIT 1", (arn, oldest, number))
        return found[0] if found else None

    def latest(self, arn: str, oldest: int) -> FragmentInfo | None:
        """Return the fragment with the highest number."""
        found = self._infos("1 ORDER BY number DESC LIMIT 1", (arn, oldest))
        return found[0] if found else None

    def first_reaching(
        self, arn: str, oldest: int, axis: Axis, instant: int
    ) -> FragmentInfo | None:
        """Return the first fragment that ends after `instant`, or begins at or after `instant`.

        `axis` selects the timestamp that is compared.
        """
        column = axis.value
        found = self._infos(
            f"({column} + duration > ? OR {column} >= ?) ORDER BY number LIMIT 1",
            (arn, oldest, instant, instant),
        )
        return found[0] if found else None

    def find(self, arn: str, oldest: int, number: str) -> tuple[FragmentInfo, Location] | None:
        """Return the fragment with this number and the location of its bytes, or None."""
        rows = self._rows(
            f"SELECT {_INFO}, file, offset, length, header, leading, cluster, trailing"  # noqa: S608
            " FROM fragments"
            f" WHERE {_OF_STREAM} AND server_timestamp >= ? AND number = ?",
            arn,
            oldest,
            number,
        )
        if not rows:
            return None
        row = rows[0]
        return FragmentInfo(*row[:5]), Location(row[5], row[6], row[7], tuple(row[8:]))

    def _infos(self, condition: str, values: tuple[str | int, ...]) -> list[FragmentInfo]:
        rows = self._rows(
            f"SELECT {_INFO} FROM fragments"  # noqa: S608
            f" WHERE {_OF_STREAM} AND server_timestamp >= ? AND {condition}",
            *values,
        )
        return [FragmentInfo(*row) for row in rows]

    def _rows(self, query: str, *values: str | int) -> list[Any]:
        try:
            with self._lock:
                return self._read.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"the index cannot be read: {error}") from error


def _save_stream(db: sqlite3.Connection, arn: str, record: str) -> None:
    db.execute(
        "INSERT INTO streams (arn, record) VALUES (?, ?)"
        " ON CONFLICT (arn) DO UPDATE SET record = excluded.record",
        (arn, record),
    )


def _delete_stream(db: sqlite3.Connection, arn: str) -> None:
    db.execute(f"DELETE FROM fragments WHERE {_OF_STREAM}", (arn,))  # noqa: S608
    db.execute("DELETE FROM streams WHERE arn = ?", (arn,))


def _raise_last_number(db: sqlite3.Connection, arn: str, number: str) -> None:
    db.execute("UPDATE streams SET last_number = max(last_number, ?) WHERE arn = ?", (number, arn))


def _save_size(db: sqlite3.Connection, written: Written | None) -> None:
    if written is not None:
        db.execute(
            "INSERT INTO files (file, size, mark) VALUES (?, ?, ?) ON CONFLICT (file)"
            " DO UPDATE SET size = excluded.size, mark = excluded.mark",
            (written.file, written.size, written.mark),
        )


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
    )
    try:
        if path is not None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Check an existing index. Raises OSError if another version created it.

    Raises sqlite3.DatabaseError or DamagedIndex if it is damaged.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    schema = _schema_of(connection)
    if not schema:
        return
    if version != _VERSION:
        raise OSError(
            errno.EINVAL,
            f"the index has format {version}, but this version needs format {_VERSION};"
            " use the version that created it, or another folder",
        )
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_SCHEMA)
        if schema != _schema_of(fresh):
            raise DamagedIndex("its tables are not those that this version creates")
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedIndex(verdict)
    (wrong,) = connection.execute(_CONTRADICTIONS).fetchone()
    if wrong:
        raise DamagedIndex(f"{wrong} fragments have an impossible position or size")
    for arn, text in connection.execute("SELECT arn, record FROM streams"):
        try:
            if StreamRecord.from_json(text).arn != arn:
                raise ValueError("it belongs to another stream")
        except ValueError as error:
            raise DamagedIndex(f"the record of stream {arn!r}: {error}") from error


def _schema_of(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _to_public_error(error: sqlite3.DatabaseError | UnicodeDecodeError) -> Exception:
    """Convert an SQLite error to DamagedIndex, or to OSError if the file is not to blame.

    An example of an OSError is a file that is locked or not readable.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _NOT_DAMAGED:
        return OSError(errno.EIO, f"the index cannot be used: {error}")
    return DamagedIndex(str(error))
