"""Read stored media: GetMedia yields fragments, ListFragments returns a list.

GetMedia returns one MKV document per fragment. Each document contains the producer's header and
cluster, between two Tags elements of the service. The first element has the fragment's number and
timestamps. The second one has a continuation token and says how far the reader is behind the newest
media. `get_media` fetches the documents, and `Assembler` converts their bytes into `ReadFragment`s
without I/O.
Sources: the GetMedia and ListFragments pages of the API reference.

`get_media` blocks between fragments; the asyncio version is `kvsproducer.aio.get_media`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Unpack

from kvsproducer import wire
from kvsproducer.client.states import result_status
from kvsproducer.duration import (
    TICKS_PER_MS,
    TICKS_PER_SECOND,
    Instant,
    format_instant,
    instant_to_ticks,
    to_datetime,
)
from kvsproducer.mkv import MkvParser, events
from kvsproducer.reader.blocking import iterate_blocking
from kvsproducer.service.calls import data_endpoint, instant
from kvsproducer.service.connection import (
    Connection,
    ConnectionOptions,
    check_stream_name,
    connection_from,
)
from kvsproducer.service.network import load_library
from kvsproducer.service.results import OK, Failure, failure_of, failure_of_answer
from kvsproducer.service.service import Service
from kvsproducer.service.sockets import close_sockets
from kvsproducer.status import InvalidMedia, KvsError, StatusCode, kvs_error

__all__ = [
    "Assembler",
    "WaitStage",
    "FragmentSummary",
    "ReadFragment",
    "ReadFrame",
    "fragments",
    "get_media",
    "in_order",
    "list_fragments",
    "summaries",
]

log = logging.getLogger("kvsproducer.reader")

Start = str | Instant
NS_PER_TICK = 100
_ANSWER_LIMIT_S = 60.0  # our choice: time until GetMedia's response begins; media may take longer
_REFUSAL_BYTES = 4096  # how much of an error response is read
_MAX_DIGITS = 18  # of a number in the service's tags; longer ones do not fit into 64 bits
_MAX_FRAGMENT_BYTES = 64 << 20  # our choice; the service's limit is 50 MB
_EVENT_OVERHEAD, _FRAME_OVERHEAD = 100, 300  # bytes of memory besides the data


@dataclass(frozen=True, slots=True)
class ReadFrame:
    """One stored frame.

    track_number: the number of its track.
    timestamp: presentation time in ticks (the cluster's timecode plus the block's).
    key_frame: whether the frame is a key frame.
    data: the payload.
    duration: in ticks; None if the block has no duration, as with most producers.
    """

    track_number: int
    timestamp: int
    key_frame: bool
    data: memoryview = field(repr=False)
    duration: int | None = None

    @property
    def datetime(self) -> dt.datetime:
        """`timestamp` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.timestamp)


@dataclass(slots=True)
class ReadFragment:
    """One stored fragment.

    number: the fragment number that the service assigned (47 digits).
    producer_timestamp, server_timestamp: in ticks since 1970.
    timecode: the cluster's timecode, in units of `timecode_scale_ns` nanoseconds.
    tracks: the entries of the MKV track list.
    tags: the fragment metadata of the producer, as (name, value).
    frames: the frames in the order in which they are stored.
    millis_behind_now: how far the reader is behind the newest media, in milliseconds; None if the
        service did not send it.
    raw: the whole MKV document of the fragment.
    """

    number: str = ""
    producer_timestamp: int = 0
    server_timestamp: int = 0
    timecode: int = 0
    timecode_scale_ns: int = 1_000_000
    tracks: list[events.TrackEntry] = field(default_factory=list)
    tags: list[tuple[str, str]] = field(default_factory=list)
    frames: list[ReadFrame] = field(default_factory=list, repr=False)
    millis_behind_now: int | None = None
    raw: bytes = field(default=b"", repr=False)

    @property
    def datetime(self) -> dt.datetime:
        """`producer_timestamp` as a `datetime` in UTC."""
        return to_datetime(self.producer_timestamp)

    @property
    def server_datetime(self) -> dt.datetime:
        """`server_timestamp` as a `datetime` in UTC."""
        return to_datetime(self.server_timestamp)


