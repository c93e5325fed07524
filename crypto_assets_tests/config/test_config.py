"""collection.yaml: what is accepted, and one clear line for what is not."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from crypto_assets.config.collection import load_collection, parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.model import Series

GOOD = """
exchanges:
  binance:
    archive_url: http://127.0.0.1:9000/
    listing_url: http://127.0.0.1:9000/listing
series:
  - exchange: binance
    market_type: spot
    datasets: [ohlcv_1m, trades]
    symbols: [BTC/USDT, eth-usdt]
    start: 2024-01-01
    warehouse: [ohlcv_1m, trades]
  - exchange: binance
    market_type: linear
    datasets: [ohlcv_1h, funding_rates]
    symbols: [BTC/USDT, BTC-USDT-240628]
    start: "2024-02-01"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "collection.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    """Return the message for a bad collection.yaml, which is one line that begins with the file."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_collection(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def entry(**changes: object) -> str:
    """Return a collection of one entry with some lines changed; None leaves a line out."""
    lines: dict[str, object] = {
        "exchange": "binance",
        "market_type": "spot",
        "datasets": "[ohlcv_1m]",
        "symbols": "[BTC/USDT]",
        "start": "2024-01-01",
    }
    lines |= changes
    return "series:\n- " + "\n  ".join(f"{name}: {value}" for name, value in lines.items() if value is not None)


def test_a_good_collection_is_read_with_symbols_unified_and_urls_without_final_slash(tmp_path):
    collection = load_collection(write(tmp_path, GOOD))
    spot, linear = collection.series
    assert spot.symbols == ["BTC/USDT", "ETH/USDT"]
    assert spot.series == [Series("binance", "spot", "ohlcv", "1m"), Series("binance", "spot", "trades")]
    assert (spot.start, spot.warehouse) == (date(2024, 1, 1), ["ohlcv_1m", "trades"])
    assert linear.symbols == ["BTC/USDT:USDT", "BTC/USDT:USDT-240628"]
    assert (linear.start, linear.warehouse) == (date(2024, 2, 1), True)
    urls = collection.urls("binance")
    assert urls.archive_url == "http://127.0.0.1:9000"
    assert urls.listing_url == "http://127.0.0.1:9000/listing"
    assert urls.rest_url is None
    assert collection.urls("okx").archive_url is None


def test_the_entry_and_the_timeframes_of_a_symbol_are_found_over_all_entries(tmp_path):
    text = (
        GOOD
        + "  - {exchange: binance, market_type: spot, datasets: [ohlcv_1h], symbols: [BTC/USDT], start: 2024-01-01}"
    )
    collection = load_collection(write(tmp_path, text))
    hourly = Series.named("binance", "spot", "ohlcv_1h")
    assert collection.entry_of(hourly, "BTC/USDT") is collection.series[2]
    assert collection.entry_of(hourly, "ETH/USDT") is None
    assert collection.timeframes("binance", "spot", "BTC/USDT") == {"1m", "1h"}
    assert collection.timeframes("binance", "spot", "ETH/USDT") == {"1m"}
    assert collection.timeframes("binance", "linear", "BTC/USDT:USDT") == {"1h"}
    assert collection.timeframes("okx", "spot", "BTC/USDT") == set()


