"""ListFragments, as boto3 calls it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kvsproducer.endpoint import LocalEndpoint
from kvsproducer.endpoint.members import next_token

Make = Callable[..., Any]


def test_list_fragments_by_both_clocks_and_in_pages(
    endpoint: LocalEndpoint, put_media: Make, media: Any, aws: Make
) -> None:
    start = 1_700_000_000_000
    clusters = [media.cluster(start + 1000 * n) for n in range(5)]
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    upload = put_media(endpoint, "door")
    upload.send(media.header() + b"".join(clusters))
    upload.end()
    upload.head()
    upload.acks()
    archive = aws(endpoint, "kinesis-video-archived-media")

    def listed(kind: str, first: float, last: float, **more: Any) -> list[Any]:
        selector = {
            "FragmentSelectorType": kind,
            "TimestampRange": {"StartTimestamp": first, "EndTimestamp": last},
        }
        pages = archive.get_paginator("list_fragments").paginate(
            StreamName="door", FragmentSelector=selector, **more
        )
        return [item for page in pages for item in page["Fragments"]]

    chosen = listed("PRODUCER_TIMESTAMP", 1_700_000_001, 1_700_000_003)
    assert [item["ProducerTimestamp"].timestamp() for item in chosen] == [
        1_700_000_001,
        1_700_000_002,
        1_700_000_003,
    ]
    assert {item["FragmentLengthInMilliseconds"] for item in chosen} == {1000}
    assert all(len(item["FragmentNumber"]) == 47 for item in chosen)
    assert all(item["FragmentSizeInBytes"] > len(clusters[0]) for item in chosen)
    now = datetime.now(UTC).timestamp()
    everything = listed("SERVER_TIMESTAMP", now - 60, now + 60, PaginationConfig={"PageSize": 2})
    assert len(everything) == 5
    assert listed("SERVER_TIMESTAMP", now + 60, now + 120) == []
    with pytest.raises(archive.exceptions.InvalidArgumentException):
        listed("SERVER_TIMESTAMP", now, now - 1)


def test_next_token_contains_the_selector(
    endpoint: LocalEndpoint, put_media: Make, media: Any, aws: Make
) -> None:
    """The next page needs no selector. A token that the endpoint did not return is refused."""
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    upload = put_media(endpoint, "door")
    upload.send(media.header() + media.cluster(1000) + media.cluster(2000) + media.cluster(3000))
    upload.end()
    upload.head()
    upload.acks()
    archive = aws(endpoint, "kinesis-video-archived-media")
    selector = {
        "FragmentSelectorType": "PRODUCER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": 0, "EndTimestamp": 2},
    }
    first = archive.list_fragments(StreamName="door", FragmentSelector=selector, MaxResults=1)
    rest = archive.list_fragments(StreamName="door", NextToken=first["NextToken"])
    found = [*first["Fragments"], *rest["Fragments"]]
    assert [item["ProducerTimestamp"].timestamp() for item in found] == [1, 2]
    assert "NextToken" not in rest
    for forged in (
        "ABC",
        "producer_timestamp 0 " + "9" * 40 + " x",
        "producer_timestamp -1 5 x",
        "producer_timestamp 5 1 x",
        "number 0 1 x",
        "producer_timestamp 0 \u00b2 x",
    ):
        with pytest.raises(archive.exceptions.InvalidArgumentException):
            archive.list_fragments(StreamName="door", NextToken=next_token(forged))
