"""SQL that grants the role of readers its rights, if the server has such a role.

The embedded server has it. On your own server, an administrator who wants it creates the role
`crypto_assets_reader` before the first start.
"""

from __future__ import annotations

from collections.abc import Sequence

from crypto_assets.text.urls import READER


def readable(schema: str, only: Sequence[str] = ()) -> str:
    """Return one statement that lets readers select from a schema: the tables in `only`, or all present and future tables."""
    tables = [f"GRANT SELECT ON {schema}.{name} TO {READER}" for name in only] or [
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {READER}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {READER}",
    ]
    grants = "; ".join([f"GRANT USAGE ON SCHEMA {schema} TO {READER}", *tables])
    return f"DO $$BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{READER}') THEN {grants}; END IF; END$$"
