"""Ports of loopback for tests that need to know one before somebody listens there."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Return a port where nobody listens and that the system gives to nobody who asks for any port.

    The kernel takes those from 32768 upwards (49152 elsewhere), also for each outgoing connection: a port of that range
    can be somebody else's before a test uses it.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
