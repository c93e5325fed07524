"""The parts of `crypto-assets up`, where they meet in the home, and the command of each.

`up` runs all parts as its children; `up --only` runs one of them in the foreground, as a container does. Containers that
share a home meet there in the same way: the code server listens on a unix socket, the others read its address in a workspace
file.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crypto_assets.config.environment import environment, settings
from crypto_assets.errors import ConfigError
from crypto_assets.machine.ports import HOST
from crypto_assets.machine.private_folder import private_folder, private_opener, socket_folder, write_private
from crypto_assets.machine.shortage import raise_if_ours

CODE_SERVER, WEBSERVER, DAEMON = PARTS = ("code-server", "webserver", "daemon")
"""The parts that need each other; the API needs none of them."""

_LOCATION = "crypto_assets"

_AUTOMATION = "CRYPTO_ASSETS_AUTOMATION"


def environment_of_parts() -> dict[str, str]:
    """Return the environment of the parts: what collection.yaml switches on runs, unless the environment says no."""
    found = environment()
    return found | {_AUTOMATION: found.get(_AUTOMATION) or "true"}


def switches_start() -> bool:
    """Return whether the parts run from the start what collection.yaml switches on: CRYPTO_ASSETS_AUTOMATION is not false."""
    return not environment().get(_AUTOMATION) or settings().automation


@dataclass(frozen=True, slots=True)
class Places:
    """The folder of logs, the code server's socket and the file with its address.

    The code server runs any code as its owner: its socket is in a folder that only its owner can enter.
    """

    logs: Path
    socket: Path
    workspace: Path

    def command(self, part: str, port: int = 0, host: str = HOST) -> tuple[str, ...]:
        """Return the module of a part and its arguments; port and host are the webserver's."""
        if part == CODE_SERVER:
            serve = ("crypto_assets.instance.code_server", "api", "grpc", "--socket", str(self.socket))
            return (*serve, "-m", "crypto_assets.definitions", "--location-name", _LOCATION)
        workspace = str(self.workspace)
        if part == WEBSERVER:
            serve = ("crypto_assets.instance.webserver", "--host", host, "--port", str(port))
            return (*serve, "--workspace", workspace)
        return ("dagster._daemon", "run", "-w", workspace)


def make_places(home: Path) -> Places:
    """Create the places of a home, private to this process's user, and write the workspace file.

    Raises:
        ConfigError: another account's object, or a link, is in their place.
    """
    import yaml

    try:
        logs, socket = private_folder(home / "logs"), socket_folder(home / "sockets", CODE_SERVER) / CODE_SERVER
    except PermissionError as error:
        raise ConfigError(str(error)) from None
    server = {"socket": str(socket), "location_name": _LOCATION}
    workspace = home / "workspace.yaml"
    write_private(workspace, yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    return Places(logs, socket, workspace)


def code_socket(home: Path) -> Path:
    """Return the socket of a home's code server, from its workspace file; it may not exist."""
    import yaml

    try:
        (place,) = yaml.safe_load((home / "workspace.yaml").read_text())["load_from"]
        return Path(place["grpc_server"]["socket"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        return home / "sockets" / CODE_SERVER


@contextmanager
def only_one(home: Path, who: str) -> Iterator[None]:
    """Hold the lock of a home: two daemons on one instance would start every run twice.

    Args:
        who: what to look at if the lock is held, such as the address of the UI.
    """
    path = home / "up.lock"
    try:
        opened = open(path, "a+", encoding="utf-8", opener=private_opener)  # noqa: SIM115  closed just below
    except OSError as error:
        raise_if_ours(error)
        raise ConfigError(f"{path}: expected a file of ours, found: {error.strerror}; remove it") from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigError(f"{home}: is up already, see {lock.read().strip()}; end that one first") from None
        lock.truncate(0)
        lock.write(who)
        lock.flush()
        yield
