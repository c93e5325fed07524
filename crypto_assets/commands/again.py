"""Looking again at what was inferred, before a command says what is missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from crypto_assets.commands.console import err, escape
from crypto_assets.commands.options import with_ledger


def look_again(
    collection: Any, filters: dict[str, Any], *, older_than: timedelta, timeout_s: float, make: bool = False
) -> None:
    """Look again at days that were taken for no data by inference, where the last look is old enough; say what came of it."""
    from crypto_assets import selection
    from crypto_assets.collection.archive.review import review
    from crypto_assets.config import settings

    chosen = selection.select(collection, **filters)

    def look(ledger: Any) -> Any:
        return review(collection, ledger, chosen, older_than=older_than, timeout_s=timeout_s, egress=settings().egress)

    for line in with_ledger(look, make=make).in_words():
        err.print(escape(line))


COMMANDS = ()
