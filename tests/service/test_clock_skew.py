"""A wrong clock is noticed in responses, reported once, and corrected in signatures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest
from tests.endpoints import QUICK

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.endpoint import Credentials, LocalEndpoint, local_endpoint
from kvsproducer.service.clock_skew import ClockSkew, describe_skew

Frames = Callable[[int], Iterator[kvs.Frame]]
SECOND = 10_000_000
MINUTE = 60 * SECOND
START = 1_700_000_000 * SECOND
KNOWN = {"AKIDEXAMPLE": Credentials("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}


def answer(at: int, **more: str) -> dict[str, str]:
    return {"Date": formatdate(at / SECOND, usegmt=True), "x-amzn-RequestId": "1", **more}


def observed(skew: ClockSkew, off: int, now: int = START) -> bool:
    return skew.observe(answer(now + off), 0, now)


def test_less_than_a_minute_is_ignored() -> None:
    """A Date has whole seconds, and responses take some time."""
    skew = ClockSkew()
    assert not observed(skew, 59 * SECOND)
    assert not skew.observe(answer(START), 110 * SECOND, START + 60 * SECOND)
    assert skew.ticks == 0


def test_skew_is_reported_once_and_again_when_it_changes() -> None:
    """It is also reported when the clock is right again."""
    skew, reported = ClockSkew(), []
    skew.on_change = reported.append
    assert observed(skew, 20 * MINUTE)
    assert not observed(skew, 20 * MINUTE + 5 * SECOND)
    assert observed(skew, -90 * MINUTE)
    assert observed(skew, 0)
    assert [round(ticks / MINUTE) for ticks in reported] == [20, -90, 0]


def test_skew_near_the_limit_is_not_reported_repeatedly() -> None:
    """A reported skew is cancelled only if it becomes much smaller than the limit."""
    skew = ClockSkew()
    assert observed(skew, 65 * SECOND)
    assert not observed(skew, 55 * SECOND)
    assert observed(skew, 5 * SECOND)


@pytest.mark.parametrize("step", [-20 * MINUTE, 20 * MINUTE])
def test_time_is_unknown_after_this_clock_was_set(step: int) -> None:
    """`knows` returns False until the next response."""
    skew = ClockSkew()
    assert not skew.knows(START)
    observed(skew, 0)
    assert skew.knows(START)
    assert not skew.knows(START + step)
    observed(skew, -step, START + step)
    assert skew.knows(START + step)


@pytest.mark.parametrize(
    "headers",
    [
        {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"},
        {"x-amzn-RequestId": "1"},
        {"x-amzn-RequestId": "1", "Date": "yesterday"},
        {"x-amzn-RequestId": "1", "Date": "Sun, 06 Nov 1994 08:49:37"},
        {"x-amzn-RequestId": "1", "Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"x-amzn-RequestId": "1", "Date": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"x-amzn-RequestId": "1", "Date": "Fri, 31 Dec 9999 23:59:59 -2359"},
    ],
)
def test_unusable_dates_are_ignored(headers: dict[str, str]) -> None:
    """Responses of proxies, invalid dates, and dates that the service cannot have."""
    assert not ClockSkew().observe(headers, 0, START)


def test_description_of_a_skew() -> None:
    """The text names the direction and the amount."""
    assert describe_skew(20 * MINUTE + 3 * SECOND) == (
        "this machine's clock is 20 min 3 s behind the service's"
    )
    assert "1 min 0 s ahead of" in describe_skew(-MINUTE)


@pytest.mark.parametrize("off", [20 * MINUTE, -20 * MINUTE])
def test_media_are_stored_over_twenty_minutes(
    off: int, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint with another clock accepts the signatures; the skew is reported once."""
    seen: list[kvs.ClockSkewDetected] = []

    def listen(event: kvs.Event) -> None:
        if isinstance(event, kvs.ClockSkewDetected):
            seen.append(event)

    with local_endpoint(
        limits=QUICK, verify_signatures=KNOWN, now=lambda: kvs.now() + off
    ) as endpoint:
        with caplog.at_level(logging.WARNING, "kvsproducer.clock"):
            with kvs.Producer(endpoint_url=endpoint.url, on_event=listen) as producer:
                with producer.open_stream("door", info) as stream:
                    for frame in frames(10):
                        stream.put_frame(frame)
        read = list(kvs.get_media("door", endpoint_url=endpoint.url))
        assert sum(len(fragment.frames) for fragment in read) == 10
        assert len(kvs.list_fragments("door", endpoint_url=endpoint.url)) == 2
    assert [abs(event.skew - off) < 10 * SECOND for event in seen] == [True]
    assert "requests are signed with the service's time" in caplog.text


def test_a_clock_that_jumps_during_an_upload(info: kvs.StreamInfo, frames: Frames) -> None:
    """Only the refusal of PutMedia shows the skew, because there is no call in between."""
    off = 0

    async def run() -> kvs.FrameAccount:
        nonlocal off
        endpoint = LocalEndpoint(verify_signatures=KNOWN, now=lambda: kvs.now() + off)
        async with endpoint, aio.Producer(endpoint_url=endpoint.url) as producer:
            stream = producer.open_stream("door", info)
            await stream.wait_ready()
            off = 30 * MINUTE  # the endpoint is known; the next request is the upload
            for frame in frames(10):
                await stream.put_frame(frame)
            return await stream.flush(timeout=30)

    account = asyncio.run(run())
    assert (account.persisted, account.dropped) == (10, 0)


@pytest.mark.parametrize(
    ("token", "region", "stored"),
    [
        ("a-token", "us-west-2", True),
        ("another", "us-west-2", False),
        ("a-token", "eu-west-1", False),
    ],
    ids=["right", "wrong-token", "wrong-region"],
)
def test_session_tokens_over_both_planes(
    token: str, region: str, stored: bool, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The endpoint accepts only one token and one region."""
    key, known = next(iter(KNOWN.items()))
    with_token = {key: Credentials(known.secret_key, "a-token")}
    credentials = kvs.AwsCredentials(key, known.secret_key, token)
    with local_endpoint(verify_signatures=with_token, region="us-west-2") as endpoint:
        if not stored:
            with pytest.raises(PermissionError, match="HTTP 403"):
                kvs.list_fragments(
                    "door",
                    region_name=region,
                    endpoint_url=endpoint.url,
                    credentials=credentials,
                )
            return
        with kvs.Producer(
            region_name=region, endpoint_url=endpoint.url, credentials=credentials
        ) as producer:
            with producer.open_stream("door", info) as stream:
                for frame in frames(5):
                    stream.put_frame(frame)
