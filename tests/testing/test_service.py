"""The simulated service answers well in kind times and badly when told to."""

from __future__ import annotations

from dataclasses import replace

from kvsproducer import client as core
from kvsproducer.testing.conditions import Conditions
from kvsproducer.testing.simulation import World


def test_a_stream_is_missing_then_created_then_active() -> None:
    """As the control plane goes; a hazard that is certain strikes always."""
    service = World(1).service
    service.conditions = Conditions()
    describe = core.DescribeStream(1, "new", 0, 10, 5, None)
    service.retention = {"new": 0}
    assert service.answer(describe)[1] == 404
    create = core.CreateStream(2, "new", 0, 10, 5, None, "device", "video/h264", "", 0, ())
    assert service.answer(create)[1:] == (200, "arn:new")
    creating = service.answer(describe)[2]
    assert isinstance(creating, core.StreamDescription)
    assert creating.status is core.StreamStatus.CREATING
    service.conditions = replace(Conditions(), unanswered_calls=1.0)
    assert service.answer(describe) == (10, 599, None)
    assert service.faults["unanswered call"] == 1


def test_an_error_ack_is_worded_as_the_service_does() -> None:
    """Without a timecode when the fragment is not known."""
    service = World(1).service
    assert service.error_ack(5000, None) == (
        b'{"EventType":"ERROR","FragmentNumber":"1","ErrorCode":"INTERNAL_ERROR","ErrorId":5000}\n'
    )
