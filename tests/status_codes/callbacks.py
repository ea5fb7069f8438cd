"""Provocations for the statuses of C-style callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.status_codes.place import Place, Provocation, Table
from tests.waiting import until

from kvsproducer import (
    ApiCallbacks,
    AuthCallbacks,
    CallbacksProvider,
    ClientErrorReported,
    DeviceInfo,
    Event,
    Frame,
    PlatformCallbacks,
    Producer,
    ProducerCallbacks,
    StatusCode,
    StreamCallbacks,
    StreamDataAvailable,
    StreamInfo,
)
from kvsproducer.compat import stream_description

_S = StatusCode
NO_SERVER = "http://127.0.0.1:9"  # a port without a server
Kind = Callable[..., ProducerCallbacks | StreamCallbacks | AuthCallbacks | ApiCallbacks]


def add_callbacks(kind: Kind, *, times: int = 1, **members: object) -> Provocation:
    """Add a set of callbacks with these members, `times` times."""

    def provoke(_: Place) -> None:
        provider = CallbacksProvider()
        for _time in range(times):
            provider.add(kind(**members))

    return provoke


def free() -> None:
    """Do nothing; two sets share this function."""


def chain_with_a_bug(_: Place) -> None:
    def data_available(_report: StreamDataAvailable) -> None:
        raise LookupError("a bug of the program's own")

    provider = CallbacksProvider()
    provider.add(StreamCallbacks(stream_data_available=data_available))
    producer = Producer(region_name="us-west-2", endpoint_url=NO_SERVER, callbacks=provider)
    try:
        stream = producer.open_stream("door", StreamInfo.video("h264"))
        stream.put_frame(Frame(b"\0\0\0\1\x65", 17 * 10**15, key_frame=True))
    finally:
        producer.close(0)


def set_up_with(*sets: AuthCallbacks | ApiCallbacks, **device: Any) -> Provocation:
    """Make a producer with these callbacks, and return the events up to its first error."""

    def provoke(place: Place) -> list[Event]:
        events: list[Event] = []
        provider = CallbacksProvider()
        for one in sets:
            provider.add(one)
        producer = Producer(
            endpoint_url=place.endpoint_url(),
            callbacks=provider,
            device_info=DeviceInfo(**device),
            on_event=events.append,
        )
        try:
            until(lambda: any(isinstance(event, ClientErrorReported) for event in events))
        finally:
            producer.close(0)
        return events

    return provoke


def certificate(_: object) -> bytes:
    return b"-----BEGIN CERTIFICATE-----"


TABLE: Table = {
    _S.INTERNAL_ERROR: chain_with_a_bug,
    _S.MAX_CALLBACK_CHAIN: add_callbacks(StreamCallbacks, times=20),
    _S.INVALID_PLATFORM_CALLBACKS_VERSION: lambda _: CallbacksProvider().set_platform(
        PlatformCallbacks(version=1)
    ),
    _S.INVALID_PRODUCER_CALLBACKS_VERSION: add_callbacks(ProducerCallbacks, version=1),
    _S.INVALID_STREAM_CALLBACKS_VERSION: add_callbacks(StreamCallbacks, version=1),
    _S.INVALID_AUTH_CALLBACKS_VERSION: add_callbacks(AuthCallbacks, version=1),
    _S.INVALID_API_CALLBACKS_VERSION: add_callbacks(ApiCallbacks, version=1),
    _S.INVALID_CALLBACKS_VERSION: lambda _: CallbacksProvider(version=1) and None,
    _S.INVALID_STREAM_DESCRIPTION_VERSION: lambda _: (
        stream_description({"version": 2, "stream_arn": "arn"}) and None
    ),
    _S.SERVICE_CALL_CALLBACKS_MISSING: set_up_with(
        AuthCallbacks(get_device_certificate=certificate)
    ),
    _S.GET_CLIENT_TOKEN_CALL_FAILED: set_up_with(
        AuthCallbacks(
            get_device_certificate=certificate,
            device_cert_to_token=lambda _: _S.IOT_FAILED,
        )
    ),
    _S.DEVICE_FINGERPRINT_LENGTH: set_up_with(
        AuthCallbacks(get_device_fingerprint=lambda _: "f" * 33)
    ),
    _S.CLIENT_PROVISION_CALL_FAILED: set_up_with(
        AuthCallbacks(get_device_fingerprint=lambda _: "f" * 32)
    ),
    _S.TAG_CLIENT_CALL_FAILED: set_up_with(
        ApiCallbacks(tag_device=lambda _: _S.SERVICE_CALL_TIMEOUT_ERROR),
        tags=(("room", "hall"),),
    ),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.DUPLICATE_PRODUCER_CALLBACK_FREE_FUNC: add_callbacks(ProducerCallbacks, times=2, free=free),
    _S.DUPLICATE_STREAM_CALLBACK_FREE_FUNC: add_callbacks(StreamCallbacks, times=2, free=free),
    _S.DUPLICATE_AUTH_CALLBACK_FREE_FUNC: add_callbacks(AuthCallbacks, times=2, free=free),
    _S.DUPLICATE_API_CALLBACK_FREE_FUNC: add_callbacks(ApiCallbacks, times=2, free=free),
}
