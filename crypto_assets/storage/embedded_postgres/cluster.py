"""The cluster of an embedded PostgreSQL: made by initdb, configured at every start; and its roles.

The account that runs this project connects through the socket, and the kernel identifies it (`peer`): there is no password
to read, guess or print, and the address works for its owner only. `pg_ident.conf` maps this one system account to the roles
below, so it also works if root runs the project and the server has its own user id. A password in a file would do the same
with one more secret to keep.

Everything in the data folder is written with the server's user id, never as root: a link there leads only where this id
may go anyway.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.machine.private_folder import private_folder
from crypto_assets.storage.embedded_postgres.placement import Placement
from crypto_assets.text.urls import READER

DATABASE = "crypto_assets"
SUPERUSER = "postgres"
APPLICATION = "crypto_assets"
"""The project's role: it makes databases and tables, no files and no programs."""

_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
_INITDB_ACCOUNT = "nobody"


# ---- making it ------------------------------------------------------------------------------------------------------


def make_cluster(placement: Placement, durable: bool, log: Any) -> None:
    """Run initdb next to the final place and rename, so that an existing cluster is always complete.

    Raises:
        PostgresUnavailable: this account has no name; PostgreSQL needs one.
        OSError, subprocess.SubprocessError: it could not be made; initdb's reason is in the log.
    """
    _account()
    stage = placement.data.with_name("data.tmp")
    if stage.exists():
        shutil.rmtree(stage)
    if placement.user is None:
        _initdb(placement, private_folder(stage), durable, log, placement.run_as())
        stage.replace(placement.data)
        return
    # initdb needs an account with a name. It gets one that exists on every system, with the server's group only:
    # other processes of `nobody` have another group, so they can neither enter the stage nor look into the process.
    private_folder(stage)
    os.chown(stage, 0, placement.group or 0)
    stage.chmod(0o710)
    account = pwd.getpwnam(_INITDB_ACCOUNT).pw_uid
    made = private_folder(stage / "data", user=account, group=placement.group)
    lent: dict[str, object] = {"user": account, "group": placement.group, "extra_groups": []}
    _initdb(placement, made, durable, log, lent)
    _give(made, placement)
    made.replace(placement.data)
    stage.rmdir()


