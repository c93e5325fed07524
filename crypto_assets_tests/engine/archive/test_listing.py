"""Listings return every key of every page, or an error; never a listing that only looks complete."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from starlette.responses import HTMLResponse, Response

from crypto_assets import sources
from crypto_assets.engine.archive import listing
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import HostRefused, ListingError, NotPublished
from crypto_assets.model import ArchiveObject
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.listings import Wanted
from crypto_assets.sources.listings.s3 import S3Listing
from crypto_assets.transport.client import Client

LISTING = Endpoint("binance", "listing", "listing")
FOLDER = "data/spot/daily/klines/BTCUSDT/1d/"


@pytest.fixture
def view(client: Client) -> Client:
    return client


def list_objects(
    view: Client,
    url: str,
    prefix: str,
    *,
    after: str = "",
    until: str | None = None,
    page: int = 1000,
    version: int = 1,
) -> Iterator[ArchiveObject]:
    """List as the engine does, from some URL."""
    wanted = Wanted(prefix, after=after, until=until, page=page)
    return listing.list_objects(_site(view, url), S3Listing(version), wanted)


def list_prefixes(view: Client, url: str, prefix: str, *, version: int = 1) -> Iterator[str]:
    return listing.list_prefixes(_site(view, url), S3Listing(version), prefix)


def _site(view: Client, url: str) -> ArchiveSite:
    return ArchiveSite(view, sources.get("binance"), url)


@pytest.fixture(scope="module")
def sandbox():
    """1,096 days of daily bars, so 2,192 keys with their checksums: three pages."""
    source = SyntheticArchive(
        {"spot": ["BTCUSDT", "ETHUSDT", "NEWUSDT"]}, date(2021, 1, 1), date(2023, 12, 31), trades_per_day=2
    )
    with SandboxServer(source) as server:
        yield server


def xml(keys=(), prefixes=(), truncated=False, following="", prefix="data/", extra="") -> str:
    """Return a page in S3's form."""
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-02T08:00:00.000Z</LastModified>"
        f"<ETag>&quot;e{n}&quot;</ETag><Size>{n}</Size></Contents>"
        for n, key in enumerate(keys)
    )
    common = "".join(f"<CommonPrefixes><Prefix>{p}</Prefix></CommonPrefixes>" for p in prefixes)
    marker = f"<NextMarker>{following}</NextMarker>" if following else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix>{prefix}</Prefix>{marker}<IsTruncated>{str(truncated).lower()}</IsTruncated>"
        f"{contents}{common}{extra}</ListBucketResult>"
    )


def answering(*pages: str, media_type: str = "application/xml"):
    """Answer with these pages in turn, and then always with the last one."""
    left = list(pages)

    async def answer(request):
        return Response(left.pop(0) if len(left) > 1 else left[0], media_type=media_type)

    return answer


def test_a_listing_of_three_pages_has_every_key_once_and_in_order(sandbox, view):
    sandbox.forget_requests()
    found = [obj.key for obj in list_objects(view, sandbox.listing_url, FOLDER)]
    source = sandbox.app.state.source
    assert found == list(source.keys(FOLDER))
    assert len(found) == 2 * 1095
    assert len(sandbox.requests()) == 3


def test_an_object_has_its_size_its_etag_without_quotes_and_its_time(sandbox, view):
    first = next(iter(list_objects(view, sandbox.listing_url, FOLDER, page=1)))
    key = f"{FOLDER}BTCUSDT-1d-2021-01-01.zip"
    info = sandbox.app.state.source.info(key)
    assert first == ArchiveObject(key, info.size, info.etag, datetime(2021, 1, 2, 8, tzinfo=UTC))


def test_keys_after_and_until_are_cut_out_without_listing_the_rest(sandbox, view):
    sandbox.forget_requests()
    found = list_objects(
        view,
        sandbox.listing_url,
        FOLDER,
        after=f"{FOLDER}BTCUSDT-1d-2022-06-01.zip",
        until=f"{FOLDER}BTCUSDT-1d-2022-06-03.zip",
    )
    assert [obj.key.removeprefix(FOLDER) for obj in found] == [
        "BTCUSDT-1d-2022-06-01.zip.CHECKSUM",
        "BTCUSDT-1d-2022-06-02.zip",
        "BTCUSDT-1d-2022-06-02.zip.CHECKSUM",
        "BTCUSDT-1d-2022-06-03.zip",
    ]
    assert len(sandbox.requests()) == 1