@pytest.mark.parametrize(
    ("keys", "tables", "built"),
    [
        ({}, {"ohlcv_1m": ("ohlcv",), "trades": ("trade_statistics_1m",)}, ("5m", "15m", "30m", "4h", "1d")),
        ({"warehouse": True, "derived_timeframes": ["1d", "5m"]}, {"ohlcv_1h": ("ohlcv",)}, ("5m", "1d")),
        ({"derived_timeframes": []}, {"ohlcv_1m": ("ohlcv",)}, ()),
        ({"warehouse": False}, {"ohlcv_1m": (), "ohlcv_1h": (), "trades": ()}, ()),
        ({"warehouse": []}, {"ohlcv_1m": (), "ohlcv_1h": (), "trades": ()}, ()),
        ({"warehouse": ["trades"]}, {"ohlcv_1m": (), "trades": ("trades",)}, ()),
        ({"warehouse": ["ohlcv_1h"]}, {"ohlcv_1m": (), "ohlcv_1h": ("ohlcv",)}, ()),
        # Hours that are in the lake only are built: Postgres has no others.
        ({"warehouse": ["ohlcv_1m"]}, {"ohlcv_1m": ("ohlcv",), "ohlcv_1h": ()}, ("5m", "15m", "30m", "1h", "4h", "1d")),
        ({"warehouse": ["ohlcv_1m"], "derived_timeframes": ["1h"]}, {"trades": ()}, ("1h",)),
    ],
)
def test_an_entry_says_what_is_loaded_and_built(keys, tables, built):
    one = {"exchange": "binance", "market_type": "spot", "symbols": ["BTC/USDT"], "start": date(2024, 1, 1)}
    collection = parse_collection({"series": [{**one, "datasets": ["ohlcv_1m", "ohlcv_1h", "trades"], **keys}]})
    (part,) = collection.series
    for name, expected in tables.items():
        assert part.tables_of(Series.named("binance", "spot", name)) == expected
    assert collection.built_timeframes("binance", "spot", "BTC/USDT") == built
    assert collection.built_timeframes("binance", "spot", "ETH/USDT") == ()
    assert part.has_warehouse == (keys.get("warehouse") not in (False, []))


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "collection.yaml"
    with pytest.raises(ConfigError) as caught:
        load_collection(path)
    assert str(caught.value) == (
        f"{path}: no such file; `crypto-assets init` writes one, or name another with CRYPTO_ASSETS_CONFIG"
    )


