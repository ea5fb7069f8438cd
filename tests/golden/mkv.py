"""Golden cases of packaging frames into Matroska (`mkv.jsonl`).

The first run compares everything: statuses, bytes, times, and the figures of each track's codec
private data. If something differs, the listed rules are asked which fields may differ on purpose
for this input. The case then runs again, and all other fields must be equal. A rule looks at the
input only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import cpd
from common import SUCCESS, Case, Outcome, Verdict, differences, output_form
from mkv_rules import (
    ADAPTATIONS,
    RULES,
    Relaxed,
    conversion_status,
    data_of,
    record_of,
    track_of,
    tracks_of,
)

from kvsproducer.codecs.nal import VideoCodec
from kvsproducer.mkv import (
    FrameFlags,
    FrameKind,
    MkvGenerator,
    MkvParser,
    NalAdaptation,
    TrackInfo,
    end_of_fragment_tag,
    tags,
)
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.mkv.codec_private import video_codec
from kvsproducer.mkv.ebml import encode_number, id_bytes
from kvsproducer.mkv.elements import TRACKS
from kvsproducer.mkv.header import EBML_HEADER
from kvsproducer.mkv.tags import tag_part
from kvsproducer.status import KvsError, StatusCode

AWS_APPLICATION = "Kinesis Video SDK 1.1.0"
AWS_TITLE = "Kinesis Video SDK"

_TRACKS_ID = id_bytes(TRACKS)
_UNKNOWN_SIZES = (2**56 - 1, 2**64 - 1)  # all ones, of eight bytes and as the C API has it

Problems: TypeAlias = list[str]

_FLAGS = {"K": FrameFlags.KEY, "D": FrameFlags.DISCARDABLE, "I": FrameFlags.INVISIBLE}
_KINDS = {"block": FrameKind.BLOCK, "cluster": FrameKind.CLUSTER, "stream": FrameKind.STREAM}


def matches(case: Case) -> bool:
    return "number" in case or ("create" in case and "tracks" in case["config"])


def status_text(status: int) -> str:
    return f"0x{status:08x}"


def check(case: Case, rules: frozenset[str]) -> Verdict:
    """Compare the results; allow the differences of one listed rule, or else of all of them."""
    problems = _run(case, Relaxed())
    if not problems:
        return Verdict(Outcome.PASSED)
    if "number" in case:
        return _number_verdict(case, rules, problems)
    every = Relaxed()
    for name in sorted(rules & RULES.keys()):
        alone = Relaxed()
        RULES[name](case, alone)
        if not _run(case, alone):
            return Verdict(Outcome.QUIRK, name)
        RULES[name](case, every)
    left = _run(case, every)
    return Verdict(Outcome.FAILED, "; ".join(left)) if left else Verdict(Outcome.QUIRK, "several")


# --- running a case -------------------------------------------------------------------------------


def _run(case: Case, relaxed: Relaxed) -> Problems:
    if "number" in case:
        return _run_number(case)
    return _Run(case, relaxed).problems()


def _run_number(case: Case) -> Problems:
    expected, ours = case["expect"], _number(case)
    return [] if ours == expected else [f"{ours} instead of {expected}"]


def _number(case: Case) -> Mapping[str, str]:
    try:
        return {"status": SUCCESS, "bytes": encode_number(int(case["number"])).hex()}
    except KvsError as error:
        return {"status": status_text(error.status)}


def _number_verdict(case: Case, rules: frozenset[str], problems: Problems) -> Verdict:
    """We refuse the number whose eight bytes mean "unknown size" as too big."""
    refused = _number(case)["status"] == status_text(StatusCode.MKV_NUMBER_TOO_BIG)
    if "unknown_size" in rules and int(case["number"]) in _UNKNOWN_SIZES and refused:
        return Verdict(Outcome.QUIRK, "unknown_size")
    return Verdict(Outcome.FAILED, "; ".join(problems))


class _Run:
    """The run of one case: a generator, an adapter, a clock, and the differences found so far."""

    def __init__(self, case: Case, relaxed: Relaxed) -> None:
        self.case = case
        self.config = case["config"]
        self.relaxed = relaxed
        self.found: Problems = []
        self.clock = int((self.config["clock"] or {"start": 0})["start"])
        self.generator: MkvGenerator
        self.adapter: FrameAdapter

    def problems(self) -> Problems:
        status = self._create()
        expected = self.case["create"]
        if self.relaxed.create_status is not None:
            self._compare("create", status, self.relaxed.create_status)
        else:
            self._compare("create", status_text(status), expected["status"])
        if status or expected["status"] != SUCCESS:
            return self.found
        self._compare_tracks(expected["tracks"])
        for index, step in enumerate(self.case["steps"]):
            getattr(self, f"_step_{step['op']}")(f"step {index} {step['op']}", step)
        return self.found

    def _compare(self, what: str, ours: Any, expected: Any) -> None:
        if ours != expected:
            self.found.append(f"{what}: {ours} instead of {expected}")

    def _create(self) -> int:
        config = self.config
        adaptation = NalAdaptation.NONE
        for name in config["adapt"]:
            adaptation |= ADAPTATIONS[name]
        tracks = [track_of(track) for track in config["tracks"]]
        uuid = config["segment_uuid"]
        try:
            self.generator = MkvGenerator(
                tracks,
                content_type=config["content_type"],
                timecode_scale=config["timecode_scale"],
                key_frame_fragmentation=config["key_frame_fragmentation"],
                fragment_duration=config["fragment_duration"],
                absolute_timecodes=config["absolute_fragment_times"],
                segment_uuid=None if uuid is None else bytes.fromhex(uuid),
                client_id=config["client_id"],
                application=AWS_APPLICATION,
                title=AWS_TITLE,
                adaptation=adaptation,
            )
            self.adapter = FrameAdapter(tracks, adaptation, content_type=config["content_type"])
        except KvsError as error:
            return error.status
        return 0

    def _compare_tracks(self, expected: list[Mapping[str, Any]]) -> None:
        names = {
            "width": "width",
            "height": "height",
            "freq": "sampling_frequency",
            "channels": "channels",
            "bits": "bit_depth",
        }
        for track, wanted in zip(self.generator.tracks, expected, strict=True):
            where = f"track {track.track_id}"
            relaxed = track.track_id in self.relaxed.tracks
            if relaxed and "cpd_annexb" in self.config["adapt"]:
                self._check_record(track)
            elif output_form(track.codec_private_data, wanted["cpd"]) != wanted["cpd"]:
                self.found.append(f"{where} cpd: {track.codec_private_data.hex()[:200]}")
            if relaxed:
                self._check_size(track, wanted)
                continue
            for key, name in names.items():
                if key in wanted:
                    self._compare(f"{where} {key}", getattr(track, name), wanted[key])

    def _given(self, track: TrackInfo) -> tuple[TrackInfo, VideoCodec | None, VideoCodec | None]:
        """Return the track of the case, its codec for us and its codec for the C producer."""
        return next(t for t in tracks_of(self.case) if t[0].track_id == track.track_id)

    def _check_record(self, track: TrackInfo) -> None:
        """Check that our private data is the given data or the record made from it."""
        given = next(
            t for t in map(track_of, self.config["tracks"]) if t.track_id == track.track_id
        )
        data = track.codec_private_data
        codec = video_codec(track, self.config["content_type"])
        if codec is None or data == given.codec_private_data:
            self._compare("verbatim cpd", data.hex(), given.codec_private_data.hex())
            return
        self._compare("record", data.hex(), record_of(given.codec_private_data, codec).hex())

    def _check_size(self, track: TrackInfo, wanted: Mapping[str, Any]) -> None:
        """Apply the rules of cpd.jsonl if both sides read an SPS and got different sizes."""
        given, ours, theirs = next(
            t for t in tracks_of(self.case) if t[0].track_id == track.track_id
        )
        size = {"width": track.width, "height": track.height}
        if ours is None or theirs is None or size == {key: wanted[key] for key in size}:
            return
        case = {
            "codec": ours.value,
            "cpd": given.codec_private_data.hex(),
            "expect": {"status": SUCCESS, "width": wanted["width"], "height": wanted["height"]},
        }
        verdict = cpd.check(case, differences("cpd"))
        if verdict.outcome is Outcome.FAILED:
            self.found.append(f"track {track.track_id} size: {verdict.detail}")

    # --- steps --------------------------------------------------------------------------------

    def _step_frame(self, what: str, step: Mapping[str, Any]) -> None:
        expected = step["expect"]
        data = data_of(step["data"])
        flags = FrameFlags.NONE
        for letter in step["flags"]:
            flags |= _FLAGS[letter]
        track, times = int(step["track"]), self._times(step)
        if self.relaxed.frames and data and not _reads_alike(data):
            self._follow(what, (track, flags, *times), expected)
            return
        status, packed, payload = self._put(track, flags, times, data)
        self._compare(what, status_text(status), expected["status"])
        if packed is None or status_text(status) != expected["status"]:
            return
        if not self._same_media(packed.header + payload, expected["bytes"]):
            self.found.append(f"{what}: other bytes: {packed.header.hex()[:600]}...")
        generator = self.generator
        cluster_pts, cluster_dts = generator.cluster_start
        for key, ours in (
            ("stream_start", generator.stream_start),
            ("cluster_pts", cluster_pts),
            ("cluster_dts", cluster_dts),
            ("pts_in_cluster", packed.ack_timestamp - cluster_pts),
            ("dts_in_cluster", packed.timestamp - cluster_dts),
            ("duration", packed.duration),
        ):
            self._compare(f"{what} {key}", ours, int(expected[key]))
        self._compare(f"{what} starts", packed.kind, _KINDS[expected["starts"]])
        if not self.relaxed.tracks:
            length = packed.prefix_length
            if self.relaxed.header_length_16_bits:
                length &= 0xFFFF
            self._compare(f"{what} header_length", length, int(expected["header_length"]))

    def _put(
        self, track: int, flags: FrameFlags, times: tuple[int, int, int], data: bytes | None
    ) -> tuple[int, Any, bytes]:
        """Package a frame as the client does; return its status, Packed and payload."""
        try:
            buffers, size = self.adapter.adapt(track, data or b"")
        except KvsError as error:
            # The C producer checks the times before the data.
            probe = copy.copy(self.generator)
            try:
                probe.pack(track, flags, *times, len(data or b""))
            except KvsError as first:
                if first.status != StatusCode.MKV_LARGE_FRAME_TIMECODE:
                    return first.status, None, b""
            return error.status, None, b""
        try:
            if flags & FrameFlags.KEY:
                record = self.adapter.codec_private_data(track, buffers)
                if record is not None:
                    self.generator.set_codec_private_data(track, record, adapted=True)
            return 0, self.generator.pack(track, flags, *times, size), b"".join(buffers)
        except KvsError as error:
            return error.status, None, b""

    def _times(self, step: Mapping[str, Any]) -> tuple[int, int, int]:
        """Return pts, dts and duration; pts and dts come from the clock if the stream says so."""
        pts, dts, duration = (int(step[name]) for name in ("pts", "dts", "duration"))
        if not self.config["frame_timecodes"]:
            # The C producer reads the clock in both of its passes and uses the second time.
            tick = int(self.config["clock"]["step"])
            pts = dts = self.clock + tick
            self.clock += 2 * tick
        return pts, dts, duration

    def _follow(
        self, what: str, frame: tuple[int, int, int, int, int], expected: Mapping[str, Any]
    ) -> None:
        """Continue from the C producer's result for a frame that the two sides read differently.

        So the frames after it can be compared. The cases of nal.jsonl compare such frames.
        """
        if expected["status"] != SUCCESS:
            return
        whole = expected["bytes"]
        length = len(whole) // 2 if isinstance(whole, str) else whole["length"]
        lead = len(copy.copy(self.generator).pack(*frame, 1).header)
        packed = self.generator.pack(*frame, max(1, length - lead))
        if isinstance(whole, str) and not self.relaxed.tracks:
            self._compare(what, packed.header.hex(), whole[: 2 * lead])

    def _same_media(self, ours: bytes, expected: Any) -> bool:
        if not self.relaxed.tracks or not ours.startswith(EBML_HEADER):
            return bool(output_form(ours, expected) == expected)
        if not isinstance(expected, str):
            # The case has only a digest of all bytes: compare the bytes before the tracks.
            lead = ours.index(_TRACKS_ID)
            return bool(ours[:lead].hex() == expected["head"][: 2 * lead])
        theirs = bytes.fromhex(expected)
        return theirs.startswith(EBML_HEADER) and (
            self._without_records(ours) == self._without_records(theirs)
        )

    def _without_records(self, media: bytes) -> list[Any]:
        """Return the elements of packaged media without the fields that may differ."""
        parser = MkvParser()
        parser.receive_data(media)
        found: list[Any] = []
        while (event := parser.next_event()) is not None:
            if isinstance(event, ev.Tracks):
                found.append([self._stripped(entry) for entry in event.entries])
            else:
                found.append(event.raw)
        return found

    def _stripped(self, entry: ev.TrackEntry) -> ev.TrackEntry:
        if entry.uid not in self.relaxed.tracks:
            return entry
        return replace(
            entry,
            codec_private=b"",
            width=0,
            height=0,
            sampling_frequency=0.0,
            channels=0,
            bit_depth=0,
        )

    def _step_tag(self, what: str, step: Mapping[str, Any]) -> None:
        self._bytes_step(what, step, lambda: tags([(step["name"], step["value"])]))

    def _step_tag_part(self, what: str, step: Mapping[str, Any]) -> None:
        self._bytes_step(what, step, lambda: tag_part(step["level"], step["name"], step["value"]))

    def _step_end_of_fragment_tag(self, what: str, step: Mapping[str, Any]) -> None:
        self._bytes_step(what, step, end_of_fragment_tag)

    def _step_header(self, what: str, step: Mapping[str, Any]) -> None:
        self._compare(
            f"{what} start_ts", self.generator.stream_start, int(step["expect"]["start_ts"])
        )
        if not self._same_media(self.generator.header(), step["expect"]["bytes"]):
            self.found.append(f"{what}: {self.generator.header().hex()[:1000]}")

    def _bytes_step(self, what: str, step: Mapping[str, Any], make: Callable[[], bytes]) -> None:
        expected = step["expect"]
        try:
            made, status = make(), 0
        except KvsError as error:
            made, status = b"", error.status
        self._compare(what, status_text(status), expected["status"])
        if not status and output_form(made, expected["bytes"]) != expected["bytes"]:
            self.found.append(f"{what}: {made.hex()[:1000]}")

    def _step_set_cpd(self, what: str, step: Mapping[str, Any]) -> None:
        try:
            self.generator.set_codec_private_data(
                int(step["track"]),
                data_of(step["cpd"]),  # type: ignore[arg-type]
            )
            status = 0
        except KvsError as error:
            status = error.status
        expected = step["expect"]["status"]
        track = next((t for t in self.generator.tracks if t.track_id == int(step["track"])), None)
        codec = track and video_codec(track, self.config["content_type"])
        data = data_of(step["cpd"])
        convert = "cpd_annexb" in self.config["adapt"]
        if convert and track and codec and data and track.track_id in self.relaxed.tracks:
            expected = status_text(conversion_status(data, codec))
        self._compare(what, status_text(status), expected)

    def _step_reset(self, what: str, step: Mapping[str, Any]) -> None:
        self.generator.reset()
        self._compare(what, SUCCESS, step["expect"]["status"])

    def _step_timecode_to_timestamp(self, what: str, step: Mapping[str, Any]) -> None:
        ours = self.generator.timecode_to_timestamp(int(step["timecode"]))
        self._compare(what, ours, int(step["expect"]["timestamp"]))

    def _step_overhead(self, what: str, step: Mapping[str, Any]) -> None:
        """An argument or each figure names the kind; the default is the start of a stream."""
        named = next((_KINDS[v] for v in step.values() if str(v) in _KINDS), FrameKind.STREAM)
        for key, expected in step["expect"].items():
            kind = _KINDS.get(key, named)
            if key == "status":
                self._compare(what, SUCCESS, expected)
            elif kind is not FrameKind.STREAM or not self.relaxed.tracks:
                self._compare(f"{what} {key}", self.generator.overhead(kind), int(expected))


def _reads_alike(data: bytes) -> bool:
    """Return True if both sides read an Annex-B frame alike.

    It begins with a start code, its start codes have three or four bytes, and it does not end with
    a zero.
    """
    starts = data.startswith((b"\0\0\1", b"\0\0\0\1"))
    return starts and data[-1] != 0 and b"\0\0\0\0\1" not in data
