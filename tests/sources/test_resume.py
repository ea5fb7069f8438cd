"""Resume an interrupted put: nothing is missing, and nothing is stored twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from botocore.session import Session
from tests.endpoints import QUICK

import kvsproducer as kvs
from kvsproducer.client.frame import Frame
from kvsproducer.endpoint import LocalEndpoint, local_endpoint
from kvsproducer.service.connection import ConnectionOptions
from kvsproducer.sources import open_source, put_media
from kvsproducer.sources.resume import StoredFragment, frames_left, last_stored
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]
MS = 10_000
START = 1_700_000_000_123 * MS
OFFLINE = kvs.StreamingType.OFFLINE


@pytest.fixture(scope="module")
def endpoint() -> Iterator[LocalEndpoint]:
    with local_endpoint(limits=QUICK) as running:
        yield running


@pytest.fixture
def options(endpoint: LocalEndpoint) -> ConnectionOptions:
    session = Session()
    session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    return ConnectionOptions(region_name="us-west-2", session=session, endpoint_url=endpoint.url)


def interrupted(clip: Path, name: str, count: int, options: ConnectionOptions) -> None:
    """Put only the first frames. Closing the stream ends the open fragment.

    The service refuses this fragment if one of the tracks has no frame in it.
    """
    with open_source(clip, start=START) as source:
        producer = kvs.Producer(**options)
        stream = producer.open_stream(
            name, source.stream_info(streaming_type=OFFLINE, retention="PT1H")
        )
        for frame in islice(source.frames(), count):
            stream.put_frame(frame)
        assert stream.close(30).held == 0
        producer.close(0)


def stored(name: str, options: ConnectionOptions) -> list[list[tuple[int, int, bytes]]]:
    """Return the frames of each stored fragment, ordered by time."""
    found = kvs.get_media(name, **options)  # type: ignore[misc]
    fragments = sorted(found, key=lambda fragment: fragment.producer_timestamp)
    return [
        [(frame.track_number, frame.timestamp, bytes(frame.data)) for frame in fragment.frames]
        for fragment in fragments
    ]


@pytest.mark.parametrize(
    ("ending", "shape"),
    [
        ("mp4", {"bframes": 2, "audio": "aac"}),
        ("mkv", {"bframes": 0}),
        ("ts", {"codec": "hevc", "bframes": 1, "audio": "aac"}),
    ],
)
def test_resumed_put_stores_the_rest(
    ending: str, shape: dict[str, object], make_clip: MakeClip, options: ConnectionOptions
) -> None:
    """This works for any place of the interruption. A shortened fragment is put again."""
    clip = make_clip(ending, **shape)
    whole = f"whole-{ending}"
    total = put_media(clip, whole, start=START, **options).frames
    expected = stored(whole, options)
    first = len(expected[0])
    for count in (1, first - 1, first, first + 1, 2 * first + 7, total - 1, total):
        name = f"{ending}-{count}"
        interrupted(clip, name, count, options)
        before = stored(name, options)
        result = put_media(clip, name, start=START, resume=True, **options)
        found = stored(name, options)
        if before and before[-1] not in expected:  # the interruption shortened it
            found.remove(before.pop())
        assert result.resumed == sum(map(len, before))
        assert result.frames + result.resumed == total
        assert found == expected


def test_sound_alone_is_resumed(make_clip: MakeClip, options: ConnectionOptions) -> None:
    """Its fragments are cut by the fragment duration."""
    clip = make_clip("mp4", bframes=0, audio="aac", duration_s=9)
    total = put_media(clip, "sound", start=START, tracks="audio", **options).frames
    result = put_media(clip, "sound", start=START, tracks="audio", resume=True, **options)
    assert (result.frames, result.resumed) == (0, total)
    with open_source(clip, start=START, tracks="audio") as source:
        with kvs.Producer(**options) as producer:
            info = source.stream_info(streaming_type=OFFLINE, retention="PT1H")
            with producer.open_stream("sound-cut", info) as stream:
                for frame in islice(source.frames(), total // 2):
                    stream.put_frame(frame)
    result = put_media(clip, "sound-cut", start=START, tracks="audio", resume=True, **options)
    assert 0 < result.resumed <= total // 2
    assert result.frames + result.resumed == total


def test_resume_of_a_stream_that_does_not_exist(
    make_clip: MakeClip, options: ConnectionOptions
) -> None:
    result = put_media(make_clip("mp4"), "new", start=START, resume=True, **options)
    assert (result.frames, result.resumed) == (75, 0)


def test_another_start_time_is_refused(make_clip: MakeClip, options: ConnectionOptions) -> None:
    """Another file is refused too: it has no fragment where the last stored one begins."""
    clip = make_clip("mp4")
    put_media(clip, "other", start=START, **options)
    with pytest.raises(KvsError, match="has no fragment there: use the start time") as caught:
        put_media(clip, "other", start=START - 100 * MS, resume=True, **options)
    assert caught.value.status is StatusCode.INVALID_ARG


@pytest.mark.parametrize(
    ("source", "more", "reason"),
    [
        ("clip", {}, "give start="),
        ("testsrc:duration=1", {"start": START, "streaming_type": OFFLINE}, "cannot be read again"),
        ("clip", {"start": START, "streaming_type": kvs.StreamingType.REALTIME}, "REALTIME"),
    ],
)
def test_sources_that_cannot_be_resumed(
    source: str,
    more: dict[str, object],
    reason: str,
    make_clip: MakeClip,
    options: ConnectionOptions,
) -> None:
    """The times or the order of the stored frames are unknown."""
    given = str(make_clip("mp4")) if source == "clip" else source
    with pytest.raises(KvsError, match=reason) as caught:
        put_media(given, "never", resume=True, **options, **more)  # type: ignore[arg-type]
    assert caught.value.status is StatusCode.INVALID_ARG


def test_producer_of_the_caller_is_refused(make_clip: MakeClip, options: ConnectionOptions) -> None:
    with kvs.Producer(**options) as producer:
        with pytest.raises(KvsError, match="producer= is given"):
            put_media(make_clip("mp4"), "never", start=START, resume=True, producer=producer)


def test_newest_of_two_fragments_at_one_time_counts() -> None:
    """An earlier one may have been shortened."""

    def summary(number: int) -> kvs.FragmentSummary:
        return kvs.FragmentSummary(str(number), 1, START, START, MS)

    def read(frames: int, number: int) -> kvs.ReadFragment:
        frame = kvs.ReadFrame(1, START, True, memoryview(b""))
        return kvs.ReadFragment(number=str(number), frames=[frame] * frames)

    found = last_stored(
        lambda span: [summary(8), summary(7)],
        lambda instant: iter([read(2, 7), read(5, 8)]),
        START,
        None,
    )
    assert found == StoredFragment(START, 5)


def test_unreadable_fragment_is_put_again() -> None:
    """For example, it expired between the two calls."""
    frames = [Frame(b"x", pts=START + n * 500 * MS, key_frame=True) for n in range(6)]
    skipped: list[int] = []
    last = StoredFragment(START + 1000 * MS, 0)
    left = list(frames_left(iter(frames), last, 1000 * MS, skipped.append))
    assert skipped == [2]
    assert left == frames[2:]
