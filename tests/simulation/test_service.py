"""The simulated service answers well in kind times and badly when told to."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.conditions import Conditions
from tests.simulation.world import World

from kvsproducer import client as core


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


def test_credentials_are_refused_for_a_while() -> None:
    """Those given before, and during that time; calls for new ones are answered."""
    service = World(1).service
    service.conditions = Conditions()
    old = service._token()
    describe = core.DescribeStream(1, "new", 0, 10, 5, old)
    assert not service.is_void(describe)
    service.clock.now += 1
    service.void_credentials()
    assert service.is_void(describe)
    assert service.answer(describe)[1] in (401, 403)
    assert not service.is_void(core.GetSecurityToken(2, None, 0, 10, 5, old))
    service.clock.now += 20 * 10_000_000
    service.accept_credentials()
    assert service.is_void(describe)
    assert not service.is_void(core.DescribeStream(3, "new", 0, 10, 5, service._token()))
