"""Media as plain data."""

from __future__ import annotations

from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack


def test_kinds_are_named_as_on_the_command_line() -> None:
    """`--tracks video` and Kind.VIDEO are the same word."""
    assert [kind.value for kind in Kind] == ["video", "audio"]


def test_defaults_mean_unknown() -> None:
    """A track without further information has no rate, no extradata and no B-frames."""
    track = MediaTrack(Kind.AUDIO, "aac")
    assert (track.rate, track.extradata, track.reordered) == (0.0, b"", False)
    assert not MediaPacket(Kind.AUDIO, b"", 0, 0, 0, True, 0).corrupt
