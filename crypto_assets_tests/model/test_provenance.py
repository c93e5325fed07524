"""A day from several files has them all, and one name, size, etag, digest and time."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from crypto_assets.model import ArchiveObject, SourceFile

EARLY, LATE = datetime(2024, 1, 2, 1, tzinfo=UTC), datetime(2024, 1, 3, 1, tzinfo=UTC)

A = SourceFile("a.zip", 70, "e1", "a" * 64, f"md5:{'1' * 32}", LATE)
B = SourceFile("b.zip", 30, "e2", "b" * 64, f"sha256:{'b' * 64}", EARLY)


def test_two_objects_of_a_day_are_one_with_two_parts() -> None:
    one, two = ArchiveObject("a.zip", 70, "e1", EARLY), ArchiveObject("b.zip", 30, "e2", LATE)
    day = ArchiveObject.joined([one, two])
    assert day == ArchiveObject("a.zip + b.zip", 100, "e1+e2", LATE, (one, two))
    assert day.files == (one, two)
    assert ArchiveObject.joined([one, ArchiveObject("b.zip", 30, "e3", LATE)]).etag != day.etag


def test_two_source_files_of_a_day_are_one_with_a_digest_of_both() -> None:
    day = SourceFile.joined([A, B])
    sha256 = hashlib.sha256(("a" * 64 + "b" * 64).encode()).hexdigest()
    digest = f"md5:{'1' * 32} + sha256:{'b' * 64}"
    assert day == SourceFile("a.zip + b.zip", 100, "e1+e2", sha256, digest, LATE, "archive", (A, B))
    assert day.files == (A, B)


def test_one_file_is_itself_and_its_only_file() -> None:
    assert SourceFile.joined([A]) is A
    assert A.files == (A,)
    obj = ArchiveObject("a.zip", 70, "e1")
    assert ArchiveObject.joined([obj]) is obj
    assert obj.files == (obj,)


def test_without_a_published_digest_of_every_file_the_day_has_none_and_no_time_if_none_is_known() -> None:
    bare = SourceFile("c.zip", 1, "", "c" * 64)
    assert SourceFile.joined([A, bare]).published_digest is None
    assert SourceFile.joined([bare, bare]).last_modified is None
    assert SourceFile.joined([bare, A]).last_modified == LATE
