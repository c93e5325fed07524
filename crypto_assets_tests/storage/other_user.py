"""Run code as another user of this machine, if root can: an attacker's attempts run in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STRANGER = 51_999
"""A user id without an account and without rights."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to try it")


def as_stranger(code: str, *arguments: str, user: int = STRANGER) -> subprocess.CompletedProcess[str]:
    """Run Python code as another user, with the libraries of this environment but none of its variables."""
    start = (
        f"import os, sys\nsys.path[:] = {sys.path!r}\nimport encodings.idna, http.client, json, psycopg, psycopg_pool\n"
        f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
    )
    return subprocess.run(
        [sys.executable, "-c", start + code, *arguments], capture_output=True, text=True, check=False, env={}, cwd="/"
    )
