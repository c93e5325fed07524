"""Which users of this machine may ask the API and the Dagster UI: the one who runs them, root, and whom the settings name.

Every user of a machine reaches its loopback, so an address is no person. Linux says in /proc/net/tcp to whom the other end
of a connection belongs; no password has to be kept or typed for that. Where the kernel does not tell (other systems), all
users of the machine are answered.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from crypto_assets.access.problem import Problem
from crypto_assets.errors import ConfigError

EVERYBODY = "*"

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9  # columns, as proc(5) has them
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class OnlyTheseUsers:
    """Middleware that refuses connections of other users of this machine.

    Args:
        app: what answers the rest.
        users: user ids that may ask; None answers everybody.
    """

    def __init__(self, app: ASGIApp, users: Collection[int] | None) -> None:
        self._app = app
        self._users = users if _TABLES[0].exists() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In a thread: the table is as long as the machine has connections.
        if (
            self._users is None
            or scope["type"] == "lifespan"
            or await run_in_threadpool(self._may_ask, scope, self._users)
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            # Before it was accepted: the server answers 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": _refusal().error})
        else:
            await _refusal().answer()(scope, receive, send)

    def _may_ask(self, scope: Scope, users: Collection[int]) -> bool:
        client, server = scope.get("client"), scope.get("server")
        user = user_of((client[0], client[1]), (server[0], server[1])) if client and server else None
        return user is not None and user in users


def _refusal() -> Problem:
    return Problem(
        403,
        "another user",
        f"a program of {_name(os.geteuid())}, who runs this, or of root",
        "a connection of another user of this machine",
        "name that account in CRYPTO_ASSETS_UI_USERS",
    )


def users(names: str) -> frozenset[int] | None:
    """Return the user ids that may ask: of this process, of root, and of accounts with commas between; None: everybody.

    Raises:
        ConfigError: an account that this machine does not know.
    """
    if names.strip() == EVERYBODY:
        return None
    return frozenset({0, os.geteuid(), *(_user(name.strip()) for name in names.split(",") if name.strip())})


def _user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(
            f"environment variable CRYPTO_ASSETS_UI_USERS: expected accounts of this machine with commas between, or "
            f"{EVERYBODY} for all, found {name!r}"
        ) from None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def user_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the user id at the other end of a TCP connection of this machine.

    None where the kernel knows none: the connection is from elsewhere, or its other end was closed.

    Args:
        client: address and port of the end that has opened it.
        server: address and port of our end.
    """
    for table in _TABLES:
        try:
            # Its lines begin with a number, so the header is none of them.
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        local, remote = (set(_spellings(*end)) for end in (client, server))
        for line in lines:
            columns = line.split()
            if columns[_LOCAL] in local and columns[_REMOTE] in remote:
                # Whoever has closed his end belongs to nobody any more; the kernel writes 0 then, as for root.
                return int(columns[_UID]) if columns[_INODE] != "0" else None
    return None


def _spellings(host: str, port: int) -> Iterator[str]:
    """Yield how the kernel writes an address, words of four bytes in this machine's order; of IPv4 also within IPv6."""
    packed = ip_address(host).packed
    for address in (packed, bytes(10) + b"\xff\xff" + packed) if len(packed) == 4 else (packed,):
        words = (address[at : at + 4] for at in range(0, len(address), 4))
        yield f"{''.join(f'{int.from_bytes(word, sys.byteorder):08X}' for word in words)}:{port:04X}"
