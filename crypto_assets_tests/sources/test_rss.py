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
        ("Wed, 03 Jan 2024 10:00:00 +01:00", datetime(2024, 1, 3, 9, tzinfo=UTC)),
        ("Wed, 3 January 2024 10:00:00 -0330 (NST)", datetime(2024, 1, 3, 13, 30, tzinfo=UTC)),
        ("Wednesday, 03-Jan-24 10:00:00 UTC", datetime(2024, 1, 3, 10, tzinfo=UTC)),
        ("Mon, 03 Jan 0001 00:00:00 +0000", datetime(1, 1, 3, tzinfo=UTC)),
        ("03 Jan 24 10:00 EST", datetime(2024, 1, 3, 15, tzinfo=UTC)),
        ("03 Jan 99 10:00 pdt", datetime(1999, 1, 3, 17, tzinfo=UTC)),
        ("2024-01-03T10:00:00 +0200", datetime(2024, 1, 3, 8, tzinfo=UTC)),
        ("2024-01-03", datetime(2024, 1, 3, tzinfo=UTC)),
        ("2024-01-03T10:00:00Z", datetime(2024, 1, 3, 10, tzinfo=UTC)),
        ("2024-01-03T10:00:00.25+01:00", datetime(2024, 1, 3, 9, 0, 0, 250_000, tzinfo=UTC)),
        ("2024-01-03T10:00:00", datetime(2024, 1, 3, 10, tzinfo=UTC)),
    ],
)
def test_instants_of_both_forms_with_and_without_a_zone(written, expected):
    assert instant(written, "feed") == expected


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "",
        *(
            f"Wed, 03 Jan 2024 10:00:00 {zone}"
            for zone in (
                "CEST", "GMT+0200", "GMT+2", "UTC+8", "UTC+08:00", "+01", "+0160", "+1500", "Europe/Paris", "(CET)", "(UTC)",
                "CET (x)", "EST5EDT", "U.T.C", "G.M.T+9", "A", "p.m.", "PM", "PM GMT", "GMT GMT",
            )
        ),
        "Wed, 03 Jan 2024 10:00 PM GMT",
        "Wed Jan 03 2024 10:00:00 GMT+0200 (Central European Summer Time)",
        "Wed, 03 Jan 2024 24:00:00 GMT",
        "Wed, 32 Jan 2024 10:00:00 GMT",
        "Wed, 03 Foo 2024 10:00:00 GMT",
        "2024-01-03T10:00:00 GMT+2",
        "2024-01-03T10:00:00+15:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-05:00",
        "Mon, 01 Jan 0001 00:00:00 +0100",
    ],
)  # fmt: skip
def test_an_instant_that_nobody_can_place_is_refused(written):
    with pytest.raises(BadContent) as refused:
        instant(written, "feed")
    assert str(refused.value).startswith("feed: expected an instant such as 2024-01-01T10:00:00Z or ")
    assert str(refused.value).endswith(f"found {written[:60]!r}")


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
    pages = walked(Rss(), rss(at(20), at(10, "B"), at(9, "A"), at(23, day=2), at(22, day=2)))
    assert titles(pages) == ["A", "B"], "ascending; not the day before, and not what is dated after now"
    assert pages[-1].until == NOW
    assert pages[0].rows.schema.equals(DATASET.bare_schema)


def test_a_feed_that_begins_inside_the_day_proves_nothing_unless_it_was_read_before() -> None:
    text = rss(at(10, "B"), at(9, "A"), at(8))
    pages = walked(Rss(), text)
    assert {page.until for page in pages} == {None}
    assert pages[-1].problem == (
        "it is not proven that all rows from 00:00:00 to 09:00:00 UTC are here; its answer reaches back to "
        "2024-01-03 09:00:00 UTC only"
    )
    assert walked(Rss(), text, until=NOW - timedelta(hours=9, minutes=30))[-1].until == NOW
    pages = walked(Rss(), text, until=NOW - timedelta(hours=10, minutes=30))
    assert pages[-1].problem.startswith("it is not proven that all rows from 08:00:00 to 09:00:00 UTC are here")


def dated(*instants: str) -> list[str]:
    return [item(title="T", guid=f"urn:{number}", pubDate=one) for number, one in enumerate(instants)]


TODAY = "03 Jan 2024 17:00", "03 Jan 2024 16:00", "03 Jan 2024 15:00"


@pytest.mark.parametrize(
    ("times", "reach"),
    [
        (TODAY, 16),
        (("01 Jan 2019 00:00", *TODAY), 16),
        (("01 Jan 1970 00:00", *TODAY), 16),
        ((*TODAY, "01 Jan 1970 00:00"), 15),
        ((*TODAY, "01 Jan 1970 00:00", "01 Jan 1970 00:00"), 15),
        (("02 Jan 2020 00:00", "01 Jan 2019 00:00", *TODAY), 16),
        ((*TODAY[:2], "01 Jan 2019 00:00", TODAY[2]), 16),
        ((TODAY[0], "01 Jan 2019 00:00", TODAY[1], "01 Jan 2018 00:00", TODAY[2]), 16),
        (TODAY[::-1], None),
        (("01 Jan 2019 00:00",), None),
        ((), None),
    ],
)
def test_a_feed_reaches_back_as_far_as_the_order_of_its_entries_proves(
    times: tuple[str, ...], reach: int | None
) -> None:
    source = Rss()
    table, _ = source.read(PARTITION, source.first(PARTITION), rss(*dated(*times)))
    expected = None if reach is None else datetime(2024, 1, 3, reach, tzinfo=UTC)
    assert source.known_from(PARTITION, [table]) == expected


@pytest.mark.parametrize("odd", ["01 Jan 2019 00:00", "01 Jan 1970 00:00"])
def test_one_pinned_entry_neither_fills_a_missing_day_nor_the_hole_of_today(odd: str) -> None:
    today = dated(odd, *TODAY)
    pages = walked(Rss(), rss(*today))
    assert {page.until for page in pages} == {None}
    assert "from 00:00:00 to 16:00:00 UTC" in pages[-1].problem
    tomorrow = dated(odd, *(one.replace("03", "04") for one in TODAY))
    with pytest.raises(
        PermanentError, match="nothing any more of 2024-01-03; its rows reach back to 2024-01-04 16:00"
    ) as found:
        walked(Rss(), rss(*tomorrow))
    assert found.value.evidence["gone"] is True


def test_of_two_entries_with_one_id_in_an_answer_the_first_counts() -> None:
    assert titles(walked(Rss(), rss(at(9, "new", "urn:x"), at(9, "old", "urn:x"), at(1, day=1)))) == ["new"]


def test_only_new_and_edited_entries_are_rows_of_a_second_poll() -> None:
    page, _ = walked(Rss(), rss(at(9, "A"), at(10, "B")))
    again = walked(Rss(), rss(at(9, "A"), at(10, "B, edited"), at(11, "C")), page.rows)
    assert titles(again) == ["B, edited", "C"]


def test_a_day_before_the_oldest_entry_and_an_empty_feed_are_refused_with_the_reason() -> None:
    with pytest.raises(PermanentError, match="nothing any more of 2024-01-03; its rows reach back to 2024-01-04 09:00"):
        walked(Rss(), rss(at(9, day=4), at(8, day=4)))
    with pytest.raises(PermanentError, match="its answer has no row, which proves nothing about 2024-01-03"):
        walked(Rss(), rss())
    with pytest.raises(PermanentError, match="rows in its answer: 1, which proves nothing about 2024-01-03"):
        walked(Rss(), rss(at(9, day=4)))


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
