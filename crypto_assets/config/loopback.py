"""Requests to this machine never go through a proxy: the variables that tell other libraries so.

gRPC, boto3 and requests read them; our own client decides for itself (`transport/proxies.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


def direct_to_loopback(variables: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY and no_proxy with the names of this machine added, to keep requests to it out of every proxy.

    Empty if no proxy is set, or if NO_PROXY is `*`.
    """
    if not any(name.lower() in _PROXIES and value for name, value in variables.items()):
        return {}
    now = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    if now.strip() == "*":
        return {}
    kept = [part.strip() for part in now.split(",") if part.strip()]
    value = ",".join([*kept, *(name for name in ("localhost", "127.0.0.1", "::1") if name not in kept)])
    return {"NO_PROXY": value, "no_proxy": value}


def keep_loopback_direct() -> None:
    """Keep libraries in this process and its children from using a proxy for this machine."""
    os.environ.update(direct_to_loopback(os.environ))
