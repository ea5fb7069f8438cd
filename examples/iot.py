"""Get temporary credentials from AWS IoT with a device's certificate.

    export AWS_IOT_CORE_CREDENTIAL_ENDPOINT=abc123.credentials.iot.us-west-2.amazonaws.com
    export AWS_IOT_CORE_CERT=device.pem.crt AWS_IOT_CORE_PRIVATE_KEY=private.pem.key
    export AWS_IOT_CORE_ROLE_ALIAS=camera-role AWS_IOT_CORE_THING_NAME=front-door-camera
    python examples/iot.py front-door 2

The program puts random bytes in place of video frames for the given number of seconds. It prints an
error if the credentials cannot be renewed.
"""

import random
import sys
import time

import kvsproducer as kvs

FRAME_RATE = 15


def show(event: kvs.Event) -> None:
    """Print errors. If a renewal fails, the current credentials are used until they expire."""
    match event:
        case kvs.ClientErrorReported() | kvs.StreamErrorReported():
            print(f"{event.status.name} ({event.status.hex}): {event.detail}", file=sys.stderr)
        case kvs.StreamReady():
            print("ready with", credentials)


credentials = kvs.IotCredentials.from_environment()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    stream_name, seconds = sys.argv[1], float(sys.argv[2])
    info = kvs.StreamInfo.video(
        "h264", retention="PT24H", frame_rate=FRAME_RATE, nal_adaptation=kvs.NalAdaptation.NONE
    )
    with kvs.Producer(credentials=credentials, on_event=show) as producer:
        with producer.open_stream(stream_name, info) as stream:
            for number in range(int(seconds * FRAME_RATE)):
                data, key_frame = random.randbytes(5000), number % FRAME_RATE == 0
                stream.put_frame(kvs.Frame(data, pts=kvs.now(), key_frame=key_frame))
                time.sleep(1 / FRAME_RATE)
    print(stream.account())


if __name__ == "__main__":
    main()
