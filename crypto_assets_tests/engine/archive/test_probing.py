"""Facts that a listing does not show: unlisted files, and symbols that no longer trade."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from starlette.responses import Response

from crypto_assets import sources
from crypto_assets.engine.archive import probing
from crypto_assets.engine.archive.by_name import probe
from crypto_assets.engine.archive.locate import Located, locate
from crypto_assets.engine.archive.probing import PROBES, Newest, newest_day
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import HostRefused
from crypto_assets.model import ArchiveObject, State, Track, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.engine.archive.test_listing import xml
from crypto_assets_tests.synthetic import series_of

BINANCE = sources.get("binance")
BARS, FUNDING = series_of("ohlcv_1d"), series_of("funding_rates", "linear")
KEY = "data/spot/daily/klines/{0}USDT/1d/{0}USDT-1d-{1}.zip"
FIRST, LAST = date(2024, 1, 1), date(2024, 9, 30)
GONE = date(2024, 2, 10)
NOW = datetime(2024, 4, 20, 12, tzinfo=UTC)
MUCH_LATER = datetime(2024, 10, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def running():
    """LUNA ends on 2024-02-10, the others continue. One of two perpetuals continues; their funding files are monthly."""
    spot = dict.fromkeys(("BTCUSDT", "ETHUSDT", "XRPUSDT"), (FIRST, LAST)) | {"LUNAUSDT": (FIRST, GONE)}
    linear = {"BTCUSDT": (FIRST, LAST), "LUNAUSDT": (FIRST, date(2024, 1, 31))}
    with SandboxServer(SyntheticArchive({"spot": spot, "linear": linear}, trades_per_day=2, now=NOW)) as server:
        yield server


@pytest.fixture
def sandbox(running, monkeypatch):
    running.forget_requests()
    monkeypatch.setattr(probing, "_newest", {})
    yield running
    running.app.state.overrides.clear()
    running.app.state.source.now = NOW


def find(sandbox, client, days, symbol="LUNA/USDT", now=NOW, listing_url=None) -> Located:
    sandbox.app.state.source.now = now
    url = listing_url or sandbox.listing_url
    return locate(ArchiveSite(client, BINANCE, url, sandbox.archive_url), Track(BARS, symbol), days, now)


def by_name(client, sandbox, key: str) -> ArchiveObject | None:
    return probe(ArchiveSite(client, BINANCE, "", sandbox.archive_url), sources.archives(BARS)[0], key)


def of_listing(sandbox) -> int:
    return [path for _, path in sandbox.requests()].count("/listing")


# ---- symbols that no longer trade -------------------------------------------------------------------------------------


def test_days_after_the_last_file_are_missing_and_say_that_the_symbol_may_be_delisted(sandbox, client):
    located = find(sandbox, client, days_between(date(2024, 2, 8), date(2024, 3, 5)))
    assert [day for holder in located.holders for day in holder.days] == days_between(date(2024, 2, 8), GONE)
    assert [outcome.partition.day for outcome in located.absent] == days_between(date(2024, 2, 11), date(2024, 3, 5))
    assert {outcome.state for outcome in located.absent} == {State.MISSING}
    assert located.absent[0].reason.endswith(
        "the archive does not list it; the archive's last file is of 2024-02-10 (70 days ago), 3 other symbols of 3 asked "
        "continue to 2024-04-19: it may be delisted, or late. Set `end` in collection.yaml, give a rest_url so that the "
        "exchange can be asked, or acknowledge the gap"
    )
    assert located.absent[0].evidence | {"listing": ""} == {
        "first_listed": "2024-01-01",
        "listing": "",
        "last_listed": "2024-02-10",
        "others_newest": "2024-04-19",
        "others": ["BTCUSDT", "ETHUSDT", "XRPUSDT"],
    }


def test_half_a_year_after_the_last_file_a_delisting_is_inferred_and_says_so(sandbox, client):
    located = find(sandbox, client, days_between(GONE, date(2024, 2, 12)), now=MUCH_LATER)
    assert [holder.days for holder in located.holders] == [(GONE,)]
    assert {outcome.state for outcome in located.absent} == {State.NO_DATA}
    assert {outcome.reason for outcome in located.absent} == {
        "delisted: the archive's last file is of 2024-02-10; 3 other symbols of 3 asked continue to 2024-09-30"
    }
    evidence = located.absent[0].evidence
    assert evidence["inferred"] is True
    assert (evidence["life"], evidence["looked_at"]) == ("after", MUCH_LATER.isoformat())
    before = MUCH_LATER - timedelta(days=1) * 60
    absent = find(sandbox, client, [date(2024, 2, 12)], now=before).absent
    assert {outcome.state for outcome in absent} == {State.MISSING}


def test_of_a_delisted_symbol_only_days_that_the_others_have_are_explained(sandbox, client):
    located = find(sandbox, client, [date(2024, 9, 30), date(2024, 10, 1)], now=MUCH_LATER)
    assert [(outcome.partition.day.day, outcome.state) for outcome in located.absent] == [
        (30, State.NO_DATA),
        (1, State.PENDING),
    ]


def test_a_hole_is_no_delisting(sandbox, client):
    hole = date(2024, 4, 5)
    for name in (KEY.format("BTC", hole), KEY.format("BTC", hole) + ".CHECKSUM"):
        sandbox.app.state.overrides[name] = None
    (absent,) = find(sandbox, client, days_between(date(2024, 4, 4), date(2024, 4, 7)), "BTC/USDT").absent
    assert absent.state is State.MISSING
    assert absent.reason.endswith("the archive does not list it, nor has it under its name")


def test_a_symbol_that_is_only_late_is_not_delisted(sandbox, client):
    now = datetime(2024, 2, 20, 12, tzinfo=UTC)
    absent = find(sandbox, client, days_between(date(2024, 2, 11), date(2024, 2, 19)), now=now).absent
    assert [outcome.state for outcome in absent] == [State.MISSING] * 6 + [State.PENDING] * 3


def test_where_the_listing_ends_for_all_nobody_was_delisted(sandbox, client):
    # The archive has published nothing since October 1.
    now = datetime(2024, 12, 20, 12, tzinfo=UTC)
    assert newest_day(ArchiveSite(client, BINANCE, sandbox.listing_url), Track(BARS, "LUNA/USDT"), now) == Newest(
        None, 3, ()
    )
    absent = find(sandbox, client, [date(2024, 5, 10), date(2024, 5, 11)], now=now).absent
    assert [outcome.state for outcome in absent] == [State.MISSING, State.MISSING]
    assert "may be delisted" not in absent[0].reason


def test_a_short_hole_before_a_new_file_is_missing(sandbox, client):
    back = date(2024, 4, 1)
    sandbox.app.state.overrides[KEY.format("LUNA", back)] = b"a zip"
    located = find(sandbox, client, days_between(date(2024, 3, 30), back))
    assert [holder.days for holder in located.holders] == [(back,)]
    assert {outcome.state for outcome in located.absent} == {State.MISSING}
    assert located.absent[0].reason.endswith("the archive has nothing from 2024-02-10 to 2024-04-01")


@pytest.mark.parametrize("asked", [(date(2024, 3, 1), date(2024, 3, 2)), (date(2024, 2, 9), date(2024, 9, 20))])
def test_a_very_long_hole_between_files_is_inferred_to_lie_between_two_listings(sandbox, client, asked):
    back = date(2024, 9, 20)
    sandbox.app.state.overrides[KEY.format("LUNA", back)] = b"a zip"
    absent = find(sandbox, client, days_between(*asked), now=MUCH_LATER).absent
    assert {outcome.state for outcome in absent} == {State.NO_DATA}
    assert {outcome.reason for outcome in absent} == {
        "between two listings: the archive has files up to 2024-02-10 and again from 2024-09-20 on"
    }
    assert absent[0].evidence["inferred"] is True
    assert (absent[0].evidence["last_listed"], absent[0].evidence["listed_again"]) == ("2024-02-10", "2024-09-20")


def test_files_of_months_are_late_by_weeks_before_their_symbol_may_be_delisted(sandbox, client):
    def asked(now):
        sandbox.app.state.source.now = now
        symbol, day = "LUNA/USDT:USDT", date(2024, 2, 5)
        (absent,) = locate(ArchiveSite(client, BINANCE, sandbox.listing_url), Track(FUNDING, symbol), [day], now).absent
        return absent.state, "may be delisted" in absent.reason

    assert asked(datetime(2024, 4, 4, tzinfo=UTC)) == (State.PENDING, False)
    assert asked(datetime(2024, 4, 15, tzinfo=UTC)) == (State.MISSING, False)
    assert asked(datetime(2024, 5, 6, tzinfo=UTC)) == (State.MISSING, True)
    assert asked(datetime(2024, 9, 6, tzinfo=UTC)) == (State.NO_DATA, False)


def test_the_others_are_asked_once_for_thousands_of_symbols(sandbox, client):
    find(sandbox, client, [date(2024, 3, 1)])
    first = of_listing(sandbox)
    sandbox.forget_requests()
    find(sandbox, client, [date(2024, 3, 2)])
    assert first == 1 + 1 + 2 + 1 + 1 + 3  # daily, monthly, two first files, those around, the universe, three others
    assert of_listing(sandbox) == 5


def test_a_listing_that_fails_meanwhile_explains_nothing(sandbox, client, monkeypatch):
    def refuse(*_):
        raise HostRefused("503", status=503)

    monkeypatch.setattr(probing, "_ask_others", refuse)
    (absent,) = find(sandbox, client, [date(2024, 3, 1)]).absent
    assert absent.state is State.MISSING


# ---- unlisted files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen():
    """The listing of 10 April, served beside the archive."""
    spot = dict.fromkeys(("BTCUSDT", "ETHUSDT"), (FIRST, LAST))
    source = SyntheticArchive({"spot": spot}, trades_per_day=2, now=datetime(2024, 4, 11, 12, tzinfo=UTC))
    with SandboxServer(source) as server:
        yield server


def test_days_that_a_stale_listing_does_not_show_are_found_by_their_names(sandbox, client, frozen):
    days = days_between(date(2024, 4, 8), date(2024, 4, 19))
    located = find(sandbox, client, days, "BTC/USDT", listing_url=frozen.listing_url)
    held = {day: holder.obj for holder in located.holders for day in holder.days}
    # The 19th was published four hours ago: requested by name from now on.
    assert sorted(held) == days
    for day in days:
        info = sandbox.app.state.source.info(KEY.format("BTC", day))
        assert held[day] == ArchiveObject(info.key, info.size, info.etag, info.last_modified)


def test_what_is_not_there_costs_one_small_request_each_and_a_bounded_number(sandbox, client):
    for day in days_between(date(2024, 2, 1), LAST):
        for name in (KEY.format("BTC", day), KEY.format("BTC", day) + ".CHECKSUM"):
            sandbox.app.state.overrides[name] = None
    sandbox.forget_requests()
    find(sandbox, client, days_between(date(2024, 1, 25), date(2024, 4, 10)), "BTC/USDT", now=NOW)
    asked = [path for _, path in sandbox.requests() if path != "/listing"]
    # It may be delisted, or may exist all the same; the months before have their file.
    april = days_between(date(2024, 4, 1), date(2024, 4, 10))
    assert sorted(asked) == sorted("/" + KEY.format("BTC", day) + ".CHECKSUM" for day in april)
    sandbox.forget_requests()
    now = datetime(2024, 2, 13, 20, tzinfo=UTC)
    absent = find(sandbox, client, days_between(date(2024, 1, 25), date(2024, 2, 12)), "BTC/USDT", now=now).absent
    asked = [path for _, path in sandbox.requests() if path != "/listing"]
    newest = list(itertools.islice(reversed(days_between(date(2024, 2, 1), date(2024, 2, 12))), PROBES))
    assert sorted(asked) == sorted("/" + KEY.format("BTC", day) + ".CHECKSUM" for day in newest)
    assert {outcome.evidence.get("asked_by_name") for outcome in absent} == {"404"}


def test_a_host_that_does_not_answer_is_asked_once(serve, client, no_waits, sandbox):
    async def answer(request):
        return Response(status_code=403)

    odd = serve(answer)
    site = ArchiveSite(client, BINANCE, odd.url, odd.url)
    asked = probing.unlisted(site, Track(BARS, "BTC/USDT"), days_between(FIRST, date(2024, 1, 9)), NOW)
    assert len(odd.requests) == 1
    assert asked.found == []
    assert asked.asked == frozenset()
    assert "found 403" in asked.problem


def test_a_probe_tells_what_a_listing_would(sandbox, client):
    key = KEY.format("BTC", "2024-03-01")
    info = sandbox.app.state.source.info(key)
    assert by_name(client, sandbox, key) == ArchiveObject(key, info.size, info.etag, info.last_modified)
    assert by_name(client, sandbox, KEY.format("BTC", LAST + timedelta(days=9))) is None
    sandbox.app.state.overrides[key] = None  # only its checksum is left
    assert by_name(client, sandbox, key) is None


def test_days_that_cannot_exist_yet_are_not_requested(serve, client):
    async def answer(request):
        return Response(xml(), 404)

    odd = serve(answer)
    day = NOW.date() - timedelta(days=1)
    early = datetime(day.year, day.month, day.day, 7, 59, tzinfo=UTC) + timedelta(days=1)
    site, track = ArchiveSite(client, BINANCE, odd.url, odd.url), Track(BARS, "BTC/USDT")
    assert probing.unlisted(site, track, [day], early).asked == frozenset()
    assert odd.requests == []
    assert probing.unlisted(site, track, [day], NOW).asked == {day}
