"""The PutMedia core: acks, fragments and refusals, at any split of the input."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsproducer import limits
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.fragment import Fragment, FragmentNumbers
from kvsproducer.endpoint.put_media import WORK_PER_CALL, PutMediaRequest, PutMediaSession

SECOND = 10_000_000
NOW = 17_000_000_000_000_000


class Driver:
    """Feed a session, and act as a store that stores every fragment at once."""

    def __init__(
        self,
        request: PutMediaRequest | None = None,
        bounds: EndpointLimits | None = None,
        *,
        storing: bool = True,
        work: int | None = None,
    ) -> None:
        self.step = 0  # of the wall clock, ticks
        self.session = PutMediaSession(
            request or PutMediaRequest(),
            FragmentNumbers(),
            NOW,
            bounds,
            wall=lambda now: now + self.step,
            work=work,
        )
        self.storing = storing
        self.fragments: list[Fragment] = []
        self.acks: list[dict[str, Any]] = []

    def feed(self, pieces: Iterable[bytes], *, end: bool = True) -> Driver:
        for piece in pieces:
            self.session.receive_data(piece, NOW)
            self.pump()
        if end:
            self.session.receive_eof(NOW)
            self.pump()
        return self

    def pump(self) -> None:
        while (fragment := self.session.next_fragment()) is not None:
            self.fragments.append(fragment)
            if self.storing:
                self.session.fragment_stored(fragment.info.number, persisted=True)
        while (ack := self.session.next_ack()) is not None:
            self.acks.append(json.loads(ack))

    @property
    def story(self) -> list[tuple[str, int]]:
        """Return (event, timecode) or (event, error id) of each ack."""
        return [
            (ack["EventType"], ack.get("ErrorId", ack.get("FragmentTimecode"))) for ack in self.acks
        ]


def story(*timecodes: int, kinds: str = "BRP") -> list[tuple[str, int]]:
    """Return the expected acks of complete fragments."""
    names = {"B": "BUFFERING", "R": "RECEIVED", "P": "PERSISTED"}
    return [(names[kind], timecode) for timecode in timecodes for kind in kinds]


@pytest.fixture(scope="module")
def stream(media: Any) -> bytes:
    return b"".join(
        (
            media.header(),
            media.tags([("door", "open")]),
            media.cluster(1000),
            media.cluster(2000),
            media.tags([("door", "shut")]),
            media.cluster(3000),
            media.tags([("light", "on")]),
            media.end_of_fragment(),
        )
    )


def splits(data: bytes) -> dict[str, list[bytes]]:
    """Return the data in one piece, byte by byte, and split at random."""
    cut = {"whole": [data], "bytes": [data[at : at + 1] for at in range(len(data))]}
    for seed in range(8):
        dice = random.Random(seed)
        places = sorted({0, len(data), *(dice.randrange(len(data)) for _ in range(12))})
        cut[f"seed {seed}"] = [data[a:b] for a, b in itertools.pairwise(places)]
    return cut


def test_acks_and_fragments_do_not_depend_on_the_split(stream: bytes) -> None:
    whole = Driver().feed([stream])
    for name, pieces in splits(stream).items():
        driver = Driver().feed(pieces)
        assert driver.fragments == whole.fragments, name
        assert sorted(driver.story) == sorted(whole.story), name
        assert driver.session.finished, name


def test_each_fragment_gets_buffering_received_persisted(stream: bytes) -> None:
    driver = Driver().feed(splits(stream)["bytes"])
    assert sorted(driver.story, key=lambda ack: ack[1]) == story(1000, 2000, 3000)


def test_acks_are_compact_json_lines_in_service_key_order(stream: bytes) -> None:
    session = PutMediaSession(PutMediaRequest(), FragmentNumbers(), NOW)
    session.receive_data(stream, NOW)
    ack = session.next_ack()
    assert ack is not None
    number = json.loads(ack)["FragmentNumber"]
    assert ack == (
        b'{"EventType":"BUFFERING","FragmentTimecode":1000,"FragmentNumber":"%b"}\n'
        % number.encode()
    )
    assert len(number) == 47
    assert number.startswith("9134385233318")


def test_fragment_numbers_grow(stream: bytes) -> None:
    numbers = [fragment.info.number for fragment in Driver().feed([stream]).fragments]
    assert numbers == sorted(set(numbers))


def test_bytes_of_the_producer_are_stored_unchanged_with_their_tags(
    stream: bytes, media: Any
) -> None:
    first, second, third = Driver().feed([stream]).fragments
    assert first.parts == (
        media.header(),
        media.tags([("door", "open")]),
        media.cluster(1000),
        b"",
    )
    assert second.parts == (media.header(), b"", media.cluster(2000), b"")
    assert third.parts == (
        media.header(),
        media.tags([("door", "shut")]),
        media.cluster(3000),
        media.tags([("light", "on")]) + media.end_of_fragment(),
    )


def test_end_of_fragment_tag_closes_the_fragment_at_once(media: Any) -> None:
    driver = Driver().feed([media.header(), media.cluster(7)], end=False)
    assert driver.story == story(7, kinds="B")
    driver.feed([media.end_of_fragment()], end=False)
    assert driver.story == story(7)
    assert driver.session.receiving


def test_end_of_body_closes_the_last_fragment(media: Any) -> None:
    driver = Driver().feed([media.header(), media.cluster(7)])
    assert driver.story == story(7)


def test_cluster_of_known_size_is_a_normal_fragment(media: Any) -> None:
    body = media.cluster(7)[5:]
    known = b"\x1f\x43\xb6\x75\x40" + bytes([len(body)]) + body
    driver = Driver().feed([media.header(), known, media.cluster(2000)])
    assert sorted(driver.story, key=lambda ack: ack[1]) == story(7, 2000)
    assert driver.fragments[0].cluster == known


def test_segment_of_known_size_is_stored_with_unknown_size(media: Any) -> None:
    header = media.header()
    at = header.index(b"\x18\x53\x80\x67")
    assert header[at + 4] == 0xFF
    rest = header[at + 5 :] + media.cluster(7)
    known = header[: at + 4] + (1 << 56 | len(rest)).to_bytes(8, "big") + rest
    (fragment,) = Driver().feed([known]).fragments
    assert fragment.header[at : at + 12] == b"\x18\x53\x80\x67\x01" + b"\xff" * 7


def test_timestamps_use_timecodes_and_producer_start(media: Any) -> None:
    data = [media.header(), media.cluster(3000)]
    (absolute,) = Driver().feed(data).fragments
    (relative,) = Driver(PutMediaRequest(absolute=False, start=NOW)).feed(data).fragments
    assert absolute.info.producer_timestamp == 3 * SECOND
    assert relative.info.producer_timestamp == NOW + 3 * SECOND
    assert relative.info.server_timestamp == NOW
    # Two frames half a second apart: the last one is assumed to last as long.
    assert relative.info.duration == SECOND


def test_without_retention_nothing_is_persisted(media: Any) -> None:
    driver = Driver(storing=False).feed([media.header(), media.cluster(7)])
    (fragment,) = driver.fragments
    assert not driver.session.finished
    driver.session.fragment_stored(fragment.info.number, persisted=False)
    driver.pump()
    assert driver.story == story(7, kinds="BR")
    assert driver.session.finished


def test_persisted_waits_for_the_store(media: Any) -> None:
    driver = Driver(storing=False).feed([media.header(), media.cluster(7), media.cluster(2007)])
    assert driver.story == [
        *story(7, kinds="BR"),
        *story(2007, kinds="BR"),
    ]
    for fragment in driver.fragments:
        driver.session.fragment_stored(fragment.info.number, persisted=True)
    driver.pump()
    assert driver.story[4:] == story(7, 2007, kinds="P")


def test_a_request_without_acks_gets_only_errors(media: Any) -> None:
    request = PutMediaRequest(acks=False)
    assert Driver(request).feed([media.header(), media.cluster(7)]).story == []
    assert Driver(request).feed([b"no Matroska at all"]).story == [("ERROR", 4006)]


def test_empty_body_is_accepted() -> None:
    driver = Driver().feed([])
    assert driver.story == []
    assert driver.session.finished


def test_duplicates_in_a_new_request_are_accepted(media: Any) -> None:
    numbers = FragmentNumbers()
    for _ in range(2):
        session = PutMediaSession(PutMediaRequest(), numbers, NOW)
        session.receive_data(media.header() + media.cluster(7), NOW)
        session.receive_eof(NOW)
        assert session.next_fragment() is not None


# --- refusals ------------------------------------------------------------------------------
def refused(build: Callable[[Any], list[bytes]], error_id: int) -> Any:
    return pytest.param(build, error_id, id=f"{error_id}-{build.__name__}")


def size(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1, [m.block(n, bytes(3_000_000)) for n in range(17)])]


def one_huge_block(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1, [m.block(0)]), b"\xa3\x01" + (60_000_000).to_bytes(7, "big")]


def duration(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1, [m.block(0), m.block(20_001)])]


def same_timecode(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(5000), m.cluster(5000)]


def earlier_timecode(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(5000), m.cluster(4000)]


def overlapping_blocks(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(5000), m.cluster(5400)]


def four_tracks(m: Any) -> list[bytes]:
    header = m.header(3)
    at = header.index(b"\x16\x54\xae\x6b")
    entry = b"\xae\x86\xd7\x81\x04\x83\x81\x02"  # TrackNumber 4, audio
    length = int.from_bytes(header[at + 4 : at + 8], "big") + len(entry)
    return [header[: at + 4] + length.to_bytes(4, "big") + header[at + 8 :] + entry]


def garbage(m: Any) -> list[bytes]:
    return [b"\x00" * 64]


def second_header(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1), m.header(), m.cluster(2000)]


def cluster_without_tracks(m: Any) -> list[bytes]:
    header = m.header()
    return [header[: header.index(b"\x16\x54\xae\x6b")], m.cluster(1)]


def cut_off(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1)[:-2]]


def far_future(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(2**60)]


def two_days_ahead(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(NOW // 10_000 + 2 * 86_400_000)]


def largest_timecode(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(2**64 - 1)]


def eleven_tags(m: Any) -> list[bytes]:
    return [m.header(), m.tags([(f"name {n}", "") for n in range(11)]), m.cluster(1)]


def tags_on_both_sides(m: Any) -> list[bytes]:
    six = m.tags([(f"name {n}", "") for n in range(6)])
    return [m.header(), six, m.cluster(1), six, m.end_of_fragment()]


def reserved_tag(m: Any) -> list[bytes]:
    return [m.header(), m.tags([("AWS_MINE", "1")]), m.cluster(1)]


def undeclared_track(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1, [m.block(0, track=2)])]


def no_audio_frame(m: Any) -> list[bytes]:
    return [m.header(2), m.cluster(1), m.cluster(2000)]


def empty_cluster(m: Any) -> list[bytes]:
    return [m.header(), m.cluster(1, []), m.cluster(2000)]


@pytest.mark.parametrize(
    ("build", "error_id"),
    [
        refused(size, 4001),
        refused(one_huge_block, 4001),
        refused(duration, 4002),
        refused(same_timecode, 4004),
        refused(earlier_timecode, 4004),
        refused(overlapping_blocks, 4004),
        refused(four_tracks, 4005),
        refused(garbage, 4006),
        refused(second_header, 4006),
        refused(cluster_without_tracks, 4006),
        refused(cut_off, 4006),
        refused(far_future, 4007),
        refused(two_days_ahead, 4007),
        refused(largest_timecode, 4007),
        refused(eleven_tags, 4009),
        refused(tags_on_both_sides, 4009),
        refused(reserved_tag, 4012),
        refused(undeclared_track, 4010),
        refused(no_audio_frame, 4011),
        refused(empty_cluster, 4011),
    ],
)
def test_refusals_of_the_service(
    build: Callable[[Any], list[bytes]], error_id: int, media: Any
) -> None:
    driver = Driver().feed(build(media))
    assert driver.story[-1] == ("ERROR", error_id)
    assert [event for event, _ in driver.story].count("ERROR") == 1
    assert driver.session.finished
    assert driver.session.refusal.startswith(str(error_id))
    before = len(driver.acks)
    driver.feed([media.header(), media.cluster(9000)])
    assert len(driver.acks) == before, "the session is over after an error"


def test_error_has_its_fragment_and_code(media: Any) -> None:
    driver = Driver().feed([media.header(), media.cluster(5000), media.cluster(4000)])
    assert list(driver.acks[-1].items()) == [
        ("EventType", "ERROR"),
        ("FragmentTimecode", 4000),
        ("FragmentNumber", driver.acks[-1]["FragmentNumber"]),
        ("ErrorCode", "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"),
        ("ErrorId", 4004),
    ]
    assert driver.acks[-1]["FragmentNumber"] > driver.acks[0]["FragmentNumber"]


def test_error_without_a_fragment_has_timecode_minus_one(media: Any) -> None:
    driver = Driver().feed([b"junk junk junk"])
    assert driver.acks[-1]["FragmentTimecode"] == -1
    assert driver.acks[-1]["FragmentNumber"] == ""


def test_error_is_sent_after_acks_of_earlier_fragments(media: Any) -> None:
    """Otherwise the producer would resend fragments that are being stored."""
    driver = Driver(storing=False).feed([media.header(), media.cluster(5000), media.cluster(1)])
    assert driver.story == [*story(5000, kinds="BR")]
    driver.session.fragment_stored(driver.fragments[0].info.number, persisted=True)
    driver.pump()
    assert driver.story[2:] == [("PERSISTED", 5000), ("ERROR", 4004)]


def test_no_acks_after_a_fragment_that_the_store_could_not_write(media: Any) -> None:
    """A PERSISTED ack for a later fragment would let the producer discard the failed one."""
    driver = Driver(storing=False).feed(
        [media.header(), media.cluster(1), media.cluster(2000), media.cluster(4000)]
    )
    first, second, third = (fragment.info.number for fragment in driver.fragments)
    driver.session.fragment_stored(first, persisted=True)
    driver.session.fragment_failed(second)
    driver.session.fragment_stored(third, persisted=True)
    driver.session.fragment_failed(third)
    driver.pump()
    assert driver.story[6:] == [("PERSISTED", 1), ("ERROR", 5001)]
    assert driver.acks[-1]["FragmentNumber"] == second
    assert driver.acks[-1]["FragmentTimecode"] == 2000
    assert driver.session.finished


def test_control_tags_count_but_are_allowed(media: Any) -> None:
    tags = media.tags([("AWS_KINESISVIDEO_IMAGE_GENERATION", ""), ("door", "open")])
    assert Driver().feed([media.header(), tags, media.cluster(1)]).story == story(1)


def test_producer_clock_may_be_one_day_ahead(media: Any) -> None:
    """The service's limit is not known. A program that uploads files may be ahead of the clock."""
    timecode = NOW // 10_000 + 86_400_000
    assert Driver().feed([media.header(), media.cluster(timecode)]).story == story(timecode)
    bounds = EndpointLimits(future=1)
    ahead = [media.header(), media.cluster(NOW // 10_000 + 1001)]
    assert Driver(bounds=bounds).feed(ahead).story[-1] == ("ERROR", 4007)
    relative = PutMediaRequest(absolute=False, start=NOW)
    assert Driver(relative, bounds).feed([media.header(), media.cluster(1001)]).story[-1] == (
        "ERROR",
        4007,
    )


def test_pictures_far_apart_are_separate_fragments(media: Any) -> None:
    """A fragment lasts from its first to its last block, so a time lapse is accepted."""
    times = [60_000 * n for n in range(1, 5)]
    clusters = [media.cluster(time, [media.block(0, key=True)]) for time in times]
    driver = Driver().feed([media.header(), *clusters])
    assert sorted(driver.story) == sorted(story(*times))
    assert {fragment.info.duration for fragment in driver.fragments} == {0}


def test_work_of_one_call_is_limited(media: Any) -> None:
    """So a client that sends tiny fragments does not delay other clients."""
    clusters = [media.cluster(n, [media.block(0, b"")]) for n in range(1, 2001)]
    whole = Driver().feed([media.header(), *clusters])
    driver = Driver(work=WORK_PER_CALL)
    driver.session.receive_data(media.header() + b"".join(clusters), NOW)
    calls, before = 1, 0
    while driver.session.has_input:
        driver.pump()
        assert len(driver.fragments) - before <= WORK_PER_CALL
        before = len(driver.fragments)
        driver.session.continue_input(NOW)
        calls += 1
    assert calls > 2000 * 3 / WORK_PER_CALL
    driver.session.receive_eof(NOW)
    while driver.session.has_input:
        driver.session.continue_input(NOW)
    driver.pump()
    assert driver.session.finished
    assert driver.session.begun == 2000
    assert [f.cluster for f in driver.fragments] == [f.cluster for f in whole.fragments]


def test_long_elements_count_as_several(media: Any) -> None:
    tags = b"\x12\x54\xc3\x67\x10\x00\x80\x00" + b"\xec\x80" * 16_384  # Void elements
    session = Driver(work=WORK_PER_CALL).session
    session.receive_data(media.header() + tags * 3, NOW)
    for _ in range(2):
        assert session.has_input
        session.continue_input(NOW)


def test_b_frames_and_audio_may_interleave_across_fragments(media: Any) -> None:
    """Only the frames of one track must be later than those of the previous fragment."""
    block = media.block
    driver = Driver().feed(
        [
            media.header(2),
            media.cluster(1000, [block(0), block(80), block(40), block(10, track=2)]),
            media.cluster(1120, [block(0), block(-30), block(-60, track=2)]),
        ]
    )
    assert sorted(driver.story, key=lambda ack: ack[1]) == story(1000, 1120)


# --- time ----------------------------------------------------------------------------------
def test_idle_request_gets_idle_acks_and_ends_after_thirty_seconds(media: Any) -> None:
    driver = Driver().feed([media.header(), media.cluster(1)], end=False)
    times = []
    while (timer := driver.session.next_timer()) is not None:
        times.append((timer - NOW) // SECOND)
        driver.session.handle_timer(timer)
        driver.pump()
    assert times == [5, 10, 15, 20, 25, 30]
    assert driver.acks[1:] == [{"EventType": "IDLE"}] * 5
    assert driver.session.finished
    assert not driver.fragments, "the fragment may be incomplete"


def test_data_and_paused_reading_restart_the_idle_time(media: Any) -> None:
    session = Driver().session
    session.receive_data(media.header(), NOW + 4 * SECOND)
    assert session.next_timer() == NOW + 9 * SECOND
    session.resume_input(NOW + 60 * SECOND)
    assert session.next_timer() == NOW + 65 * SECOND


@pytest.mark.parametrize("step", [3600 * SECOND, -3600 * SECOND])
def test_clock_step_dates_fragments_and_ends_no_request(media: Any, step: int) -> None:
    """Timeouts use `now`. The wall clock dates fragments, and decides what is in the future."""
    driver = Driver()
    due = driver.session.next_timer()
    driver.step = step
    driver.feed([media.header(), media.cluster(1000), media.cluster(2000)], end=False)
    driver.session.handle_timer(NOW)
    assert driver.session.receiving
    assert driver.session.next_timer() == due
    assert [fragment.info.server_timestamp for fragment in driver.fragments] == [NOW + step]
    driver.step = -NOW
    driver.feed([media.cluster(24 * 3600 * 1000 + 1)], end=False)
    assert driver.acks[-1]["ErrorId"] == 4007


def test_connection_ends_after_45_minutes(media: Any) -> None:
    driver = Driver()
    end = NOW + limits.SERVICE_MAX_CONNECTION_DURATION
    driver.session.receive_data(media.header() + media.cluster(1), end - 1)
    assert driver.session.next_timer() == end
    driver.session.handle_timer(end)
    driver.pump()
    assert driver.story == [("BUFFERING", 1), ("ERROR", 4003)]


# --- calls of the endpoint ----------------------------------------------------------------------
def test_deleted_stream_gets_error_4008(media: Any) -> None:
    driver = Driver().feed([media.header(), media.cluster(1)], end=False)
    driver.session.stream_deleted()
    driver.pump()
    assert driver.story == [("BUFFERING", 1), ("ERROR", 4008)]


def test_lost_connection_drops_only_the_open_fragment(media: Any) -> None:
    driver = Driver().feed([media.header(), media.cluster(1), media.cluster(2000)], end=False)
    driver.session.connection_lost()
    assert driver.session.finished
    assert [fragment.cluster for fragment in driver.fragments] == [media.cluster(1)]


def test_stop_acknowledges_fragments_that_are_being_stored(media: Any) -> None:
    driver = Driver(storing=False).feed(
        [media.header(), media.cluster(1), media.cluster(2000)], end=False
    )
    driver.session.stop()
    assert not driver.session.finished
    driver.session.fragment_stored(driver.fragments[0].info.number, persisted=True)
    driver.pump()
    assert driver.story[-1] == ("PERSISTED", 1)
    assert driver.session.finished


# --- arbitrary input ------------------------------------------------------------------------------
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_input_raises(stream: bytes, data: st.DataObject) -> None:
    """Change, remove and add bytes, and split at random.

    Acks are in order, at most one of them is an error, which is the last, no fragment follows it,
    and no exception is raised.
    """
    changed = bytearray(stream)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    places = sorted(
        {0, len(changed), *data.draw(st.lists(st.integers(0, len(changed)), max_size=9))}
    )
    driver = Driver().feed([bytes(changed[a:b]) for a, b in itertools.pairwise(places)])
    assert driver.session.finished
    events = [ack["EventType"] for ack in driver.acks]
    assert "ERROR" not in events[:-1]
    received = [ack["FragmentNumber"] for ack in driver.acks if ack["EventType"] == "RECEIVED"]
    persisted = [ack["FragmentNumber"] for ack in driver.acks if ack["EventType"] == "PERSISTED"]
    assert received == persisted == [fragment.info.number for fragment in driver.fragments]