class Assembler:
    """A parser that converts the bytes of a GetMedia response into complete fragments.

    The input may be split at any byte. The methods raise InvalidMedia for bytes that are not
    Matroska, ACK_ERR_FRAGMENT_SIZE_REACHED for a fragment of more than 64 MiB (the service stores
    at most 50 MB), and the status of an error that the service reports in its tags.
    """

    def __init__(self) -> None:
        self._parser = MkvParser()
        self._fragment: ReadFragment | None = None
        self._raw: list[bytes] = []
        self._kept_bytes = 0  # memory of the open fragment, including the overhead of its frames

    def receive_data(self, data: bytes) -> Iterator[ReadFragment]:
        """Parse the next bytes, and yield the fragments that they complete."""
        self._parser.receive_data(data)
        yield from self._drain()

    def receive_eof(self) -> Iterator[ReadFragment]:
        """Parse the end of the response, and yield the last fragment if it was not yielded yet."""
        self._parser.receive_eof()
        yield from self._drain()
        yield from self._finish()

    def _drain(self) -> Iterator[ReadFragment]:
        while (event := self._parser.next_event()) is not None:
            if isinstance(event, events.EbmlHeader):
                yield from self._finish()
                self._fragment = ReadFragment()
            if self._fragment is not None:
                self._keep(event)
                self._take(self._fragment, event)
                if isinstance(event, events.Tags) and _ends_fragment(event):
                    yield from self._finish()

    def _keep(self, event: events.Event) -> None:
        """Keep the bytes of the open fragment; raise if they are too many."""
        frames = len(event.frames) if isinstance(event, events.Block) else 0
        self._kept_bytes += len(event.raw) + _EVENT_OVERHEAD + frames * _FRAME_OVERHEAD
        if self._kept_bytes > _MAX_FRAGMENT_BYTES:
            raise InvalidMedia(
                StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED,
                f"a fragment of GetMedia's answer takes over {_MAX_FRAGMENT_BYTES >> 20} MiB;"
                " the remote host is not Kinesis Video Streams, or the data are damaged",
            )
        self._raw.append(event.raw)

    def _finish(self) -> Iterator[ReadFragment]:
        fragment, self._fragment = self._fragment, None
        raw, self._raw = b"".join(self._raw), []
        self._kept_bytes = 0
        if fragment is not None and fragment.frames:
            fragment.raw = raw
            yield fragment

    def _take(self, fragment: ReadFragment, event: events.Event) -> None:
        if isinstance(event, events.Block):
            scale = fragment.timecode_scale_ns
            timestamp = (fragment.timecode + event.relative_timecode) * scale // NS_PER_TICK
            lasts = event.duration
            duration = None if lasts is None else lasts * scale // NS_PER_TICK
            fragment.frames.extend(
                ReadFrame(event.track_number, timestamp, event.key_frame, frame, duration)
                for frame in event.frames
            )
        elif isinstance(event, events.ClusterStart):
            fragment.timecode = event.timecode
        elif isinstance(event, events.Tags):
            for name, value in event.pairs:
                self._take_tag(fragment, name, value)
        elif isinstance(event, events.Tracks):
            fragment.tracks = event.entries
        elif isinstance(event, events.SegmentInfo):
            fragment.timecode_scale_ns = event.timecode_scale_ns

    def _take_tag(self, fragment: ReadFragment, name: str, value: str) -> None:
        if name == wire.TAG_FRAGMENT_NUMBER:
            fragment.number = value if value.isascii() and value.isdigit() else ""
        elif name == wire.TAG_PRODUCER_TIMESTAMP:
            fragment.producer_timestamp = _ticks(value)
        elif name == wire.TAG_SERVER_TIMESTAMP:
            fragment.server_timestamp = _ticks(value)
        elif name == wire.TAG_MILLIS_BEHIND_NOW:
            fragment.millis_behind_now = _number(value)
        elif name == wire.TAG_ERROR_ID:
            status = result_status(_number(value) or 0)
            raise kvs_error(status, f"the service ended GetMedia with error {value[:_MAX_DIGITS]}")
        elif name not in _SERVICE_TAGS:
            fragment.tags.append((name, value))


