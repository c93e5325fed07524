"""Prove that a release works on its own: `python -m proofs.release dist/*.whl`, after `make release`.

The wheel is installed into an empty environment, and the commands of a first day run in an empty home, without anything from
this repository. As root they also run as another user. Times and sizes are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from proofs.world import say

OTHER_USER = "nobody"

DAY = (
    ("init my-data", 0),
    ("demo", 0),
    ("--demo gaps", 0),
    ('--demo sql "SELECT symbol, count(*) FROM market.ohlcv GROUP BY symbol"', 0),
)
"""Lines after `crypto-assets`, each with its expected exit code; all but the first run in my-data."""


def main() -> int:
    """Install, run, print; return 1 if a command ended otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="makes the environment; default: this"
    )
    given = parser.parse_args()
    wheel = given.wheel.resolve(strict=True)
    # Not the usual folder of root, so that another user may look inside.
    place = Path(tempfile.mkdtemp(prefix="crypto_assets-release-"))
    place.chmod(0o755)
    try:
        python = _install(wheel, given.python, place / "venv")
        command = python.with_name("crypto-assets")
        good = _first_day(command, _home(place / "mine"), None)
        if os.geteuid() == 0:
            if any(not folder.stat().st_mode & 0o001 for folder in python.resolve().parents):
                say(
                    f"not run as {OTHER_USER}, who may not enter the folders of {python.resolve()}; name another --python"
                )
            else:
                good &= _first_day(command, _home(place / "other", OTHER_USER), OTHER_USER)
        return 0 if good else 1
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _install(wheel: Path, base: Path, venv: Path) -> Path:
    """Return the Python of a new environment with the wheel and the newest dependencies that it allows."""
    subprocess.run([str(base), "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    started = time.monotonic()
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, check=True, cwd=venv, env=_environment(venv))
    took = time.monotonic() - started
    sizes = _sizes(python)
    total, size = sum(sizes.values()), wheel.stat().st_size / 1e6
    say(f"pip install {wheel.name} ({size:.1f} MB): {took:.0f} s, {len(sizes)} packages, {total:.0f} MB in files")
    say(f"the largest, in MB: {', '.join(f'{name} {size:.0f}' for name, size in list(sizes.items())[:10])}")
    return python


def _sizes(python: Path) -> dict[str, float]:
    """Return the megabytes of every package that the environment has, its bytecode included, the largest first."""
    found = json.loads(subprocess.check_output([str(python), "-c", _SIZES], text=True))
    return dict(sorted(found.items(), key=lambda one: -one[1]))


_SIZES = """
import importlib.metadata, json, os
def size(path):
    return os.path.getsize(path) if os.path.isfile(path) else 0
print(json.dumps({
    one.metadata["Name"]: sum(size(one.locate_file(file)) for file in one.files or ()) / 1e6
    for one in importlib.metadata.distributions() if one.metadata["Name"] not in ("pip", "setuptools")
}))
"""


def _home(folder: Path, user: str | None = None) -> Path:
    folder.mkdir()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def _environment(home: Path) -> Mapping[str, str]:
    """Return an environment with none of our settings: not even bytecode is switched off."""
    network = {name: os.environ[name] for name in os.environ if name.upper().startswith(("PIP_", "HTTPS_PROXY"))}
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **network}


def _first_day(command: Path, home: Path, user: str | None) -> bool:
    """Run the commands in an empty home; return whether each ended as expected."""
    good, folder = True, home
    for line, right in DAY:
        started = time.monotonic()
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {command} {line}"],
            cwd=folder,
            env=_environment(home),
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - started
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        say(f"{user or 'same user'}: crypto-assets {line}: exit code {done.returncode}, {took:.1f} s: {' '.join(last)}")
        if done.returncode != right:
            say(done.stdout + done.stderr)
            good = False
        folder = home / "my-data"
        if not folder.is_dir():
            return False
    return good


if __name__ == "__main__":
    raise SystemExit(main())
