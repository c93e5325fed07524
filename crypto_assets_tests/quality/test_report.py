"""The report: what the page and its pictures say is what the ledger has."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser

import psycopg
import pytest
from markupsafe import escape
from matplotlib.image import imread

from crypto_assets.errors import ConfigError
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.query import Query
from crypto_assets.quality.report.build import PAGE, bars_of, gap_lanes, pictures, write_report
from crypto_assets.quality.report.charts import NEVER, Span
from crypto_assets.quality.report.facts import Facts, Reason, read_facts
from crypto_assets.quality.report.page import page
from crypto_assets.storage.database import Database
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Command, no_traceback
from crypto_assets_tests.quality import ledger_rows
from crypto_assets_tests.quality.ledger_rows import BARS_A_DAY, BYTES_A_DAY, FIRST, LAST, NOW

EXPECTED = {
    "available": 21 + 28,
    "no_data": 3,
    "missing": 2,
    "degraded": 1,
    "corrected": 1,
    "provisional": 1,
    "pending": 1,
    NEVER: 2,
}
STORED = 21 + 28 + 1 + 1 + 1


class _Page(HTMLParser):
    """Text and resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values)
        self.references += [str(values[name]) for name in ("src", "href", "srcset", "data", "action") if name in values]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def facts_of(url: str, query: Query | None = None) -> Facts:
    with Database(url) as database:
        return read_facts(database, ledger_rows.collection(), query or Query(), NOW)


@pytest.fixture
def filled(postgres_url: str) -> str:
    ledger_rows.fill(postgres_url)
    return postgres_url


def test_states_rows_checks_and_scores_are_those_of_the_ledger(filled):
    facts = facts_of(filled)
    assert (facts.first, facts.last) == (FIRST, LAST)
    assert dict(facts.counts) == EXPECTED
    assert facts.incomplete == 2 + 1 + 1 + 1 + 2
    with psycopg.connect(filled) as connection:
        rows, size = connection.execute("SELECT sum(rows), sum(size_bytes) FROM collection.partitions").fetchone()
    assert sum(holding.rows for holding in facts.holdings) == rows == STORED * BARS_A_DAY - 20
    assert sum(holding.size_bytes for holding in facts.holdings) == size == STORED * BYTES_A_DAY
    assert [(h.symbol, h.checks, h.failed_checks, h.corrections) for h in facts.holdings] == [
        ("BTC/USDT", 2 * 24, 1, 0),
        ("ETH/USDT", 2 * 28, 0, 1),
    ]
    assert (facts.scored_days, facts.below, facts.threshold) == (50, 1, 0.99)
    assert facts.score == pytest.approx((48 + 0.9 + 0.995) / 50)
    assert [h.score for h in facts.holdings] == pytest.approx([(21 + 0.9) / 22, (27 + 0.995) / 28])


def test_days_in_a_row_are_one_span_and_days_without_a_record_were_never_collected(filled):
    (btc, eth) = facts_of(filled).holdings
    assert list(eth.spans) == [
        Span("available", date(2024, 1, 1), date(2024, 1, 11)),
        Span(NEVER, date(2024, 1, 12), date(2024, 1, 13)),
        Span("available", date(2024, 1, 14), date(2024, 1, 30)),
    ]
    assert [(span.state, span.first.day, span.last.day) for span in btc.spans[:4]] == [
        ("no_data", 1, 3),
        ("available", 4, 8),
        ("missing", 9, 10),
        ("available", 11, 16),
    ]


def test_the_days_end_with_the_entries(filled):
    collection = ledger_rows.collection()
    (entry,) = collection.series
    entry.end = date(2024, 1, 12)
    with Database(filled) as database:
        facts = read_facts(database, collection, Query(), NOW)
        assert (facts.first, facts.last) == (FIRST, entry.end)
        assert facts.holdings[1].spans[1:] == [Span(NEVER, entry.end, entry.end)]
        longer = read_facts(database, collection, Query(last=LAST), NOW)
    # What is stored of later days is shown, what is not is not asked for.
    assert [(span.first.day, span.last.day) for span in longer.holdings[1].spans] == [(1, 11), (12, 12), (14, 30)]


def test_reasons_of_days_in_a_row_are_one_although_each_names_its_day(filled):
    reasons = {(r.state, tuple(r.symbols)): r for r in facts_of(filled).reasons}
    refused = reasons["missing", ("BTC/USDT",)]
    assert (refused.first.day, refused.last.day, refused.days) == (9, 10, 2)
    assert refused.reason == ledger_rows.REFUSED.format("2024-01-09")
    never = reasons[NEVER, ("ETH/USDT",)]
    assert (never.first.day, never.last.day, never.days) == (12, 13, 2)


