"""The catalogue of faults: what each does, and which kinds of request it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["object", "checksum", "listing", "rest"]
KINDS: tuple[Kind, ...] = ("object", "checksum", "listing", "rest")
CHECKSUM = ".CHECKSUM"


@dataclass(frozen=True, slots=True)
class About:
    """An entry of the catalogue: the kinds of request it concerns by default, and one line for people."""

    kinds: tuple[Kind, ...]
    text: str


_FILES: tuple[Kind, ...] = ("object", "checksum")

# Faults instead of an answer, or during it. A request meets the first one that matches.
ANSWERS: Mapping[str, About] = {
    "http-403": About(KINDS, "403 Forbidden, as a firewall answers"),
    "http-404": About(KINDS, "404, as if the object did not exist"),
    "http-418": About(KINDS, "418, the address is banned, or the exchange's own answer to that; retry_after_s"),
    "http-429": About(KINDS, "429 Too Many Requests, or the exchange's own answer to that; retry_after_s"),
    "http-429-date": About(KINDS, "429 with Retry-After as an HTTP date"),
    "http-500": About(KINDS, "500 Internal Server Error"),
    "http-503": About(KINDS, "503 Service Unavailable, without Retry-After"),
    "html": About(("listing",), "200 with an HTML page instead of the requested content"),
    "cut-xml": About(("listing",), "a listing that ends in the middle of its XML, with a matching Content-Length"),
    "truncated": About(
        ("object",), "half of the body, then the connection is closed; Content-Length is of the whole body"
    ),
    "truncated-silently": About(("object",), "half of the body, with a matching Content-Length"),
    "cut": About(("object",), "half of the body, then the connection is reset"),
    "reset": About(KINDS, "the connection is reset before the first byte of an answer"),
    "drip": About(("object",), "the body comes in small pieces: chunk_bytes, a pause of pause_s, and so on"),
    "hang": About(KINDS, "the connection is accepted and never answered"),
    "gzip-bomb": About(KINDS, "endless gzip, a thousandth of its unpacked size; only REST requests ask for gzip"),
    "endless": About(KINDS, "the true body again and again, without end"),
    "endless-pages": About(("listing",), "each page has a next page, always with new keys"),
    "deep-xml": About(("listing",), "7 MB of nested elements"),
    "terminal-codes": About(("listing",), "a key that would set the title of a terminal, with an invalid size"),
    "redirect-host": About(KINDS, "a redirect to a foreign host, over https"),
    "redirect-loopback": About(KINDS, "a redirect to another port of this machine"),
    "redirect-http": About(KINDS, "a redirect to a host of the exchange without https"),
    "redirect-loop": About(KINDS, "a redirect to the same URL, again and again"),
}

# Faults of an object's content. A checksum follows its zip unless the text says otherwise.
OBJECTS: Mapping[str, About] = {
    "wrong-bytes": About(("object",), "another, valid zip; listing, ETag and checksum belong to the true one"),
    "wrong-checksum": About(("checksum",), "a checksum that does not match the published zip"),
    "republished": About(_FILES, "published again with other values: ETag, time, size and checksum agree"),
    "republished-stale-checksum": About(_FILES, "published again with other values, the checksum is still the old one"),
    "empty": About(_FILES, "a file of 0 bytes"),
    "zip-bomb": About(_FILES, "a zip that unpacks to a thousand times its size"),
    "path-traversal": About(_FILES, "a zip whose member is named ../../…"),
    "missing-minutes": About(_FILES, "three rows of the file are missing"),
    "missing-bar": About(_FILES, "one row in the second half of the file is missing"),
    "duplicate-rows": About(_FILES, "one row appears twice"),
    "conflicting-rows": About(_FILES, "one row appears twice, the second time with another amount"),
    "descending-rows": About(_FILES, "the rows are in reverse order"),
    "swapped-rows": About(
        _FILES, "trades of one instant are in reverse order; if none share one, two get the same time"
    ),
    "shuffled-rows": About(_FILES, "the rows are in random order"),
    "off-grid-bars": About(_FILES, "the bars of a quarter of the file open 14.789 seconds late; trades stay unchanged"),
    "header": About(_FILES, "a header if the file usually has none, and no header if it usually has one"),
    "repeated-id": About(
        _FILES,
        "ids of aggregate trades are one less: the first id repeats the last one of the day before, for other trades",
    ),
    "inconsistent-values": About(_FILES, "a bar whose high is below its low, a trade with a negative price"),
}

# Faults of the existence of objects and symbols.
WORLD: Mapping[str, About] = {
    "late": About(("object", "checksum", "listing"), "the object is not published yet: neither listed nor served"),
    "stale-listing": About(("listing",), "the listing does not change after `at`; later objects are served"),
    "outage": About((), "no trades from `start` to `end`: bars without volume, in files and REST"),
    "silence": About(
        (), "no trades of the symbols of the pattern from `start` to `end`; also whole days; ids continue"
    ),
    "listed": About((), "the symbols of the pattern are listed at `at`: nothing is published for the time before"),
    "delisted": About((), "the symbols of the pattern are delisted at `at`: nothing is published for the time after"),
    "relisted": About((), "the symbols of the pattern are not listed from `start` to `end`, and then again"),
}

MARKET = frozenset({"outage", "silence", "listed", "delisted", "relisted"})
"""Faults of the market itself; their pattern is a glob over the exchange's symbols."""

CATALOGUE: Mapping[str, About] = {**ANSWERS, **OBJECTS, **WORLD}
