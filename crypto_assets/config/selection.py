"""Apply a command's filters: the entries, series and symbols of a collection that match, and their days."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.config.environment import settings
from crypto_assets.errors import ConfigError
from crypto_assets.model import Track, TrackDay, path_symbol, unified_symbol
from crypto_assets.model.symbols import similar_symbols, symbol_text

Selected = tuple[SeriesEntry, tuple[Track, ...]]
"""An entry with its tracks that match the filters."""


@dataclass(frozen=True, slots=True)
class Request:
    """Some symbols of one entry over consecutive days, both ends included.

    `checks_only`: check stored days again, collect nothing; `compare` lists the sources to compare them with
    (`crypto_assets.quality.compare_sources.SOURCES`).
    """

    entry: SeriesEntry
    tracks: tuple[Track, ...]
    first: date
    last: date
    checks_only: bool = False
    compare: tuple[str, ...] = ()

    @property
    def days(self) -> int:
        """Number of partitions: symbols × days."""
        return len(self.tracks) * ((self.last - self.first).days + 1)


def select(
    collection: Collection,
    *,
    exchange: str | None = None,
    market_type: str | None = None,
    symbols: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> list[Selected]:
    """Return the entries, series and symbols of a collection that match the filters; empty filters match everything.

    `BTC/USDT`, `btc/usdt` and `BTC-USDT` mean that pair in every market type, `BTC/USDT:USDT` only the contract.

    Raises:
        ConfigError: a filter, or the filters together, match nothing; the message lists the known values.
    """
    _require("--exchange", [exchange] if exchange else [], {entry.exchange for entry in collection.series})
    _require("--market-type", [market_type] if market_type else [], {entry.market_type for entry in collection.series})
    for _, wrong in (known_datasets(collection, datasets), known_symbols(collection, symbols)):
        if wrong:
            raise ConfigError(wrong)
    filters = {"--exchange": exchange, "--market-type": market_type, "--symbol": symbols, "--dataset": datasets}
    wanted = {_spelling(symbol) for symbol in symbols}
    result = []
    for entry in collection.series:
        if (exchange and entry.exchange != exchange) or (market_type and entry.market_type != market_type):
            continue
        tracks = tuple(
            track
            for track in entry.tracks
            if (not wanted or {path_symbol(track.symbol), track.symbol} & wanted)
            and (not datasets or track.series.dataset in datasets)
        )
        if tracks:
            result.append((entry, tracks))
    if not result:
        raise ConfigError(_excluded(collection, {name: value for name, value in filters.items() if value}))
    return result


def without_symbols(
    collection: Collection,
    first: date | None = None,
    last: date | None = None,
    *,
    exchange: str | None = None,
    market_type: str | None = None,
    symbols: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> list[SeriesEntry]:
    """Return the entries whose rule matches no known symbol, although the filters and days may match what it would choose.

    Nothing of them can be collected, and no day says so: a command that was asked for them is not complete.
    """
    return [
        entry
        for entry in collection.ruled
        if entry.rule and entry.waits_for_symbols
        if exchange in (None, entry.exchange) and market_type in (None, entry.market_type)
        if not datasets or set(datasets) & set(entry.datasets)
        if not symbols or entry.rule.of(_unified(symbols, entry.market_type))
        if (last is None or entry.start <= last) and (first is None or first <= entry.until(date.max))
    ]


def _unified(symbols: Sequence[str], market_type: str) -> Iterable[str]:
    """Yield typed symbols as they are in a market; what is no symbol of the market is left out."""
    for symbol in symbols:
        with suppress(ValueError):
            yield unified_symbol(symbol, market_type)


def known_symbols(collection: Collection, symbols: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the `--symbol` values that the collection has, and one message for each of the others."""
    there = {symbol for entry in collection.series for symbol in entry.symbols}
    known = there | {path_symbol(symbol) for symbol in there}
    good, wrong = [], []
    for symbol in dict.fromkeys(symbols):
        if _spelling(symbol) in known:
            good.append(symbol)
        else:
            wrong.append(f"--symbol {symbol}: not in {settings().config}; {_hint(symbol, there)}")
    return good, wrong


