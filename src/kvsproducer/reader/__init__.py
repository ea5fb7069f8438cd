"""Read stored media with GetMedia and ListFragments, blocking or in asyncio."""

from kvsproducer.reader.reader import (
    NS_PER_TICK,
    Assembler,
    FragmentSummary,
    ReadFragment,
    ReadFrame,
    Start,
    WaitStage,
    fragments,
    get_media,
    in_order,
    list_fragments,
    start_selector,
    summaries,
)

__all__ = [
    "NS_PER_TICK",
    "Assembler",
    "WaitStage",
    "FragmentSummary",
    "ReadFragment",
    "ReadFrame",
    "Start",
    "fragments",
    "get_media",
    "in_order",
    "list_fragments",
    "start_selector",
    "summaries",
]
