"""Put a media file into a stream and print how many frames were stored.

    python examples/put_file.py clip.mp4 front-door

Region, credentials and endpoint come from the environment, as in boto3.
"""

import sys

import kvsproducer as kvs


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, stream_name = sys.argv[1:3]
    print(kvs.put_media(source, stream_name, retention="PT24H"))


if __name__ == "__main__":
    main()
