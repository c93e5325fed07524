"""The user of a connection to UI and API, and the users that the settings allow."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crypto_assets.access.callers import require_host, user_of, users
from crypto_assets.errors import ConfigError
from crypto_assets_tests.storage.other_user import STRANGER, needs_root

only_linux = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no kernel here says whose a connection is")


@contextmanager
def connected(family: int, address: str, user: int | None = None) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Connect to a port of this machine; yield both ends as the server sees them."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(family) as client:
        if user is not None:
            os.fchown(client.fileno(), user, user)
        client.connect((address, listening.getsockname()[1]))
        server, peer = listening.accept()
        with server:
            yield peer, server.getsockname()


@only_linux
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_a_connection_belongs_to_the_user_who_has_opened_it(family: int, address: str) -> None:
    with connected(family, address) as (client, server):
        assert user_of(client, server) == os.geteuid()
        assert user_of(server, client) == os.geteuid()  # the other end is ours too


@only_linux
@needs_root
def test_a_connection_of_another_user_belongs_to_him() -> None:
    with connected(socket.AF_INET, "127.0.0.1", user=STRANGER) as (client, server):
        assert user_of(client, server) == STRANGER
        assert user_of(server, client) == os.geteuid()


@only_linux
def test_a_connection_that_is_none_belongs_to_nobody() -> None:
    with connected(socket.AF_INET, "127.0.0.1") as (client, server):
        other = client[0], server[1]
    assert user_of(other, server) is None
    assert user_of(("10.9.8.7", 1), ("127.0.0.1", 2)) is None


@only_linux
@pytest.mark.parametrize("how", ["close", "shut down"])
def test_who_has_left_is_nobody_and_not_root(how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.connect(listening.getsockname())
        server, peer = listening.accept()
        with server:
            if how == "close":
                client.close()
            else:
                client.shutdown(socket.SHUT_WR)  # it still waits for the answer
            assert user_of(peer, server.getsockname()) == (None if how == "close" else os.geteuid())


def test_the_user_and_root_may_ask_and_whom_the_settings_name() -> None:
    assert users("") == {0, os.geteuid()}
    first = pwd.getpwall()[-1]
    assert users(f" {first.pw_name} ,") == {0, os.geteuid(), first.pw_uid}
    assert users("*") is None


@pytest.mark.parametrize("names", ["nobody-of-this-name", "root,no such", "*,root", "0"])
def test_accounts_that_this_machine_does_not_know_are_refused(names: str) -> None:
    with pytest.raises(ConfigError, match="CRYPTO_ASSETS_UI_USERS: expected accounts of this machine"):
        users(names)


@pytest.mark.parametrize("names", ["", " ", "root", "root,nobody"])
def test_other_machines_are_let_in_only_where_everybody_may_ask(names: str) -> None:
    require_host("127.0.0.1", names)
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: other machines .* CRYPTO_ASSETS_UI_USERS=\*"):
        require_host("0.0.0.0", names)
    require_host("0.0.0.0", " * ")
