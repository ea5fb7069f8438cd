"""Field-coded H.264 (PAFF, as camcorders and broadcasters make it): one packet for each picture.

A transport stream or a raw file carries the two fields of a picture as two access units, and FFmpeg
gives two packets. Matroska wants both fields of a picture in one frame, and players count frames,
so that the two are joined here: `join_fields`.

Two packets are fields of one picture if each holds a field, of opposite parity and with the same
frame_num, one right after the other (ISO/IEC 14496-10, 3.30 and 7.4.3). A field without its partner
stays alone. It reads slice headers only, and only of streams whose SPS allows fields.
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
    """Tells what fields a packet holds; `extradata` is the track's avcC record or its Annex-B.

    `interlaced` says whether there can be fields at all.
    """

    def __init__(self, extradata: bytes) -> None:
        self._sps: dict[int, h264.Sps] = {}
        self._sets: dict[int, h264.Sps] = {}  # by the id of the PPS that names them
        self._length_size = 0  # 0: Annex-B
        units: list[Buffer] = []
        try:
            if extradata[:1] == b"\x01":
                record = h264.parse_avcc(extradata)
                self._length_size = record.length_size
                units += [*record.sps, *record.pps]
            else:
                units += cpd_units(extradata)
            self._learn(units)
        except KvsError:
            pass  # what cannot be read is left as it comes

    @property
    def interlaced(self) -> bool:
        """Whether a parameter set allows fields."""
        return any(sps.interlaced for sps in self._sps.values())

    def _learn(self, units: Iterable[Buffer]) -> None:
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
        """The NAL units of a packet; raises as `split_annexb` and `split_avcc`."""
        return split_avcc(data, self._length_size) if self._length_size else split_annexb(data)

    def only_field(self, data: bytes) -> h264.Slice | None:
        """The field that `data` holds and nothing else, None for anything else."""
        try:
            units = self.units(data)
            self._learn(units)
            slices = {found for unit in units if (found := h264.parse_slice(unit, self._sets))}
        except KvsError:
            return None
        fields = {(found.frame_num, found.bottom) for found in slices if found.field}
        return next(iter(slices)) if len(fields) == 1 else None

    def joined(self, first: bytes, second: bytes) -> bytes:
        """Both fields of a picture; the delimiter in front of the second one is left out."""
        units = [u for u in self.units(second) if nal_type(u, VideoCodec.H264) != _DELIMITER]
        size = self._length_size
        return first + b"".join(
            part for u in units for part in (len(u).to_bytes(size) if size else START_CODE, u)
        )


def join_fields(packets: Iterable[MediaPacket], reader: FieldReader) -> Iterator[MediaPacket]:
    """Join the packets of the fields of one picture, and number the pictures anew.

    A picture has the times of its first field, and the duration of both.
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
                held.data = reader.joined(held.data, packet.data)
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
