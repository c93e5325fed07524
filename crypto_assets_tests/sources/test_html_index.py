"""HTML indexes, and a host that is a bucket or a web host in front of it."""

from __future__ import annotations

import pytest

from crypto_assets.errors import ListingError
from crypto_assets.model import ArchiveObject
from crypto_assets.sources.listings import ListRequest, Wanted
from crypto_assets.sources.listings.html_index import HtmlIndex, S3OrHtmlIndex
from crypto_assets.sources.listings.s3 import S3Listing

FOLDER = "trading/BTCUSDT/"
PAGE = b"""<!DOCTYPE html>
<html><head><title>x</title></head><body><ul>
<li><a href="../">../</a></li>
<li><a href="BTCUSDT2024-01-03.csv.gz">BTCUSDT2024-01-03.csv.gz</a></li>
<li><a class="file" href='BTCUSDT2024-01-01.csv.gz'>BTCUSDT2024-01-01.csv.gz</a></li>
<li><A HREF="/trading/BTCUSDT/BTCUSDT2024-01-02.csv.gz">2</A></li>
<li><a href="./A%26B&amp;C.csv.gz?v=1">A</a></li>
<li><a href="old/">old/</a></li>
<li><a href="https://elsewhere.example/BTCUSDT2024-01-04.csv.gz">no</a></li>
<li><a href="/spot/BTCUSDT2024-01-04.csv.gz">no</a></li>
<li><a href="sub/BTCUSDT2024-01-04.csv.gz">no</a></li>
<li><a href="../../etc/passwd">no</a></li>
</ul></body></html>"""


def read(wanted: Wanted, content: bytes = PAGE):
    index = HtmlIndex()
    return index.read(wanted, index.first(wanted), "http://host/" + FOLDER, content)


def keys(wanted: Wanted) -> list[str]:
    return [obj.key.removeprefix(FOLDER) for obj in read(wanted).objects]


def test_links_of_the_folder_are_its_files_and_folders_in_order():
    page = read(Wanted(FOLDER))
    assert [obj.key.removeprefix(FOLDER) for obj in page.objects] == [
        "A&B&C.csv.gz",
        *(f"BTCUSDT2024-01-0{day}.csv.gz" for day in (1, 2, 3)),
    ]
    assert page.prefixes == [FOLDER + "old/"]
    assert page.following is None
    assert page.objects[0] == ArchiveObject(FOLDER + "A&B&C.csv.gz", 0, "", None)


def test_the_bounds_and_the_rest_of_the_prefix_are_kept():
    assert HtmlIndex().first(Wanted(FOLDER + "BTC")) == ListRequest(FOLDER)
    assert keys(Wanted(FOLDER + "BTCUSDT2024-01-02")) == ["BTCUSDT2024-01-02.csv.gz"]
    after, until = f"{FOLDER}BTCUSDT2024-01-01.csv.gz", f"{FOLDER}BTCUSDT2024-01-02.csv.gz"
    assert keys(Wanted(FOLDER, after=after, until=until)) == ["BTCUSDT2024-01-02.csv.gz"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"<html>please log in</html>",
        b'<html><a href="https://login.example/">log in</a>',
        b'x <a href="a.csv.gz">',
    ],
)
def test_a_page_that_is_no_index_is_refused(content):
    with pytest.raises(ListingError, match="expected an HTML index"):
        read(Wanted(FOLDER), content)


def test_an_index_of_nothing_but_the_way_up_is_an_empty_folder():
    assert read(Wanted(FOLDER), b'<html><a href="../">../</a></html>').objects == []


def test_endless_links_are_refused():
    with pytest.raises(ListingError, match="found 100001 links"):
        read(Wanted(FOLDER), b"<html>" + b"".join(b'<a href="%d">' % number for number in range(100_001)))


def test_the_answer_of_the_host_decides_between_s3_and_an_index():
    listing, wanted = S3OrHtmlIndex(S3Listing(1)), Wanted(FOLDER)
    asked = listing.first(wanted)
    assert asked == S3Listing(1).first(wanted)
    xml = (
        b"<ListBucketResult><Contents><Key>trading/BTCUSDT/a.csv.gz</Key><LastModified>2024-01-02T03:00:00.000Z</LastModified>"
        b"<ETag>&quot;00&quot;</ETag><Size>44</Size></Contents></ListBucketResult>"
    )
    assert [(obj.key, obj.etag, obj.size_bytes) for obj in listing.read(wanted, asked, "u", xml).objects] == [
        ("trading/BTCUSDT/a.csv.gz", "00", 44)
    ]
    first = listing.read(wanted, asked, "u", b'<html><a href="trading/">trading/</a></html>')
    assert (list(first.objects), first.following) == ([], ListRequest(FOLDER))
    assert first.following is not None
    assert list(listing.read(wanted, first.following, "u", PAGE).objects) == list(read(wanted).objects)


def test_the_folders_of_the_root_are_on_the_first_page():
    listing, wanted = S3OrHtmlIndex(S3Listing(1)), Wanted("", children=True)
    page = listing.read(
        wanted, listing.first(wanted), "u", b'<html><a href="spot/">spot/</a><a href="trading/">t</a></html>'
    )
    assert list(page.prefixes) == ["spot/", "trading/"]
    assert page.following is None
