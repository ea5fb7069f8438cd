"""The arena: one block of memory, allocated at the start, which holds all payloads.

Source: AWS's AIV heap. Allocation is first fit. A block is split if its unused part is large enough
to be useful, and adjacent free blocks are merged. The memory never grows or moves. Each payload is
between two guard values. If another library in the process overwrites a guard, reading the payload
or calling `debug_check` raises HEAP_CORRUPTED, so damaged bytes are never sent.

Unlike AWS's heap, the lists of blocks are Python objects outside the arena, so one damaged block
does not damage others.

Invariants: used and free blocks cover the arena without gaps; no two free blocks are adjacent.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left, insort
from typing import Final

from kvsproducer import limits
from kvsproducer.heap.store import HoldingStore, Payload, check_size
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words

__all__ = ["Arena", "ArenaStore", "memory_part"]

_GUARD: Final = 0x5AFEB10C5AFEB10C
_HEADER: Final = struct.Struct("<QQ")  # guard, size of the payload
_FOOTER: Final = struct.Struct("<Q")  # guard, directly behind the payload
_ALIGNMENT: Final = 16  # of blocks, bytes
# MAP_POPULATE maps all pages at once: a device without enough memory fails at the start instead of
# during an outage. Windows has no such flags, and always commits all pages.
_OPTIONS: Final = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)}
    if hasattr(mmap, "MAP_PRIVATE")
    else {}
)


def _block_size(size: int) -> int:
    """Return how many bytes of the arena a payload of `size` bytes needs, guards included."""
    whole = _HEADER.size + size + _FOOTER.size
    return -(-whole // _ALIGNMENT) * _ALIGNMENT


class Arena:
    """A block of memory of a fixed size. A handle is the offset of a payload in `memory`.

    Raises INVALID_ARG for a size below 1 MiB or above 1 TiB, and NOT_ENOUGH_MEMORY if the operating
    system cannot allocate that much.
    """

    __slots__ = ("_blocks", "_ends", "_free", "_starts", "memory", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        check_size(size_bytes)
        self.size_bytes = size_bytes - size_bytes % _ALIGNMENT
        try:
            self.memory = mmap.mmap(-1, self.size_bytes, **_OPTIONS)
        except OSError as error:
            raise kvs_error(
                StatusCode.NOT_ENOUGH_MEMORY, f"{size_bytes} bytes in one block: {in_words(error)}"
            ) from error
        self._blocks: dict[int, int] = {}  # offset -> length; both include guards and padding
        self._starts = [0]  # offsets of the free blocks, ascending
        self._free = {0: self.size_bytes}  # offset -> length
        self._ends = {self.size_bytes: 0}  # end -> offset

    def allocate(self, size: int) -> int | None:
        """Reserve the first free block that has space for `size` bytes. Return its handle, or None.

        Raises INVALID_ALLOCATION_SIZE for a size below 1, or of 2**60 - 1 and more.
        """
        if not 0 < size < limits.MAX_ALLOCATION_BYTES:
            raise kvs_error(
                StatusCode.INVALID_ALLOCATION_SIZE,
                f"a block of {size} bytes is not 1 to 2**60 bytes",
            )
        needed = _block_size(size)
        free = self._free
        position = self._first_fit(needed)
        if position is None:
            return None
        start = self._starts[position]
        length = free[start]
        rest = length - needed
        if rest >= _block_size(limits.MIN_FREE_ALLOCATION_BYTES):
            end = start + length
            del free[start]
            free[start + needed] = rest
            self._starts[position] = self._ends[end] = start + needed
        else:
            needed = length
            self._take(position)
        self._blocks[start] = needed
        self._set_guards(start, size)
        return start + _HEADER.size

    def _first_fit(self, needed: int) -> int | None:
        """Return the list position of the first free block of at least `needed` bytes, or None."""
        free = self._free
        for position, start in enumerate(self._starts):
            if free[start] >= needed:
                return position
        return None

    def _take(self, position: int) -> None:
        """Remove the free block at a list position from the lists."""
        start = self._starts.pop(position)
        del self._ends[start + self._free.pop(start)]

    def _add(self, start: int, length: int) -> None:
        """Add a free block to the lists. The caller has merged it with its free neighbours."""
        insort(self._starts, start)
        self._free[start] = length
        self._ends[start + length] = start

    def _set_guards(self, start: int, size: int) -> None:
        _HEADER.pack_into(self.memory, start, _GUARD, size)
        _FOOTER.pack_into(self.memory, start + _HEADER.size + size, _GUARD)

    def store(self, payload: Payload, size: int) -> int | None:
        """Copy a payload into the arena. Return its handle, or None if no free block fits."""
        handle = self.allocate(size)
        if handle is not None:
            at = handle
            for buffer in payload:
                end = at + len(buffer)
                self.memory[at:end] = buffer
                at = end
        return handle

    def read(self, handle: int) -> bytes:
        """Return a copy of the payload.

        Raises INVALID_HANDLE_ERROR if there is no block with this handle (it may have been freed),
        and HEAP_CORRUPTED if a guard was overwritten.
        """
        return self.memory[handle : handle + self._checked_size(handle)]

    def _checked_size(self, handle: int) -> int:
        """Check both guards of a block; return its payload's size. Raises what `read` raises."""
        start = handle - _HEADER.size
        length = self._blocks.get(start)
        if length is None:
            raise kvs_error(StatusCode.INVALID_HANDLE_ERROR, f"no block at {handle}: freed before?")
        guard, size = _HEADER.unpack_from(self.memory, start)
        if guard != _GUARD or _block_size(size) > length:
            raise kvs_error(
                StatusCode.HEAP_CORRUPTED, f"the memory before block {handle} was overwritten"
            )
        if _FOOTER.unpack_from(self.memory, handle + size)[0] != _GUARD:
            raise kvs_error(
                StatusCode.HEAP_CORRUPTED, f"the memory after block {handle} was overwritten"
            )
        return int(size)

    def resize(self, handle: int, size: int) -> None:
        """Change the size of an allocation without moving it.

        Raises HEAP_REALLOC_ERROR if the memory after the block is in use or too small, and what
        `allocate` and `read` raise. If it raises, nothing is changed.
        """
        if not 0 < size < limits.MAX_ALLOCATION_BYTES:
            raise kvs_error(
                StatusCode.INVALID_ALLOCATION_SIZE,
                f"a block of {size} bytes is not 1 to 2**60 bytes",
            )
        self._checked_size(handle)
        start = handle - _HEADER.size
        length, needed = self._blocks[start], _block_size(size)
        following = self._free.get(start + length, 0)
        if needed > length + following:
            raise kvs_error(
                StatusCode.HEAP_REALLOC_ERROR,
                f"{size} bytes do not fit where {length} and {following} behind them are",
            )
        if following:
            self._take(bisect_left(self._starts, start + length))
        rest = length + following - needed
        if rest >= _block_size(limits.MIN_FREE_ALLOCATION_BYTES):
            self._add(start + needed, rest)
        else:
            needed += rest
        self._blocks[start] = needed
        self._set_guards(start, size)

    def free(self, handle: int) -> None:
        """Free a block.

        Raises HEAP_CORRUPTED if it does not exist, for example because it was freed before.
        """
        start = handle - _HEADER.size
        length = self._blocks.pop(start, None)
        if length is None:
            raise kvs_error(StatusCode.HEAP_CORRUPTED, f"no block at {handle}: freed twice?")
        following = self._free.get(start + length)
        if following is not None:
            self._take(bisect_left(self._starts, start + length))
            length += following
        before = self._ends.get(start)
        if before is not None:
            length += self._free[before]
            self._take(bisect_left(self._starts, before))
            start = before
        self._add(start, length)

    def fits(self, size: int) -> bool:
        """Return whether a payload of `size` bytes would fit into the empty arena."""
        return _block_size(size) <= self.size_bytes

    def debug_check(self) -> None:
        """Check the guards of all blocks. Raises HEAP_CORRUPTED at the first damaged block."""
        at = 0
        was_free = False
        while at < self.size_bytes:
            if at in self._blocks:
                self._checked_size(at + _HEADER.size)
                at += self._blocks[at]
                was_free = False
            else:
                assert not was_free, "free neighbours are merged"
                at += self._free[at]
                was_free = True

    @property
    def free_bytes(self) -> int:
        """Number of free bytes, which may be in several blocks."""
        return sum(self._free.values())

    def close(self) -> None:
        """Return the memory to the operating system."""
        self.memory.close()


class ArenaStore(HoldingStore):
    """A content store with all payloads in one arena of `size_bytes` bytes.

    Raises what `Arena` raises.
    """

    __slots__ = ("arena",)

    def __init__(self, size_bytes: int) -> None:
        self.arena = Arena(size_bytes)
        super().__init__(size_bytes, (self.arena,))


def memory_part(size_bytes: int, spill_ratio: int) -> Arena:
    """Return the arena of a hybrid store: `spill_ratio` percent of the size of the store.

    Raises INVALID_ARG below 1 MiB, and HEAP_DIRECT_MEM_INIT if the operating system cannot allocate
    the memory.
    """
    try:
        return Arena(size_bytes * spill_ratio // 100)
    except KvsError as error:
        if error.status is not StatusCode.NOT_ENOUGH_MEMORY:
            raise
        raise kvs_error(StatusCode.HEAP_DIRECT_MEM_INIT, error.detail) from error
