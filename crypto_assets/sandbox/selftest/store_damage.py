"""What can happen to our own stores between two collections, while nobody looks.

Each takes the folder of the lake and the database's URL, and returns the folder of the lake that is used from then on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg

Happens = Callable[[Path, str], Path]

OTHER_LAKE = "other-lake"
"""The name of the folder beside the lake that takes its place."""


def lose_files(lake: Path, url: str) -> Path:  # noqa: ARG001 - the database knows nothing of it
    """The files of the second day are deleted."""
    for path in lake.rglob("date=2024-01-02/data.parquet"):
        path.unlink()
    return lake


def cut_files(lake: Path, url: str) -> Path:  # noqa: ARG001
    """The files of the second day lose their second half, as after a crash of the machine."""
    for path in lake.rglob("date=2024-01-02/data.parquet"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return lake


def take_another_lake(lake: Path, url: str) -> Path:  # noqa: ARG001
    """The lake's address is set to a folder that is empty."""
    other = lake.parent / OTHER_LAKE
    other.mkdir()
    return other


def lose_lake(lake: Path, url: str) -> Path:  # noqa: ARG001
    """The disk of the lake is lost; an empty one is mounted in its place."""
    shutil.rmtree(lake)
    lake.mkdir()
    return lake


def move_lake(lake: Path, url: str) -> Path:  # noqa: ARG001
    """The lake is moved, whole, and its address follows."""
    return lake.rename(lake.parent / OTHER_LAKE)


def empty_warehouse(lake: Path, url: str) -> Path:
    """The tables of rows in Postgres are emptied."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE market.ohlcv, market.trades")
    return lake


def flip_bit(file: Path, number: int) -> None:
    """One bit of a file is another one, as by a bad disk, cable or memory; its size stays."""
    content = bytearray(file.read_bytes())
    content[number // 8] ^= 1 << (number % 8)
    file.write_bytes(content)
