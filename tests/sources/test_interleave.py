"""The order of frames, and where fragments begin, held against the service's rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.interleave import Interleaver
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.status import KvsError, StatusCode

VIDEO = MediaTrack(Kind.VIDEO, "h264", rate=25.0)
REORDERED = MediaTrack(Kind.VIDEO, "h264", rate=25.0, reordered=True)
AUDIO = MediaTrack(Kind.AUDIO, "aac")
MS = TICKS_PER_MS


def picture(number: int, pts: int, dts: int | None = None, *, key: bool = False) -> MediaPacket:
    dts = pts if dts is None else dts
    return MediaPacket(Kind.VIDEO, b"v", pts * MS, dts * MS, 40 * MS, key, number)


def sound(number: int, pts: int) -> MediaPacket:
    return MediaPacket(Kind.AUDIO, b"a", pts * MS, pts * MS, 20 * MS, True, number)


def pictures(count: int, gop: int, *, bframes: bool = False, start: int = 0) -> list[MediaPacket]:
    """25 fps; with `bframes`, closed groups I P B B shown I B B P, dts 80 ms ahead."""
    shown = {1: 3, 2: 1, 3: 2} if bframes else {}
    delay = 80 if bframes else 0
    return [
        picture(
            n,
            start + 40 * (n + (shown.get(n % gop % 4, n % gop % 4) - n % gop % 4)) + delay,
            start + 40 * n,
            key=n % gop == 0,
        )
        for n in range(count)
    ]


def sounds(count: int, start: int = 0) -> list[MediaPacket]:
    return [sound(n, start + 20 * n) for n in range(count)]


def by_dts(*tracks: list[MediaPacket]) -> list[MediaPacket]:
    return sorted((p for track in tracks for p in track), key=lambda p: p.dts or 0)


def start(first: MediaPacket) -> int:
    """When the fragment starts that begins with this packet."""
    return (first.pts or 0) - first.lead


def fragments(packets: list[MediaPacket]) -> Iterator[list[MediaPacket]]:
    """Fragments as the client cuts them: at a key frame, 1 s or more after the last cut."""
    current: list[MediaPacket] = []
    for packet in packets:
        due = current and (packet.pts or 0) - start(current[0]) >= TICKS_PER_SECOND
        if packet.key_frame and due:
            yield current
            current = []
        current.append(packet)
    yield current


def check_rules(packets: list[MediaPacket], tracks: int) -> list[list[MediaPacket]]:
    """KVS's rules on the whole sequence; returns the fragments."""
    decode = [p.dts or 0 for p in packets]
    assert decode == sorted(decode)
    assert packets[0].key_frame
    found, latest = list(fragments(packets)), -(10**6)
    for fragment in found:
        times = [(p.pts or 0) // MS for p in fragment]
        assert min(times) == start(fragment[0]) // MS, "the fragment starts with what is seen first"
        assert min(times) > latest, "earlier than the fragment before"
        latest = max(times)
        assert len({p.kind for p in fragment}) == tracks
    return found


@pytest.mark.parametrize("bframes", [False, True])
@pytest.mark.parametrize("early", [-21, 0, 13, 95])
@pytest.mark.parametrize("gop", [12, 24, 48])
def test_two_tracks_in_the_order_that_kvs_takes(bframes: bool, early: int, gop: int) -> None:
    """With and without B-frames, sound early or late: every rule holds, no frame is missing."""
    video = pictures(120, gop, bframes=bframes)
    given = by_dts(video, sounds(240, start=early))
    order = Interleaver([REORDERED if bframes else VIDEO, AUDIO], fragment_duration=10_000_000)
    taken = list(order.order(given))
    assert len(taken) == 360
    check_rules(taken, tracks=2)
    own = [(p.pts, p.number) for p in taken if p.kind is Kind.VIDEO]
    assert own == [(p.pts, p.number) for p in video], "video times are its own"
    keys = [p for p in taken if p.kind is Kind.VIDEO and p.key_frame]
    assert len(keys) == -(-120 // gop)


@pytest.mark.parametrize("count", [40, 100])
def test_sound_that_ends_early_leaves_no_fragment_without_it(count: int) -> None:
    """The last fragment goes on to the end of the pictures, rather than be refused (4011)."""
    given = by_dts(pictures(125, 25), sounds(count))
    taken = list(Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND).order(given))
    assert len(taken) == 125 + count
    check_rules(taken, tracks=2)


def test_sound_that_begins_late_is_waited_for() -> None:
    """The first fragment goes on until there is sound in it."""
    given = by_dts(pictures(125, 25), sounds(50, start=2500))
    taken = list(Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND).order(given))
    found = check_rules(taken, tracks=2)
    assert len(found[0]) > 75


def test_a_track_that_stays_silent_is_an_error_before_the_limit() -> None:
    """After 20 s without sound KVS would refuse the fragment; the frame that breaks it is named."""
    given = by_dts(pictures(2000, 25), sounds(5))
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND)
    taken: list[MediaPacket] = []
    with pytest.raises(KvsError, match=r"--tracks video") as caught:
        taken.extend(order.order(given))
    assert caught.value.status is StatusCode.ACK_ERR_FRAMES_MISSING_FOR_TRACK


