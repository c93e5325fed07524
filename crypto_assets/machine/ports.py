"""Ports of this machine: check whether one is free, or find a free one."""

from __future__ import annotations

import socket

from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours

HOST = "127.0.0.1"

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  only with access.callers.require_host
"""Listens on all addresses of this machine, as the servers of a container must."""

HOSTS = (HOST, EVERY_ADDRESS)


def require_free(port: int, option: str, host: str = HOST) -> None:
    """Raise ConfigError, naming the option, if a port of this machine is in use, privileged, or invalid."""
    try:
        _bind(port, host)
    except (OSError, OverflowError) as error:
        raise_if_ours(error, f"port {port}")
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"port {port}: {text}; choose another with {option}") from None


def is_free(port: int, host: str = HOST) -> bool:
    """Return whether a port of this machine can be listened on."""
    try:
        _bind(port, host)
    except (OSError, OverflowError) as error:
        raise_if_ours(error, f"port {port}")
        return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _bind(port: int, host: str) -> None:
    if port == 0:
        raise OverflowError("a port is from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
