"""Credentials that the service refuses while a producer runs: it fetches others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.compat.conftest import provider_of
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer.endpoint import Credentials, local_endpoint

INFO = kvs.StreamInfo.video("h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Keys:
    """The only access key that the endpoint accepts, and how a producer finds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, Credentials] = {}
        self.asked = 0
        self.rotate("AKIDOLD")

    def rotate(self, key: str) -> None:
        self.known.clear()
        self.known[key] = Credentials(SECRET)
        (self.folder / "keys").write_text(f"CREDENTIALS {key} {SECRET}")
        (self.folder / "profile").write_text(
            f"[default]\naws_access_key_id={key}\naws_secret_access_key={SECRET}\n"
        )

    def function(self) -> kvs.AwsCredentials:
        self.asked += 1
        return kvs.AwsCredentials(next(iter(self.known)), SECRET)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "profile"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return Keys(tmp_path)


@pytest.fixture
def guarded(keys: Keys) -> Iterator[str]:
    with local_endpoint(verify_signatures=keys.known) as endpoint:
        yield endpoint.url


def of_file(keys: Keys) -> dict[str, object]:
    return {"credentials": kvs.FileCredentials(keys.folder / "keys")}


def of_function(keys: Keys) -> dict[str, object]:
    return {"credentials": keys.function}


def of_profile(keys: Keys) -> dict[str, object]:
    return {"profile_name": "default"}


def of_callbacks(keys: Keys) -> dict[str, object]:
    return {
        "callbacks": provider_of(kvs.AuthCallbacks(get_security_token=lambda call: keys.function()))
    }


@pytest.mark.parametrize("source", [of_file, of_function, of_profile, of_callbacks])
def test_a_rotation_is_noticed(
    keys: Keys, guarded: str, source: Callable[[Keys], dict[str, object]]
) -> None:
    """By the upload of a stream that is ready, and by the control plane for another stream."""
    seen: list[kvs.Event] = []
    options = source(keys)
    with kvs.Producer(endpoint_url=guarded, on_event=seen.append, **options) as producer:  # type: ignore[arg-type]
        with producer.open_stream("door", INFO) as door:
            door.wait_ready()
            keys.rotate("AKIDNEW")
            door.put_frame(kvs.Frame(b"one", pts=kvs.now(), key_frame=True))
            until(lambda: door.flush(0.1).held == 0, seen=lambda: seen)
        keys.rotate("AKIDNEWER")
        with producer.open_stream("gate", INFO) as gate:
            gate.wait_ready()
            gate.put_frame(kvs.Frame(b"two", pts=kvs.now(), key_frame=True))
    refused = [one for one in seen if isinstance(one, kvs.StreamErrorReported)]
    assert {one.status for one in refused} <= {kvs.StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR}
    assert not any(one.fatal for one in refused)


def test_provider_without_other_credentials_is_called_with_pauses(keys: Keys, guarded: str) -> None:
    """Once at once, then at most once per 10 s."""
    seen: list[kvs.Event] = []
    old = kvs.AwsCredentials("AKIDOLD", SECRET)
    asked: list[int] = []

    def give() -> kvs.AwsCredentials:
        asked.append(1)
        return old

    producer = kvs.Producer(endpoint_url=guarded, on_event=seen.append, credentials=give)
    try:
        stream = producer.open_stream("door", INFO)
        stream.wait_ready()
        keys.known.clear()
        stream.put_frame(kvs.Frame(b"one", pts=kvs.now(), key_frame=True))
        until(
            lambda: sum(isinstance(one, kvs.StreamErrorReported) for one in seen) >= 4,
            seen=lambda: seen,
        )
        assert len(asked) == 2
    finally:
        producer.close(0)
