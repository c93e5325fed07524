"""Files: list, locate, fetch, digests, and the rows of a day, for every feed that has files."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.download import download
from crypto_assets.engine.archive.files import objects_of
from crypto_assets.engine.archive.listing import list_objects
from crypto_assets.errors import ChecksumMismatch
from crypto_assets.model import DAY, Partition, days_between
from crypto_assets.rows.arrange import arranged
from crypto_assets.sandbox.dialects import known
from crypto_assets.sources.listings import Wanted
from crypto_assets_tests.sources.contract.conftest import FIRST, LAST, NOW, Lab, hidden
from crypto_assets_tests.sources.contract.subjects import Subject, holds, markets, skip
from crypto_assets_tests.sources.contract.truth import differences, of_day


def test_the_sandbox_speaks_every_source() -> None:
    assert set(sources.names()) <= set(known())


@pytest.mark.parametrize(("exchange", "market_type"), markets())
def test_symbols_have_one_name_each_way(lab: Lab, exchange: str, market_type: str) -> None:
    if sources.get(exchange).instruments(market_type) is None:
        pytest.skip("the source does not tell its instruments")
    found = lab.instruments_of(exchange, market_type)
    assert found
    for one in found:
        assert sources.get(exchange).symbols(market_type, one.exchange_symbol) == (one.symbol,)
        assert sources.get(exchange).exchange_symbol(market_type, one.symbol) == one.exchange_symbol


@holds("list")
def test_every_file_is_listed_and_bounds_are_kept(lab: Lab, subject: Subject) -> None:
    feed, site, name = subject.light, lab.site(subject), subject.name
    published = lab.published(subject)
    assert published
    every = list(days_between(FIRST, LAST))
    assert sorted(obj.key for obj in objects_of(site, feed, name, every).values()) == published
    if feed.listing is None:
        assert lab.asked(subject.series.exchange, "listing") == []
        return
    keys = sorted(feed.keys(name, date(2024, 2, 20)))
    few = objects_of(site, feed, name, [date(2024, 2, 20)])
    assert sorted(few) == keys
    for obj in few.values():
        true = lab.dialect(subject.series.exchange).archive.info(obj.key)
        assert true is not None
        # What a listing does not show is empty; what it shows is true.
        assert obj.etag in ("", true.etag)
        assert obj.size_bytes in (0, true.size)
        assert obj.last_modified in (None, true.last_modified)
    if feed.since is None:
        wanted = Wanted(feed.prefix(name), after=keys[0])
        assert all(obj.key > keys[0] for obj in list_objects(site, feed.listing, wanted))


@holds("locate")
def test_days_are_found_in_their_files_and_no_day_in_a_part_of_them(lab: Lab, subject: Subject) -> None:
    feed, day = subject.archive, lab.day(subject)
    days = [day, day + DAY, day + 2 * DAY]
    spans = {key: feed.covers(key) for one in days for key in feed.keys(subject.name, one)}
    for one in days:
        keys, partition = feed.keys(subject.name, one), Partition("", one)
        assert spans[keys[0]].start <= partition.start
        assert partition.end <= spans[keys[-1]].end
        for earlier, later in pairwise(keys):
            assert spans[earlier].end == spans[later].start
    found = lab.holders(subject, *days)
    assert sorted(one for holder in found for one in holder.days) == days
    for holder in found:
        assert tuple(obj.key for obj in holder.objects) == feed.keys(subject.name, holder.days[0])
    gone = feed.keys(subject.name, day + DAY)[-1]
    with hidden(lab, subject.series.exchange, gone):
        held = [one for holder in lab.holders(subject, *days) for one in holder.days]
        assert sorted(held) == [one for one in days if gone not in feed.keys(subject.name, one)]
    for other in ("", "x", gone + ".CHECKSUM", gone.replace("2024", "20x4")):
        with pytest.raises(ValueError, match="expected a key like"):
            feed.covers(other)


@holds("fetch")
def test_the_bytes_of_a_file_come_with_their_origin(lab: Lab, subject: Subject) -> None:
    feed = subject.archive
    (holder,) = lab.holders(subject, lab.day(subject))
    for obj in holder.objects:
        content, source = download(lab.site(subject), feed, obj)
        assert content == lab.content(subject, obj.key)
        assert (source.key, source.size_bytes) == (obj.key, len(content))


@holds("digest")
def test_other_bytes_than_those_of_the_digest_are_refused(lab: Lab, subject: Subject) -> None:
    feed = subject.light
    (holder,) = lab.holders(subject, lab.day(subject))
    obj = holder.objects[0]
    digest = feed.digest(obj.key)
    if digest is None:
        skip("the exchange publishes no digest")
    assert digest is not None
    _, source = download(lab.site(subject), feed, obj)
    assert source.published_digest is not None
    assert source.published_digest.startswith(f"{digest.algorithm}:")
    lab.faults.on("wrong-bytes", exchange=subject.series.exchange, pattern=obj.key)
    with pytest.raises(ChecksumMismatch, match=obj.key.rpartition("/")[2]):
        download(lab.site(subject), feed, obj)


@holds("parse")
def test_the_rows_of_a_file_are_those_of_the_market(lab: Lab, subject: Subject) -> None:
    feed, day, series = subject.archive, lab.day(subject), subject.series
    keys = feed.keys(subject.name, day)
    tables = [lab.parsed(subject, key) for key in keys]
    for table in tables:
        assert table.schema.equals(datasets.get(series.table).schema)
    rows = pa.concat_tables(tables)
    if subject.facts.numbering != "contiguous":  # their places are counted where the rows of a day are put in order
        rows = arranged(rows, datasets.get(series.table)).rows
    assert differences(series, of_day(series, rows, day), lab.true(subject, day)) == []
    first, last = feed.covers(keys[0]).first_day, feed.covers(keys[-1]).last_day
    if first < day < last and len(keys) == 1:  # a file of many days
        for edge in (first, last):
            assert differences(series, of_day(series, rows, edge), lab.true(subject, edge)) == []
        assert rows.num_rows == sum(of_day(series, rows, one).num_rows for one in days_between(first, last))


def test_the_contract_looks_at_days_that_are_over() -> None:
    assert NOW.date() == LAST
    assert timedelta(hours=9) < NOW - Partition("", LAST).start