@pytest.mark.parametrize("page", [1, 7, 1000])
def test_any_size_of_page_gives_the_same_listing(sandbox, view, page):
    until = f"{FOLDER}BTCUSDT-1d-2021-01-12.zip"
    found = [obj.key for obj in list_objects(view, sandbox.listing_url, FOLDER, until=until, page=page)]
    assert found == [key for key in sandbox.app.state.source.keys(FOLDER) if key <= until]


def test_a_page_that_the_server_ends_early_is_not_the_end(sandbox, view, monkeypatch):
    monkeypatch.setattr("crypto_assets.sandbox.app.LISTING_SECONDS", -1.0)  # one entry per page
    sandbox.forget_requests()
    until = f"{FOLDER}BTCUSDT-1d-2021-01-04.zip"
    found = [obj.key for obj in list_objects(view, sandbox.listing_url, FOLDER, until=until)]
    assert found == [key for key in sandbox.app.state.source.keys(FOLDER) if key <= until]
    assert len(sandbox.requests()) == len(found) + 1 == 8


def test_child_prefixes_are_the_folders_over_pages_with_a_next_marker(sandbox, view, monkeypatch):
    expected = [f"data/spot/daily/klines/{symbol}/" for symbol in ("BTCUSDT", "ETHUSDT", "NEWUSDT")]
    assert list(list_prefixes(view, sandbox.listing_url, "data/spot/daily/klines/")) == expected
    monkeypatch.setattr("crypto_assets.sandbox.app.LISTING_SECONDS", -1.0)
    sandbox.forget_requests()
    assert list(list_prefixes(view, sandbox.listing_url, "data/spot/daily/klines/")) == expected
    assert len(sandbox.requests()) == 3


def test_nothing_under_a_prefix_is_an_empty_listing(sandbox, view):
    assert list(list_objects(view, sandbox.listing_url, "data/spot/daily/klines/NONE/")) == []
    assert list(list_prefixes(view, sandbox.listing_url, "data/none/")) == []


@pytest.mark.parametrize("following", ["", "data/b"])
def test_the_next_page_is_asked_for_with_the_marker_or_else_the_last_key(serve, view, following):
    server = serve(answering(xml(["data/a"], truncated=True, following=following), xml(["data/c"])))
    assert [obj.key for obj in list_objects(view, server.url, "data/")] == ["data/a", "data/c"]
    assert [request.query_params.get("marker") for request in server.requests] == [None, following or "data/a"]
    assert {request.query_params["max-keys"] for request in server.requests} == {"1000"}


def test_prefixes_are_followed_without_a_marker_too(serve, view):
    server = serve(answering(xml(prefixes=["data/a/"], truncated=True), xml(prefixes=["data/b/"])))
    assert list(list_prefixes(view, server.url, "data/")) == ["data/a/", "data/b/"]
    assert [request.query_params.get("marker") for request in server.requests] == [None, "data/a/"]


def test_a_truncated_page_without_keys_goes_on_at_its_marker(serve, view):
    server = serve(answering(xml([], truncated=True, following="data/b"), xml(["data/c"])))
    assert [obj.key for obj in list_objects(view, server.url, "data/")] == ["data/c"]


@pytest.mark.parametrize("list_", [list_objects, list_prefixes])
def test_a_truncated_page_from_which_nothing_follows_is_an_error_and_no_end(serve, view, list_):
    server = serve(answering(xml(truncated=True)))
    with pytest.raises(ListingError, match=r"prefix data/\): expected a page after '', for IsTruncated is true"):
        list(list_(view, server.url, "data/"))


@pytest.mark.parametrize("list_", [list_objects, list_prefixes])
def test_a_host_that_answers_the_same_page_again_and_again_is_an_error_and_no_endless_loop(serve, view, list_):
    server = serve(answering(xml(["data/a"], ["data/a/"], truncated=True)))
    with pytest.raises(ListingError, match=r"expected a page after 'data/a/?', .* it continues after 'data/a/?'"):
        list(list_(view, server.url, "data/"))
    assert len(server.requests) == 2


def test_the_prefix_that_the_page_echoes_and_an_empty_child_are_no_prefixes(serve, view):
    server = serve(answering(xml(prefixes=["data/a/", "", "data/b/"], prefix="data/")))
    assert list(list_prefixes(view, server.url, "data/")) == ["data/a/", "data/b/"]


