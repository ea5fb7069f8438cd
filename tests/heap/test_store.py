"""The budget of content stores."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvsproducer.heap import ContentStore, HoldingStore, ReferenceStore
from kvsproducer.heap.store import compact
from kvsproducer.status import KvsError, StatusCode

MIB = 1024 * 1024


def test_a_charge_that_does_not_fit_changes_nothing() -> None:
    """The limit is exact to the byte."""
    store = ReferenceStore(MIB)
    assert store.charge(MIB - 1)
    assert not store.charge(2)
    assert store.used_bytes == MIB - 1
    assert store.charge(1)
    assert store.available_bytes == 0
    store.release(MIB)
    assert store.available_bytes == MIB


@pytest.mark.parametrize("size", [MIB - 1, 1024 * 1024 * MIB + 1])
def test_sizes_are_limited(size: int) -> None:
    """A store has 1 MiB to 1 TiB."""
    with pytest.raises(KvsError) as caught:
        ReferenceStore(size)
    assert caught.value.status is StatusCode.INVALID_ARG


@pytest.mark.parametrize("kind", ["arena", "files", "video memory"])
def test_payload_must_have_its_declared_size(
    make_store: Callable[[str, int], ContentStore], kind: str
) -> None:
    """A longer payload would be written beyond its space, a shorter one read beyond its end."""
    store = make_store(kind, 4 * MIB)
    assert isinstance(store, HoldingStore)
    for payload, status in (
        ([b"12", b"345"], StatusCode.BUFFER_TOO_SMALL),
        ([b"12", b"3"], StatusCode.INVALID_ARG),
    ):
        with pytest.raises(KvsError) as caught:
            store.keep(payload, 4)
        assert caught.value.status is status
    kept = store.keep([b"12", b"34"], 4)
    assert kept is not None
    assert b"".join(kept) == b"1234"
    store.debug_check()
    store.close()


@pytest.mark.parametrize(
    ("zeros", "pieces", "copied"),
    [(0, 1, False), (1000, 1, False), (1001, 1, True), (0, 64, False), (0, 65, True)],
)
def test_a_payload_is_copied_when_it_keeps_too_much_alive(
    zeros: int, pieces: int, copied: bool
) -> None:
    """Copy if an eighth of the buffer is not in the payload, or if there are too many pieces."""
    data = memoryview(bytes(8000))
    size = 8000 - zeros
    step = -(-size // pieces)
    payload = [data[at : min(at + step, size)] for at in range(0, size, step)]
    kept, alive = compact(payload, size, 8000)
    assert b"".join(kept) == bytes(size)
    assert (kept is not payload) is copied
    assert alive == (size if copied else 8000)
    assert len(kept) == 1 or not copied
