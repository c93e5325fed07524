"""The objects that every route needs: the ledger, the lake and the path of collection.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from crypto_assets.api.health import Health
from crypto_assets.config.collection import Collection
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.symbol_rules import load_known_collection
from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Context:
    """One for each app."""

    ledger: Ledger
    lake: Lake
    collection: Path
    controls: Controls
    health: Health

    def load_collection(self) -> Collection:
        """Read the present collection.yaml; raises ConfigError."""
        return load_known_collection(self.collection)


# Not a plain function: FastAPI would run it in a thread.
async def _context(request: Request) -> Context:
    found = request.app.state.context
    assert isinstance(found, Context)  # noqa: S101  set by create_app
    return found


Here = Annotated[Context, Depends(_context)]
"""The type of a route's parameter that is the app's context."""
