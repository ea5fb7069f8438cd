"""Producer core and endpoint core face to face, through seeded bad worlds: the promise holds.

The promise: a frame that `put_frame` accepted is stored by the service unchanged, or was reported
as dropped, or is still held. 250 seeds here, 20,000 with `make soak`; a failure names its seed:
`python -m tests.simulation.world --seed N --trace`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from tests.simulation.conditions import (
    FATAL_RESULTS,
    PASSING_RESULTS,
    Conditions,
    Plan,
)
from tests.simulation.frames import Shot
from tests.simulation.world import World, main, run

from kvsproducer import client as core

SECOND = 10_000_000
SHOT = Shot(interval=SECOND // 5, gop=10, b_frames=1, bytes=300, audio_interval=0)
RETRIED = (408, 500, 503, 504, 598, 599, 10006, 0)  # by every state
CALLS = (
    core.GetSecurityToken,
    core.CreateDevice,
    core.DescribeStream,
    core.CreateStream,
    core.TagStream,
    core.GetStreamingEndpoint,
    core.GetStreamingToken,
    core.PutStream,
)


@pytest.mark.parametrize("first", range(0, 250, 10))
def test_every_accepted_frame_is_stored_or_reported(first: int) -> None:
    """Whatever happens, no accepted frame is silently lost, and everything comes to rest."""
    for seed in range(first, first + 10):
        outcome = run(seed)
        assert not outcome.broken, f"seed {seed}: {outcome.broken}"
        assert outcome.frames, f"seed {seed}: a world without frames shows nothing"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_thousand_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for many more."""
    code = main(["--seeds", "10000:30000", "--jobs", "2", "--keep-going"])
    told = capsys.readouterr().out
    assert code == 0, told


def plan(mode: core.StreamingType) -> Plan:
    """A calm world with one stream that is created, tagged, and rotates its token."""
    info = core.StreamInfo.video(
        "h264",
        name="door",
        streaming_type=mode,
        nal_adaptation=0,
        frame_rate=30,
        replay_duration=120,
        tags=(("site", "north"),),
    )
    return Plan(
        calm=False,
        storm=40 * SECOND,
        conditions=replace(Conditions(), kills_expired=True),
        token_life=36 * SECOND,
        storage_bytes=8 << 20,
        intermittent=False,
        described=0.1,
        listed_later=True,
        streams=(info,),
        shots=(SHOT,),
    )


def run_with_fault(
    mode: core.StreamingType, kind: type[core.Call], number: int, result: int
) -> tuple[World, bool]:
    """A world in which the call of that kind with that number fails; whether it was made."""
    world = World(number, plan(mode))
    service, seen, struck = world.service, count(), []

    def strikes(call: core.Call) -> bool:
        if type(call) is not kind or next(seen) != number:
            return False
        struck.append(call)
        return True

    answer, open_upload = service.answer, service.open
    service.answer = lambda call: (  # type: ignore[method-assign]
        (SECOND // 10, result, None) if strikes(call) else answer(call)
    )
    service.open = lambda call: result if strikes(call) else open_upload(call)  # type: ignore[method-assign]
    world.run()
    return world, bool(struck)


@pytest.mark.parametrize("seed", range(6))
def test_what_may_be_replayed_is_stored_whatever_breaks(seed: int) -> None:
    """With room and replay for everything, a broken connection costs no frame at all."""
    broken = Conditions(latency=SECOND // 50, cuts=0.5, stalls=0.1, refused_uploads=0.2)
    world = World(seed, replace(plan(core.StreamingType.REALTIME), conditions=broken))
    world.run()
    (books,) = world.books
    assert books.stored == len(books.put)


@pytest.mark.parametrize("mode", [core.StreamingType.REALTIME, core.StreamingType.OFFLINE])
@pytest.mark.parametrize("kind", CALLS, ids=lambda kind: kind.__name__)
def test_a_fault_at_the_nth_call(kind: type[core.Call], mode: core.StreamingType) -> None:
    """For every kind of call, every N that occurs, and every result: the promise holds."""
    faults = 0
    for result in (*PASSING_RESULTS, *FATAL_RESULTS):
        for number in range(10):
            world, struck = run_with_fault(mode, kind, number, result)
            if not struck:
                break
            faults += 1
            if result in RETRIED and kind is not core.PutStream:
                assert not any(books.told_dropped for books in world.books), (number, result)
    assert faults >= len(PASSING_RESULTS) + len(FATAL_RESULTS)


def test_a_seed_gives_the_same_world_every_time() -> None:
    """Every event, at the same moment."""
    first: list[str] = []
    second: list[str] = []
    run(5, first.append)
    run(5, second.append)
    assert len(first) > 1000
    assert first == second


def test_a_broken_invariant_names_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and the seed, when a core loses a frame without a word."""
    monkeypatch.setattr("kvsproducer.client.core.StreamCore.report_drop", lambda *told: None)
    assert main(["--seeds", "0:200"]) == 1
    assert capsys.readouterr().out.startswith("seed ")


def test_a_trace_tells_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    """Each frame, effect, read, ack and event."""
    assert main(["--seed", "4", "--trace"]) == 0
    told = capsys.readouterr().out
    for word in (
        " put ",
        " effect ",
        " read ",
        " ack ",
        " event ",
        " stored ",
        "1 worlds, 0 broken",
    ):
        assert word in told
