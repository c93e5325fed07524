"""Allow the API and the Dagster UI only to some users of this machine: the one who runs them, root, and the configured ones.

Every user of a machine can reach its loopback addresses. Linux says in /proc/net/tcp which user has the other end of a
connection; this needs no password. If the kernel does not say it (other systems), all users of the machine are allowed.
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
from crypto_assets.machine.ports import EVERY_ADDRESS

EVERYBODY = "*"

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9  # columns, as proc(5) has them
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class OnlyTheseUsers:
    """Middleware that refuses connections of other users of this machine.

    Args:
        app: the application behind this middleware.
        users: allowed user ids; None allows everybody.
    """

    def __init__(self, app: ASGIApp, users: Collection[int] | None) -> None:
        self._app = app
        self._users = users if _TABLES[0].exists() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In a thread: the kernel's table has a line for each connection of the machine.
        if (
            self._users is None
            or scope["type"] == "lifespan"
            or await run_in_threadpool(self._may_ask, scope, self._users)
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            # Not accepted yet: the server answers 403.
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
    """Return the allowed user ids: of this process, of root, and of the comma-separated accounts; None: everybody.

    Raises:
        ConfigError: an unknown account.
    """
    if names.strip() == EVERYBODY:
        return None
    return frozenset({0, os.geteuid(), *(_user(name.strip()) for name in names.split(",") if name.strip())})


def require_host(host: str, names: str) -> None:
    """Check that UI and API may listen on an address: the user of a connection from another machine is unknown.

    Args:
        host: one of `machine.ports.HOSTS`.
        names: the setting `ui_users`.

    Raises:
        ConfigError: other machines could connect, and the setting does not allow everybody.
    """
    if host == EVERY_ADDRESS and names.strip() != EVERYBODY:
        raise ConfigError(
            f"--host {host}: other machines could then use UI and API, which have no login. Expected --host 127.0.0.1; or, "
            f"in a container whose ports are published on 127.0.0.1 only, CRYPTO_ASSETS_UI_USERS={EVERYBODY}, which allows "
            f"everybody who reaches the port; found {names.strip() or 'no such setting'!r}"
        )


def _user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(
            f"environment variable CRYPTO_ASSETS_UI_USERS: expected accounts of this machine, separated by commas, or "
            f"{EVERYBODY} for all, found {name!r}"
        ) from None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def user_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the user id at the other end of a TCP connection of this machine.

    None if the kernel has no user: the connection is from another machine, or its other end was closed.

    Args:
        client: address and port of the end that opened it.
        server: address and port of our end.
    """
    for table in _TABLES:
        try:
            # Its lines begin with a number; this skips the header.
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        local, remote = (set(_spellings(*end)) for end in (client, server))
        for line in lines:
            columns = line.split()
            if columns[_LOCAL] in local and columns[_REMOTE] in remote:
                # A closed end has no owner any more; the kernel then writes 0, the same as for root.
                return int(columns[_UID]) if columns[_INODE] != "0" else None
    return None


def _spellings(host: str, port: int) -> Iterator[str]:
    """Yield the kernel's spellings of an address, words of four bytes in this machine's order; IPv4 also within IPv6."""
    packed = ip_address(host).packed
    for address in (packed, bytes(10) + b"\xff\xff" + packed) if len(packed) == 4 else (packed,):
        words = (address[at : at + 4] for at in range(0, len(address), 4))
        yield f"{''.join(f'{int.from_bytes(word, sys.byteorder):08X}' for word in words)}:{port:04X}"
