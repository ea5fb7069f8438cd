"""Reading back what is stored: GetMedia and ListFragments, blocking and asynchronous."""

from kvsproducer.reader.reader import (
    NS_PER_TICK,
    Assembler,
    Awaited,
    FragmentSummary,
    ReadFragment,
    ReadFrame,
    Start,
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
    "Awaited",
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
