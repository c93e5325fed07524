"""The parts of pages that are made from the code, by name. A page has each in the place of `<!-- generated: NAME -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from docs_site import checks, cli, configuration, datasets, http, sources

MADE: Mapping[str, Callable[[], str]] = {
    "datasets": datasets.markdown,
    "columns of all tables": datasets.columns_of_all,
    "feeds": sources.of_series,
    "null columns": sources.null_columns,
    "checks": checks.of_days,
    "checks of assets": checks.of_assets,
    "commands": cli.markdown,
    "collection": configuration.collection,
    "environment": configuration.environment,
    "http": http.markdown,
}

MARK = re.compile(r"^<!-- generated: (.+?) -->$", re.MULTILINE)


def filled(markdown: str) -> str:
    """Return a page with its generated parts.

    Raises:
        KeyError: a name that nothing makes.
    """
    return MARK.sub(lambda mark: MADE[mark[1]](), markdown)