def test_incidents_of_other_symbols_and_other_times_are_left_out(filled):
    facts = facts_of(filled)
    assert [incident.kind for incident in facts.incidents] == ["before_listing", "upstream_bad_file", "exchange_outage"]
    lanes = {lane.kind: lane.note for lane in gap_lanes(facts)}
    assert lanes["exchange_outage"] == "1 span, 2.0 h"
    assert lanes["missing"] == "2 days of 1 symbol"
    assert facts_of(filled, Query(symbols=("ETH/USDT",))).incidents[0].kind == "exchange_outage"


def test_delays_are_of_files_that_were_seen_to_appear(filled):
    (delays,) = facts_of(filled).delays
    assert len(delays.hours) == 22 + 28
    assert int(delays.watched.sum()) == 50 - 5 - 10
    assert (delays.percentile(0.5), delays.percentile(0.95), delays.latest) == (8.0, 40.0, 8.0)


def test_filters_and_days_choose_and_a_word_that_chooses_nothing_is_an_error(filled):
    facts = facts_of(filled, Query(symbols=("BTC-USDT",), first=date(2024, 1, 9), last=date(2024, 1, 17)))
    assert dict(facts.counts) == {"missing": 2, "available": 6, "degraded": 1}
    assert sum(holding.rows for holding in facts.holdings) == 7 * BARS_A_DAY - 20
    with pytest.raises(ConfigError, match="--dataset trades"):
        facts_of(filled, Query(datasets=("trades",)))
    with pytest.raises(ConfigError, match="found that they end with 2024-01-30"):
        facts_of(filled, Query(first=date(2024, 2, 9)))


def test_what_left_the_collection_is_shown_without_days_that_nobody_asked_for(filled):
    with psycopg.connect(filled) as connection:
        connection.execute(
            "UPDATE collection.partitions SET symbol = 'SOL/USDT' WHERE symbol = 'ETH/USDT' AND day > '2024-01-20'"
        )
    holdings = {holding.symbol: holding for holding in facts_of(filled).holdings}
    assert dict(holdings["SOL/USDT"].coverage.counts()) == {"available": 10}
    assert dict(holdings["ETH/USDT"].coverage.counts()) == {"available": 18, NEVER: 12}


def test_the_page_says_what_the_facts_say_and_asks_no_network(filled, tmp_path):
    facts = facts_of(filled)
    files = write_report(facts, [], tmp_path / "out" / "deep")
    assert [file.name for file in files] == [PAGE, "coverage.png", "gaps.png", "quality.png", "delays.png"]
    content = files[0].read_text(encoding="utf-8")
    page = _Page(content)
    for text in (
        "Incomplete: 7 of 60 days are missing or partial",
        "88.33 %",
        "53 of 60 days are complete or have no data",
        "2 missing, 2 not collected yet, 1 partial, 1 corrected, 1 not published yet",
        f"{STORED * BARS_A_DAY - 20:,}",
        "of 104 that were run on stored days",
        "0.9979 1 of 50 days below the threshold 0.99",
        ledger_rows.REFUSED.format("2024-01-09") + " upstream bad file",
        "20 of 1440 bars lack <script> upstream partial file",
        "2024-01-12 to 2024-01-13",
        "known, status page",
    ):
        assert text in page.text, text
    assert "lack <script>" not in content, "a reason is escaped"
    assert page.images
    assert all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 30 for image in page.images)
    assert [one for one in page.references if not one.startswith("data:")] == []
    assert not re.search(r"https?://|@import|url\(", content)
    for file in files[1:]:
        assert imread(file).shape[1] == 1920


def test_the_page_of_a_demo_says_that_its_data_is_synthetic(filled, tmp_path):
    facts, notice = facts_of(filled), "Synthetic data: this is a demo."
    assert notice not in _Page(page(facts, [])).text
    assert notice in _Page(page(facts, [], synthetic=True)).text


def test_people_read_partial_where_the_state_is_degraded(filled):
    facts = facts_of(filled)
    assert facts.counts["degraded"] == 1
    shown = pictures(facts)
    assert [lane.name for lane in gap_lanes(facts) if lane.kind == "degraded"] == ["partial"]
    for text in (_Page(page(facts, []).partition("</style>")[2]).text, *(picture.alt for picture in shown)):
        assert "degraded" not in text
    assert all("partial" in picture.alt for picture in shown if picture.name in ("coverage", "gaps"))


def test_every_day_counts_as_on_the_status(filled):
    facts = facts_of(filled)
    complete = facts.counts["available"] + facts.counts["provisional"]
    assert complete < complete + facts.counts["no_data"] == 53
    text = _Page(page(facts, [])).text
    assert "complete or no data 88.33 % 53 of 60 days are complete or have no data" in text
    assert "incomplete 7" in text