def _ends_fragment(tags: events.Tags) -> bool:
    """Return whether these are the tags that the service appends to a fragment."""
    return any(name == wire.TAG_CONTINUATION_TOKEN for name, _ in tags.pairs)


_SERVICE_TAGS = {wire.TAG_CONTINUATION_TOKEN, wire.TAG_ERROR_CODE, wire.TAG_END_OF_FRAGMENT}


def _ticks(seconds: str) -> int:
    """Convert decimal seconds, as in the service's tags, to ticks without float rounding."""
    whole, _, decimals = seconds.partition(".")
    found, fraction = _number(whole), _number(decimals[:7].ljust(7, "0"))
    return 0 if found is None or fraction is None else found * TICKS_PER_SECOND + fraction


def _number(digits: str) -> int | None:
    """Return the number in a tag of the service, or None for text that is not such a number."""
    written = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS
    return int(digits) if written else None


def get_media(
    stream_name: str,
    *,
    start: Start = "earliest",
    connection: Connection | None = None,
    **options: Unpack[ConnectionOptions],
) -> Iterator[ReadFragment]:
    """Yield the fragments of a stream, oldest first.

    The iterator ends when the service ends its response. For a live stream it waits for new
    fragments for as long as the caller iterates. Closing the iterator closes the connection.

    stream_name: the name of the stream.
    start: the first fragment: "earliest" (default), "now", a producer timestamp (an aware
        `datetime`, or ticks since 1970), or the number of the fragment before the first one.
    connection: how the service is reached; or give the fields of `Connection` as keywords.

    Raises INVALID_ARG at once for a wrong `stream_name`, `start` or `connection`. With the first
    fragment it raises SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR, SERVICE_CALL_NOT_AUTHORIZED_ERROR and
    the other statuses of a service call. Source: the GetMedia page of the API reference.
    """
    check_stream_name(stream_name)
    selector = start_selector(start)
    service = Service(connection_from(connection, options, get_media))
    return iterate_blocking(fragments(service, stream_name, selector))


def start_selector(start: Start) -> dict[str, Any]:
    """Return GetMedia's StartSelector for the argument `start`."""
    if isinstance(start, str):
        if start.lower() in ("earliest", "now"):
            return {"StartSelectorType": start.upper()}
        if start.isdigit():
            return {"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": start}
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"start={start!r} is not 'earliest', 'now', an instant or a fragment number",
        )
    milliseconds = instant_to_ticks(start) // TICKS_PER_MS
    return {"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": milliseconds / 1000}


class WaitStage(StrEnum):
    """What a reader is waiting for; the stages follow one another."""

    ENDPOINT = "GetDataEndpoint"
    ANSWER = "GetMedia"
    MEDIA = "media"