def test_a_page_without_namespace_time_and_etag_is_read(serve, view):
    page = "<ListBucketResult><Contents><Key>data/a&amp;b</Key></Contents></ListBucketResult>"
    server = serve(answering(page))
    assert list(list_objects(view, server.url, "data/")) == [ArchiveObject("data/a&b", 0, "", None)]


def test_keys_of_other_trees_are_left_out(serve, view):
    foreign = ["/data/a.zip", "data2/a.zip", "data3/liquidationSnapshot/a.zip"]
    server = serve(answering(xml([*foreign, "data/a.zip"], ["/data/a/", "data2/a/", "data/b/"])))
    assert [obj.key for obj in list_objects(view, server.url, "data/")] == ["data/a.zip"]
    assert list(list_prefixes(view, server.url, "data/")) == ["data/b/"]


def test_names_that_are_sent_encoded_are_decoded(serve, view):
    page = xml(["data/a+b%2Bc%C3%A9"], ["data/d+e/"], truncated=True, following="data/a%2Bz", extra="")
    page = page.replace("<Name>", "<EncodingType>url</EncodingType><Name>")
    server = serve(answering(page, xml(), page, xml()))
    assert [obj.key for obj in list_objects(view, server.url, "data/")] == ["data/a b+cé"]
    assert server.requests[1].query_params["marker"] == "data/a+z"
    assert list(list_prefixes(view, server.url, "data/")) == ["data/d e/"]
    plain = serve(answering(xml(["data/a+b%2Bc"])))
    assert [obj.key for obj in list_objects(view, plain.url, "data/")] == ["data/a+b%2Bc"]


# ---- version 2 --------------------------------------------------------------------------------------------------------


def test_version_2_gives_the_same_listing(sandbox, view):
    sandbox.forget_requests()
    after, until = f"{FOLDER}BTCUSDT-1d-2021-03-01.zip", f"{FOLDER}BTCUSDT-1d-2023-03-01.zip"
    both = [
        list(list_objects(view, sandbox.listing_url, FOLDER, after=after, until=until, version=version))
        for version in (1, 2)
    ]
    assert len(both[0]) == 2 * 730
    assert both[0] == both[1]
    assert list(list_prefixes(view, sandbox.listing_url, "data/spot/daily/klines/", version=2)) == [
        f"data/spot/daily/klines/{symbol}/" for symbol in ("BTCUSDT", "ETHUSDT", "NEWUSDT")
    ]
    asked = [item.query for item in sandbox.app.state.requests]
    assert ["list-type=2" in query for query in asked] == [False, False, True, True, True]
    assert "continuation-token" in asked[3]


def test_version_2_follows_tokens_over_pages_without_keys(serve, view):
    def page(keys, token):
        following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return xml(keys, truncated=bool(token), extra=f"<KeyCount>{len(keys)}</KeyCount>{following}")

    server = serve(answering(page(["data/a"], "zz"), page([], "aa"), page(["data/b"], "")))
    assert [obj.key for obj in list_objects(view, server.url, "data/", version=2)] == ["data/a", "data/b"]
    assert [request.query_params.get("continuation-token") for request in server.requests] == [None, "zz", "aa"]


@pytest.mark.parametrize(
    "extra",
    ["", "<NextContinuationToken>t</NextContinuationToken>"],
    ids=["no token", "the same token again"],
)
def test_version_2_that_does_not_advance_is_an_error(serve, view, extra):
    server = serve(answering(xml(["data/a"], truncated=True, extra=extra)))
    with pytest.raises(ListingError, match="expected a page after"):
        list(list_objects(view, server.url, "data/", version=2))
    assert len(server.requests) == (2 if extra else 1)


def test_a_page_with_fewer_entries_than_it_says_is_an_error(serve, view):
    server = serve(answering(xml(["data/a"], extra="<KeyCount>2</KeyCount>")))
    with pytest.raises(ListingError, match=r"expected 2 entries, as KeyCount says, found 1"):
        list(list_objects(view, server.url, "data/", version=2))


