"""The statuses of C-style callbacks."""

from __future__ import annotations

from collections.abc import Callable

from tests.status_codes.place import Place, Provocation, Table

from kvsproducer import (
    ApiCallbacks,
    AuthCallbacks,
    CallbacksProvider,
    Frame,
    PlatformCallbacks,
    Producer,
    ProducerCallbacks,
    StatusCode,
    StreamCallbacks,
    StreamDataAvailable,
    StreamInfo,
)

_S = StatusCode
NOBODY = "http://127.0.0.1:9"  # where nobody listens
Kind = Callable[..., ProducerCallbacks | StreamCallbacks | AuthCallbacks | ApiCallbacks]


def added(kind: Kind, *, times: int = 1, **members: object) -> Provocation:
    """Such a set is added, so often."""

    def provoke(_: Place) -> None:
        provider = CallbacksProvider()
        for _time in range(times):
            provider.add(kind(**members))

    return provoke


def free() -> None:
    """A function that two sets share."""


def chain_with_a_bug(_: Place) -> None:
    def data_available(_report: StreamDataAvailable) -> None:
        raise LookupError("a bug of the program's own")

    provider = CallbacksProvider()
    provider.add(StreamCallbacks(stream_data_available=data_available))
    producer = Producer("us-west-2", endpoint_url=NOBODY, callbacks=provider)
    try:
        stream = producer.open_stream("door", StreamInfo.video("h264"))
        stream.put_frame(Frame(b"\0\0\0\1\x65", 17 * 10**15, key_frame=True))
    finally:
        producer.close(0)


TABLE: Table = {
    _S.INTERNAL_ERROR: chain_with_a_bug,
    _S.MAX_CALLBACK_CHAIN: added(StreamCallbacks, times=20),
    _S.INVALID_PLATFORM_CALLBACKS_VERSION: lambda _: CallbacksProvider().set_platform(
        PlatformCallbacks(version=1)
    ),
    _S.INVALID_PRODUCER_CALLBACKS_VERSION: added(ProducerCallbacks, version=1),
    _S.INVALID_STREAM_CALLBACKS_VERSION: added(StreamCallbacks, version=1),
    _S.INVALID_AUTH_CALLBACKS_VERSION: added(AuthCallbacks, version=1),
    _S.INVALID_API_CALLBACKS_VERSION: added(ApiCallbacks, version=1),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.DUPLICATE_PRODUCER_CALLBACK_FREE_FUNC: added(ProducerCallbacks, times=2, free=free),
    _S.DUPLICATE_STREAM_CALLBACK_FREE_FUNC: added(StreamCallbacks, times=2, free=free),
    _S.DUPLICATE_AUTH_CALLBACK_FREE_FUNC: added(AuthCallbacks, times=2, free=free),
    _S.DUPLICATE_API_CALLBACK_FREE_FUNC: added(ApiCallbacks, times=2, free=free),
}
