"""Damage our own stores between two collections.

Each function takes the folder of the lake and the database's URL, and returns the lake folder to use afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg

Happens = Callable[[Path, str], Path]

OTHER_LAKE = "other-lake"
"""The name of the replacement folder next to the lake."""


def lose_files(lake: Path, url: str) -> Path:  # noqa: ARG001 - the database is not told
    """Delete the files of the second day."""
    for path in lake.rglob("date=2024-01-02/data.parquet"):
        path.unlink()
    return lake


def cut_files(lake: Path, url: str) -> Path:  # noqa: ARG001
    """Cut off the second half of the files of the second day, as in a crash of the machine."""
    for path in lake.rglob("date=2024-01-02/data.parquet"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return lake


def take_another_lake(lake: Path, url: str) -> Path:  # noqa: ARG001
    """Set the lake's address to an empty folder."""
    other = lake.parent / OTHER_LAKE
    other.mkdir()
    return other


def lose_lake(lake: Path, url: str) -> Path:  # noqa: ARG001
    """Lose the disk of the lake; an empty one is mounted at its place."""
    shutil.rmtree(lake)
    lake.mkdir()
    return lake


def move_lake(lake: Path, url: str) -> Path:  # noqa: ARG001
    """Move the whole lake, and its address with it."""
    return lake.rename(lake.parent / OTHER_LAKE)


def empty_warehouse(lake: Path, url: str) -> Path:
    """Empty the tables of rows in Postgres."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE market.ohlcv, market.trades")
    return lake


def flip_bit(file: Path, number: int) -> None:
    """Flip one bit of a file, as a bad disk, cable or memory does; its size stays."""
    content = bytearray(file.read_bytes())
    content[number // 8] ^= 1 << (number % 8)
    file.write_bytes(content)