GOOD = xml(["data/a", "data/b"])


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("", r"expected S3 XML, found '' \(no element found"),
        ("<!DOCTYPE html><html><head><meta charset=utf-8></head>", r"expected S3 XML, found '<!DOCTYPE html>"),
        ("<html><body></body></html>", r"expected ListBucketResult, found <html>; check listing_url"),
        ('{"error": "x"}', r"expected S3 XML, found '\{\"error\": \"x\"\}'"),
        (GOOD[: len(GOOD) // 2], r"expected S3 XML, found '<\?xml version"),
        (GOOD[:-1], r"expected S3 XML"),
        ("<Error><Code>AccessDenied</Code></Error>", r"expected ListBucketResult, found <Error>"),
        (xml(extra="<Contents><Size>1</Size></Contents>"), r"expected a Key in each Contents, found one without"),
        (
            xml(extra="<Contents><Key>data/a</Key><Size>big</Size></Contents>"),
            r"expected a size and a time for data/a, found invalid literal",
        ),
        (
            xml(extra="<Contents><Key>data/a</Key><LastModified>today</LastModified></Contents>"),
            r"expected a size and a time for data/a, found Invalid isoformat string: 'today'",
        ),
    ],
)
def test_an_answer_that_is_not_a_listing_is_an_error_that_quotes_it(serve, view, page, message):
    server = serve(answering(page))
    with pytest.raises(ListingError, match=message) as caught:
        list(list_objects(view, server.url, "data/"))
    assert str(caught.value).startswith(server.url)
    assert "\n" not in str(caught.value)


def test_a_second_page_that_is_cut_is_an_error(serve, view):
    server = serve(answering(xml(["data/a"], truncated=True), GOOD[:-5]))
    found: list[str] = []
    with pytest.raises(ListingError):
        found.extend(obj.key for obj in list_objects(view, server.url, "data/"))
    assert found == ["data/a"]


def test_a_browser_page_in_place_of_the_listing_is_an_error(serve, view):
    async def answer(request):
        return HTMLResponse("<!DOCTYPE html>\n<html><title>Binance Data</title><br></html>")

    with pytest.raises(ListingError, match=r"found '<!DOCTYPE html>\\n<html><title>Binance Data.*check listing_url"):
        list(list_prefixes(view, serve(answer).url, "data/"))


def test_xml_that_grows_without_bound_is_refused(serve, view):
    entities = (
        '<!ENTITY a "'
        + "x" * 1_000
        + '">'
        + "".join(f'<!ENTITY {b} "{f"&{a};" * 50}">' for a, b in zip("abcde", "bcdef", strict=True))
    )
    listing = "<ListBucketResult><Contents><Key>&f;</Key></Contents></ListBucketResult>"
    page = f"<?xml version='1.0'?><!DOCTYPE r [{entities}]>{listing}"
    with pytest.raises(ListingError, match="expected S3 XML"):
        list(list_objects(view, serve(answering(page)).url, "data/"))


@pytest.mark.parametrize(("status", "error"), [(403, HostRefused), (404, NotPublished), (503, HostRefused)])
def test_a_listing_that_is_refused_is_no_empty_listing(serve, view, no_waits, status, error):
    async def answer(request):
        return Response(xml(), status)

    with pytest.raises(error):
        list(list_objects(view, serve(answer).url, "data/"))


@pytest.mark.realdata
def test_a_recorded_page_of_keys_is_read_and_its_missing_second_page_noticed(realdata: Path, serve, view: Client):
    server = serve(answering((realdata / "listing" / "um_daily_klines_BTCUSDT_1h_keys.xml").read_text()))
    folder = "data/futures/um/daily/klines/BTCUSDT/1h/"
    found: list[ArchiveObject] = []
    with pytest.raises(ListingError):
        found.extend(list_objects(view, server.url, folder))
    assert found[:3] == [
        ArchiveObject(
            f"{folder}BTCUSDT-1h-2019-12-31.zip",
            1387,
            "4c65e8f69a3ebae0cebef683f18dff3c",
            datetime(2022, 3, 21, 8, 58, 2, tzinfo=UTC),
        ),
        ArchiveObject(f"{folder}BTCUSDT-1h-2019-12-31.zip.CHECKSUM", 92, "", None),
        ArchiveObject(f"{folder}BTCUSDT-1h-2020-01-01.zip", 1370, "", None),
    ]
    assert server.requests[1].query_params["marker"] == f"{folder}BTCUSDT-1h-2020-01-01.zip"


@pytest.mark.realdata
def test_a_recorded_page_of_prefixes_goes_on_at_its_marker(realdata: Path, serve, view: Client):
    recorded = (realdata / "listing" / "um_daily_klines_prefixes_truncated_nextmarker.xml").read_text()
    folder = "data/futures/um/daily/klines/"
    server = serve(answering(recorded, xml(prefixes=[f"{folder}ZECUSDT/"])))
    assert list(list_prefixes(view, server.url, folder)) == [f"{folder}0GUSDT/", f"{folder}ZECUSDT/"]
    assert server.requests[1].query_params["marker"] == f"{folder}XVGUSDT/"
