"""Tests of `strict`, and of a fragment that was ended."""

from __future__ import annotations

import pytest
from tests.status_codes.mkv import KEY, SECOND, block_after_fragment_end, generator, h265_sps, hvcc

from kvsproducer.status import KvsError, StatusCode


def test_what_only_a_strict_generator_refuses() -> None:
    """AWS's producer never raises these; without `strict` the same input is accepted."""
    for cpd, content_type in (
        (b"\x67\x42\x00\x1e", "video/h264"),
        (hvcc()[:20], "video/h265"),
        (h265_sps(sub_layers=2, reserved="1" * 14), "video/h265"),
        (bytes(39), "video/x-matroska"),
        (b"\x12", "audio/aac"),
        (bytes(18), "audio/alaw"),
    ):
        assert generator(cpd, content_type, strict=False).header()
    assert generator(strict=False).pack(1, KEY, SECOND, 0, 1, 1).header


def test_an_ended_fragment_accepts_no_block() -> None:
    """It also refuses a second end; a key frame or a new stream continues."""
    subject = generator()
    for action in (subject.end_fragment, block_after_fragment_end):
        with pytest.raises(KvsError) as caught:
            action()
        assert caught.value.status is StatusCode.MKV_INVALID_GENERATOR_STATE_TAGS
    subject.pack(1, KEY, 0, 0, 1, 1)
    assert b"AWS_KINESISVIDEO_END_OF_FRAGMENT" in subject.end_fragment()
    with pytest.raises(KvsError):
        subject.end_fragment()
    subject.pack(1, KEY, 1, 1, 1, 1)
    subject.pack(1, 0, 2, 2, 1, 1)
    subject.end_fragment()
    subject.reset()
    with pytest.raises(KvsError):
        subject.end_fragment()
    assert subject.pack(1, 0, 0, 0, 1, 1).prefix_length
