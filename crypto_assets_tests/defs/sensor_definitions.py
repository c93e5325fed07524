"""The project's definitions with a clock that a test sets: `CLOCK[0]`."""

from __future__ import annotations

from datetime import UTC, datetime

from crypto_assets.config.collection import load_collection
from crypto_assets.config.environment import settings_at_start
from crypto_assets.definitions import build

CLOCK = [datetime.min.replace(tzinfo=UTC)]

defs = build(load_collection(settings_at_start().config), lambda: CLOCK[0])