def test_a_folder_and_bytes_that_are_no_text_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read: .*directory"):
        load_collection(tmp_path)
    path = tmp_path / "collection.yaml"
    path.write_bytes(b"series: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read: 'utf-8'"):
        load_collection(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("series: [", "not valid YAML: while parsing a flow node expected the node content, but found '<stream end>'"),
        ("a: b: c", "not valid YAML: mapping values are not allowed here"),
        ("series:\n\t- x", "not valid YAML: while scanning for the next token found character '\\t'"),
        (
            entry() + "\n" + entry(datasets="[trades]"),
            (
                'not valid YAML: while reading a mapping in "<unicode string>", line 1, column 1: series: ^ '
                "found the key 'series' twice"
            ),
        ),
        ("", "expected the keys `series` and `exchanges`, found NoneType"),
        ("- binance", "expected the keys `series` and `exchanges`, found list"),
        ("just words", "expected the keys `series` and `exchanges`, found str"),
        ("{}", "series: this required key is missing"),
        ("series: []", "series: List should have at least 1 item after validation, not 0, found []"),
        ("series: BTC/USDT", "series: Input should be a valid list, found 'BTC/USDT'"),
    ],
)
def test_a_file_that_is_no_collection_is_refused_in_one_line(tmp_path, text, message):
    assert refusal(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exchange": None}, "series[0].exchange: this required key is missing"),
        ({"symbol": "BTC/USDT"}, "series[0].symbol: unknown key; did you mean 'symbols'?"),
        (
            {"zzz": "1"},
            "series[0].zzz: unknown key; known: name, exchange, market_type, datasets, symbols, top, start, end, warehouse",
        ),
        ({"exchange": "binanse"}, "series[0]: exchange 'binanse' is unknown; did you mean 'binance'?"),
        ({"exchange": "zzz"}, "series[0]: exchange 'zzz' is unknown; known: binance"),
        ({"market_type": "um"}, "series[0].market_type: expected one of spot, linear, inverse, found 'um'"),
        ({"exchange": "kraken", "market_type": "inverse"}, "series[0]: kraken has no market type 'inverse' here"),
        (
            {"datasets": "[ohlcv_1min]"},
            "series[0]: dataset 'ohlcv_1min' is not published for binance spot; did you mean 'ohlcv_1m'?",
        ),
        (
            {"datasets": "[funding_rates]"},
            "series[0]: dataset 'funding_rates' is not published for binance spot; known: ohlcv_1s, ohlcv_1m",
        ),
        (
            {"datasets": "[ohlcv_1s]", "market_type": "linear"},
            "series[0]: dataset 'ohlcv_1s' is not published for binance linear; did you mean 'ohlcv_",
        ),
        ({"datasets": "[]"}, "series[0].datasets: List should have at least 1 item after validation, not 0, found []"),
        ({"datasets": "trades"}, "series[0].datasets: Input should be a valid list, found 'trades'"),
        ({"datasets": "[trades, trades]"}, "series[0]: datasets: trades is listed twice here"),
        ({"symbols": "[]"}, "series[0].symbols: List should have at least 1 item"),
        ({"symbols": "[1]"}, "series[0].symbols[0]: Input should be a valid string, found 1"),
        ({"symbols": "[BTCUSDT]"}, "series[0]: symbol 'BTCUSDT': expected the form BTC/USDT, BTC/USDT:USDT or"),
        ({"symbols": "[BTC/USDT:USDT]"}, "series[0]: symbol 'BTC/USDT:USDT': a spot symbol has no settle currency"),
        (
            {"symbols": "[BTC/USDT:BTC]", "market_type": "linear"},
            "series[0]: symbol 'BTC/USDT:BTC': linear contracts of BTC/USDT settle in USDT",
        ),
        ({"symbols": "[BTC/USDT, ETH/USDT, btc-usdt]"}, "series[0]: symbols: BTC/USDT is listed twice here"),
        ({"start": "yesterday"}, "series[0].start: expected a day such as 2024-01-01, found 'yesterday'"),
        ({"start": "2024-13-01"}, "not valid YAML: month must be in 1..12"),
        ({"start": "'2024-02-30'"}, "series[0].start: expected a day such as 2024-01-01, found '2024-02-30'"),
        ({"start": "20240101"}, "series[0].start: expected a day such as 2024-01-01, found 20240101"),
        (
            {"start": "2024-01-01 12:00:00"},
            "series[0].start: expected a day such as 2024-01-01, found datetime.datetime(2024, 1, 1, 12, 0)",
        ),
        ({"start": ""}, "series[0].start: expected a day such as 2024-01-01, found None"),
        ({"end": "tomorrow"}, "series[0].end: expected a day such as 2024-01-01, found 'tomorrow'"),
        ({"end": "2023-12-31"}, "series[0]: expected an end on 2024-01-01, the start, or later, found 2023-12-31"),
        (
            {"warehouse": "[trades]"},
            "series[0]: warehouse: 'trades' is not among the datasets of this entry (ohlcv_1m)",
        ),
        (
            {"warehouse": "[trade_statistics_1m]"},
            "series[0]: warehouse: 'trade_statistics_1m' is built from trades, which this entry does not collect",
        ),
        ({"warehouse": "[ohlcv_1m, ohlcv_1m]"}, "series[0]: warehouse: ohlcv_1m is listed twice here"),
        (
            {"warehouse": "ohlcv_1m"},
            (
                "series[0].warehouse: expected true, false (lake only) or a list of datasets such as [ohlcv_1m], "
                "found 'ohlcv_1m'"
            ),
        ),
        (
            {"derived_timeframes": "[7m]"},
            (
                "series[0]: derived_timeframes: expected some of 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d (a multiple "
                "of 1m that divides a day), found '7m'"
            ),
        ),
        (
            {"derived_timeframes": "[1h]", "warehouse": "false"},
            (
                "series[0]: derived_timeframes: built bars are in Postgres only, beside the bars that they are built from, "
                "and this entry does not load ohlcv_1m (warehouse: false); load it, or remove derived_timeframes"
            ),
        ),
        (
            {"derived_timeframes": "[1h]", "datasets": "[ohlcv_5m]"},
            "series[0]: derived_timeframes: they are built from ohlcv_1m, which this entry does not collect",
        ),
        (
            {"derived_timeframes": "[5m, 1h]", "datasets": "[ohlcv_1m, ohlcv_1h]"},
            (
                "series[0]: derived_timeframes: 1h is collected as published (ohlcv_1h) and loaded, so it is not built; "
                "remove 1h here, or ohlcv_1h from `warehouse`"
            ),
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_place_what_was_expected_and_what_was_found(tmp_path, changes, message):
    found = refusal(tmp_path, entry(**changes))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "binance: {archive_url: data.binance.vision}",
            (
                "exchanges.binance.archive_url: expected a URL that starts with http:// or https://, "
                "found 'data.binance.vision'"
            ),
        ),
        (
            "binance: {rest_url: 'ftp://example.com'}",
            "exchanges.binance.rest_url: expected a URL that starts with http:// or https://, found 'ftp://example.com'",
        ),
        (
            "binance: {rest_url: 'http://'}",
            "exchanges.binance.rest_url: expected a URL with a host, and a port up to 65535 if any, found 'http://'",
        ),
        (
            "binance: {rest_url: 'http://localhost:99999'}",
            (
                "exchanges.binance.rest_url: expected a URL with a host, and a port up to 65535 if any, "
                "found 'http://localhost:99999'"
            ),
        ),
        (
            "binance: {rest_url: 'http://[x/a'}",
            "exchanges.binance.rest_url: expected a URL with a host, and a port up to 65535 if any, found 'http://[x/a'",
        ),
        ("binance: {listing_url: 3}", "exchanges.binance.listing_url: Input should be a valid string, found 3"),
        ("binance: {archive: 'http://x'}", "exchanges.binance.archive: unknown key; did you mean 'archive_url'?"),
        ("binanc: {archive_url: 'http://x'}", "exchanges: 'binanc' is unknown; did you mean 'binance'?"),
    ],
)
def test_a_bad_url_or_exchange_is_refused_with_its_place(tmp_path, line, message):
    assert refusal(tmp_path, f"exchanges: {{{line}}}\n{entry()}") == message


