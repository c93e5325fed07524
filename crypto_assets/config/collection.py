"""Read collection.yaml. No other module reads it.

Every error gives the file, the place in it, what was expected and what was found (`ConfigError`, exit code 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from crypto_assets.config.automation import AutomationConfig, spell_out
from crypto_assets.config.entry import SeriesEntry, leading
from crypto_assets.config.environment import Settings, environment, require_file, settings, settings_at_start
from crypto_assets.config.feed_addresses import require_one_name_each
from crypto_assets.config.mistakes import MOST_PROBLEMS, did_you_mean, explain
from crypto_assets.config.owners import Owners
from crypto_assets.config.quality import QualityConfig, WeightsConfig
from crypto_assets.config.yaml_file import MOST_BYTES, load_yaml
from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import Series, Track, path_symbol
from crypto_assets.sources.limits import Limit, parse_limit
from crypto_assets.text.urls import http_url

__all__ = [
    "Collection",
    "ExchangeConfig",
    "QualityConfig",
    "SeriesEntry",
    "Settings",
    "WeightsConfig",
    "environment",
    "leading",
    "load_collection",
    "parse_collection",
    "settings",
    "settings_at_start",
]

MOST_ENTRIES = 1_000


_FEED_NAME = re.compile(r"[A-Z0-9_]{1,50}", re.ASCII)


class ExchangeConfig(BaseModel):
    """URLs of one exchange; a URL without a value is the exchange's real host.

    `limits` replace the exchange's own, by budget; an empty list removes them.
    """

    model_config = ConfigDict(extra="forbid")

    archive_url: str | None = Field(default=None, description="files of the archive; unset: the exchange's own host")
    listing_url: str | None = Field(
        default=None, description="the listing of the archive; unset: the exchange's own host"
    )
    rest_url: str | None = Field(
        default=None, description="one host for every REST path; unset: the exchange's own hosts"
    )
    files: Path | None = Field(
        default=None,
        description="a folder, or a zip, of files that you downloaded from the exchange, if its source reads "
        "them; their days are preferred",
    )
    feeds: dict[str, str] = Field(
        default={},
        description="addresses of news feeds by the names that `symbols` have, such as `MYBLOG: https://…`, also instead of "
        "those that the source knows",
    )
    limits: dict[str, list[Limit]] = Field(
        default={}, description="instead of the exchange's own, by budget, such as `archive: [20/s]`; `[]`: none"
    )

    @field_validator("limits", mode="before")
    @classmethod
    def _parsed_limits(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(texts, list) for texts in value.values()):
            raise ValueError(f"expected budgets with lists of limits, such as spot: [6000 weight/min], found {value!r}")
        return {
            name: [t if isinstance(t, Limit) else parse_limit(str(t)) for t in texts] for name, texts in value.items()
        }

    @field_validator("files")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        found = path.expanduser() if path else None
        if found and not found.is_absolute():
            raise ValueError(f"expected an absolute path or one that begins with ~, found {str(path)!r}")
        return found

    @field_validator("feeds")
    @classmethod
    def _addresses(cls, feeds: dict[str, str]) -> dict[str, str]:
        for name, address in feeds.items():
            if not _FEED_NAME.fullmatch(name):
                raise ValueError(f"expected a name of capital letters, digits and _, such as MYBLOG, found {name!r}")
            if not http_url(address).startswith("https://"):
                raise ValueError(f"{name}: expected an address that begins with https://, found {address!r}")
        require_one_name_each(feeds)
        return feeds

    @field_validator("archive_url", "listing_url", "rest_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        return None if url is None else http_url(url)


class Collection(BaseModel):
    """The whole of collection.yaml."""

    model_config = ConfigDict(extra="forbid")

    exchanges: dict[str, ExchangeConfig] = Field(default={}, description="other addresses and limits, by exchange")
    series: list[SeriesEntry] = Field(min_length=1, max_length=MOST_ENTRIES, description="what is collected")
    quality: QualityConfig = Field(default=QualityConfig(), description="when a day is good")
    owners: Owners = Field(default=[], description="shown by Dagster: e-mail addresses, or `team:name`")
    automation: AutomationConfig = Field(
        default=AutomationConfig(), description="what `up` collects without anybody asking; `false`: nothing"
    )

    _entries: dict[Track, SeriesEntry] | None = PrivateAttr(default=None)
    """The entry of each track, made at the first question."""
    _without: tuple[SeriesEntry, ...] = PrivateAttr(default=())
    """The entries whose rule has chosen no symbol yet."""

    _automation_switch = field_validator("automation", mode="before")(spell_out)

    @model_validator(mode="after")
    def _consistent(self) -> Collection:
        from crypto_assets import sources

        for name in self.exchanges:
            if name not in sources.names():
                raise ValueError(f"exchanges: {name!r} is unknown{did_you_mean(name, sources.names())}")
            if self.exchanges[name].files and not getattr(sources.get(name), "reads_files", False):
                raise ValueError(f"exchanges.{name}.files: no downloaded files of {name} are read; leave it out")
            self._own_feeds(name)
            budgets = dict.fromkeys(("archive", "listing", *sources.get(name).limits, *self._feed_budgets(name)))
            for budget in [one for one in self.exchanges[name].limits if one not in budgets]:
                meant = did_you_mean(budget, budgets)
                raise ValueError(f"exchanges.{name}.limits: {budget!r} is not a budget{meant}")
        seen: dict[Track, int] = {}
        for number, entry in enumerate(self.series):
            for series, symbol in entry.tracks:
                if (other := seen.setdefault(Track(series, path_symbol(symbol)), number)) != number:
                    raise ValueError(f"{series} {symbol} is in series[{other}] and series[{number}]; keep it in one")
        self._require_known_feeds()
        self._rules_are_apart()
        self._bars_end_together()
        self._names_differ()
        return self

    def _own_feeds(self, name: str) -> None:
        """Count each feed of the collection by itself, as those that its source knows."""
        from crypto_assets import sources

        feeds, source = self.exchanges[name].feeds, sources.get(name)
        if feeds and not hasattr(source, "with_addresses"):
            raise ValueError(f"exchanges.{name}.feeds: {name} has no feeds of news; leave it out")
        for budget in self._feed_budgets(name):
            if budget not in source.limits:
                self.exchanges[name].limits.setdefault(budget, list(next(iter(source.limits.values()))))

    def _feed_budgets(self, name: str) -> list[str]:
        return [feed.lower() for feed in self.exchanges[name].feeds]

    def _require_known_feeds(self) -> None:
        from crypto_assets import sources

        for entry in self.series:
            listed = getattr(sources.get(entry.exchange), "names", ())  # a source that is no exchange has a fixed list
            known = (*listed, *self.urls(entry.exchange).feeds)
            if unknown := [one for one in entry.symbols if listed and one not in known]:
                raise ValueError(f"{entry.exchange} has no {unknown[0]}{did_you_mean(unknown[0], known)}")
        for name in {entry.exchange for entry in self.series}:
            used = {one for entry in self.series if entry.exchange == name for one in entry.symbols}
            addresses = {**getattr(sources.get(name), "addresses", {}), **self.urls(name).feeds}
            require_one_name_each({one: address for one, address in addresses.items() if one in used})

    def _rules_are_apart(self) -> None:
        """Refuse two entries that choose symbols by rules, or by a rule and by name, with only some datasets in common.

        With all datasets of the rule in common, an entry that names a symbol has it, else the entry that comes first.
        """
        for number, entry in enumerate(self.series):
            for other_number, other in enumerate(self.series[:number]):
                if not _may_share(entry, other) or not (common := set(entry.datasets) & set(other.datasets)):
                    continue
                loser = other if entry.rule is None else entry
                if set(loser.datasets) - common:
                    raise ValueError(
                        f"series[{other_number}] and series[{number}] may both have symbols of "
                        f"{', '.join(sorted(common))}: put these datasets in an entry of their own"
                    )

    def _names_differ(self) -> None:
        taken: dict[str, int] = {}
        for number, entry in enumerate(self.series):
            name = self.name_of(entry)
            if (other := taken.setdefault(name.lower(), number)) != number:
                raise ValueError(
                    f"series[{other}] and series[{number}] are both named {name!r}; give one of them another `name`"
                )

    def name_of(self, entry: SeriesEntry) -> str:
        """Return the name of an entry, which does not depend on the order of the entries.

        Without a `name` it is `binance_spot`; if several unnamed entries have the same market, the datasets are added, and
        if these are equal too, the first day and first symbol.
        """
        if entry.name is not None:
            return entry.name
        market = entry.exchange, entry.market_type
        nameless = [one for one in self.entries if one.name is None and (one.exchange, one.market_type) == market]
        parts = _parts_of_name(entry)
        known = next(
            n for n in range(len(parts) + 1) if len({_parts_of_name(one)[:n] for one in nameless}) == len(nameless)
        )
        return "_".join((*market, *parts[:known]))

    def _bars_end_together(self) -> None:
        """Refuse an entry that owns a symbol's bar table but ends before another entry that fills it too."""
        sharing: dict[tuple[str, str, str], list[int]] = {}
        for number, entry in enumerate(self.series):
            if any("ohlcv" in entry.tables_of(series) for series in entry.series):
                for symbol in entry.symbols:
                    sharing.setdefault((entry.exchange, entry.market_type, symbol), []).append(number)
        for (exchange, market_type, symbol), numbers in sharing.items():
            first = leading(self.series[number] for number in numbers)
            longest = max(numbers, key=lambda number: self.series[number].until(date.max))
            if first.end and self.series[longest].until(date.max) > first.end:
                raise ValueError(
                    f"series[{self.series.index(first)}] owns the warehouse's bars of {exchange} {market_type} {symbol}, "
                    f"because it starts first, and ends on {first.end}, before series[{longest}]; "
                    f"let series[{longest}] start on {first.start} too"
                )

    @property
    def entries(self) -> list[SeriesEntry]:
        """Every entry: those of `series`, and those whose rule has chosen no symbol yet."""
        return [*self.series, *self._without]

    @property
    def ruled(self) -> list[SeriesEntry]:
        """The entries whose symbols a rule chooses, also those that have none yet."""
        return [entry for entry in self.entries if entry.rule]

    def with_series(self, series: Sequence[SeriesEntry]) -> Collection:
        """Return the collection with other entries; those without a symbol are in `ruled` only.

        Raises:
            ConfigError: the entries contradict each other.
        """
        found = self.model_copy(update={"series": [entry for entry in series if entry.symbols]})
        found._entries, found._without = None, tuple(entry for entry in series if not entry.symbols)
        try:
            found._bars_end_together()
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return found

    @classmethod
    def empty(cls) -> Collection:
        """Return a collection of nothing: all that is stored is beside it."""
        return cls.model_construct(exchanges={}, series=[], quality=QualityConfig())

    def urls(self, exchange: str) -> ExchangeConfig:
        """Return the overridden URLs of an exchange; a field without a value means the real host."""
        return self.exchanges.get(exchange, ExchangeConfig())

    def entry_of(self, series: Series, symbol: str) -> SeriesEntry | None:
        """Return the entry that collects this symbol of a series, or None."""
        if self._entries is None:
            self._entries = {track: entry for entry in reversed(self.series) for track in entry.tracks}
        return self._entries.get(Track(series, symbol))

    def owners_of(self, entry: SeriesEntry) -> list[str]:
        """Return the owners of an entry's assets: its own, or those of the collection; `owners: []` means none."""
        return self.owners if entry.owners is None else entry.owners

    def asks_rest(self, entry: SeriesEntry) -> bool:
        """Return whether the REST API is used for days of an entry that the archive does not have.

        It is not used if the archive is not the exchange's own and no `rest_url` is given: rows of a synthetic or private
        exchange and of the real one must not be mixed in one series.
        """
        urls = self.urls(entry.exchange)
        return entry.rest and (urls.rest_url is not None or urls.archive_url is None)

    def tables_of(self, series: Series, symbol: str) -> tuple[str, ...]:
        """Return the tables in Postgres that a symbol of a series feeds; none if no entry collects it."""
        entry = self.entry_of(series, symbol)
        return entry.tables_of(series) if entry else ()

    def timeframes(self, exchange: str, market_type: str, symbol: str) -> set[str]:
        """Return the timeframes of a symbol that Postgres has as published, over all entries."""
        return {
            series.timeframe
            for entry in self.series
            if (entry.exchange, entry.market_type) == (exchange, market_type) and symbol in entry.symbols
            for series in entry.series
            if series.timeframe and series.table in entry.tables_of(series)
        }

    def built_timeframes(self, exchange: str, market_type: str, symbol: str) -> tuple[str, ...]:
        """Return the timeframes of a symbol that are built in Postgres from its 1m bars, ascending."""
        from crypto_assets.config.warehouse import MINUTES, find_built_timeframes

        entry = self.entry_of(Series.named(exchange, market_type, MINUTES), symbol)
        if entry is None:
            return ()
        published = self.timeframes(exchange, market_type, symbol)
        wanted = find_built_timeframes(entry.series, entry.warehouse, entry.derived_timeframes)
        return tuple(timeframe for timeframe in wanted if timeframe not in published)


