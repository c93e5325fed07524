"""What holds some days of one symbol: archive files, the answers of a feed that is asked, or the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from crypto_assets.model import ArchiveObject, Outcome
from crypto_assets.sources import ArchiveFeed


@dataclass(frozen=True, slots=True)
class Files:
    """Archive files that hold some days (ascending) together: one of a day or a month, or several of one day.

    `obj` stands for all of them; its `parts` are the single files if there are several.
    """

    feed: ArchiveFeed
    obj: ArchiveObject
    days: tuple[date, ...]

    @property
    def size_bytes(self) -> int:
        return self.obj.size_bytes

    @property
    def period(self) -> tuple[date, date]:
        """The first and last day that the files cover, also of days that are not taken from them."""
        if self.obj.parts:
            return self.days[0], self.days[-1]
        span = self.feed.covers(self.obj.key)
        return span.first_day, span.last_day

    @property
    def is_of_a_day(self) -> bool:
        """Whether the files are the ones of a single day."""
        first, last = self.period
        return first == last

    @property
    def objects(self) -> tuple[ArchiveObject, ...]:
        """The single files, in order of time."""
        return self.obj.parts or (self.obj,)


@dataclass(frozen=True, slots=True)
class Asked:
    """A day to ask a feed for; `archive` says why the archive does not have it, and its size is a guess."""

    archive: Outcome
    size_bytes: int

    @property
    def days(self) -> tuple[date, ...]:
        return (self.archive.partition.day,)


@dataclass(frozen=True, slots=True)
class Stored:
    """Days to read from the lake, to load them into the warehouse."""

    days: tuple[date, ...]
    size_bytes: int = 0


Holder = Files | Asked | Stored
