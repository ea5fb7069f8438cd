"""The endpoint's store: streams and their fragments, in memory or in a data folder.

One thread writes. It takes all waiting fragments as a group, writes their bytes, makes them durable
with one fsync, and commits their rows. Only then does it report each fragment as stored (group
commit). So a fragment reported as stored survives `kill -9` and a power failure. If a group cannot
be stored for any reason (the disk is full, or a bug), the whole group fails with `StoreError`. Then
the files are truncated to their previous sizes, and the writer continues.

Changes of streams are also written to the media files, so that the index can be rebuilt from these
files (`journal`, `recovery`).

Methods that write return a `Future` immediately; methods that read block for the time of a query.
The queue has no limit: the caller checks `pending_bytes` and pauses its input.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvsproducer.endpoint.fragment import Fragment, FragmentInfo
from kvsproducer.endpoint.index import Axis, Index, Row, Span
from kvsproducer.endpoint.payloads import FILE_SIZE, FilePayloads, MemoryPayloads, Payloads
from kvsproducer.endpoint.recovery import open_index, recover
from kvsproducer.endpoint.streams import StreamRecord
from kvsproducer.status.system import in_words
from kvsproducer.utils import check_directory, check_exists, check_path

__all__ = ["Store", "StoreError", "open_store"]

_log = logging.getLogger(__name__)

GROUP_BYTES: Final = 64 * 1024 * 1024  # a larger group gets no more fragments
_CLOSE_TIMEOUT_S: Final = 30.0
INDEX_NAME: Final = "index.sqlite3"


class StoreError(Exception):
    """The data could not be stored. The text says why."""


@dataclass(slots=True)
class _Append:
    arn: str
    fragment: Fragment
    done: Future[None]


@dataclass(slots=True)
class _Call:
    function: Callable[[], None]
    done: Future[None]


def open_store(
    data_dir: Path | str | None, now: int | None = None, *, file_size: int = FILE_SIZE
) -> Store:
    """Return the store of a folder (created if missing), or one in memory.

    `now` (ticks; default: the system's clock) decides which fragments have expired. If the index is
    damaged, missing or older than the media, it is rebuilt from the media files.

    Raises OSError if the folder cannot be used, if another process uses it, if another version
    wrote it, or if media in the index is missing. Raises KvsError INVALID_ARG_LEN or PATH_TOO_LONG
    for an invalid path. If the path is not a readable folder, raises KvsError
    DIRECTORY_ENTRY_STAT_ERROR, DIRECTORY_OPEN_FAILED or DIRECTORY_ACCESS_DENIED.
    """
    if data_dir is None:
        return Store(Index(None), MemoryPayloads())
    folder = check_path(data_dir)
    if os.path.lexists(folder):
        check_directory(check_exists(folder))
    payloads = FilePayloads(folder, file_size)
    try:
        index = open_index(folder / INDEX_NAME)
        try:
            recover(index, payloads, time.time_ns() // 100 if now is None else now)
            return Store(index, payloads)
        except BaseException:
            index.close()
            raise
    except BaseException as error:
        payloads.close()
        if isinstance(error, sqlite3.Error):
            raise OSError(
                errno.EIO, f"the index cannot be used: {in_words(error)}", str(folder / INDEX_NAME)
            ) from error
        raise


class Store:
    """Store streams and fragments; see the module's docstring. The caller must call `close`.

    In a data folder, stored fragments remain after `close`.
    """

    def __init__(self, index: Index, payloads: Payloads) -> None:
        self._index = index
        self._payloads = payloads
        self._queue: queue.SimpleQueue[_Append | _Call | None] = queue.SimpleQueue()
        self._pending_lock = threading.Lock()
        self._pending_bytes = 0
        self._thread = threading.Thread(target=self._run, name="kvs-store", daemon=True)
        self._thread.start()

    # --- writing ---------------------------------------------------------------------------
    def append(self, arn: str, fragment: Fragment) -> Future[None]:
        """Store a fragment. The future completes when it is durable, or fails with StoreError."""
        done: Future[None] = Future()
        with self._pending_lock:
            self._pending_bytes += fragment.info.size
        self._queue.put(_Append(arn, fragment, done))
        return done

    def save_stream(self, record: StreamRecord) -> Future[None]:
        """Add or replace a stream."""

        def save() -> None:
            self._payloads.append_change({"stream": record.to_json()})
            self._payloads.sync()
            self._index.save_stream(record, self._payloads.written)
            self._payloads.keep()

        return self._call(save)

    def delete_stream(self, arn: str) -> Future[None]:
        """Remove a stream and its fragments."""

        def delete() -> None:
            self._payloads.append_change({"deleted": arn})
            self._payloads.sync()
            self._index.delete_stream(arn, self._payloads.written)
            self._payloads.keep()
            self._drop_unused()

        return self._call(delete)

    def expire(self, ends: Sequence[tuple[str, int]]) -> Future[None]:
        """Remove old fragments. `ends` has, for each ARN, the oldest instant to keep."""

        def expire() -> None:
            if self._index.expire(ends):
                self._drop_unused()

        return self._call(expire)

    @property
    def pending_bytes(self) -> int:
        """Number of bytes of fragments that are not durable yet."""
        return self._pending_bytes

    def close(self) -> None:
        """Write all waiting fragments, for at most 30 s, and close."""
        self._queue.put(None)
        self._thread.join(_CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _log.error("the store did not finish within %s s: the disk hangs", _CLOSE_TIMEOUT_S)
            return
        self._payloads.close()
        self._index.close()

    # --- reading ---------------------------------------------------------------------------
    def streams(self) -> list[StreamRecord]:
        """Return every stream, oldest first."""
        return self._index.streams()

    def last_number(self, arn: str) -> str:
        """Return the highest fragment number that the stream ever had, or ""."""
        return self._index.last_number(arn)

    def page(self, arn: str, oldest: int, span: Span, after: str, limit: int) -> list[FragmentInfo]:
        """Return a page of fragments, none older than `oldest` (ticks); see `Index.page`."""
        return self._index.page(arn, oldest, span, after, limit)

    def next_after(self, arn: str, oldest: int, number: str) -> FragmentInfo | None:
        """Return the fragment after a number; see `Index.next_after`."""
        return self._index.next_after(arn, oldest, number)

    def latest(self, arn: str, oldest: int) -> FragmentInfo | None:
        """Return the newest fragment; see `Index.latest`."""
        return self._index.latest(arn, oldest)

    def first_reaching(
        self, arn: str, oldest: int, axis: Axis, instant: int
    ) -> FragmentInfo | None:
        """Return the first fragment at or after an instant; see `Index.first_reaching`."""
        return self._index.first_reaching(arn, oldest, axis, instant)

    def has(self, arn: str, oldest: int, number: str) -> bool:
        """Return whether a fragment with this number exists."""
        return self._index.find(arn, oldest, number) is not None

    def read(self, arn: str, oldest: int, number: str) -> Fragment | None:
        """Return a fragment with its bytes, or None if it does not exist or was deleted.

        Raises OSError.
        """
        found = self._index.find(arn, oldest, number)
        return self._payloads.read(found[1]) if found else None

    # --- the writer thread -----------------------------------------------------------------
    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, _Call):
                self._run_call(item)
                continue
            group = [item]
            size = item.fragment.info.size
            follower: _Append | _Call | None = item
            while size < GROUP_BYTES and isinstance(follower, _Append):
                try:
                    follower = self._queue.get_nowait()
                except queue.Empty:
                    break
                if isinstance(follower, _Append):
                    group.append(follower)
                    size += follower.fragment.info.size
            self._write_group(group)
            if follower is None:
                return
            if isinstance(follower, _Call):
                self._run_call(follower)

    def _write_group(self, group: list[_Append]) -> None:
        failure: StoreError | None = None
        try:
            rows: list[Row] = [
                (item.arn, item.fragment.info, self._payloads.append(item.arn, item.fragment))
                for item in group
            ]
            self._payloads.sync()
            self._index.add_fragments(rows, self._payloads.written)
            self._payloads.keep()
        except Exception as error:  # noqa: BLE001  the writer must not end: all streams need it
            failure = self._failure(f"cannot store {len(group)} fragments", error)
        with self._pending_lock:
            self._pending_bytes -= sum(item.fragment.info.size for item in group)
        for item in group:
            if failure is None:
                item.done.set_result(None)
            else:
                item.done.set_exception(failure)

    def _call(self, function: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        self._queue.put(_Call(function, done))
        return done

    def _run_call(self, call: _Call) -> None:
        try:
            call.function()
        except Exception as error:  # noqa: BLE001  as in _write_group
            call.done.set_exception(self._failure("cannot change the store", error))
        else:
            call.done.set_result(None)

    def _failure(self, what: str, error: Exception) -> StoreError:
        """Log a failure and undo the unfinished write. Return the error to report."""
        expected = isinstance(error, OSError | sqlite3.Error)
        _log.error("%s: %s", what, error, exc_info=None if expected else error)
        try:
            self._payloads.rollback()
        except OSError as second:
            # The bytes stay in the file; the next write overwrites them.
            _log.error("cannot undo the unfinished write: %s", second)
        return StoreError(in_words(error))

    def _drop_unused(self) -> None:
        try:
            self._index.forget_files(self._payloads.keep_only(self._index.files()))
        except OSError as error:
            _log.warning("cannot delete an unused media file: %s", error)
