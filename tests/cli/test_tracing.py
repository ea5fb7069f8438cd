"""`kvs put --trace FILE`: every step of a frame, in a file for trace viewers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from kvsproducer.client import Stream
from kvsproducer.sources import Source


def test_every_hop_of_every_frame_is_in_the_file(kvs: Any, clip: Path, tmp_path: Path) -> None:
    """Complete events with times, on named threads; and nothing is traced afterwards."""
    plain = Stream.put_frame, Source.frames
    path = tmp_path / "trace.json"
    ran = kvs("put", str(clip), "put-traced", "--tracks", "video", "--trace", str(path))
    assert ran.exit_code == 0, ran.stderr
    events = json.loads(path.read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert all(span["dur"] >= 0 for span in spans)
    counted = Counter(span["name"] for span in spans)
    assert counted["put_frame"] == 75
    assert counted["package"] == 75
    assert counted["read source"] == 76  # the last one finds the end
    assert {"core", "append to view", "read for upload", "acknowledge"} <= set(counted)
    assert any(event["ph"] == "M" and event["args"]["name"] for event in events)
    assert (Stream.put_frame, Source.frames) == plain


def test_trace_file_that_cannot_be_written_is_refused_at_once(
    kvs: Any, clip: Path, tmp_path: Path
) -> None:
    """The error comes before a frame is put."""
    path = tmp_path / "missing" / "trace.json"
    ran = kvs("put", str(clip), "put-untraced", "--trace", str(path))
    assert ran.exit_code == 1
    assert "WRITE_TO_FILE_FAILED" in ran.stderr
    assert "stored" not in ran.stdout


def test_the_file_is_written_when_the_put_fails(kvs: Any, tmp_path: Path, clip: Path) -> None:
    """It has the spans up to the failure."""
    path = tmp_path / "trace.json"
    ran = kvs("put", str(clip), "bad name", "--trace", str(path))
    assert ran.exit_code != 0
    assert "traceEvents" in json.loads(path.read_text())
