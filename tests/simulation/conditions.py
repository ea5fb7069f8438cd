"""What goes wrong in a simulated world, and how often: drawn from a seed.

Every hazard is off in about half of the worlds, so that hazards are met alone and together; in a
calm world all are off and the promise is stricter (nothing is dropped, no error is told). A roomy
world has room and replay for everything, and a service that keeps what it was given: whatever
breaks there, each frame must be stored. Rates
are per second (of a connection, a stream or the world), the others are probabilities; times in
ticks. A storm ends: what comes after it is `kind` again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from tests.simulation.frames import AUDIO, Shot

from kvsproducer.client import (
    FrameOrderMode,
    StorePressurePolicy,
    StreamInfo,
    StreamingType,
    ViewOverflowPolicy,
)
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.limits import KIB, MAX_RELATIVE_TIMECODE, MIB
from kvsproducer.mkv.tracks import NalAdaptation

__all__ = [
    "FATAL_RESULTS",
    "LONG_STORM",
    "PASSING_RESULTS",
    "Conditions",
    "Plan",
]

_S, _MS = TICKS_PER_SECOND, TICKS_PER_MS
_ROOMY: Final = 0.3  # of the worlds that are not calm, if they can be
_RARE: Final = 0.2
LONG_STORM: Final = 3600 * _S  # from then on tokens and connections end by age, in few frames
_ANNEX_B: Final = NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS
PASSING_RESULTS: Final = (401, 403, 408, 500, 503, 504, 598, 599, 10006, 0)
FATAL_RESULTS: Final = (404, 406, 10000, 10001, 10002, 10003, 10004, 10005)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The hazards of a world; the defaults are those of kind times."""

    latency: int = 2 * _MS
    bytes_per_s: int = 20 * MIB
    cuts: float = 0.0  # rate: a connection breaks at some byte
    stalls: float = 0.0  # rate: nothing moves for a while
    silences: float = 0.0  # rate: a connection is half-open from now on
    error_acks: float = 0.0  # rate: the service refuses what it gets
    archive_failures: float = 0.0  # of a fragment
    lost_acks: float = 0.0  # of an ack: the service does not say it
    repeated_acks: float = 0.0
    garbage_acks: float = 0.0
    slow_store: int = 50 * _MS  # the longest time until a fragment is stored
    refused_uploads: float = 0.0  # PutMedia answered with an error
    unsaid_ends: float = 0.0  # rate: the service ends an upload without a reason
    failed_calls: float = 0.0
    fatal_calls: float = 0.0
    unanswered_calls: float = 0.0
    slow_calls: float = 0.0
    restarts: float = 0.0  # rate: of the service
    clock_steps: float = 0.0  # rate: of the device's clock
    short_tokens: float = 0.0  # below 30 s, which the core must refuse
    kills_expired: bool = False  # the service ends uploads whose token expires
    meddling: float = 0.0  # rate: the application flushes, resets, stops, frees ...
    deaf: float = 0.0  # of the time nobody takes events
    time_jumps: float = 0.0  # of a frame: the source's clock is set before it
    outliers: float = 0.0  # of a frame: its time alone is wrong
    silent_tracks: float = 0.0  # of a frame: a track has none for a while
    void_credentials: float = 0.0  # rate: those given so far, and for a while, are refused

    @classmethod
    def drawn(cls, dice: random.Random) -> Conditions:
        """The conditions of one world."""
        worst: dict[str, tuple[float, ...]] = {
            "cuts": (0.02, 0.1, 0.5),
            "stalls": (0.05, 0.3),
            "silences": (0.01, 0.05),
            "error_acks": (0.02, 0.2),
            "archive_failures": (0.02, 0.2),
            "lost_acks": (0.05, 0.5),
            "repeated_acks": (0.1, 0.7),
            "garbage_acks": (0.05, 0.3),
            "refused_uploads": (0.1, 0.5),
            "unsaid_ends": (0.02, 0.1),
            "failed_calls": (0.1, 0.4),
            "fatal_calls": (0.0, 0.0, 0.03),
            "unanswered_calls": (0.05, 0.2),
            "slow_calls": (0.2, 0.5),
            "restarts": (0.02, 0.1),
            "clock_steps": (0.02, 0.2),
            "short_tokens": (0.0, 0.0, 0.1),
            "meddling": (0.02, 0.1, 0.5),
            "deaf": (0.2, 0.9),
        }
        rates: dict[str, Any] = {
            name: dice.choice(choices) if dice.random() < 0.45 else 0.0
            for name, choices in worst.items()
        }
        return replace(
            cls(
                latency=dice.choice((1, 20, 200, 1500)) * _MS,
                bytes_per_s=dice.choice((10 * KIB, 60 * KIB, 400 * KIB, 20 * MIB)),
                slow_store=dice.choice((1, 100, 2000, 8000)) * _MS,
                kills_expired=dice.random() < 0.5,
            ),
            **rates,
        )

    def with_times(self, dice: random.Random) -> Conditions:
        """The same with hazards that were thought of later, from dice of their own."""
        worst = {
            "time_jumps": (0.005, 0.03),
            "outliers": (0.005, 0.05),
            "silent_tracks": (0.005, 0.02),
            "void_credentials": (0.02, 0.05),
        }
        rates: dict[str, Any] = {
            name: dice.choice(choices) if dice.random() < _RARE else 0.0
            for name, choices in worst.items()
        }
        return replace(self, **rates)

    @property
    def names(self) -> list[str]:
        """The hazards that are on."""
        kind = Conditions()
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(kind, f.name)]


