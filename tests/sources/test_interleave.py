"""The order of frames and the beginnings of fragments, checked against the service's rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.interleave import MAX_QUEUED_BYTES, Interleaver
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.skipped import Reason
from kvsproducer.sources.timestamps import Timeline
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
    """Return pictures at 25 fps; with `bframes`, groups I P B B shown I B B P, dts 80 ms ahead."""
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
    """Return the start of the fragment that begins with this packet."""
    return (first.pts or 0) - first.lead


def fragments(packets: list[MediaPacket]) -> Iterator[list[MediaPacket]]:
    """Yield fragments as the client cuts them: at a key frame, 1 s or more after the last one."""
    current: list[MediaPacket] = []
    for packet in packets:
        due = current and (packet.pts or 0) - start(current[0]) >= TICKS_PER_SECOND
        if packet.key_frame and due:
            yield current
            current = []
        current.append(packet)
    yield current


def check_rules(packets: list[MediaPacket], tracks: int) -> list[list[MediaPacket]]:
    """Check KVS's rules on the whole sequence, and return the fragments."""
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
def test_two_tracks_in_the_order_of_kvs(bframes: bool, early: int, gop: int) -> None:
    """With and without B-frames, sound early or late: every rule holds, and no frame is missing."""
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
    """The last fragment extends to the end of the pictures, and is not refused (4011)."""
    given = by_dts(pictures(125, 25), sounds(count))
    taken = list(Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND).order(given))
    assert len(taken) == 125 + count
    check_rules(taken, tracks=2)


def test_first_fragment_waits_for_late_sound() -> None:
    """The first fragment continues until it has sound."""
    given = by_dts(pictures(125, 25), sounds(50, start=2500))
    taken = list(Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND).order(given))
    found = check_rules(taken, tracks=2)
    assert len(found[0]) > 75


def test_pictures_continue_after_the_end_of_the_sound() -> None:
    """After more than 20 s the stream continues without the sound, and the source warns."""
    given, warnings = by_dts(pictures(2000, 25), sounds(5)), []
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND, warnings=warnings)
    assert len(list(order.order(given))) == 2005
    assert not order.left_out.frames
    assert warnings == ["the sound ends at 0.1 s; the video continues without it"]


@pytest.mark.parametrize(("gop", "lost"), [(500, 0), (501, 0), (502, 2), (600, 99)])
def test_key_frame_interval_over_20_s(gop: int, lost: int) -> None:
    """Frames more than 20 s after their key frame are skipped, and the next group is put again."""
    order = Interleaver([VIDEO], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order(pictures(1100, gop)))
    assert len(taken) == 1100 - lost
    check_rules(taken, tracks=1)
    if lost:
        assert order.left_out.skips[0].first == 501
        error = order.left_out.error("clip", len(taken), "-c:v libx264")
        assert error is not None
        assert error.status is StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED
        assert "-c:v libx264" in error.detail