def known_datasets(collection: Collection, datasets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the `--dataset` values that the collection has, and one message for each of the others."""
    there = {name for entry in collection.series for name in entry.datasets}
    good = [name for name in datasets if name in there]
    wrong = [
        f"--dataset {name}: not in {settings().config}; {_hint(name, there)}" for name in datasets if name not in there
    ]
    return good, wrong


def _spelling(symbol: str) -> str:
    """Return a typed symbol in the form used for searching: `BTC-USDT` for the pair, `BTC/USDT:USDT` for the contract."""
    text = symbol_text(symbol)
    return text if ":" in text else text.replace("/", "-")


def _require(option: str, values: Iterable[str], known: set[str]) -> None:
    for value in values:
        if value not in known:
            raise ConfigError(f"{option} {value}: not in {settings().config}; {_hint(value, known)}")


def _hint(value: str, known: set[str]) -> str:
    # Letters only: `BTCUSDT` and `btc_usdt` are then both close to BTC/USDT.
    letters: dict[str, str] = {}
    for name in sorted(known, key=lambda name: (":" in name, name)):
        letters.setdefault(_letters(name.partition(":")[0]), name)
    close = similar_symbols(_letters(value.partition(":")[0]), letters)
    return f"did you mean {letters[close[0]]}?" if close else f"known: {', '.join(sorted(known)[:12])}"


def _letters(text: str) -> str:
    return "".join(sign for sign in text.upper() if sign.isalnum())


def _excluded(collection: Collection, given: dict[str, object]) -> str:
    """Return a message: which filter leaves nothing, and what would match without it."""
    names = {"--exchange": "exchange", "--market-type": "market_type", "--symbol": "symbols", "--dataset": "datasets"}
    asked = " ".join(f"{option} {_shown(value)}" for option, value in given.items())
    for option in reversed(given):
        others = {names[name]: value for name, value in given.items() if name != option}
        try:
            left = select(collection, **others)  # type: ignore[arg-type]
        except ConfigError:
            continue
        there = {
            "--exchange": {series.exchange for _, tracks in left for series, _ in tracks},
            "--market-type": {series.market_type for _, tracks in left for series, _ in tracks},
            "--dataset": {series.dataset for _, tracks in left for series, _ in tracks},
            "--symbol": {symbol for _, tracks in left for _, symbol in tracks},
        }[option]
        return (
            f"{asked}: nothing in {settings().config} matches all of these; {option} {_shown(given[option])} excludes it, "
            f"without it: {', '.join(sorted(there)[:12])}"
        )
    return f"{asked}: nothing in {settings().config} matches all of these, and no single one excludes it; use fewer"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else " ".join(value)  # type: ignore[arg-type]


def yesterday(today: date) -> date:
    return today - timedelta(days=1)


def clip(
    collection: Collection,
    selected: Sequence[Selected],
    first: date | None,
    last: date | None,
    today: date,
    *,
    with_today: bool = False,
) -> tuple[list[Request], str]:
    """Return one request for each entry over the days from first to last, and one line about days left out, if any.

    An entry has the days from its start to its end, at most to yesterday; to today if `with_today` is set and REST is used.
    None means the first or last of these.

    Raises:
        ConfigError: last is before first, or no given day is left.
    """
    if first and last and last < first:
        raise ConfigError(f"--from {first} --to {last}: expected --from on or before --to")
    kept: list[Request] = []
    left_out: list[str] = []
    for entry, tracks in selected:
        ended = today if with_today and collection.asks_rest(entry) else yesterday(today)
        name = _name(collection, entry)
        if first and first < entry.start:
            left_out.append(f"{name} starts on {entry.start}")
        if last and entry.end and last > entry.end:
            left_out.append(f"{name} ends on {entry.end}")
        elif last and last > ended:
            left_out.append(
                f"{ended} is the last day that has ended in UTC"
                if ended < today
                else f"{name} has nothing after today, {ended}"
            )
        begin, end = max(first or entry.start, entry.start), min(last or ended, entry.until(ended))
        if begin <= end:
            kept.append(Request(entry, tracks, begin, end))
    asked = " ".join(f"{option} {day}" for option, day in (("--from", first), ("--to", last)) if day)
    why = "; ".join(dict.fromkeys(left_out))
    if not kept and asked:
        raise ConfigError(f"{asked}: no day is left; {why or _spans(selected, today)}")
    return kept, f"{asked}: some of these days are left out: {why}" if why else ""


def _name(collection: Collection, entry: SeriesEntry) -> str:
    """Return `binance spot`, with the datasets if another entry has the same name."""
    name = f"{entry.exchange} {entry.market_type}"
    same = [other for other in collection.series if f"{other.exchange} {other.market_type}" == name]
    return name if len(same) == 1 else f"{name} {', '.join(entry.datasets)}"


def _spans(selected: Sequence[Selected], today: date) -> str:
    spans = "; ".join(dict.fromkeys(f"{e.exchange} {e.market_type} goes {e.span}" for e, _ in selected))
    return f"{spans}, and {yesterday(today)} is the last day that has ended in UTC"


def as_few_requests(entry: SeriesEntry, missing: Iterable[TrackDay]) -> list[Request]:
    """Return requests for exactly some days of some symbols of an entry, few because each is a run.

    Groups symbols with the same missing days, or days with the same missing symbols, whichever gives fewer requests.
    """
    by_track: dict[Track, list[date]] = {}
    by_day: dict[date, list[Track]] = {}
    for series, symbol, day in missing:
        by_track.setdefault(Track(series, symbol), []).append(day)
        by_day.setdefault(day, []).append(Track(series, symbol))
    alike: dict[tuple[date, ...], list[Track]] = {}
    for track, days in by_track.items():
        alike.setdefault(tuple(sorted(days)), []).append(track)
    by_symbols = [
        Request(entry, tuple(tracks), first, last)
        for days, tracks in alike.items()
        for first, last in _ranges([(day, ()) for day in days])
    ]
    tracks_of = [(day, tuple(by_day[day])) for day in sorted(by_day)]
    by_days = [Request(entry, tuple(by_day[first]), first, last) for first, last in _ranges(tracks_of)]
    return min(by_symbols, by_days, key=len)


def _ranges(days: Sequence[tuple[date, tuple[Track, ...]]]) -> list[tuple[date, date]]:
    """Return the runs of consecutive days with the same tracks as (first, last)."""
    found: list[tuple[date, date]] = []
    before: tuple[date, tuple[Track, ...]] | None = None
    for day, tracks in days:
        if before is not None and before == (day - timedelta(days=1), tracks):
            found[-1] = found[-1][0], day
        else:
            found.append((day, day))
        before = day, tracks
    return found