@dataclass(frozen=True, slots=True)
class Plan:
    """One world: its hazards, how long they last, and what streams there are."""

    calm: bool
    storm: int
    conditions: Conditions
    token_life: int
    storage_bytes: int
    intermittent: bool
    described: float  # of the frames: metadata is put before them
    listed_later: bool  # the streams do not exist yet: they are created
    streams: tuple[StreamInfo, ...]
    shots: tuple[Shot, ...]
    roomy: bool = False

    @classmethod
    def drawn(cls, dice: random.Random) -> Plan:
        """The plan of one world."""
        calm = dice.random() < 0.12
        storm = 3 * 3600 * _S if dice.random() < 0.04 else dice.choice((10, 20, 40, 80)) * _S
        count = dice.choice((1, 1, 1, 2, 3))
        shots = tuple(_shot(dice, storm, count) for _ in range(count))
        streams = tuple(
            _stream_info(dice, f"stream-{number}", shot, calm=calm)
            for number, shot in enumerate(shots)
        )
        plan = cls(
            calm=calm,
            storm=storm,
            conditions=Conditions() if calm else Conditions.drawn(dice),
            token_life=dice.choice((36, 45, 90, 3600) if storm < LONG_STORM else (900, 3600)) * _S,
            storage_bytes=_storage(dice, streams, shots, calm=calm),
            intermittent=dice.random() < 0.5,
            described=dice.choice((0.0, 0.0, 0.1)),
            listed_later=dice.random() < 0.5,
            streams=streams,
            shots=shots,
        )
        next_number = _peek(dice)
        if plan._may_be_roomy and next_number < _ROOMY:
            plan = plan._roomy()
        if calm:
            return plan
        return replace(plan, conditions=plan.conditions.with_times(random.Random(next_number)))

    @property
    def complete(self) -> bool:
        """Whether no frame is given up among others that are stored."""
        wrong = self.conditions.time_jumps or self.conditions.outliers
        return (self.calm or self.roomy) and not wrong

    @property
    def _may_be_roomy(self) -> bool:
        """Whether no stream has media that a service may refuse, and hours are not simulated."""
        refusable = any(
            len(info.tracks) > 1 or not info.frame_timecodes or not info.fragment_acks
            for info in self.streams
        )
        return not (self.calm or refusable or self.storm >= LONG_STORM)

    def _roomy(self) -> Plan:
        """The same world with room for everything, without what may cost a frame all the same."""
        room = self.storm / _S + 600
        return replace(
            self,
            roomy=True,
            # A stream fails for good when a token comes so slowly that too little of it is left.
            token_life=max(self.token_life, 45 * _S),
            storage_bytes=64 * MIB,
            conditions=replace(
                self.conditions,
                error_acks=0.0,
                archive_failures=0.0,
                restarts=0.0,
                fatal_calls=0.0,
                meddling=0.0,
            ),
            streams=tuple(
                replace(info, buffer_duration=room, replay_duration=room) for info in self.streams
            ),
        )


def _peek(dice: random.Random) -> float:
    """The next number, which is still to come: the other worlds stay what they are."""
    copy = random.Random()
    copy.setstate(dice.getstate())
    return copy.random()