def _may_share(entry: SeriesEntry, other: SeriesEntry) -> bool:
    """Return whether two entries of one market may have a symbol in common, at least one of them by a rule."""
    if (entry.exchange, entry.market_type) != (other.exchange, other.market_type):
        return False
    if entry.rule and other.rule:
        return True
    return any(rule.rule.of(named.symbols) for rule, named in ((entry, other), (other, entry)) if rule.rule)


def _parts_of_name(entry: SeriesEntry) -> tuple[str, str, str]:
    """Return the parts that make the default name unique: no two entries have the same dataset of the same symbol."""
    first = str(entry.rule).replace("*", "any") if entry.rule else path_symbol(entry.symbols[0])
    symbol = re.sub(r"\W", "", first)
    return "_".join(entry.datasets), f"{entry.start:%Y%m%d}", symbol


def load_collection(path: Path) -> Collection:
    """Return the collection described by a YAML file.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, or an invalid value; the message gives file and place.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise_if_ours(error)
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        content = load_yaml(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: PyYAML found a day such as 2024-13-01
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        raise ConfigError(f"{path}: expected the keys `series` and `exchanges`, found NoneType: the file is empty")
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected the keys `series` and `exchanges`, found {type(content).__name__}")
    return parse_collection(content, str(path))


def parse_collection(content: Mapping[str, Any], name: str = "collection") -> Collection:
    """Return the collection described by a mapping; raises ConfigError like `load_collection`."""
    try:
        return Collection.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        lines = [f"{name}: {explain(entry, _known_keys)}" for entry in found[:MOST_PROBLEMS]]
        if len(found) > MOST_PROBLEMS:
            lines.append(f"{name}: and {len(found) - MOST_PROBLEMS} more problems")
        raise ConfigError(lines) from None


def _known_keys(place: Sequence[Any]) -> Iterable[str]:
    """Return the keys that may be where an unknown one was found."""
    models: dict[Any, type[BaseModel]] = {
        "series": SeriesEntry,
        "exchanges": ExchangeConfig,
        "quality": WeightsConfig if "weights" in place[:-1] else QualityConfig,
        "automation": AutomationConfig,
    }
    above = "automation" if "automation" in place[:-1] else place[0]
    return (models[above] if len(place) > 1 else Collection).model_fields