def _initdb(placement: Placement, data: Path, durable: bool, log: Any, run_as: dict[str, object]) -> None:
    # The builtin locale is the same on every platform and sorts text by code point, which is what keys need.
    command = [placement.binaries / "initdb", "-D", data, f"--username={SUPERUSER}", "--encoding=UTF8"]
    command += ["--auth-local=peer", "--auth-host=scram-sha-256", "--no-instructions"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    subprocess.run(
        [*command, *([] if durable else ["--no-sync"])],
        check=True,
        cwd=data,
        env=_ENVIRONMENT | {"HOME": str(data)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        **run_as,  # type: ignore[call-overload]
    )


def _give(data: Path, placement: Placement) -> None:
    """Change the owner of all files to the server's user id; links themselves are changed, not followed."""
    user, group = placement.user or 0, placement.group or 0
    for _, folders, files, at in os.fwalk(data):
        for name in (*folders, *files):
            os.chown(name, user, group, dir_fd=at, follow_symlinks=False)
    os.chown(data, user, group, follow_symlinks=False)


# ---- configuring it -------------------------------------------------------------------------------------------------


def write_configuration(placement: Placement, socket: Path, durable: bool) -> None:
    """Write postgresql.conf (bulk loads on a small machine, one user), pg_hba.conf and pg_ident.conf."""
    settings = {
        "listen_addresses": "",  # to get TCP, set it in postgresql.local.conf
        "unix_socket_directories": '"{}"'.format(str(socket).replace('"', '""')),
        "unix_socket_permissions": "0700",
        "port": "5432",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "work_mem": "32MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "4GB",  # a backfill writes gigabytes; checkpoints every few seconds would double that
        "checkpoint_timeout": "15min",
        # No replicas and no archive: COPY into a table truncated in the same transaction skips the WAL.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "wal_compression": "off",  # the wheel's build has neither lz4 nor zstd, and pglz costs more CPU than it saves
        "max_locks_per_transaction": "256",  # a lock for each table partition that a transaction touches
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        **dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on" if durable else "off"),
    }
    head = "# Written by crypto_assets at every start"
    lines = [f"{head}; your own settings belong in postgresql.local.conf."]
    lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    _write(placement, "postgresql.conf", [*lines, "include_if_exists = 'postgresql.local.conf'"])
    # Over TCP, if configured, only the reader is admitted, and only after its owner has given it a password.
    hosts = [f"host all {READER} {place} scram-sha-256" for place in ("127.0.0.1/32", "::1/128")]
    _write(placement, "pg_hba.conf", [f"{head}.", "local all all peer map=owner", *hosts])
    owner = '"{}"'.format(_account().replace('"', '""'))
    _write(
        placement,
        "pg_ident.conf",
        [f"{head}.", *(f"owner {owner} {role}" for role in (SUPERUSER, APPLICATION, READER))],
    )


def _account() -> str:
    """Return the name of this account, as the server learns it from the kernel."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PostgresUnavailable(
            f"expected an account with a name, found: the user id {os.geteuid()} has no name: PostgreSQL cannot run as it; "
            "add it to /etc/passwd, or name a server in CRYPTO_ASSETS_POSTGRES_URL"
        ) from None


def _quoted(value: str) -> str:
    return "'{}'".format(value.replace("\\", "\\\\").replace("'", "''"))


def _write(placement: Placement, name: str, lines: list[str]) -> None:
    """Replace a file in the data folder, as the server's user id."""
    subprocess.run(
        ["/bin/sh", "-c", 'umask 077; cat > "$1.new" && mv -f "$1.new" "$1"', "sh", placement.data / name],
        check=True,
        cwd="/",
        env=_ENVIRONMENT,
        input="".join(f"{line}\n" for line in lines).encode(),
        stderr=subprocess.PIPE,
        **placement.run_as(),  # type: ignore[call-overload]
    )


# ---- its roles ------------------------------------------------------------------------------------------------------


def make_roles(socket: Path, port: int) -> None:
    """Create the roles of application and reader, and the application's database, if they are missing.

    Raises:
        PostgresUnavailable: the database was made before roles existed.
        psycopg.Error: the server does not answer.
    """
    with as_superuser(socket, port) as connection:
        roles = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        if READER not in roles:
            connection.execute(f"CREATE ROLE {READER} LOGIN")
            connection.execute(f"ALTER ROLE {READER} SET default_transaction_read_only = on")
        if APPLICATION not in roles:
            connection.execute(f"CREATE ROLE {APPLICATION} LOGIN CREATEDB IN ROLE {READER}")
            # Lock messages name the holder in any role; dropping a database in use ends its sessions, also an
            # autovacuum's.
            connection.execute(f"GRANT pg_read_all_stats, pg_signal_backend TO {APPLICATION}")
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
        if owner is None:
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {APPLICATION}")
            connection.execute(f"REVOKE TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC")
        elif owner != (APPLICATION,):
            raise PostgresUnavailable(
                f"the embedded database belongs to {owner[0]!r}: it was made by a version before 0.1; delete the folder "
                "postgres of this home, then collect again (files in the lake are not downloaded twice)"
            )


def make_durable(placement: Placement, socket: Path, port: int) -> None:
    """Turn fsync and related settings on in a running server, and flush data written without them."""
    write_configuration(placement, socket, durable=True)
    with as_superuser(socket, port) as connection:
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CHECKPOINT")
    os.sync()  # flush the writes made while fsync was off


def as_superuser(socket: Path, port: int) -> psycopg.Connection[Any]:
    """Return a connection with more rights than the application's role; only the owner's account gets one."""
    return psycopg.connect(
        host=str(socket), port=port, user=SUPERUSER, dbname="postgres", connect_timeout=5, autocommit=True
    )