def _storage(
    dice: random.Random,
    streams: tuple[StreamInfo, ...],
    shots: tuple[Shot, ...],
    *,
    calm: bool,
) -> int:
    """Scarce, but an offline stream that cannot hold a whole fragment waits for ever."""
    if calm:
        return 32 * MIB
    size = dice.choice((1, 1, 2, 8)) * MIB
    if any(info.streaming_type is StreamingType.OFFLINE for info in streams):
        size = max(size, 2 * sum(shot.largest_gop for shot in shots))
    return size


def _shot(dice: random.Random, storm: int, streams: int) -> Shot:
    """Few enough pictures that a world takes milliseconds."""
    if storm >= LONG_STORM:  # each picture is a fragment, and no upload is quiet for 30 s
        return Shot(interval=15 * _S, gop=1, b_frames=0, bytes=900, audio_interval=0)
    fastest = max(storm * streams // 700, 30 * _MS)
    interval = dice.choice((1, 2, 4)) * fastest // _MS * _MS
    gop = dice.choice((2, 8, 25, 60))
    # An audio frame may not come before its cluster, so there are no B-frames beside audio.
    audio_interval = dice.choice((0, 0, interval * 3 // 2))
    return Shot(
        interval=interval,
        # Two tracks in short groups are refused again and again: a track has no frame in some.
        gop=max(8 if audio_interval else 1, min(gop, 10 * _S // interval)),
        b_frames=0 if audio_interval else dice.choice((0, 0, 1, 2)),
        bytes=dice.choice((60, 900, 3000, 8000)),
        audio_interval=audio_interval,
        sounds=dice.choice((1, 1, 2)),
        annex_b=dice.random() < 0.3,
    )


def _scale(dice: random.Random, shot: Shot) -> int:
    """A timecode scale (ticks) in which pictures have times of their own and a group has room."""
    scale = dice.choice((_MS, _MS, _MS, _MS // 10, 10 * _MS))
    fits = 2 * shot.longest_gop < MAX_RELATIVE_TIMECODE * scale
    distinct = min(shot.interval, shot.audio_interval // 3 or shot.interval) >= 3 * scale
    return scale if fits and distinct else _MS


def _stream_info(dice: random.Random, name: str, shot: Shot, *, calm: bool) -> StreamInfo:
    mode = dice.choice(list(StreamingType))
    offline = mode is StreamingType.OFFLINE
    buffer = 120 * _S if calm else dice.choice((4, 10, 30, 120)) * _S
    if offline:  # one that cannot hold a whole fragment waits for ever
        buffer = max(buffer, 2 * shot.longest_gop + 4 * _S)
    if shot.interval > 10 * _S:
        buffer = 600 * _S
    options: dict[str, Any] = {
        "name": name,
        "streaming_type": mode,
        "nal_adaptation": _ANNEX_B if shot.annex_b else NalAdaptation.NONE,
        "timecode_scale": _scale(dice, shot),
        "frame_rate": 60,
        "buffer_duration": buffer / _S,
        "replay_duration": dice.choice((0, 3 * _S, buffer // 2, buffer)) / _S,
        "retention": 2 * 3600 if offline or dice.random() < 0.7 else 0,
        "fragment_acks": offline or dice.random() < 0.85,
        "absolute_fragment_times": dice.random() < 0.6,
        # Offline, frames come fast: a fragment cut by the time of the put would hold them all.
        "key_frame_fragmentation": offline or dice.random() < 0.85,
        "frame_timecodes": bool(shot.audio_interval) or dice.random() < 0.85,
        "store_pressure_policy": dice.choice(list(StorePressurePolicy)),
        "view_overflow_policy": dice.choice(list(ViewOverflowPolicy)),
        "connection_staleness_duration": dice.choice((0, 5)),
        "max_latency": dice.choice((0, 2)),
        "tags": dice.choice(((), (("site", "north"),))),
    }
    if not shot.audio_interval:
        return StreamInfo.video("h264", **options)
    options["frame_order_mode"] = dice.choice(
        (
            FrameOrderMode.PASS_THROUGH,
            FrameOrderMode.MULTI_TRACK_NO_COMPARISON,
            FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR,
            FrameOrderMode.PTS_ONE_MS_COMPENSATE_EOFR,
        )
    )
    options["audio_private_data"] = b"\x11\x90"  # AAC-LC, 48 kHz, stereo
    info = StreamInfo.audio_video("h264", "aac", **options)
    more = tuple(replace(info.tracks[1], track_id=AUDIO + n) for n in range(1, shot.sounds))
    return replace(info, tracks=info.tracks + more)
