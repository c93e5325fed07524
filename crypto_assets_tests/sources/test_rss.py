"""RSS and Atom as a source that is no exchange: feeds are parsed purely; and the base class of such sources."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from crypto_assets.datasets.news import DATASET
from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import Partition, Series
from crypto_assets.sources.collector import MOST_CALLS, Collector
from crypto_assets.sources.feeds import Call, Page
from crypto_assets.sources.rss import FEEDS, Rss, entries, instant

DAY = date(2024, 1, 3)
PARTITION = Partition("COINDESK", DAY)
NOW = datetime(2024, 1, 3, 18, 30, tzinfo=UTC)
EMPTY = DATASET.bare_schema.empty_table()


# ---- text -------------------------------------------------------------------------------------------------------------


def rss(*items: str) -> str:
    return f"<rss version='2.0'><channel>{''.join(items)}</channel></rss>"


def item(**values: str) -> str:
    return "<item>" + "".join(f"<{name}>{text}</{name}>" for name, text in values.items()) + "</item>"


WHEN = "Wed, 03 Jan 2024 10:00:00 GMT"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (WHEN, datetime(2024, 1, 3, 10, tzinfo=UTC)),
        ("Wed, 03 Jan 2024 10:00:00", datetime(2024, 1, 3, 10, tzinfo=UTC)),
        ("Wed, 03 Jan 2024 10:00:00 +0530", datetime(2024, 1, 3, 4, 30, tzinfo=UTC)),
        ("03 Jan 24 10:00 EST", datetime(2024, 1, 3, 15, tzinfo=UTC)),
        ("2024-01-03T10:00:00Z", datetime(2024, 1, 3, 10, tzinfo=UTC)),
        ("2024-01-03T10:00:00.25+01:00", datetime(2024, 1, 3, 9, 0, 0, 250_000, tzinfo=UTC)),
        ("2024-01-03T10:00:00", datetime(2024, 1, 3, 10, tzinfo=UTC)),
    ],
)
def test_instants_of_both_forms_with_and_without_a_zone(written, expected):
    assert instant(written, "feed") == expected


@pytest.mark.parametrize("written", ["yesterday", "Wed, 03 Jan 2024 10:00:00 CEST", ""])
def test_an_instant_that_nobody_can_place_is_refused(written):
    with pytest.raises(BadContent, match="feed: expected"):
        instant(written, "feed")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"guid": "urn:x:1", "link": "https://a/1"}, "urn:x:1"),
        ({"guid": "17", "link": "https://a/1"}, "17"),
        ({"link": "https://a/1"}, "https://a/1"),
    ],
)
def test_the_id_of_an_entry_is_its_own_else_its_link(values, expected):
    (row,) = entries(rss(item(title="T", pubDate=WHEN, **values)), "news.xml")
    assert row["news_uid"] == expected


def test_rss_1_and_a_title_with_marks_and_cdata():
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"><item><title><![CDATA[Ä & <b>]]></title><link>https://a/1</link>'
        "<dc:date>2024-01-03T10:00:00+01:00</dc:date></item></rdf:RDF>"
    )
    (row,) = entries(text, "feed")
    assert (row["title"], row["published_time"]) == ("Ä & <b>", datetime(2024, 1, 3, 9, tzinfo=UTC))
    assert (row["summary"], row["language"]) == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<html><body>Please wait</body></html>", "expected RSS or Atom, found '<html>"),
        ("<rss><channel>", "expected the whole XML of RSS or Atom"),
        ("", "expected"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><rss>&b;</rss>', "entities of its own"),
        (rss(item(title="T", guid="urn:1")), "expected an entry with a date, found none in urn:1"),
        (rss(item(title="T", pubDate=WHEN)), "expected an entry with an id or a link"),
    ],
)
def test_what_is_no_feed_or_no_entry_is_refused_with_its_name(text, expected):
    with pytest.raises(BadContent, match=expected) as refused:
        list(entries(text, "news.xml"))
    assert str(refused.value).startswith("news.xml: ")


def test_an_entry_without_a_title_is_one() -> None:
    (row,) = entries(rss(item(guid="urn:1", pubDate=WHEN, description="D")), "feed")
    assert (row["title"], row["summary"], row["link"]) == (None, "D", "urn:1"), (
        "a guid is an address unless it says otherwise"
    )


# ---- the walk ----------------------------------------------------------------------------------------------------------


def walked(source: Collector, answer: Any, stored: pa.Table = EMPTY, until: datetime | None = None) -> list[Page]:
    steps, pages, sent = source.walk(PARTITION, stored, until, NOW), [], None
    while True:
        try:
            step = steps.send(sent)
        except StopIteration:
            return pages
        sent = None
        if isinstance(step, Page):
            pages.append(step)
        else:
            sent = answer


def at(hour: int, title: str = "T", uid: str = "", day: int = 3) -> str:
    return item(title=title, guid=uid or f"urn:{day}-{hour}", pubDate=f"{day:02d} Jan 2024 {hour:02d}:00:00 GMT")


def titles(pages: list[Page]) -> list[str]:
    return [title for page in pages for title in page.rows.column("title").to_pylist()]


def test_a_feed_that_reaches_back_before_the_day_makes_it_known_up_to_now() -> None:
    pages = walked(Rss(), rss(at(20), at(10, "B"), at(9, "A"), at(23, day=2)))
    assert titles(pages) == ["A", "B"], "ascending; not the day before, and not what is dated after now"
    assert pages[-1].until == NOW
    assert pages[0].rows.schema.equals(DATASET.bare_schema)


def test_a_feed_that_begins_inside_the_day_proves_nothing_unless_it_was_read_before() -> None:
    text = rss(at(10, "B"), at(9, "A"))
    assert [page.until for page in walked(Rss(), text)] == [None]
    assert walked(Rss(), text, until=NOW - timedelta(hours=9, minutes=30))[-1].until == NOW


def test_of_two_entries_with_one_id_in_an_answer_the_first_counts() -> None:
    assert titles(walked(Rss(), rss(at(9, "new", "urn:x"), at(9, "old", "urn:x"), at(1, day=1)))) == ["new"]


def test_only_new_and_edited_entries_are_rows_of_a_second_poll() -> None:
    (page,) = walked(Rss(), rss(at(9, "A"), at(10, "B")))
    again = walked(Rss(), rss(at(9, "A"), at(10, "B, edited"), at(11, "C")), page.rows)
    assert titles(again) == ["B, edited", "C"]


def test_a_day_before_the_oldest_entry_and_an_empty_feed_are_refused_with_the_reason() -> None:
    with pytest.raises(PermanentError, match="nothing any more of 2024-01-03; its oldest row is of 2024-01-04 09:00"):
        walked(Rss(), rss(at(9, day=4)))
    with pytest.raises(PermanentError, match="proves nothing about 2024-01-03"):
        walked(Rss(), rss())


# ---- the base class --------------------------------------------------------------------------------------------------


class Endless(Collector):
    """A source whose every page has a next one."""

    name, rest_url, hosts, dataset = "endless", "http://127.0.0.1", frozenset({"127.0.0.1"}), DATASET
    names = ("ALL",)

    def first(self, partition: Partition) -> Call:
        return self.call("page")

    def read(self, partition: Partition, call: Call, answer: Any) -> tuple[pa.Table, Call | None]:
        return EMPTY, call


def test_endless_pages_end():
    steps = Endless().walk(Partition("ALL", DAY), EMPTY, None, NOW)
    assert next(steps)
    for _ in range(MOST_CALLS - 1):
        assert steps.send({})
    with pytest.raises(BadContent, match=f"at most {MOST_CALLS} requests"):
        steps.send({})


class Hours(Collector):
    """A source of two pages in JSON, whose answers have every row."""

    name, rest_url, hosts, dataset, names = "hours", "http://127.0.0.1", frozenset({"127.0.0.1"}), DATASET, ("ALL",)

    def first(self, partition: Partition) -> Call:
        return self.call("page", {"number": 1})

    def read(self, partition: Partition, call: Call, answer: Any) -> tuple[pa.Table, Call | None]:
        number = int(call.params["number"])
        text = rss(at(answer[number - 1], f"{number}"))
        return pa.Table.from_pylist(list(entries(text, "")), DATASET.bare_schema), (
            self.call("page", {"number": 2}) if number == 1 else None
        )


def test_a_source_with_first_and_read_alone_gives_its_pages_and_knows_the_day_up_to_now() -> None:
    pages = walked(Hours(), [5, 7])
    assert titles(pages) == ["1", "2"]
    assert pages[-1].until == NOW
    call = Hours().first(PARTITION)
    assert (call.path, call.endpoint.exchange, call.endpoint.budget, call.json) == ("page", "hours", "rest", True)
    assert set(Hours.limits) == {"rest"}


def test_a_collector_offers_one_dataset_under_names_of_its_own() -> None:
    source, series = Rss(), Series("rss", "news", "news")
    assert source.dataset_names("news") == ("news",)
    assert source.dataset_names("spot") == ()
    assert source.feeds(series) == (source,)
    assert source.facts(series).numbering == "text"
    assert [source.symbols("news", name) for name in ("COINDESK", "OTHER")] == [("COINDESK",), ()]
    call = source.first(PARTITION)
    assert (call.path, call.endpoint.budget, call.json) == (FEEDS["COINDESK"], "coindesk", False)
    assert set(source.limits) == {name.lower() for name in FEEDS}
    with pytest.raises(PermanentError, match="expected one of BITCOINMAGAZINE"):
        source.first(Partition("OTHER", DAY))