@pytest.mark.parametrize(("gop", "fails"), [(500, False), (501, True)])
def test_a_key_frame_interval_over_20_s(gop: int, fails: bool) -> None:
    """20 s are taken; the frame that would make more is refused before it is put."""
    order = Interleaver([VIDEO], fragment_duration=TICKS_PER_SECOND)
    taken: list[MediaPacket] = []

    def take() -> None:
        for packet in order.order(pictures(1100, gop)):
            taken.append(packet)  # noqa: PERF402  what came before the error counts

    if fails:
        with pytest.raises(KvsError, match="no key frame came") as caught:
            take()
        assert caught.value.status is StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED
        assert len(taken) == 500
    else:
        take()
        assert len(taken) == 1100
    check_rules(taken, tracks=1)


def open_groups(groups: int, *, early: int = 0) -> list[MediaPacket]:
    """H.265 as x265 makes it: key frames are followed by pictures that are shown before them.

    `early` ms too early: among the pictures of the group before.
    """
    out = [picture(0, 80, 0, key=True)]
    for group in range(1, groups):
        n = 1000 * group
        out += [
            picture(len(out), n + 80, n - 120, key=True),
            picture(len(out) + 1, n - early, n - 80),
            picture(len(out) + 2, n + 40, n - 40),
            picture(len(out) + 3, n + 500, n + 400),
        ]
    return out


OPEN = MediaTrack(Kind.VIDEO, "hevc", rate=25.0, reordered=True)


@pytest.mark.parametrize("with_sound", [False, True])
def test_a_fragment_of_an_open_group_starts_with_its_leading_pictures(with_sound: bool) -> None:
    """40 groups of a second each: every one is a fragment, and sound stays on its side of them."""
    given, tracks = open_groups(40), [OPEN]
    if with_sound:
        given, tracks = by_dts(given, sounds(1990)), [OPEN, AUDIO]
    taken = list(Interleaver(tracks, fragment_duration=TICKS_PER_SECOND).order(given))
    assert len(taken) == len(given)
    found = check_rules(taken, tracks=len(tracks))
    assert len(found) == 40
    assert {fragment[0].lead for fragment in found[1:]} == {80 * MS}


def test_a_file_that_begins_with_leading_pictures() -> None:
    """A recording cut at a key frame of open groups: its leading pictures count from the start."""
    given = open_groups(3)[1:]
    taken = list(Interleaver([OPEN], fragment_duration=TICKS_PER_SECOND).order(given))
    assert taken[0].lead == 80 * MS
    check_rules(taken, tracks=1)


def test_groups_that_overlap_go_on_in_the_same_fragment() -> None:
    """A fragment may not begin before the one before it ends; nothing is lost within 20 s.

    The first group has one picture only, with which nothing overlaps.
    """
    given = open_groups(15, early=600)
    taken = list(Interleaver([OPEN], fragment_duration=TICKS_PER_SECOND).order(given))
    assert len(taken) == len(given)
    assert len(check_rules(taken, tracks=1)) == 2


@pytest.mark.parametrize(("codec", "encoder"), [("h264", "libx264"), ("hevc", "libx265")])
def test_groups_that_overlap_for_20_s_are_an_error_with_a_remedy(codec: str, encoder: str) -> None:
    """The error says why no fragment could begin, and how to encode this codec."""
    track = MediaTrack(Kind.VIDEO, codec, rate=25.0, reordered=True)
    order = Interleaver([track], fragment_duration=TICKS_PER_SECOND)
    with pytest.raises(KvsError, match=rf"shown among those before them.*-c:v {encoder}") as caught:
        list(order.order(open_groups(40, early=600)))
    assert caught.value.status is StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED


def test_pictures_before_the_first_key_frame_are_counted() -> None:
    """A recording that begins in the middle of a group starts at its first key frame."""
    order = Interleaver([VIDEO], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order(pictures(100, 25)[10:]))
    assert taken[0].number == 25
    assert order.skipped == 15
    assert len(taken) + order.skipped == 90


def test_a_fragment_over_50_mb_is_refused_before_it_is_put() -> None:
    """The size limit is the service's 4001."""
    given = pictures(60, 60)
    for packet in given:
        packet.data = bytes(1_000_000)
    order = Interleaver([VIDEO], fragment_duration=TICKS_PER_SECOND)
    with pytest.raises(KvsError, match="50 MB") as caught:
        list(order.order(given))
    assert caught.value.status is StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED


def test_what_was_read_before_an_error_comes_out_first() -> None:
    """Reading breaks off: the frames before it are put, then the error is told."""

    def broken() -> Iterator[MediaPacket]:
        yield from by_dts(pictures(30, 25), sounds(60))
        raise RuntimeError_

    RuntimeError_ = KvsError(StatusCode.READ_FILE_FAILED, "disk")  # noqa: N806
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND)
    taken: list[MediaPacket] = []
    with pytest.raises(KvsError, match="disk"):
        for packet in order.order(broken()):
            taken.append(packet)  # noqa: PERF402  what came before the error counts
    assert len(taken) == 90
