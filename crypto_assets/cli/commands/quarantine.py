"""`quarantine`: list, show, restore and drop refused files."""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import err, escape, out, print_line
from crypto_assets.cli.options import DAY, filters, load_configured, with_ledger
from crypto_assets.ledger.coverage_tables import names

if TYPE_CHECKING:
    from crypto_assets.model import State
    from crypto_assets.quality.quarantine.refused_files import RefusedFile


@click.group(invoke_without_command=True)
@filters
@click.option("--from", "first", type=DAY, help="Only files of this day and later.")
@click.option("--to", "last", type=DAY, help="Only files of this day and earlier.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each file.")
@click.pass_context
def quarantine(context: click.Context, as_json: bool, **given: Any) -> None:
    """List the files that were refused, and why.

    The latest comes first. Each line says whether the day has been collected since from another file.
    """
    if context.invoked_subcommand is not None:
        return
    from crypto_assets.quality.quarantine.refused_files import select, states_now
    from crypto_assets.quality.query import Query

    files = select(_files(), Query(**given))
    # Also without files: where nothing was ever collected, this says where it looked.
    states = with_ledger(lambda ledger: states_now(ledger, files) if files else {})
    if as_json:
        click.echo(json.dumps([_as_json(file, states[file.name]) for file in files], indent=1))
        return
    for file in files:
        print_line(_line(file, states[file.name]))
        print_line(f"    {file.reason}")
        print_line(f"    {file.path}")
    if not files:
        out.print("the quarantine is empty")


@quarantine.command()
@click.argument("path")
@click.option("--lines", default=8, show_default=True, type=click.IntRange(min=0), help="Lines of the content to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(path: str, lines: int, as_json: bool) -> None:
    """Show one refused file: the whole reason (of each symbol, if several share it), the refused rows, its first lines.

    PATH is as `crypto-assets quarantine` prints it, or the 12 digits at its end.
    """
    from crypto_assets.quality.quarantine.refused_files import content_of, find, states_now

    files = find(_files(), path)
    states = with_ledger(lambda ledger: states_now(ledger, files))
    content = content_of(_lake(), files[0], lines)
    if as_json:
        shown = {"kind": content.kind, "lines": content.lines}
        found = [{**_as_json(file, states[file.name]), "details": file.details, "content": shown} for file in files]
        click.echo(json.dumps(found if len(found) > 1 else found[0], indent=1))
        return
    for file in files:
        for line in (_line(file, states[file.name]), file.reason, file.path):
            print_line(line)
        for name in ("etag", "last_modified", "sha256", "published_digest", "version"):
            if value := getattr(file, name):
                print_line(f"    {name.replace('_', ' ')}: {value}")
        _show_findings(file)
    print_line(content.kind)
    for line in content.lines:
        print_line(f"    {line}")


def _show_findings(file: RefusedFile) -> None:
    for day, checks in (file.details.get("findings") or {}).items():
        for check, evidence in checks.items():
            print_line(f"{day} {check}:")
            for name, value in evidence.items():
                for one in value if isinstance(value, list) else [value]:
                    print_line(f"    {name}: {one}")


@quarantine.command()
@click.argument("path", required=False)
@click.option("--all", "everything", is_flag=True, help="Every refused file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each file.")
def restore(path: str | None, everything: bool, as_json: bool) -> None:
    """Judge refused files again, after a fix.

    Files that pass now are published. Nothing is downloaded again. Where it is not certain that the bytes are what the
    exchange publishes, its checksum is requested. Exit code 1 if a file is still refused.
    """
    from crypto_assets.errors import ConfigError
    from crypto_assets.quality.quarantine.refused_files import find

    if bool(path) == everything:
        raise ConfigError("quarantine restore: expected either a PATH or --all")
    files = _files()
    chosen = find(files, path) if path else files
    found = with_ledger(lambda ledger: [_told(one, as_json) for one in _restore(ledger, chosen)])
    if as_json:
        rows = [
            {
                "path": one.file.path,
                "restored": one.complete,
                "stored": [{"day": str(day), "state": s, "reason": why} for day, (s, why) in one.stored.items()],
                "refused": [{"day": str(day) if day else None, "reason": why} for day, why in one.refused.items()],
            }
            for one in found
        ]
        click.echo(json.dumps(rows, indent=1))
    elif not chosen:
        out.print("the quarantine is empty")
    sys.exit(0 if all(one.complete for one in found) else 1)


@quarantine.command()
@click.argument("path")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(path: str, yes: bool) -> None:
    """Remove a refused file and its reason permanently."""
    from crypto_assets.errors import ConfigError
    from crypto_assets.quality.quarantine.refused_files import drop as remove
    from crypto_assets.quality.quarantine.refused_files import find

    files = find(_files(), path)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("quarantine drop: expected --yes where no terminal can ask; nothing was removed")
        print_line(files[0].path)
        for file in files:
            print_line(f"    {file.reason}")
        if not click.confirm("Remove it permanently?"):
            out.print("nothing was removed")
            return
    for file in files:
        remove(_lake(), file)
    out.print(f"removed {files[0].path}", markup=False)


def _lake() -> Any:
    from crypto_assets.config.environment import settings
    from crypto_assets.storage.lake import Lake

    lake = Lake(settings().lake)
    lake.require_known_format()
    return lake


def _files() -> list[RefusedFile]:
    from crypto_assets.config.environment import settings
    from crypto_assets.quality.quarantine.refused_files import refused_files

    return refused_files(_lake(), load_configured() if settings().config.exists() else None)


def _restore(ledger: Any, files: list[RefusedFile]) -> Any:
    from crypto_assets.engine.run_context import Stores
    from crypto_assets.quality.quarantine.retry import restorer
    from crypto_assets.storage.warehouse import Warehouse

    if files:
        with (
            Warehouse(ledger.url) as warehouse,
            restorer(load_configured(), Stores(_lake(), warehouse, ledger)) as judge,
        ):
            for file in files:
                yield judge.restore(file)


def _told(one: Any, as_json: bool) -> Any:
    """Print the result of a file as soon as it is known."""
    if not as_json:
        for day, (state, why) in one.stored.items():
            print_line(f"{_asset(one.file)} {day}: {state}" + (f": {why}" if why else ""))
        for day, why in one.refused.items():
            err.print(escape(f"{_asset(one.file)} {day}: still refused: {why}" if day else f"still refused: {why}"))
    return one


def _asset(file: RefusedFile) -> str:
    return " ".join(names(file.series, file.symbol).values()) if file.series else file.key


def _line(file: RefusedFile, states: dict[date, State | None]) -> str:
    from crypto_assets.quality.quarantine.refused_files import in_words

    when = f"{file.refused_at:%Y-%m-%d %H:%M} UTC" if file.refused_at else "unknown time"
    size = f"{file.size_bytes} bytes" if file.size_bytes is not None else "bytes missing"
    return " · ".join((when, str(file), in_words(states), file.error, size))


def _as_json(file: RefusedFile, states: dict[date, State | None]) -> dict[str, Any]:
    from crypto_assets.quality.quarantine.refused_files import all_stored

    known: dict[str, Any] = names(file.series, file.symbol) if file.series else {}
    return {
        "path": file.path,
        "key": file.key,
        **{name: known.get(name) for name in ("exchange", "market_type", "symbol", "dataset")},
        "days": [{"day": str(day), "state": state} for day, state in states.items()],
        "available": all_stored(states),
        "size_bytes": file.size_bytes,
        "error": file.error,
        "reason": file.reason,
        "refused_at": file.refused_at.isoformat() if file.refused_at else None,
    }


SECTION = "Quality"
COMMANDS = (quarantine,)
