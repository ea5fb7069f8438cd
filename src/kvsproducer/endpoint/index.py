"""The index of the endpoint's store: which streams and fragments there are, in SQLite.

One writing connection, used by the store's writer thread alone, and one for readers under a lock;
with write-ahead logging readers do not wait for a commit. Without a path both are the same
database in memory. A commit is durable when it returns (synchronous = FULL).

Fragment numbers are kept as their 47 digits: text order is number order. The bytes themselves are
elsewhere (`payloads`); a row says where.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from kvsproducer.endpoint.fragment import FragmentInfo
from kvsproducer.endpoint.streams import StreamRecord

__all__ = ["Axis", "Index", "Location", "Span"]

_BUSY_TIMEOUT_S: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS streams (
  id INTEGER PRIMARY KEY AUTOINCREMENT, arn TEXT UNIQUE NOT NULL, record TEXT NOT NULL,
  last_number TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS fragments (
  stream INTEGER NOT NULL, number TEXT NOT NULL,
  producer_timestamp INTEGER NOT NULL, server_timestamp INTEGER NOT NULL,
  duration INTEGER NOT NULL, file INTEGER NOT NULL, offset INTEGER NOT NULL,
  header INTEGER NOT NULL, leading INTEGER NOT NULL,
  cluster INTEGER NOT NULL, trailing INTEGER NOT NULL,
  PRIMARY KEY (stream, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_producer ON fragments (stream, producer_timestamp);
CREATE INDEX IF NOT EXISTS by_server ON fragments (stream, server_timestamp);
CREATE INDEX IF NOT EXISTS by_file ON fragments (file);
"""
# The texts joined into queries are these and column names: nothing that a request says (S608).
_INFO: Final = (
    "number, producer_timestamp, server_timestamp, duration, header + leading + cluster + trailing"
)
_OF_STREAM: Final = "stream = (SELECT id FROM streams WHERE arn = ?)"


class Axis(StrEnum):
    """The two clocks by which fragments are looked up; the values are column names."""

    PRODUCER = "producer_timestamp"
    SERVER = "server_timestamp"


