"""Which calls a shell makes: mandatory ones, those needed now and then, and optional ones."""

from __future__ import annotations

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.service_calls import ServiceCalls
from kvsproducer.status import KvsError, StatusCode

MANDATORY = (
    kvs.CreateDevice,
    kvs.CreateStream,
    kvs.DescribeStream,
    kvs.GetStreamingEndpoint,
    kvs.GetStreamingToken,
    kvs.PutStream,
)
OPTIONAL = (kvs.GetSecurityToken, kvs.GetDeviceCertificate, kvs.TagClient)


@pytest.mark.parametrize("kind", MANDATORY)
def test_each_mandatory_call_is_missed(kind: type[kvs.Call]) -> None:
    """A client cannot be made without it."""
    calls = ServiceCalls(ServiceCalls().kinds - {kind})
    with pytest.raises(KvsError, match=kind.__name__) as caught:
        kvs.Client(kvs.DeviceInfo(), now=0, dice=lambda sides: 0, service_calls=calls)
    assert caught.value.status is StatusCode.SERVICE_CALL_CALLBACKS_MISSING


def test_the_mandatory_calls_are_enough() -> None:
    """Optional ones are answered with None; one that is needed is missed when it is needed."""
    calls = ServiceCalls(frozenset(MANDATORY))
    calls.validate()
    assert all(map(calls.answers, MANDATORY))
    assert not any(map(calls.answers, OPTIONAL))
    for needed in (kvs.TagStream, kvs.DeviceCertToToken):
        with pytest.raises(KvsError) as caught:
            calls.answers(needed)
        assert caught.value.status is StatusCode.SERVICE_CALL_CALLBACKS_MISSING


def test_by_default_all_calls_are_made() -> None:
    """And read from data: by name; leaving the names out means all."""
    assert all(map(ServiceCalls().answers, (*MANDATORY, *OPTIONAL, kvs.TagStream)))
    assert ServiceCalls.from_dict({"version": 0}) == ServiceCalls()
    few = ServiceCalls.from_dict({"calls": ["PutStream", "TagStream"]})
    assert few.kinds == {kvs.PutStream, kvs.TagStream}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"version": 1}, StatusCode.INVALID_CALLBACKS_VERSION),
        ({"calls": ["PutStream", "Sing"]}, StatusCode.INVALID_ARG),
        ({"calls": "PutStream"}, StatusCode.INVALID_ARG),
        ({"calls": None}, StatusCode.INVALID_ARG),
    ],
)
def test_bad_data_has_its_status(data: dict[str, object], status: StatusCode) -> None:
    """Versions and names that are not known."""
    with pytest.raises(KvsError) as caught:
        ServiceCalls.from_dict(data)
    assert caught.value.status is status


@pytest.mark.parametrize("calls", [["Dance"], [["PutStream"]], [{}], "PutStream", None])
def test_names_that_are_no_calls(calls: object) -> None:
    """Whatever stands in the file, it is told as a bad argument."""
    with pytest.raises(KvsError) as caught:
        ServiceCalls.from_dict({"calls": calls})
    assert caught.value.status is StatusCode.INVALID_ARG