HOSTILE = "</td><script>alert(1)</script>\"'&\x1b]0;x\x07\u202e{{ 7 * 7 }}{% raw %}"
SHOWN = "</td><script>alert(1)</script>\"'&\\x1b]0;x\\x07\\u202e{{ 7 * 7 }}{% raw %}"


def test_texts_of_others_are_shown_as_texts_wherever_they_stand(filled):
    facts = facts_of(filled)
    (one, *_) = facts.holdings
    causes = [Kind.UPSTREAM_PARTIAL_FILE]
    made_up = replace(
        facts,
        holdings=[replace(one, symbol=HOSTILE)],
        reasons=[
            Reason(one.series, [HOSTILE], "missing", HOSTILE, FIRST, LAST, causes, 2),
            Reason(one.series, [HOSTILE], "no_data", HOSTILE, FIRST, LAST),
        ],
        incidents=[
            replace(incident, symbol=HOSTILE, dataset=HOSTILE, source=HOSTILE, reference=HOSTILE)
            for incident in facts.incidents[:1]
        ],
    )
    content = page(made_up, [])
    assert content.count("<script>") == 1, "its own"
    assert not set("\x1b\x07\u202e") & set(content)
    # The holding, symbol and reason of two lines, symbol, dataset, source and reference of the incident.
    assert _Page(content).text.count(SHOWN) == 1 + 2 * 2 + 4
    assert f'title="{escape(Kind.UPSTREAM_PARTIAL_FILE.sentence)}"' in content
    assert "(2 days are acknowledged)" in content


def test_a_table_that_is_cut_says_how_many_lines_are_left_out(filled):
    facts = facts_of(filled)
    (one, *_) = facts.holdings
    day = timedelta(days=1)
    (incident, *_) = facts.incidents
    long = replace(
        facts,
        holdings=[replace(one, symbol=f"S{number}", score=None) for number in range(1_234)],
        reasons=[
            Reason(one.series, list("ABCDEF"), "missing", "", FIRST + n * day, FIRST + n * day) for n in range(1_300)
        ],
        incidents=[incident] * 201,
    )
    text = _Page(page(long, [])).text
    assert "… and 1,100 more lines: crypto-assets gaps" in text
    assert "… and 1 more" in text
    assert "The 1,000 of 1,234 with the most incomplete days." in text
    assert text.count("A, B, C, D and 2 more") == text.count("no reason is recorded") == 200


def test_an_empty_ledger_makes_a_page_that_says_so(postgres_url, tmp_path):
    ledger_rows.migrate(postgres_url)
    facts = facts_of(postgres_url)
    assert dict(facts.counts) == {NEVER: 60}
    (page, *pictures) = write_report(facts, [], tmp_path)
    assert [picture.name for picture in pictures] == ["coverage.png", "gaps.png"]
    text = _Page(page.read_text(encoding="utf-8")).text
    assert "Incomplete: 60 of 60 days are missing or partial" in text
    assert "not scored yet" in text


def test_pictures_of_a_former_report_are_removed_and_nothing_else(filled, tmp_path):
    for name in ("candles-7.png", "holiday.png"):
        (tmp_path / name).write_bytes(b"")
    write_report(facts_of(filled), [], tmp_path)
    assert not (tmp_path / "candles-7.png").exists()
    assert (tmp_path / "holiday.png").exists()


def test_a_folder_that_cannot_be_is_an_error_with_its_name(filled, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        write_report(facts_of(filled), [], tmp_path / "file")


def test_a_lake_without_the_files_of_the_ledger_gives_no_candles(filled, tmp_path):
    assert bars_of(Lake(str(tmp_path / "lake")), facts_of(filled)) == []


def test_the_command_writes_the_files_and_prints_the_verdict(filled, tmp_path):
    ledger_rows.put_files(filled, tmp_path / "home" / "lake")
    command = Command.at(tmp_path / "home", filled)
    command.configure(ledger_rows.collection().model_dump(mode="json", include={"series", "quality"}))
    folder = tmp_path / "written"
    answer = command("report", "-o", str(folder), "--to", str(LAST), "--symbol", "ETH/USDT", "--open", "no")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0] == "Incomplete: 2 of 30 days are missing or partial"
    assert {file.name for file in folder.iterdir()} == {PAGE, "coverage.png", "gaps.png", "quality.png", "delays.png"}
    assert imread(io.BytesIO((folder / "coverage.png").read_bytes())).shape[1] == 1920
    wrong = command("report", "-o", str(folder), "--symbol", "XRP/USDT")
    assert wrong.code == 2
    assert "XRP/USDT" in wrong.message
    assert no_traceback(wrong)
