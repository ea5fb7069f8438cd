"""The content store's budget."""

from __future__ import annotations

import pytest

from kvsproducer.heap import ReferenceStore
from kvsproducer.status import KvsError, StatusCode

MIB = 1024 * 1024


def test_a_charge_that_does_not_fit_changes_nothing() -> None:
    """To the byte."""
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
    """1 MiB to 1 TiB."""
    with pytest.raises(KvsError) as caught:
        ReferenceStore(size)
    assert caught.value.status is StatusCode.INVALID_ARG
