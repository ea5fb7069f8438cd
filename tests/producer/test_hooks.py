"""Any object with the methods of `CallbacksProvider` works as `callbacks=`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import client as core
from kvsproducer.compat.chains import Chains
from kvsproducer.producer.hooks import Callbacks, Fault, Hooks


class Recorder:
    """Callbacks that answer no call, and store their events."""

    def __init__(self) -> None:
        self.log_level: int | None = None
        self.events: list[core.Event] = []
        self.ended = 0

    def start(self, log_level: int) -> Recorder:
        self.log_level = log_level
        return self

    def clock(self, fault: Fault) -> Callable[[], int]:
        return kvs.now

    def dice(self, fault: Fault) -> Callable[[int], int]:
        return lambda sides: 0

    def reports(self, stream: core.Stream, now: int) -> Sequence[Any]:
        return ()

    def report(self, reports: Sequence[Any]) -> None:
        raise AssertionError("there are none")

    def next_reported(self) -> core.Event | None:
        return None

    def notify(self, event: core.Event) -> None:
        self.events.append(event)

    def handles(self, call: core.Call) -> bool:
        return False

    def ask(self, call: core.Call) -> object:
        raise AssertionError("it asks for nothing")

    def end(self) -> None:
        self.ended += 1


@pytest.mark.usefixtures("_aws_environment")
def test_a_producer_serves_its_hooks(
    endpoint_url: str, info: kvs.StreamInfo, frames: Callable[[int], Any]
) -> None:
    """They are started once, get all events, and end with the producer."""
    recorder = Recorder()
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=recorder) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
    assert recorder.log_level == kvs.ClientInfo().log_level
    assert {kvs.StreamReady, kvs.FragmentAcked} <= {type(event) for event in recorder.events}
    assert recorder.ended == 1


def test_callbacks_provider_has_all_methods_of_the_protocols() -> None:
    """The protocols name no method that the callbacks of `compat` lack."""
    for protocol, made in ((Callbacks, kvs.CallbacksProvider), (Hooks, Chains)):
        names = {name for name in vars(protocol) if not name.startswith("_")}
        assert names
        assert names <= set(dir(made))
