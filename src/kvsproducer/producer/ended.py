"""What became of the frames of the streams that a producer has closed.

A producer may open and close streams for months. Memory stays bounded, because the counts of
streams with the same name are added up, and only the newest `REMEMBERED` names are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kvsproducer.client import FrameAccount
from kvsproducer.producer.outcome import loss_error, with_last_error
from kvsproducer.status import KvsError

__all__ = ["REMEMBERED", "EndedStreams"]

REMEMBERED: Final = 1_000  # our choice: how many stream names are kept


class EndedStreams:
    """The final accounts by stream name. Not thread-safe; callers hold the engine's lock."""

    def __init__(self) -> None:
        self._accounts: dict[str, FrameAccount] = {}
        self._failures: dict[str, KvsError] = {}
        self._last_errors: dict[str, str] = {}
        self._drops: dict[str, Counter[str]] = {}
        self._skipped: dict[str, FrameAccount] = {}  # accounts of streams that skipped all frames

    def add(
        self,
        name: str,
        account: FrameAccount,
        failure: KvsError | None,
        last_error: str = "",
        drops: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Add the results of a stream that was closed; the name may have been used before.

        `last_error` is the message of its last call or upload if that failed, else "". `drops` says
        how many frames were dropped, by reason.
        """
        before = self._accounts.pop(name, FrameAccount(0, 0, 0, 0, 0))
        self._accounts[name] = FrameAccount(*map(sum, zip(before, account, strict=True)))
        if failure is not None:
            self._failures[name] = failure
        if account.skipped and not account.accepted:
            self._skipped[name] = account
        self._last_errors[name] = last_error
        self._drops[name] = Counter(self._drops.pop(name, {})) + Counter(drops)
        if len(self._accounts) > REMEMBERED:
            oldest = next(iter(self._accounts))
            del self._accounts[oldest]
            self._failures.pop(oldest, None)
            self._skipped.pop(oldest, None)
            del self._last_errors[oldest]
            del self._drops[oldest]

    def accounts(self) -> dict[str, FrameAccount]:
        """Return the account of each stream, by name."""
        return dict(self._accounts)

    def last_error(self, name: str) -> str:
        """Return the message of the stream's last call or upload if that failed, else ""."""
        return self._last_errors.get(name, "")

    def loss(self) -> KvsError | None:
        """Return the error to raise when frames were not stored, or None; see `loss_error`."""
        for name, account in self._accounts.items():
            error = loss_error(name, account, self._failures.get(name), self._drops[name])
            if error is None and name in self._skipped:
                error = loss_error(name, self._skipped[name], None, {})
            if error is not None:
                return with_last_error(error, self._last_errors[name])
        return None
