"""Join the fields of field-coded H.264 (PAFF, from camcorders and broadcasters) into pictures.

In a transport stream or raw file, the two fields of a picture are two access units, and FFmpeg
returns two packets. Matroska requires both fields of a picture to be in one frame, and a player
would count two frames as two pictures. `join_fields` makes one packet of each picture.

Two packets are the fields of one picture if each has one field, of opposite parity and with the
same frame_num, and the packets are adjacent (ISO/IEC 14496-10, 3.30 and 7.4.3). A field without a
partner stays a packet. Only slice headers are read, and only of streams whose SPS allows fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvsproducer.codecs import h264
from kvsproducer.codecs.nal import (
    START_CODE,
    Buffer,
    VideoCodec,
    cpd_units,
    nal_type,
    split_annexb,
    split_avcc,
)
from kvsproducer.sources.media import Kind, MediaPacket
from kvsproducer.status import KvsError

__all__ = ["FieldReader", "join_fields"]

_SPS, _PPS, _DELIMITER = 7, 8, 9


class FieldReader:
    """Find out which field of a picture, top or bottom, a packet contains.

    `extradata` is the track's avcC record or Annex-B data.
    """

    def __init__(self, extradata: bytes) -> None:
        self._sps: dict[int, h264.Sps] = {}
        self._sets: dict[int, h264.Sps] = {}  # by the id of the PPS that refers to them
        self._length_size = 0  # bytes of the length before each NAL unit, 0 for Annex-B
        units: list[Buffer] = []
        try:
            if extradata[:1] == b"\x01":
                record = h264.parse_avcc(extradata)
                self._length_size = record.length_size
                units += [*record.sps, *record.pps]
            else:
                units += cpd_units(extradata)
            self._add_parameter_sets(units)
        except KvsError:
            pass  # unreadable parameter sets: packets are not joined

    @property
    def interlaced(self) -> bool:
        """Whether the stream can have fields: one of its SPS read so far allows them."""
        return any(sps.interlaced for sps in self._sps.values())

    def _add_parameter_sets(self, units: Iterable[Buffer]) -> None:
        for unit in units:
            kind = nal_type(unit, VideoCodec.H264)
            if kind == _SPS:
                sps = h264.parse_sps(bytes(unit))
                self._sps[sps.sps_id] = sps
            elif kind == _PPS:
                pps_id, sps_id = h264.parse_pps_ids(unit)
                if sps_id in self._sps:
                    self._sets[pps_id] = self._sps[sps_id]

    def units(self, data: bytes) -> list[memoryview]:
        """Return the NAL units of a packet. Raises what `split_annexb` and `split_avcc` raise."""
        return split_avcc(data, self._length_size) if self._length_size else split_annexb(data)

    def only_field(self, data: bytes) -> h264.Slice | None:
        """Return a slice header of the field if the packet has exactly one field, else None."""
        try:
            units = self.units(data)
            self._add_parameter_sets(units)
            slices = {found for unit in units if (found := h264.parse_slice(unit, self._sets))}
        except KvsError:
            return None
        fields = {(found.frame_num, found.bottom) for found in slices if found.field}
        return next(iter(slices)) if len(fields) == 1 else None

    def join(self, first: bytes, second: bytes) -> bytes:
        """Return the data of both fields of a picture, without the delimiter between them."""
        units = [u for u in self.units(second) if nal_type(u, VideoCodec.H264) != _DELIMITER]
        size = self._length_size
        return first + b"".join(
            part for u in units for part in (len(u).to_bytes(size) if size else START_CODE, u)
        )


def join_fields(packets: Iterable[MediaPacket], reader: FieldReader) -> Iterator[MediaPacket]:
    """Join the two packets of a picture that has two fields, and renumber the pictures.

    A joined picture has the times of its first field, and the sum of both durations.
    """
    held: MediaPacket | None = None
    first: h264.Slice | None = None
    joined = 0
    try:
        for packet in packets:
            if packet.kind is not Kind.VIDEO:
                yield packet
                continue
            field = reader.only_field(packet.data)
            if held is not None and _are_pair(first, field):
                held.data = reader.join(held.data, packet.data)
                held.duration += packet.duration
                held.corrupt |= packet.corrupt
                joined += 1
                yield held
                held = None
                continue
            if held is not None:
                yield held
            packet.number -= joined
            held, first = packet, field
            if field is None:
                yield packet
                held = None
    except KvsError:
        if held is not None:
            yield held
        raise
    if held is not None:
        yield held


def _are_pair(first: h264.Slice | None, second: h264.Slice | None) -> bool:
    if first is None or second is None or second.idr:
        return False
    return first.frame_num == second.frame_num and first.bottom != second.bottom