async def fragments(
    service: Service,
    stream_name: str,
    selector: dict[str, Any],
    *,
    on_wait: Callable[[WaitStage, str], object] = lambda _what, _where: None,
) -> AsyncGenerator[ReadFragment, None]:
    """Yield the fragments that GetMedia returns for a StartSelector; runs on the running loop.

    `on_wait(stage, where)` is called when the reader begins to wait; `where` is a URL or a region.
    """
    load_library()
    import aiohttp

    def waiting(what: WaitStage, where: str) -> None:
        log.info("stream %s: waiting for %s at %s", stream_name, what, where)
        on_wait(what, where)

    loop = asyncio.get_running_loop()
    service.run_on(loop)
    timeout = aiohttp.ClientTimeout(total=None, connect=service.time_limits.connection_s)
    assembler = Assembler()
    sockets: list[socket.socket] = []
    try:
        waiting(WaitStage.ENDPOINT, service.endpoint_url or service.region_name)
        url, headers, body = await _prepare(service, stream_name, selector)
        where = url.removesuffix(wire.PATHS["GetMedia"])
        waiting(WaitStage.ANSWER, where)
        async with (
            _answer_limit(where) as limit,
            service.network.session(url, sockets) as session,
            service.network.request(
                session, "POST", url, data=body, headers=headers, timeout=timeout
            ) as response,
        ):
            if response.status != OK:
                kind = response.headers.get(wire.HEADER_ERROR_TYPE, "")
                text = (await response.content.read(_REFUSAL_BYTES)).decode(errors="replace")
                failure = failure_of_answer(response.status, kind, text)
                raise _error(failure, service, stream_name)
            limit.reschedule(None)  # no limit for the media: a live stream may pause
            waiting(WaitStage.MEDIA, where)
            async for data in response.content.iter_any():
                for fragment in assembler.receive_data(data):
                    log.debug("stream %s: fragment %s", stream_name, fragment.number)
                    yield fragment
            log.info("stream %s: the service ended its response", stream_name)
    except KvsError:  # some of them are TimeoutErrors or OSErrors, which are converted below
        raise
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        raise _error(failure_of(error), service, stream_name) from error
    finally:  # close the sockets now, because the loop may stop right after this
        await close_sockets(sockets)
        await service.disconnect()
    for fragment in assembler.receive_eof():
        yield fragment


@asynccontextmanager
async def _answer_limit(where: str) -> AsyncGenerator[asyncio.Timeout, None]:
    """Raise SERVICE_CALL_TIMEOUT_ERROR if the block takes more than 60 s.

    The `with` block gets the timeout object and may reschedule it. Connecting has another limit.
    """
    limit = asyncio.timeout(_ANSWER_LIMIT_S)
    try:
        async with limit:
            yield limit
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise kvs_error(
            StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
            f"{where} did not answer GetMedia within {_ANSWER_LIMIT_S:g} s",
        ) from error


async def _prepare(
    service: Service, stream_name: str, selector: dict[str, Any]
) -> tuple[str, dict[str, str], bytes]:
    """Return the URL, the signed headers and the body of a GetMedia request."""
    endpoint = await _data_endpoint(service, stream_name, "GET_MEDIA")
    url = endpoint.rstrip("/") + wire.PATHS["GetMedia"]
    await service.network.prepare(url)
    body = json.dumps({"StreamName": stream_name, "StartSelector": selector}).encode()
    headers = {"Content-Type": wire.CONTENT_TYPE_JSON}
    return url, service.sign(url, headers, await service.keys(), body), body


async def _data_endpoint(service: Service, stream_name: str, api_name: str) -> str:
    with _convert_errors(service, stream_name, StatusCode.GET_STREAMING_ENDPOINT_CALL_FAILED):
        return await data_endpoint(service, stream_name, api_name)


@dataclass(frozen=True, slots=True)
class FragmentSummary:
    """One stored fragment in the answer of ListFragments.

    number: the fragment number that the service assigned.
    size: in bytes.
    producer_timestamp, server_timestamp: in ticks since 1970.
    duration: in ticks.
    """

    number: str
    size: int
    producer_timestamp: int
    server_timestamp: int
    duration: int

    @property
    def datetime(self) -> dt.datetime:
        """`producer_timestamp` as a `datetime` in UTC."""
        return to_datetime(self.producer_timestamp)

    @property
    def server_datetime(self) -> dt.datetime:
        """`server_timestamp` as a `datetime` in UTC."""
        return to_datetime(self.server_timestamp)


def list_fragments(
    stream_name: str,
    *,
    between: tuple[Instant, Instant] | None = None,
    connection: Connection | None = None,
    **options: Unpack[ConnectionOptions],
) -> list[FragmentSummary]:
    """Return the stored fragments of a stream in order of their numbers.

    `between` is a pair of times (aware `datetime`s, or ticks since 1970): only fragments whose
    producer timestamp is between them, or equal to one of them, are returned. Default: all
    fragments. `connection` and its keywords are those of `get_media`.

    Raises INVALID_ARG for a wrong `stream_name`, `between` or `connection`,
    SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR, SERVICE_CALL_NOT_AUTHORIZED_ERROR, and the other statuses
    of a service call. Source: the ListFragments page of the API reference.
    """
    check_stream_name(stream_name)
    service = Service(connection_from(connection, options, list_fragments))
    return in_order(iterate_blocking(summaries(service, stream_name, between)))


