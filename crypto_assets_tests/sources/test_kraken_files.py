"""Kraken's downloadable files: real ones are read digit for digit, day by day, and only as far as they prove."""

from __future__ import annotations

import csv
import gzip
import os
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.engine.archive.user_files import UserFiles, UserFilesView
from crypto_assets.errors import BadContent, ListingError, NotPublished
from crypto_assets.model import DAY, Series, days_between
from crypto_assets.sources.kraken.files import KrakenFiles
from crypto_assets_tests.parsed import parsed

HOURS, FOUR_HOURS, DAYS, MINUTES = (
    KrakenFiles(Series.named("kraken", "spot", f"ohlcv_{timeframe}")) for timeframe in ("1h", "4h", "1d", "1m")
)
TRADES = KrakenFiles(Series.named("kraken", "spot", "trades"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(text: str) -> int:
    return int((datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH).total_seconds())


def rows_of(feed: KrakenFiles, root: Path, name: str, days: Sequence[date]) -> list[dict[str, Any]]:
    """Return the rows of the days that the files prove."""
    files = UserFiles(root, feed.folder)
    found = files.objects(name, days)
    return [
        row
        for day in days
        if day in found
        for row in parsed(feed, "", found[day].key, files.read(found[day].key)[0]).to_pylist()
    ]


def proven(feed: KrakenFiles, root: Path, name: str = "XBTUSD") -> list[date]:
    return list(UserFiles(root, feed.folder).objects(name, days_between(date(2023, 12, 1), date(2024, 7, 31))))


def in_decimals(line: Sequence[str]) -> tuple[Any, ...]:
    return (EPOCH + timedelta(seconds=int(line[0])), *map(Decimal, line[1:6]), int(line[6]))


COLUMNS = ("open_time", "open", "high", "low", "close", "volume", "trade_count")


# ---- real files ------------------------------------------------------------------------------------------------------


def real(realdata: Path, name: str) -> Path:
    path = realdata / "exchanges/kraken/archive" / name
    return path if path.is_file() else pytest.skip(f"no recording {path}")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "feed", "pair"),
    [
        ("ETHUSD_60.csv.gz", HOURS, "ETHUSD"),
        ("XBTUSD_240.csv", FOUR_HOURS, "XBTUSD"),
        ("XMRUSD_1440.csv", DAYS, "XMRUSD"),
    ],
)
def test_every_row_of_a_real_file_is_read_with_every_digit(
    realdata: Path, tmp_path: Path, name: str, feed: KrakenFiles, pair: str
) -> None:
    content = real(realdata, name).read_bytes()
    text = gzip.decompress(content) if name.endswith(".gz") else content
    with zipfile.ZipFile(tmp_path / "Kraken_OHLCVT.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name.removesuffix(".gz"), text)
    lines = [in_decimals(line) for line in csv.reader(text.decode().splitlines())]
    first, last = lines[0][0].date(), lines[-1][0].date()
    found = [tuple(row[name] for name in COLUMNS) for row in rows_of(feed, tmp_path, pair, days_between(first, last))]
    assert found == lines
    assert len(found) > 1000


@pytest.mark.realdata
def test_numbers_with_exponents_are_read_exactly(realdata: Path, tmp_path: Path) -> None:
    text = gzip.decompress(real(realdata, "ETHUSD_60.csv.gz").read_bytes()).decode()
    (tmp_path / "ETHUSD_60.csv").write_text(text)
    written = [line.split(",") for line in text.splitlines() if "E" in line]
    assert len(written) == 236
    days = sorted({(EPOCH + timedelta(seconds=int(line[0]))).date() for line in written})
    volumes = {row["open_time"]: row["volume"] for row in rows_of(HOURS, tmp_path, "ETHUSD", days)}
    for line in written:
        assert volumes[EPOCH + timedelta(seconds=int(line[0]))] == Decimal(line[5])


@pytest.mark.realdata
def test_four_hours_rebuild_the_days_that_another_file_has(realdata: Path, tmp_path: Path) -> None:
    """The days are those of an edited file: read here by hand, because it is refused as it is."""
    (tmp_path / "XBTUSD_240.csv").write_bytes(real(realdata, "XBTUSD_240.csv").read_bytes())
    lines = [line.split(",") for line in real(realdata, "IMPOSTOR_XBTUSD_1440.mixed.csv").read_text().splitlines()]
    days = {(EPOCH + timedelta(seconds=int(line[0]))).date(): line for line in lines if not line[7]}
    both = [day for day in days if day >= date(2024, 1, 1)]
    built: dict[date, list[dict[str, Any]]] = {}
    for row in rows_of(FOUR_HOURS, tmp_path, "XBTUSD", both):
        built.setdefault(row["open_time"].date(), []).append(row)
    assert sorted(built) == both
    for day in both:
        bars, line = built[day], days[day]
        assert len(bars) == 6
        assert (bars[0]["open"], bars[-1]["close"]) == (Decimal(line[1]), Decimal(line[4]))
        assert max(bar["high"] for bar in bars) == Decimal(line[2])
        assert min(bar["low"] for bar in bars) == Decimal(line[3])
        assert sum(bar["volume"] for bar in bars).quantize(Decimal("1E-8")) == Decimal(line[5]).quantize(
            Decimal("1E-8")
        )
        assert sum(bar["trade_count"] for bar in bars) == int(float(line[6]))


@pytest.mark.realdata
def test_a_file_to_which_other_rows_were_added_is_refused(realdata: Path, tmp_path: Path) -> None:
    (tmp_path / "XBTUSD_1440.csv").write_bytes(real(realdata, "IMPOSTOR_XBTUSD_1440.mixed.csv").read_bytes())
    for day in (date(2013, 10, 6), date(2024, 3, 19)):
        with pytest.raises(BadContent, match="expected 7 columns"):
            rows_of(DAYS, tmp_path, "XBTUSD", [day])


# ---- what a file proves ----------------------------------------------------------------------------------------------


def minutes(first: str, last: str, step: int = 60, price: str = "1.5") -> str:
    """Return bars from one instant to another, both included."""
    times = range(seconds(first), seconds(last) + 1, step)
    return "".join(f"{time},{price},{price},{price},{price},0.25,1\n" for time in times)


def test_a_file_proves_the_days_up_to_its_last_bar_only(tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_1.csv"
    path.write_text(minutes("2024-01-01T07:00", "2024-01-03T23:58", 60))
    assert proven(MINUTES, tmp_path) == [date(2024, 1, 1), date(2024, 1, 2)]
    path.write_text(minutes("2024-01-01T07:00", "2024-01-03T23:59", 60))
    assert proven(MINUTES, tmp_path) == [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)]
    assert proven(HOURS, tmp_path) == []
    assert proven(MINUTES, tmp_path, "ETHUSD") == []


def test_a_silent_day_inside_a_file_is_proven_and_empty(tmp_path: Path) -> None:
    text = minutes("2024-01-01T00:00", "2024-01-01T00:02") + minutes("2024-01-03T23:59", "2024-01-03T23:59")
    (tmp_path / "XBTUSD_1.csv").write_text(text)
    files = UserFiles(tmp_path, MINUTES.folder)
    found = files.objects("XBTUSD", [date(2024, 1, 2)])
    assert found[date(2024, 1, 2)].size_bytes == 0
    assert parsed(MINUTES, "", found[date(2024, 1, 2)].key, b"").num_rows == 0


def test_a_quarter_in_a_zip_s_name_proves_its_days_from_the_first_row_of_all_files_on(tmp_path: Path) -> None:
    text = minutes("2024-02-10T10:00", "2024-02-10T10:05")
    with zipfile.ZipFile(tmp_path / "Kraken_OHLCVT_Q1_2024.zip", "w") as archive:
        archive.writestr("Kraken_OHLCVT_Q1_2024/XBTUSD_1.csv", text)
    assert proven(MINUTES, tmp_path) == days_between(date(2024, 2, 10), date(2024, 3, 31))
    (tmp_path / "XBTUSD_1.csv").write_text(minutes("2023-12-30T00:00", "2023-12-31T23:59"))
    assert proven(MINUTES, tmp_path) == days_between(date(2023, 12, 30), date(2024, 3, 31))


def test_a_row_outside_the_quarter_that_a_name_claims_makes_the_name_prove_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Kraken_OHLCVT_Q1_2024.zip", "w") as archive:
        archive.writestr("XBTUSD_1.csv", minutes("2024-03-31T23:50", "2024-04-01T00:10"))
    assert proven(MINUTES, tmp_path) == [date(2024, 3, 31)]


def test_of_two_files_with_a_day_the_newest_that_has_rows_before_it_is_read(tmp_path: Path) -> None:
    older, newer = tmp_path / "a" / "XBTUSD_1.csv", tmp_path / "b" / "XBTUSD_1.csv"
    for path, text, time in (
        (older, minutes("2024-01-01T00:00", "2024-01-03T23:59"), 1_000_000_000),
        (newer, minutes("2024-01-02T10:00", "2024-01-03T23:59", price="2.5"), 2_000_000_000),
    ):
        path.parent.mkdir()
        path.write_text(text)
        os.utime(path, (time, time))
    found = rows_of(MINUTES, tmp_path, "XBTUSD", days_between(date(2024, 1, 1), date(2024, 1, 3)))
    prices = {row["open_time"].date(): row["open"] for row in found}
    assert prices == {
        date(2024, 1, 1): Decimal("1.5"),
        date(2024, 1, 2): Decimal("1.5"),
        date(2024, 1, 3): Decimal("2.5"),
    }


def test_a_changed_file_is_read_again_and_only_its_changed_days_have_another_etag(tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_1.csv"
    path.write_text(minutes("2024-01-01T00:00", "2024-01-03T23:59"))
    days = days_between(date(2024, 1, 1), date(2024, 1, 4))
    before = UserFiles(tmp_path, MINUTES.folder).objects("XBTUSD", days)
    with path.open("a") as file:
        file.write(minutes("2024-01-04T00:00", "2024-01-04T23:59"))
    after = UserFiles(tmp_path, MINUTES.folder).objects("XBTUSD", days)
    assert len(before) == 3
    assert {day: after[day].etag for day in before} == {day: obj.etag for day, obj in before.items()}
    assert date(2024, 1, 4) in after


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            minutes("2024-01-02T00:00", "2024-01-02T00:05") + minutes("2024-01-01T00:00", "2024-01-01T00:05"),
            "times that rise",
        ),
        ("2024-01-01,1,1,1,1,1,1\n", "a time in seconds"),
        ("1704067200,1,1\n", "7 or 8 columns"),
        ("1" * 3_000_000, "without a line end"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "XBTUSD_1.csv").write_text(text)
    with pytest.raises(ListingError, match=words) as error:
        proven(MINUTES, tmp_path)
    assert str(tmp_path / "XBTUSD_1.csv") in str(error.value)


def test_a_damaged_zip_and_a_missing_folder_are_refused_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match="found nothing; check `files`"):
        proven(MINUTES, tmp_path / "none")
    path = tmp_path / "Kraken_OHLCVT.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("XBTUSD_1.csv", minutes("2024-01-01T00:00", "2024-01-03T23:59"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ListingError, match="expected a whole zip"):
        proven(MINUTES, tmp_path)
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    with pytest.raises(ListingError, match="expected a whole file"):
        proven(MINUTES, tmp_path)


