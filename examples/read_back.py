"""Print the stored fragments of a stream, and save each as a playable MKV file.

python examples/read_back.py front-door fragments/
"""

import sys
from pathlib import Path

import kvsproducer as kvs


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    stream_name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for fragment in kvs.get_media(stream_name, start="earliest"):
        keys = sum(frame.key_frame for frame in fragment.frames)
        print(fragment.number, f"{len(fragment.frames)} frames, {keys} key, tags {fragment.tags}")
        (folder / f"{fragment.number}.mkv").write_bytes(fragment.raw)


if __name__ == "__main__":
    main()