def in_order(found: Iterable[FragmentSummary]) -> list[FragmentSummary]:
    """Return summaries sorted by the numbers of their fragments."""
    return sorted(found, key=lambda fragment: int(fragment.number))


async def summaries(
    service: Service, stream_name: str, between: tuple[Instant, Instant] | None
) -> AsyncGenerator[FragmentSummary, None]:
    """Yield the fragments that ListFragments returns, page by page; runs on the running loop.

    The arguments are those of `list_fragments`.
    """
    load_library()
    service.run_on(asyncio.get_running_loop())
    asked: dict[str, Any] = {"StreamName": stream_name}
    first, last = 0, 0
    if between is not None:
        first, last = _span(between)
        asked["FragmentSelector"] = _selector(first, last)
    try:
        endpoint = await _data_endpoint(service, stream_name, "LIST_FRAGMENTS")
        with _convert_errors(service, stream_name):
            while True:
                page = await service.call("ListFragments", asked, endpoint)
                for one in map(_summary, page["Fragments"]):
                    if between is None or first <= one.producer_timestamp <= last:
                        yield one
                token = page.get("NextToken")
                if not token:
                    return
                if token == asked.get("NextToken"):  # it would return the same page endlessly
                    raise kvs_error(
                        StatusCode.INVALID_API_CALL_RETURN_JSON,
                        "ListFragments returned the same NextToken twice",
                    )
                asked["NextToken"] = token
    finally:
        await service.disconnect()


def _span(between: tuple[Instant, Instant]) -> tuple[int, int]:
    """Return both times of `between` in ticks; raise INVALID_ARG if they are not a time range."""
    if not isinstance(between, tuple | list) or len(between) != 2:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"between={between!r} is not a pair: give (first, last), two aware datetimes",
        )
    first, last = map(instant_to_ticks, between)
    if last < first:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"between= ends at {format_instant(last)}, before it begins at {format_instant(first)}",
        )
    return first, last


def _selector(first: int, last: int) -> dict[str, Any]:
    """Return ListFragments' selector for a range of producer timestamps in ticks.

    The selector has whole seconds, so its range is up to 2 s longer.
    """
    start, end = first // TICKS_PER_SECOND, last // TICKS_PER_SECOND + 2
    return {
        "FragmentSelectorType": "PRODUCER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end},
    }


def _summary(item: dict[str, Any]) -> FragmentSummary:
    return FragmentSummary(
        number=item["FragmentNumber"],
        size=item["FragmentSizeInBytes"],
        producer_timestamp=instant(item["ProducerTimestamp"]),
        server_timestamp=instant(item["ServerTimestamp"]),
        duration=item["FragmentLengthInMilliseconds"] * TICKS_PER_MS,
    )


@contextmanager
def _convert_errors(
    service: Service, stream_name: str, unreached: StatusCode | None = None
) -> Iterator[None]:
    """Convert exceptions of a service call in the block into the `KvsError` for the user.

    `unreached` replaces the status of errors that a producer would retry (time-outs and unknown
    errors). It is the status with which a producer gives up such a call.
    """
    try:
        yield
    except Exception as error:
        raise _error(failure_of(error), service, stream_name, unreached) from error


def _error(
    failure: Failure, service: Service, stream_name: str, unreached: StatusCode | None = None
) -> KvsError:
    status = failure.status
    detail = failure.detail.removeprefix(f"STATUS_{status.name}: ")
    if unreached is not None and status in _TRIED_AGAIN:
        status = unreached
    if status is StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR:
        where = service.endpoint_url or service.region_name
        detail += f" (reading does not create streams; check the name, and that {where} is right)"
    return failure.error_class(status, detail, stream=stream_name)


_TRIED_AGAIN = {
    StatusCode.SERVICE_CALL_UNKOWN_ERROR,
    StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
}