def test_a_url_without_a_value_is_the_real_host(tmp_path):
    collection = load_collection(write(tmp_path, f"exchanges:\n  binance:\n    archive_url:\n{entry()}"))
    assert collection.urls("binance").archive_url is None


def test_a_misspelt_key_at_the_top_is_refused_with_the_right_one(tmp_path):
    assert refusal(tmp_path, f"exchange: {{}}\n{entry()}") == "exchange: unknown key; did you mean 'exchanges'?"


def test_a_series_in_two_entries_is_refused_with_both_places(tmp_path):
    message = refusal(tmp_path, entry() + "\n" + entry(datasets="[trades, ohlcv_1m]").removeprefix("series:\n"))
    assert message == "binance spot ohlcv_1m BTC/USDT is in series[0] and series[1]; keep it in one"


def test_the_same_symbol_of_another_market_or_dataset_is_no_double(tmp_path):
    text = entry() + "\n" + entry(market_type="linear").removeprefix("series:\n")
    collection = load_collection(write(tmp_path, text + "\n" + entry(datasets="[trades]").removeprefix("series:\n")))
    assert [e.symbols for e in collection.series] == [["BTC/USDT"], ["BTC/USDT:USDT"], ["BTC/USDT"]]


def test_an_entry_has_the_days_from_its_start_to_its_end(tmp_path):
    (ended,) = load_collection(write(tmp_path, entry(end="2024-03-31"))).series
    assert ended.span == "from 2024-01-01 to 2024-03-31"
    assert [ended.has(date(2024, *day)) for day in [(1, 1), (3, 31), (4, 1)]] == [True, True, False]
    assert not ended.has(date(2023, 12, 31))
    assert (ended.until(date(2024, 2, 1)), ended.until(date(2024, 5, 1))) == (date(2024, 2, 1), date(2024, 3, 31))
    for text in (entry(), entry(end="")):
        (open_,) = load_collection(write(tmp_path, text)).series
        assert (open_.span, open_.until(date.max)) == ("from 2024-01-01", date.max)


