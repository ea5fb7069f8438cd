"""The reference of the public names: pages of directives that mkdocstrings fills from docstrings.

A name of `kvsproducer` goes on the page of its kind. One that no page claims goes on the page of
other names, so that a new name is documented before anybody sorts it in.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import kvsproducer
from kvsproducer.client.events import Event
from kvsproducer.status import KvsError

__all__ = ["pages"]

# page -> (title, text, names in their order); classes of a kind are added by `_kind`
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "producer": (
        "Producer and streams",
        "Blocking. [asyncio](aio.md) has the same classes with coroutines.",
        (
            *("Producer", "Stream", "FrameAccount", "put_media", "PutResult"),
            *("now", "ticks", "to_datetime"),
        ),
    ),
    "aio": ("asyncio", "The names of `kvsproducer.aio`.", ()),
    "frames": (
        "Frames",
        "",
        ("Frame", "FrameFlags", "TrackInfo", "TrackType", "EventType"),
    ),
    "configuration": (
        "Configuration",
        "What streams and producers are configured with. Numbers that are lengths of time are"
        " seconds unless an option says otherwise.",
        (
            *("StreamInfo", "StreamingType", "NalAdaptation", "FrameOrderMode"),
            *("StorePressurePolicy", "ViewOverflowPolicy", "DeviceInfo", "StorageInfo"),
            *("StorageType", "ClientInfo", "Duration", "Instant"),
        ),
    ),
    "connection": (
        "Connection and credentials",
        "How the service is reached, and with which keys.",
        (
            *("Connection", "ServiceConfig", "Caching", "IpFamily", "AwsCredentials"),
            *("FileCredentials", "IotCredentials", "CredentialsProvider"),
        ),
    ),
    "reading": (
        "Reading back",
        "",
        ("get_media", "list_fragments", "ReadFragment", "ReadFrame", "FragmentSummary"),
    ),
    "events": (
        "Events",
        "[The guide](../../how-to/events.md) says when each is reported.",
        ("Event", "DropReason", "StreamState", "AckType", "FragmentAck"),
    ),
    "errors": (
        "Errors",
        "Every error is a `KvsError` with a [status](../status-codes.md).",
        ("KvsError", "StatusCode", "explain", "Explanation"),
    ),
    "monitoring": (
        "Logs and metrics",
        "",
        ("StreamMetrics", "ClientMetrics", "MetricsServer", "Health", "FileLogHandler", "traced"),
    ),
    "callbacks": (
        "Callback classes",
        "[The page of callbacks](../callbacks.md) says when each function is called.",
        (),
    ),
    "endpoint": ("Local endpoint", "The names of `kvsproducer.endpoint`.", ()),
    "other": ("Other names", "", ()),
}
_OTHER_MODULES = {"aio": "kvsproducer.aio", "endpoint": "kvsproducer.endpoint"}
_LISTED = frozenset({"StatusCode"})  # its 317 members are on the page of status codes


def pages() -> Iterator[tuple[str, str]]:
    """Yield (path below docs/, text) of each page; a page without names is left out."""
    names = {page: list(listed) for page, (_, _, listed) in PAGES.items()}
    claimed = {name for listed in names.values() for name in listed}
    for name in kvsproducer.__all__:
        if name not in claimed:
            names[_kind(name)].append(name)
    for page, (title, text, _) in PAGES.items():
        module = _OTHER_MODULES.get(page, "kvsproducer")
        public = import_module(module).__all__
        listed = public if page in _OTHER_MODULES else [n for n in names[page] if n in public]
        if listed:
            parts = [f"# {title}", text, *(_directive(f"{module}.{name}") for name in listed)]
            yield f"reference/api/{page}.md", "\n\n".join(part for part in parts if part) + "\n"


def _kind(name: str) -> str:
    """Return the page of a name that no page lists."""
    value = getattr(kvsproducer, name)
    if not inspect.isclass(value):
        return "other"
    if issubclass(value, KvsError):
        return "errors"
    if issubclass(value, Event):
        return "events"
    return "callbacks" if value.__module__.startswith("kvsproducer.compat") else "other"


def _directive(path: str) -> str:
    options = "\n    options:\n      members: false" if path.split(".")[-1] in _LISTED else ""
    return f"::: {path}{options}"
