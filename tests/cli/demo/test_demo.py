"""`kvs demo` end to end: the main job on real media, checked to the last byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av


def test_the_demo_passes_and_leaves_its_results(kvs: Any, clip: Path, tmp_path: Path) -> None:
    """A clip of the user gives a table, an MKV and a contact sheet, and exit code 0."""
    out = tmp_path / "out"
    ran = kvs("demo", "--source", str(clip), "--output", str(out))
    assert ran.exit_code == 0, ran.stdout
    assert "DIFFERS" not in ran.stdout
    assert sorted(path.name for path in out.iterdir()) == ["came-back.mkv", "contact-sheet.png"]
    with av.open(str(out / "came-back.mkv")) as container:
        assert sum(1 for packet in container.demux() if packet.size) == 217


def test_annexb_and_json(kvs: Any, tmp_path: Path) -> None:
    """A TS, whose frames are converted; the results as JSON."""
    from kvsproducer.sources.pyav import write_clip
    from kvsproducer.sources.spec import PatternSpec

    path = tmp_path / "clip.ts"
    write_clip(str(path), PatternSpec(width=64, height=64, bframes=2, audio="aac", gop=25))
    ran = kvs("demo", "--source", str(path), "--output", str(tmp_path / "out"), "--json")
    verdict = json.loads(ran.stdout)
    assert verdict["passed"], verdict
    assert {check["what"] for check in verdict["checks"]} >= {"video payloads", "audio payloads"}


def test_missing_clip_is_reported(kvs: Any, tmp_path: Path) -> None:
    """The error has a status and exit code 1."""
    ran = kvs("demo", "--source", str(tmp_path / "no.mp4"), "--output", str(tmp_path / "out"))
    assert ran.exit_code == 1
    assert "STATUS_OPEN_FILE_FAILED" in ran.stderr