def test_a_day_is_answered_as_a_host_would(tmp_path: Path) -> None:
    (tmp_path / "XBTUSD_1.csv").write_text(minutes("2024-01-01T00:00", "2024-01-02T23:59"))
    view = UserFilesView(UserFiles(tmp_path, MINUTES.folder), "file:/files")
    key = MINUTES.folder.key("XBTUSD", date(2024, 1, 2))
    answer = view.get(f"file:/files/{key}")
    assert answer.content.decode() == minutes("2024-01-02T00:00", "2024-01-02T23:59")
    assert answer.headers["etag"].strip('"') == UserFiles(tmp_path, MINUTES.folder).read(key)[1]
    with pytest.raises(NotPublished, match="no file in"):
        view.get(f"file:/files/{MINUTES.folder.key('XBTUSD', date(2024, 1, 3))}")


# ---- trades ----------------------------------------------------------------------------------------------------------


def test_trades_of_a_quarter_have_number_side_and_time(tmp_path: Path) -> None:
    header = "Price,Volume,Timestamp,Type(b/s),OrderType(m/l),Misc\n"
    first = seconds("2024-01-01T00:00:01")
    lines = [f"42000.5,1E-3,{first}.1234567,b,l,,7\n", f"42000.6,0.5,{first + 86400},s,m,,8\n"]
    with zipfile.ZipFile(tmp_path / "Kraken_Trading_History_Q1_2024.zip", "w") as archive:
        archive.writestr("XBTUSD.csv", header + "".join(lines))
    found = rows_of(TRADES, tmp_path, "XBTUSD", days_between(date(2024, 1, 1), date(2024, 1, 3)))
    start = datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)
    columns = ("trade_time", "trade_id", "price", "amount", "side")
    assert [tuple(row[name] for name in columns) for row in found] == [
        (start + timedelta(microseconds=123456), 7, Decimal("42000.5"), Decimal("0.001"), "buy"),
        (start + DAY, 8, Decimal("42000.6"), Decimal("0.5"), "sell"),
    ]


def test_trades_without_numbers_and_sides_are_refused(tmp_path: Path) -> None:
    first = seconds("2024-01-01T00:00:01")
    (tmp_path / "XBTUSD.csv").write_text(f"{first},42000.5,0.1\n{first + 2 * 86400},42000.5,0.1\n")
    with pytest.raises(BadContent, match="found three: the complete Trading_History has neither"):
        rows_of(TRADES, tmp_path, "XBTUSD", [date(2024, 1, 1)])


def test_a_key_names_a_symbol_and_a_day() -> None:
    key = HOURS.keys("XBTUSD", date(2024, 1, 2))[0]
    assert key == HOURS.prefix("XBTUSD") + "2024-01-02.csv" == "files/ohlcv/60/XBTUSD/2024-01-02.csv"
    assert HOURS.covers(key).start == datetime(2024, 1, 2, tzinfo=UTC)
    for other in (key.replace("/60/", "/1/"), key.removesuffix(".csv"), "files/ohlcv/60/XBTUSD/a/2024-01-02.csv"):
        with pytest.raises(ValueError, match="expected files/ohlcv/60/NAME"):
            HOURS.covers(other)
