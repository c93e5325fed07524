"""Listings of a hostile host: refused with one error before they cost memory or run endlessly."""

from __future__ import annotations

import tracemalloc
from itertools import count
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import Response

from crypto_assets.engine.archive import listing
from crypto_assets.errors import ListingError
from crypto_assets.transport.client import Client
from crypto_assets_tests.engine.archive.test_listing import list_objects, list_prefixes

PREFIX = "data/x/"
START = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
DEEP = "<a>" * 2_000_000


@pytest.fixture
def view(client: Client) -> Client:
    return client


def contents(key: str, size: object = 1) -> str:
    return f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>e</ETag></Contents>"


def page(*entries: str, truncated: bool = False, more: str = "") -> str:
    told = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{more}"
    return f"{START}{told}{''.join(entries)}</ListBucketResult>"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (DEEP, "more than 100000 tags"),
        (("<a>" * 300_000).encode("utf-16"), "more than 100000 tags"),
        # An 8-bit encoding in which `<` is another byte: the counted bytes would not be the parsed ones.
        (b"<?xml version='1.0' encoding='cp037'?>" + DEEP.encode("cp037"), "expected S3 XML"),
        ("<a " + " ".join(f'a{n}=""' for n in range(300_000)) + "/>", "more than 100000 tags or attributes"),
        ("<a " + " ".join(f'xmlns:a{n}=""' for n in range(300_000)) + "/>", "more than 100000 tags or attributes"),
        ('<!DOCTYPE a [<!ENTITY a "' + "x" * 100_000 + '">]><a>' + "&a;" * 1_000 + "</a>", "a document type"),
        ("<!DOCTYPE html><html></html>", "expected S3 XML, found '<!DOCTYPE html>"),
        ("<a>" + "<!-- -->" * 200_000 + "</a>", "more than 100000 tags"),
        (page(contents(f"{PREFIX}a", 10**30)), "expected a size"),
        (page(contents(f"{PREFIX}a", -1)), "expected a size"),
        (page(contents(f"{PREFIX}a").replace("<ETag>e", "<ETag>" + "e" * 100_000)), "an ETag of 100000 letters"),
        (page(contents(f"{PREFIX}a", "9" * 5_000)), "expected a size"),
    ],
)  # fmt: skip
def test_a_page_that_takes_more_memory_than_a_page_can_is_refused(serve, view, content, says):
    async def answer(request):
        return Response(content, media_type="application/xml")

    server = serve(answer)
    tracemalloc.start()
    try:
        with pytest.raises(ListingError) as caught:
            list(list_objects(view, f"{server.url}/listing", PREFIX))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500
    assert peak < 100 << 20, peak


def test_a_page_of_a_thousand_keys_of_the_longest_names_is_read(serve, view):
    keys = [f"{PREFIX}{n:06d}{'k' * 1_000}" for n in range(1_000)]
    owner = "<Owner><ID>" + "f" * 64 + "</ID><DisplayName>d</DisplayName></Owner><StorageClass>STANDARD</StorageClass>"
    entries = [contents(key).replace("</Contents>", f"{owner}</Contents>") for key in keys]

    async def answer(request):
        return Response(page(*entries), media_type="application/xml")

    found = list(list_objects(view, f"{serve(answer).url}/listing", PREFIX))
    assert [obj.key for obj in found] == keys


def test_a_key_with_nul_is_no_key_of_ours(serve, view):
    async def answer(request):
        entries = [contents(f"{PREFIX}a%00.zip"), contents(f"{PREFIX}b.zip")]
        return Response(page(*entries, more="<EncodingType>url</EncodingType>"), media_type="application/xml")

    found = list(list_objects(view, f"{serve(answer).url}/listing", PREFIX))
    assert [obj.key for obj in found] == [f"{PREFIX}b.zip"]


@pytest.mark.parametrize("per_page", [1, 1_000])
@pytest.mark.parametrize("version", [1, 2])
def test_pages_without_end_are_left(serve, view, monkeypatch, per_page, version):
    monkeypatch.setattr(listing, "MOST_KEYS", 5_000)
    monkeypatch.setattr(listing, "MOST_PAGES", 20)
    numbers = count()

    async def answer(request):
        keys = [f"{PREFIX}{next(numbers):09d}" for _ in range(per_page)]
        more = f"<NextContinuationToken>{keys[-1]}</NextContinuationToken>"
        return Response(page(*map(contents, keys), truncated=True, more=more), media_type="application/xml")

    server = serve(answer)
    with pytest.raises(ListingError, match=r"expected at most 5000 keys on 20 pages, found \d+ on \d+ and no end"):
        list(list_objects(view, f"{server.url}/listing", PREFIX, version=version))
    assert len(server.requests) == (21 if per_page == 1 else 6)


def test_empty_pages_without_end_are_left(serve, view, monkeypatch):
    monkeypatch.setattr(listing, "MOST_PAGES", 20)
    numbers = count()

    async def answer(request):
        more = f"<NextContinuationToken>{next(numbers)}</NextContinuationToken>"
        return Response(page(truncated=True, more=more), media_type="application/xml")

    with pytest.raises(ListingError, match="and no end"):
        list(list_objects(view, f"{serve(answer).url}/listing", PREFIX, version=2))


def test_child_prefixes_without_end_are_left(serve, view, monkeypatch):
    monkeypatch.setattr(listing, "MOST_KEYS", 5_000)

    async def answer(request):
        marker = parse_qs(urlsplit(str(request.url)).query).get("marker", [f"{PREFIX}0/"])[0]
        first = int(marker.removeprefix(PREFIX).rstrip("/")) + 1
        names = [f"{PREFIX}{n:09d}/" for n in range(first, first + 1_000)]
        entries = [f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in names]
        return Response(page(*entries, truncated=True, more=f"<NextMarker>{names[-1]}</NextMarker>"))

    with pytest.raises(ListingError, match="and no end"):
        list(list_prefixes(view, f"{serve(answer).url}/listing", PREFIX))
