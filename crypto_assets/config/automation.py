"""The key `automation:` of collection.yaml and of its entries: what is collected without anybody asking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection, SeriesEntry

Kind = Literal["new_files", "today", "fill_gaps", "reconcile"]

KINDS: tuple[Kind, ...] = ("new_files", "today", "fill_gaps", "reconcile")
"""Every kind, in the order in which people read about them."""

EVERY_HOUR = "1h"

TODAY_EVERY = {"15m": 15, "30m": 30, EVERY_HOUR: 60}
"""How often today can be collected, in minutes."""

GAPS_AT = time(13)
"""When gaps are filled, UTC."""

LATE_AT = time(8, 30)
"""When the last days are requested where `new_files` is off, UTC; most of Binance's daily files are published by then."""

RECONCILE_AT = time(5)
"""When stored days are compared on Mondays, UTC. Monthly files appear from the first Monday to the middle of the month."""


class AutomationConfig(BaseModel):
    """What runs by itself; each kind is a switch in Dagster (`crypto_assets/defs/automation.py`).

    Everything is on by default: who names symbols and starts `up` expects their data, up to date and without gaps. What that
    costs is bounded: `new_files` reads listings and downloads each file once; `fill_gaps` asks for missing days only;
    `reconcile` reads one file a month and symbol, none above 256 MB, once a week; `today` asks for the new rows of each hour.
    An hour of a symbol's 1m bars over REST is one request of weight 2 (linear: 1), of a limit of 6,000 (2,400) a minute. An
    hour of 100,000 trades is 100 requests of weight 25 (200): 25 s of the limit (8 min); they wait, the limit is kept.
    """

    model_config = ConfigDict(extra="forbid")

    new_files: bool = Field(
        default=True, description="collect files that appear in the archive: the history, then each new day"
    )
    today: str = Field(  # "" if it is off
        default=EVERY_HOUR,
        description=f"collect today through REST: true, false, or how often ({', '.join(TODAY_EVERY)})",
    )
    fill_gaps: bool = Field(default=True, description=f"collect what is missing, every day at {GAPS_AT:%H:%M} UTC")
    reconcile: bool = Field(
        default=True, description="compare stored days with the monthly files and with REST, every Monday"
    )

    @field_validator("new_files", "fill_gaps", "reconcile", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, found {value!r}")
        return value

    @field_validator("today", mode="before")
    @classmethod
    def _cadence(cls, value: Any) -> str:
        if isinstance(value, bool):
            return EVERY_HOUR if value else ""
        if value not in ("", *TODAY_EVERY):
            raise ValueError(f"expected true, false or how often: {', '.join(TODAY_EVERY)}; found {value!r}")
        return str(value)

    def has(self, kind: Kind) -> bool:
        """Return whether a kind is on."""
        return bool(getattr(self, kind))

    def changed_by(self, entry: AutomationConfig | None) -> AutomationConfig:
        """Return this with what an entry says itself."""
        return (
            self
            if entry is None
            else self.model_copy(update={name: getattr(entry, name) for name in entry.given_kinds})
        )

    @property
    def given_kinds(self) -> set[str]:
        """The kinds that the file names here."""
        return self.model_fields_set


def spell_out(value: Any) -> Any:
    """Return `automation: true` or `false` as the mapping that it stands for; other values as they are.

    Raises:
        ValueError: neither a mapping nor true or false.
    """
    if isinstance(value, bool):
        return dict.fromkeys(KINDS, value)
    if value is None or not isinstance(value, dict | AutomationConfig):
        raise ValueError(f"expected false, true or the kinds with true or false ({', '.join(KINDS)}), found {value!r}")
    return value


def automation_of(collection: Collection, entry: SeriesEntry) -> AutomationConfig:
    """Return what runs by itself for an entry: its own words, else those of the file, else the defaults."""
    return collection.automation.changed_by(entry.automation)


@dataclass(frozen=True, slots=True)
class Switch:
    """One kind for all entries: the entries that it collects while it is on, and whether it is on from the start."""

    kind: Kind
    entries: tuple[SeriesEntry, ...]
    is_on: bool


def switches(collection: Collection) -> Iterator[Switch]:
    """Yield the switch of each kind; `today` only if an entry may ask REST.

    It collects the entries for which the kind is on. If it is on for none, it is off until somebody turns it on in the UI;
    then it collects every entry that does not say `false` itself.
    """
    for kind in KINDS:
        able = [entry for entry in collection.series if kind != "today" or collection.asks_rest(entry)]
        on = tuple(entry for entry in able if automation_of(collection, entry).has(kind))
        not_refused = tuple(e for e in able if e.automation is None or kind not in e.automation.given_kinds)
        if able:
            yield Switch(kind, on or not_refused, bool(on))