def test_bars_that_share_a_table_must_not_go_on_after_the_entry_that_has_it(tmp_path):
    def both(first: str, second: str) -> str:
        return first + "\n" + second.removeprefix("series:\n")

    hours = entry(datasets="[ohlcv_1h]", start="2024-02-01")
    message = refusal(tmp_path, both(entry(end="2024-03-31"), hours))
    assert message == (
        "series[0] owns the warehouse's bars of binance spot BTC/USDT, because it starts first, and ends on 2024-03-31, "
        "before series[1]; let series[1] start on 2024-01-01 too"
    )
    for second in (
        entry(datasets="[ohlcv_1h]"),
        entry(datasets="[trades]", start="2024-02-01"),
        entry(datasets="[ohlcv_1h]", start="2024-02-01", end="2024-03-31"),
    ):
        load_collection(write(tmp_path, both(entry(end="2024-03-31"), second)))


def test_several_mistakes_are_told_one_in_a_line():
    with pytest.raises(ConfigError) as caught:
        parse_collection(
            {"series": [{"exchange": "binance", "market_type": "um", "datasets": [], "start": "x"}]}, "c.yaml"
        )
    assert str(caught.value).splitlines() == [
        "c.yaml: series[0].market_type: expected one of spot, linear, inverse, found 'um'",
        "c.yaml: series[0].datasets: List should have at least 1 item after validation, not 0, found []",
        "c.yaml: series[0].symbols: this required key is missing",
        "c.yaml: series[0].start: expected a day such as 2024-01-01, found 'x'",
    ]


def test_quality_has_a_threshold_and_weights_that_are_given_one_by_one(tmp_path):
    assert load_collection(write(tmp_path, entry())).quality.model_dump() == {
        "threshold": 0.999,
        "weights": {"completeness": 0.4, "accuracy": 0.3, "agreement": 0.2, "timeliness": 0.1},
    }
    given = "quality: {threshold: 0.95, weights: {completeness: 1, timeliness: 0}}\n"
    assert load_collection(write(tmp_path, given + entry())).quality.model_dump() == {
        "threshold": 0.95,
        "weights": {"completeness": 1, "accuracy": 0.3, "agreement": 0.2, "timeliness": 0},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{threshold: 1.5}", "quality.threshold: Input should be less than or equal to 1, found 1.5"),
        ("{threshold: -1}", "quality.threshold: Input should be greater than or equal to 0, found -1"),
        ("{treshold: 1}", "quality.treshold: unknown key; did you mean 'threshold'?"),
        ("{weights: {accurcy: 1}}", "quality.weights.accurcy: unknown key; did you mean 'accuracy'?"),
        (
            "{weights: {accuracy: -1}}",
            "quality.weights.accuracy: Input should be greater than or equal to 0, found -1",
        ),
        ("{weights: {accuracy: .inf}}", "quality.weights.accuracy: Input should be a finite number, found inf"),
        (
            "{weights: {completeness: 0, accuracy: 0, agreement: 0, timeliness: 0}}",
            "quality.weights: expected at least one weight above 0, found 0 for all; leave out a weight to keep its default",
        ),
    ],
)
def test_bad_quality_settings_are_refused_by_their_place(tmp_path, given, message):
    assert refusal(tmp_path, f"quality: {given}\n{entry()}") == message
