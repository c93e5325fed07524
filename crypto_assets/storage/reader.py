"""What the role of readers may see: the statements that allow it, where the server has such a role.

The embedded server has it. On a server of one's own, an administrator who wants it creates the role
`crypto_assets_reader` before the first start.
"""

from __future__ import annotations

from collections.abc import Sequence

from crypto_assets.text.urls import READER


def readable(schema: str, only: Sequence[str] = ()) -> str:
    """Return one statement that lets readers select from a schema: from `only` these, or from all tables it ever gets."""
    tables = [f"GRANT SELECT ON {schema}.{name} TO {READER}" for name in only] or [
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {READER}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {READER}",
    ]
    grants = "; ".join([f"GRANT USAGE ON SCHEMA {schema} TO {READER}", *tables])
    return f"DO $$BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{READER}') THEN {grants}; END IF; END$$"
