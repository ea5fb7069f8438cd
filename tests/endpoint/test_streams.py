"""Stream records: ARN, version, description, and their JSON in the index."""

from __future__ import annotations

import random

from kvsproducer.duration import TICKS_PER_HOUR, TICKS_PER_MINUTE
from kvsproducer.endpoint.streams import StreamRecord, new_version, stream_arn

CREATED = 17_000_000_001_239_999  # 123.9999 ms after the full second


def record(**more: int) -> StreamRecord:
    arn = stream_arn("eu-west-1", "111122223333", "door", CREATED)
    return StreamRecord(name="door", arn=arn, version="v", created=CREATED, **more)


def test_arn_ends_with_the_creation_in_milliseconds() -> None:
    assert record().arn == ("arn:aws:kinesisvideo:eu-west-1:111122223333:stream/door/1700000000123")


def test_description_has_the_creation_to_the_millisecond() -> None:
    description = record().describe()
    assert description["CreationTime"] == 1_700_000_000.123
    assert description["KmsKeyId"] == "arn:aws:kms:eu-west-1:111122223333:alias/aws/kinesisvideo"
    assert description["DeviceName"] is None


def test_without_retention_fragments_are_kept_for_five_minutes() -> None:
    assert record().retention == 5 * TICKS_PER_MINUTE
    assert record(retention_hours=2).retention == 2 * TICKS_PER_HOUR


def test_change_creates_a_new_record() -> None:
    old = record()
    new = old.changed("w", retention_hours=7, tags={"a": "ü"})
    assert (old.version, old.retention_hours, old.tags) == ("v", 0, {})
    assert StreamRecord.from_json(new.to_json()) == new


def test_versions_are_20_letters_and_digits_and_differ() -> None:
    dice = random.Random(3).randrange
    versions = {new_version(dice) for _ in range(100)}
    assert len(versions) == 100
    assert all(len(version) == 20 and version.isalnum() for version in versions)
