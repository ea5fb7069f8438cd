"""Fault scripts: which request gets which fault, how often, and which scripts are invalid."""

from __future__ import annotations

import json

import pytest

from kvsproducer.endpoint.faults import Fault, FaultKind, FaultScript, faults_from_json
from kvsproducer.status import KvsError, StatusCode


def test_faults_apply_in_order() -> None:
    """A fault skips the given number of requests and then applies the given number of times."""
    first = Fault(on="PutMedia", do="reset", times=2)
    second = Fault(on="PutMedia", do="stall", skip=1)
    other = Fault(on="DescribeStream", do="status")
    script = FaultScript([first, other, second])
    met = [script.next("PutMedia") for _ in range(5)]
    assert met == [first, first, None, second, None]
    assert script.next("GetDataEndpoint") is None
    assert script.next("DescribeStream") is other
    assert script.applied == [first, first, second, other]


def test_fault_without_limit_for_all_operations() -> None:
    script = FaultScript([Fault(on="*", do="delay", times=None)])
    assert all(script.next(name) for name in ("PutMedia", "TagStream") for _ in range(100))


def test_no_continue_applies_only_to_expect() -> None:
    """NO_CONTINUE is selected for the Expect header only, and other faults only for the request."""
    script = FaultScript([Fault(on="PutMedia", do="no_continue")])
    assert script.next("PutMedia") is None
    assert script.next("PutMedia", expecting=True) is not None
    assert script.next("PutMedia", expecting=True) is None


def test_script_in_json() -> None:
    """The form that `kvs serve --faults` reads."""
    rows = [{"on": "PutMedia", "do": "slow_read", "bytes_per_s": 10, "times": None}]
    (fault,) = faults_from_json(json.dumps(rows))
    assert fault == Fault(on="PutMedia", do=FaultKind.SLOW_READ, bytes_per_s=10, times=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not JSON"),
        ('{"on": "PutMedia"}', "list"),
        ("[1]", "list"),
        ('[{"on": "PutMedia"}]', "do"),
        ('[{"on": "PutMedia", "do": "reset", "when": 1}]', "when"),
        ('[{"on": "PutFrame", "do": "reset"}]', "PutFrame"),
        ('[{"on": "PutMedia", "do": "explode"}]', "explode"),
        ('[{"on": "TagStream", "do": "silence"}]', "PutMedia"),
        ('[{"on": "TagStream", "do": "reset", "after_bytes": 1}]', "PutMedia"),
        ('[{"on": "PutMedia", "do": "status", "status": 200}]', "400 to 599"),
        ('[{"on": "PutMedia", "do": "status", "after_bytes": 5}]', "without after_bytes"),
        ('[{"on": "PutMedia", "do": "reset", "times": -1}]', "times"),
        ('[{"on": "PutMedia", "do": "stall", "seconds": "long"}]', "seconds"),
        ('[{"on": "PutMedia", "do": "stall", "seconds": 1e400}]', "seconds"),
        ('[{"on": "PutMedia", "do": "reset", "times": 1.5}]', "times"),
        ('[{"on": "PutMedia", "do": "reset", "skip": true}]', "skip"),
        ('[{"on": "PutMedia", "do": "status", "status": "503"}]', "status"),
        ('[{"on": "PutMedia", "do": "garbage", "text": 5}]', "text"),
        ('[{"on": ["PutMedia"], "do": "reset"}]', "on="),
    ],
)
def test_invalid_scripts(text: str, message: str) -> None:
    with pytest.raises(KvsError, match=message) as caught:
        faults_from_json(text)
    assert caught.value.status is StatusCode.INVALID_ARG
