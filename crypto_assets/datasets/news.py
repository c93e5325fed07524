"""News: what feeds (RSS, Atom) publish; no exchange. No feed numbers its entries: the key is the instant and the place."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import INSTANT, TEXT, UTC_US
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="news",
    description="Entries of news feeds, each once; of an entry that was edited, the newest version that was read.",
    row="entry",
    columns=(
        Column(
            name="published_time",
            type=INSTANT,
            unit=UTC_US,
            doc="instant that the feed gives; without a zone it is UTC",
        ),
        Column(
            name="news_place",
            type=pa.int32(),
            at_least=0,
            doc="place among the entries of one instant, from 0 in the order in which they were read",
        ),
        Column(name="news_uid", type=TEXT, doc="the feed's own id (guid of RSS, id of Atom), else the link"),
        Column(name="title", type=TEXT, nullable=True, doc="the headline; NULL if the entry has none"),
        Column(name="link", type=TEXT, nullable=True, doc="the address of the article; NULL if the entry has none"),
        Column(
            name="summary", type=TEXT, nullable=True, doc="the feed's summary, HTML as written; NULL if there is none"
        ),
        Column(
            name="language", type=TEXT, nullable=True, doc="the language that the feed states, such as en-us; else NULL"
        ),
    ),
    time_column="published_time",
    key=("published_time", "news_place"),
    unnumbered_key=("published_time", "news_place"),
    text_id="news_uid",
)