@dataclass(frozen=True, slots=True)
class Span:
    """Both ends inclusive, ticks, of the beginnings of fragments on one axis."""

    axis: Axis
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where the four parts of a fragment stand, one after the other."""

    file: int
    offset: int
    sizes: tuple[int, int, int, int]

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + sum(self.sizes)


class Index:
    """Streams and fragments. Methods that write are for the store's writer thread only."""

    def __init__(self, path: Path | None) -> None:
        self._write = _connect(path)
        self._read = self._write if path is None else _connect(path)
        # In memory the two are one connection, which SQLite lets only one thread use at a time.
        self._lock = threading.RLock()
        self._shared = path is None
        with self._write:
            self._write.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes both connections."""
        with self._lock:
            self._read.close()
            self._write.close()

    # --- writing ---------------------------------------------------------------------------
    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at the end. Raises sqlite3.Error when the disk refuses."""
        if self._shared:
            with self._lock, self._write:
                yield self._write
        else:
            with self._write:
                yield self._write

    def save_stream(self, record: StreamRecord) -> None:
        """Adds or replaces a stream."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO streams (arn, record) VALUES (?, ?)"
                " ON CONFLICT (arn) DO UPDATE SET record = excluded.record",
                (record.arn, record.to_json()),
            )

    def delete_stream(self, arn: str) -> None:
        """Forgets a stream and its fragments."""
        with self.transaction() as db:
            db.execute(f"DELETE FROM fragments WHERE {_OF_STREAM}", (arn,))  # noqa: S608
            db.execute("DELETE FROM streams WHERE arn = ?", (arn,))

    def add_fragments(self, rows: Iterable[tuple[str, FragmentInfo, Location]]) -> None:
        """Adds fragments (ARN, information, place); those of a deleted stream are left out."""
        with self.transaction() as db:
            for arn, info, location in rows:
                db.execute(
                    "INSERT INTO fragments SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                    " FROM streams WHERE arn = ?",
                    (
                        info.number,
                        info.producer_timestamp,
                        info.server_timestamp,
                        info.duration,
                        location.file,
                        location.offset,
                        *location.sizes,
                        arn,
                    ),
                )
                db.execute(
                    "UPDATE streams SET last_number = max(last_number, ?) WHERE arn = ?",
                    (info.number, arn),
                )

    def expire(self, ends: Iterable[tuple[str, int]]) -> int:
        """Forgets the fragments of each stream (ARN) that came before an instant; how many."""
        with self.transaction() as db:
            return db.executemany(
                f"DELETE FROM fragments WHERE {_OF_STREAM}"  # noqa: S608
                " AND server_timestamp < ?",
                ends,
            ).rowcount

    def drop_file_tail(self, file: int, size: int) -> int:
        """Forgets the fragments that reach past `size` bytes of a file; how many."""
        with self.transaction() as db:
            return db.execute(
                "DELETE FROM fragments WHERE file = ?"
                " AND offset + header + leading + cluster + trailing > ?",
                (file, size),
            ).rowcount

    # --- reading ---------------------------------------------------------------------------
    def streams(self) -> list[StreamRecord]:
        """Every stream, oldest first."""
        rows = self._rows("SELECT record FROM streams ORDER BY id")
        return [StreamRecord.from_json(row[0]) for row in rows]

    def last_number(self, arn: str) -> str:
        """The highest fragment number that the stream has had, "" when none."""
        rows = self._rows("SELECT last_number FROM streams WHERE arn = ?", arn)
        return str(rows[0][0]) if rows else ""

    def file_ends(self) -> dict[int, int]:
        """File -> the end of its last fragment."""
        return dict(
            self._rows(
                "SELECT file, max(offset + header + leading + cluster + trailing)"
                " FROM fragments GROUP BY file"
            )
        )

    def files(self) -> set[int]:
        """The files in which there is a fragment."""
        return {row[0] for row in self._rows("SELECT DISTINCT file FROM fragments")}

    def page(self, arn: str, oldest: int, span: Span, after: str, limit: int) -> list[FragmentInfo]:
        """Up to `limit` fragments that begin in `span`, came at `oldest` or later and have a
        number above `after`, in number order."""
        return self._infos(
            f"{span.axis.value} BETWEEN ? AND ? AND number > ? ORDER BY number LIMIT ?",
            (arn, oldest, span.start, span.end, after, limit),
        )

    def next_after(self, arn: str, oldest: int, number: str) -> FragmentInfo | None:
        """The fragment with the lowest number above `number`; "" stands before all."""
        found = self._infos("number > ? ORDER BY number LIMIT 1", (arn, oldest, number))
        return found[0] if found else None

    def latest(self, arn: str, oldest: int) -> FragmentInfo | None:
        """The fragment with the highest number."""
        found = self._infos("1 ORDER BY number DESC LIMIT 1", (arn, oldest))
        return found[0] if found else None

    def first_reaching(
        self, arn: str, oldest: int, axis: Axis, instant: int
    ) -> FragmentInfo | None:
        """The first fragment that contains `instant` on `axis`, else the first that begins
        after it."""
        column = axis.value
        found = self._infos(
            f"({column} + duration > ? OR {column} >= ?) ORDER BY number LIMIT 1",
            (arn, oldest, instant, instant),
        )
        return found[0] if found else None

    def find(self, arn: str, oldest: int, number: str) -> tuple[FragmentInfo, Location] | None:
        """A fragment by its number, and where its bytes are."""
        rows = self._rows(
            f"SELECT {_INFO}, file, offset, header, leading, cluster, trailing"  # noqa: S608
            " FROM fragments"
            f" WHERE {_OF_STREAM} AND server_timestamp >= ? AND number = ?",
            arn,
            oldest,
            number,
        )
        if not rows:
            return None
        row = rows[0]
        return FragmentInfo(*row[:5]), Location(row[5], row[6], tuple(row[7:11]))

    def _infos(self, condition: str, values: tuple[str | int, ...]) -> list[FragmentInfo]:
        rows = self._rows(
            f"SELECT {_INFO} FROM fragments"  # noqa: S608
            f" WHERE {_OF_STREAM} AND server_timestamp >= ? AND {condition}",
            *values,
        )
        return [FragmentInfo(*row) for row in rows]

    def _rows(self, query: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            return self._read.execute(query, values).fetchall()


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
    )
    try:
        if path is not None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
