"""What became of the streams that a producer has closed, in a few numbers each.

A producer that opens and closes streams for months keeps neither them nor their names for ever:
the accounts of a name add up, and only the newest `REMEMBERED` names are remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kvsproducer.client import FrameAccount
from kvsproducer.producer.outcome import explained, loss_error
from kvsproducer.status import KvsError

__all__ = ["REMEMBERED", "EndedStreams"]

REMEMBERED: Final = 1_000  # ours: names


class EndedStreams:
    """The final accounts, by stream name. Not thread-safe: the engine's lock is held."""

    def __init__(self) -> None:
        self._accounts: dict[str, FrameAccount] = {}
        self._failures: dict[str, KvsError] = {}
        self._last_errors: dict[str, str] = {}
        self._drops: dict[str, Counter[str]] = {}

    def add(
        self,
        name: str,
        account: FrameAccount,
        failure: KvsError | None,
        last_error: str = "",
        drops: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """A stream was closed; one of the same name may have been before.

        `last_error` is what its last call or upload met with, `drops` how many frames were dropped
        for which reason.
        """
        before = self._accounts.pop(name, FrameAccount(0, 0, 0, 0, 0))
        self._accounts[name] = FrameAccount(*map(sum, zip(before, account, strict=True)))
        if failure is not None:
            self._failures[name] = failure
        self._last_errors[name] = last_error
        self._drops[name] = Counter(self._drops.pop(name, {})) + Counter(drops)
        if len(self._accounts) > REMEMBERED:
            oldest = next(iter(self._accounts))
            del self._accounts[oldest]
            self._failures.pop(oldest, None)
            del self._last_errors[oldest]
            del self._drops[oldest]

    def accounts(self) -> dict[str, FrameAccount]:
        """What became of the frames, by stream name."""
        return dict(self._accounts)

    def last_error(self, name: str) -> str:
        """What the last call or upload of a closed stream met with, "" if it went well."""
        return self._last_errors.get(name, "")

    def loss(self) -> KvsError | None:
        """The error to raise when frames were accepted and not stored, None otherwise."""
        for name, account in self._accounts.items():
            error = loss_error(name, account, self._failures.get(name), self._drops[name])
            if error is not None:
                return explained(error, self._last_errors[name])
        return None
