"""Check whether frames can be decoded, and find the data that a session's header needs from them.

`mkv.playable` knows the format of one track. This module checks frames before they are stored or
queued. If a sound frame contains new codec private data, a new session begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kvsproducer.client.core import StreamCore
from kvsproducer.client.frame import FLAG_KEY, Frame
from kvsproducer.client.present import PresentTracks
from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.mkv.playable import Format, format_of
from kvsproducer.mkv.tracks import TrackType
from kvsproducer.status import InvalidFrame, InvalidMedia, KvsError, StatusCode

__all__ = ["Formats"]

# Slices of one picture that are put one by one are at most so far apart; pictures are farther.
_SLICE_DISTANCE: Final = 15 * TICKS_PER_MS


class Formats:
    """The formats of one stream's tracks."""

    def __init__(
        self, core: StreamCore, tracks: PresentTracks, adapter: FrameAdapter, *, ordered: bool
    ) -> None:
        info = core.info
        self._core = core
        self._tracks = tracks
        self._adapter = adapter
        self._ordered = ordered
        self._leading = frozenset(
            track.track_id for track in info.tracks if track.track_type is not TrackType.AUDIO
        )
        # One checker per track. It also collects from the first frames what the session header
        # needs.
        self.by_track: dict[int, Format] = {}
        for track in info.tracks:
            found = format_of(track, info.content_type, info.nal_adaptation)
            if found is not None:
                self.by_track[track.track_id] = found
        self.plain = {number: each.is_plain for number, each in self.by_track.items()}
        self.queued: dict[int, int] = {}  # dts of the newest queued frame, by track
        # Tracks whose private data has changed since the header of the session was written.
        self.outdated: set[int] = set()

    def check(self, frame: Frame) -> Frame | None:
        """Return the frame to store, or None if it is held back until the next frame.

        Raises the errors of `Format.look` for a frame that no player could decode.
        """
        core, track_id = self._core, frame.track_id
        found = self.by_track.get(track_id)
        if found is None or core.stopped or core.failure is not None:
            return frame
        key = bool(frame.flags & FLAG_KEY)
        try:
            checked = found.look(frame.data, key=key, close=self._is_close(frame))
        except KvsError as error:
            if not self._ordered and frame.data and track_id in self._leading:
                core.refuse_until_key()  # the frames after it need this picture
            raise _about_frame(error) from error.__cause__
        if checked is None:
            self.finish(track_id)
            return None
        if found.record is not None:
            self._use_record(track_id, found)
        if checked.key == key and checked.data is frame.data:
            return frame
        return Frame(
            checked.data,
            frame.pts,
            dts=frame.dts,
            duration=frame.duration,
            key_frame=checked.key,
            track_id=track_id,
            flags=frame.flags & ~FLAG_KEY,
            lead=frame.lead,
        )

    def _is_close(self, frame: Frame) -> bool:
        """Return whether the previous frame has about the same time, as slices of a picture do."""
        last = self.queued.get(frame.track_id)
        if not self._ordered and self._core.buffer.view.newest is not None:
            last = self._core.buffer.view.newest.timestamp
        return last is not None and 0 <= frame.dts - last <= _SLICE_DISTANCE

    def finish(self, track_id: int) -> None:
        """Finish the check of a frame after it was stored or queued."""
        found = self.by_track.get(track_id)
        if found is not None:
            found.done()
            self.plain[track_id] = found.is_plain

    def _use_record(self, track_id: int, found: Format) -> None:
        """Use the codec private data from a sound frame; within a session, begin a new session.

        In a stream with pictures, the new session begins at the next key frame. Until then the
        frames of the sound track are skipped.
        """
        core, generator, record = self._core, self._core.generator, found.record
        assert record is not None, "the caller checked"
        generator.set_codec_private_data(track_id, record, adapted=True)
        found.record = None
        if generator.started and self._tracks.sound_only:
            generator.reset()
        elif generator.started:
            self.outdated.add(track_id)
            core.begin_session_on_key()

    def take_parameter_sets(self, track_id: int, payload: Sequence[bytes | memoryview]) -> None:
        """Use the parameter sets in a key frame; if they changed, begin a new session."""
        record = self._adapter.codec_private_data(track_id, payload)
        if record is not None:
            self._core.generator.set_codec_private_data(track_id, record, adapted=True)
            self._core.generator.reset()

    def require_private_data(self) -> None:
        """Raise MKV_INVALID_AAC_CPD if a session would begin without the data that AAC needs."""
        if not any(found.verified for found in self.by_track.values()):
            return  # these may be placeholders
        for track_id, found in self.by_track.items():
            absent = track_id not in self._tracks.declared
            if found.waited_for and not found.ready and not absent:
                raise InvalidFrame(
                    StatusCode.MKV_INVALID_AAC_CPD,
                    f"the AAC track {track_id} has no AudioSpecificConfig, without which no player"
                    " could decode it; give it as its codec_private_data, or put a frame of it"
                    " with an ADTS header before the first key frame",
                    stream=self._core.name,
                )


def _about_frame(error: KvsError) -> KvsError:
    """Convert an error of the codec readers (InvalidMedia) to InvalidFrame, and return it."""
    if not isinstance(error, InvalidMedia):
        return error
    return InvalidFrame(error.status, error.detail, stream=error.stream, offset=error.offset)