def open_groups(groups: int, *, early: int = 0) -> list[MediaPacket]:
    """Return H.265 as x265 makes it: leading pictures follow each key frame.

    They are shown before it, `early` ms too early: among the pictures of the group before.
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
def test_fragment_of_an_open_group_starts_with_its_leading_pictures(with_sound: bool) -> None:
    """Each of 40 groups of 1 s is a fragment, and sound is in the right one."""
    given, tracks = open_groups(40), [OPEN]
    if with_sound:
        given, tracks = by_dts(given, sounds(1990)), [OPEN, AUDIO]
    taken = list(Interleaver(tracks, fragment_duration=TICKS_PER_SECOND).order(given))
    assert len(taken) == len(given)
    found = check_rules(taken, tracks=len(tracks))
    assert len(found) == 40
    assert {fragment[0].lead for fragment in found[1:]} == {80 * MS}


def test_file_that_begins_with_leading_pictures() -> None:
    """In a recording cut at a key frame of open groups, times count from the leading pictures."""
    given = open_groups(3)[1:]
    taken = list(Interleaver([OPEN], fragment_duration=TICKS_PER_SECOND).order(given))
    assert taken[0].lead == 80 * MS
    check_rules(taken, tracks=1)


def test_overlapping_groups_stay_in_one_fragment() -> None:
    """A fragment may not begin before the end of the previous one. Nothing is lost within 20 s.

    The first group has one picture, which nothing overlaps.
    """
    given = open_groups(15, early=600)
    taken = list(Interleaver([OPEN], fragment_duration=TICKS_PER_SECOND).order(given))
    assert len(taken) == len(given)
    assert len(check_rules(taken, tracks=1)) == 2


def test_groups_that_overlap_for_20_s_are_an_error_with_the_reason() -> None:
    """Only the pictures up to the next group are skipped, and the error names the overlap."""
    track = MediaTrack(Kind.VIDEO, "hevc", rate=25.0, reordered=True)
    order = Interleaver([track], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order(open_groups(40, early=600)))
    error = order.left_out.error("clip", len(taken), "-c:v libx265")
    assert error is not None
    assert error.status is StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED
    assert "shown among those before them" in error.detail
    assert order.left_out.lost() + len(taken) == 157
    assert order.left_out.lost() < 5
    check_rules(taken, tracks=1)


def test_pictures_before_the_first_key_frame_are_counted() -> None:
    """A recording that begins in the middle of a group starts at its first key frame."""
    order = Interleaver([VIDEO], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order(pictures(100, 25)[10:]))
    assert taken[0].number == 25
    assert order.left_out.frames == {Reason.BEFORE_KEY: 15}
    assert order.left_out.error("clip", 75, "") is None


def test_fragment_over_50_mb_ends_before_it_is_refused() -> None:
    """The service refuses a larger one (4001). The next group is put again."""
    given = pictures(120, 60)
    for packet in given[:60]:
        packet.data = bytes(1_000_000)
    order = Interleaver([VIDEO], fragment_duration=TICKS_PER_SECOND)
    assert len(list(order.order(given))) == 110
    error = order.left_out.error("clip", 110, "")
    assert error is not None
    assert error.status is StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED


def test_packets_read_before_an_error_come_first() -> None:
    """Frames before the place where reading fails are yielded, and then the error is raised."""

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


@pytest.mark.parametrize("live", [False, True])
def test_damaged_picture_loses_the_pictures_that_need_it(live: bool) -> None:
    """The next key frame continues. A damaged sound packet loses only itself."""
    given = by_dts(pictures(100, 25), sounds(200))
    for packet in given:
        packet.corrupt = (packet.kind, packet.number) in ((Kind.VIDEO, 30), (Kind.AUDIO, 7))
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND, live=live)
    taken = list(order.order(given))
    missing = {(p.kind, p.number) for p in given} - {(p.kind, p.number) for p in taken}
    assert missing == {(Kind.VIDEO, n) for n in range(30, 50)} | {(Kind.AUDIO, 7)}
    assert [(s.track, s.first, s.frames) for s in order.left_out.skips] == [
        (Kind.AUDIO, 7, 1),
        (Kind.VIDEO, 30, 20),
    ]
    assert order.left_out.skips[1].position == 1_200 * MS
    check_rules(taken, tracks=2)


@pytest.mark.parametrize("ahead", [Kind.VIDEO, Kind.AUDIO])
def test_tracks_far_apart_are_read_further(ahead: Kind) -> None:
    """One track is 30 s behind the other in the file. Both are put completely and in order."""
    tracks = {Kind.VIDEO: pictures(2000, 25), Kind.AUDIO: sounds(4000)}
    early = tracks[ahead]
    late = tracks[Kind.AUDIO if ahead is Kind.VIDEO else Kind.VIDEO]
    shift = 30_000 * MS
    given = sorted(
        [*((p.dts or 0, p) for p in early), *(((p.dts or 0) + shift, p) for p in late)],
        key=lambda pair: pair[0],
    )
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order(p for _, p in given))
    assert len(taken) == 6000
    assert order.repairs == 0
    check_rules(taken, tracks=2)


def test_tracks_farther_apart_than_the_limit_are_reported() -> None:
    """At the limit the pictures continue. Frames that fit into no fragment are counted."""
    video = pictures(500, 25)
    for packet in video:
        packet.data = bytes(MAX_QUEUED_BYTES // 100)
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order([*video, *sounds(1000)]))
    assert len(taken) + order.left_out.lost() == 1500
    error = order.left_out.error("clip", len(taken), "")
    assert error is not None
    assert "128 MB further on in the file" in error.detail


def test_live_track_does_not_wait_for_a_stopped_one() -> None:
    """Pictures continue 1 s after the stream treats the sound as stopped.

    Fragments then begin at key frames without sound.
    """
    given = by_dts(pictures(300, 25), sounds(100))
    reports_seen: list[str] = []
    order = Interleaver(
        [VIDEO, AUDIO],
        fragment_duration=TICKS_PER_SECOND,
        live=True,
        grace=5 * TICKS_PER_SECOND,
        warnings=reports_seen,
    )
    read = 0

    def reading() -> Iterator[MediaPacket]:
        nonlocal read
        for packet in given:
            read += 1
            yield packet

    waits = [(given[read - 1].dts or 0) - (packet.dts or 0) for packet in order.order(reading())]
    assert max(waits) <= 6_100 * MS
    assert set(waits[-50:]) == {0}
    assert sum(p.key_frame for p in given if p.kind is Kind.VIDEO) == 12
    assert reports_seen == ["the sound stops at 2.0 s; the video continues without it"]


@pytest.mark.parametrize("silence_s", [4, 7])
def test_live_track_returns(silence_s: int) -> None:
    """A short silence is waited for, because the stream waits too.

    In a longer one, fragments begin without sound, and with sound again when it returns.
    """
    again = 2 + silence_s
    order = Interleaver(
        [VIDEO, AUDIO],
        fragment_duration=TICKS_PER_SECOND,
        live=True,
        grace=5 * TICKS_PER_SECOND,
    )
    given = by_dts(
        pictures(25 * 15, 25), sounds(100), sounds(50 * (15 - again), start=1000 * again)
    )
    taken = list(order.order(given))
    assert len(taken) == len(given)
    begun = {(p.pts or 0) // TICKS_PER_SECOND for p in taken if p.key_frame}
    assert begun == set(range(15)) - (set() if silence_s > 6 else set(range(3, 7)))


def test_sound_continues_when_live_pictures_stop() -> None:
    """Its packets begin fragments until the pictures return."""
    video = [*pictures(50, 25), *pictures(100, 25, start=20_000)]
    order = Interleaver(
        [VIDEO, AUDIO],
        fragment_duration=TICKS_PER_SECOND,
        live=True,
        grace=5 * TICKS_PER_SECOND,
    )
    taken = list(order.order(by_dts(video, sounds(1200))))
    assert len(taken) == 150 + 1200
    assert not order.left_out.lost()
    begun = {(p.kind, (p.pts or 0) // TICKS_PER_SECOND) for p in taken if p.key_frame}
    assert {(Kind.AUDIO, second) for second in range(3, 19)} <= begun
    assert {kind for kind, second in begun if second > 20} == {Kind.VIDEO}


@pytest.mark.parametrize(("gop", "count"), [(25, 1500), (250, 1500), (25, 800)])
def test_file_with_short_sound(gop: int, count: int) -> None:
    """If the stream continues without sound, every picture is put, with 128 MB of memory."""
    reports_seen: list[str] = []
    order = Interleaver(
        [VIDEO, AUDIO],
        fragment_duration=TICKS_PER_SECOND,
        grace=20 * TICKS_PER_SECOND,
        warnings=reports_seen,
    )
    taken = list(order.order(by_dts(pictures(count, gop), sounds(500))))
    assert len(taken) == count + 500
    assert sum(p.key_frame for p in taken if p.kind is Kind.VIDEO) == count // gop
    decode = [p.dts or 0 for p in taken]
    assert decode == sorted(decode)
    assert reports_seen == ["the sound ends at 10.0 s; the video continues without it"]


@pytest.mark.parametrize("early_ms", [-300, 0, 60, 300])
@pytest.mark.parametrize("pause_ms", [600, 3_000, 100_000])
@pytest.mark.parametrize("before", [100, 110], ids=["at a key frame", "in mid-group"])
def test_pictures_come_first_after_a_pause_of_both_tracks(
    before: int, pause_ms: int, early_ms: int
) -> None:
    """The core would refuse sound far ahead of the pictures as damaged."""
    if before % 25 and pause_ms > 20_000:
        return  # the rest of the group cannot be put
    again = before * 40 + pause_ms
    video = pictures(200, 25)
    for packet in video[before:]:
        packet.pts = packet.dts = (packet.pts or 0) + pause_ms * MS
    sound = [*sounds(before * 2), *sounds(200, start=again - early_ms)]
    order = Interleaver([VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND)
    taken = list(order.order(by_dts(video, sound)))
    assert len(taken) == 200 + before * 2 + 200
    after = [p.kind for p in taken if (p.pts or 0) >= (again - max(early_ms, 0)) * MS]
    assert after[0] is Kind.VIDEO
    assert after[:5].count(Kind.VIDEO) >= 3
    decode = [p.dts or 0 for p in taken]
    assert decode == sorted(decode)
    check_rules(taken, tracks=2)


def test_tracks_stay_together_over_a_join() -> None:
    """Two recordings in one file: the second follows the first, and tracks stay synchronous."""
    part = by_dts(pictures(100, 25), sounds(200))
    again = by_dts(pictures(100, 25), sounds(200))
    for packet in again:
        packet.number += 100 if packet.kind is Kind.VIDEO else 200
    order = Interleaver(
        [VIDEO, AUDIO], fragment_duration=TICKS_PER_SECOND, timeline=Timeline(gaps=False)
    )
    taken = list(order.order([*part, *again]))
    assert len(taken) == 600
    assert order.timeline.jumps == 1
    assert [p.pts for p in taken if p.kind is Kind.VIDEO] == [40 * n * MS for n in range(200)]
    assert [p.pts for p in taken if p.kind is Kind.AUDIO] == [20 * n * MS for n in range(400)]
    check_rules(taken, tracks=2)


def test_leading_pictures_may_follow_a_second_field() -> None:
    """Both fields of the key picture come before its leading pictures."""
    times = [(1.12, 1.00), (1.14, 1.02), (1.04, 1.04), (1.06, 1.06), (1.08, 1.08), (1.10, 1.10)]
    times += [(1.20, 1.12), (1.22, 1.14), (1.16, 1.16), (1.18, 1.18)]
    second = 10_000_000
    track = MediaTrack(Kind.VIDEO, "hevc", rate=50.0, reordered=True)
    packets = [
        MediaPacket(
            Kind.VIDEO, b"x", round(pts * second), round(dts * second), second // 50, n == 0, n
        )
        for n, (pts, dts) in enumerate(times)
    ]
    interleaver = Interleaver([track], fragment_duration=second)
    out = list(interleaver.order(packets))
    assert [packet.number for packet in out] == list(range(10))
    assert out[0].lead == second * 8 // 100
    assert interleaver.left_out.frames.total() == 0
