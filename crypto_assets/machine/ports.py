"""Ports of this machine: check whether one is free, or find a free one."""

from __future__ import annotations

import socket

from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours

HOST = "127.0.0.1"


def require_free(port: int, option: str) -> None:
    """Raise ConfigError, naming the option, if a port of 127.0.0.1 is in use, privileged, or invalid."""
    try:
        _bind(port)
    except (OSError, OverflowError) as error:
        raise_if_ours(error, f"port {port}")
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"port {port}: {text}; choose another with {option}") from None


def is_free(port: int) -> bool:
    """Return whether a port of 127.0.0.1 can be listened on."""
    try:
        _bind(port)
    except (OSError, OverflowError) as error:
        raise_if_ours(error, f"port {port}")
        return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _bind(port: int) -> None:
    if port == 0:
        raise OverflowError("a port is from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
