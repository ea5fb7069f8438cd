"""The statuses of the producer: credentials, service calls, callbacks, logs."""

from __future__ import annotations

from tests.status_codes.place import Place, Table

from kvsproducer import Producer, StatusCode, StreamInfo

_S = StatusCode
NOBODY = "http://127.0.0.1:9"  # where nobody listens


def opened_after_close(_: Place) -> None:
    producer = Producer("us-west-2", endpoint_url=NOBODY)
    producer.close(0)
    producer.open_stream("door", StreamInfo.video("h264"))


TABLE: Table = {
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.INVALID_CA_CERT_PATH: lambda place: (
        Producer("us-west-2", verify=str(place.folder / "ca.pem")) and None
    ),
    _S.CLIENT_BEING_SHUTDOWN: opened_after_close,
}
