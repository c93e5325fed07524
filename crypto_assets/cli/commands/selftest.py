"""`selftest`: run every known fault of an exchange against the engine, offline."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from crypto_assets.cli.console import err, escape, out, print_table


@click.command()
@click.option("--fault", "names", multiple=True, help="Only this fault; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the lakes and a report.json in this folder, which must be empty or new.",
)
def selftest(names: tuple[str, ...], as_json: bool, keep: Path | None) -> None:
    """Run every fault of an exchange, and of our stores, against this engine.

    It runs on this machine, offline, and shows what was stored and reported.
    """
    from crypto_assets.config.environment import settings
    from crypto_assets.errors import ConfigError
    from crypto_assets.machine.private_folder import private_folders
    from crypto_assets.sandbox import selftest as tests
    from crypto_assets.sandbox.selftest.verdict import as_json as to_json
    from crypto_assets.sandbox.selftest.verdict import table_of
    from crypto_assets.storage import postgres_url

    cases = tests.cases_of(names)
    if keep and keep.exists() and any(keep.iterdir()):
        raise ConfigError(f"--keep {keep}: expected an empty or new folder, found files in it")
    home = keep or Path(tempfile.mkdtemp(prefix="crypto_assets-selftest-"))
    private_folders(home)
    done: list[Any] = []
    try:
        with nullcontext() if as_json else err.status(f"0 of {len(cases)} faults") as status:

            def tell(verdict: Any) -> None:
                done.append(verdict)
                if status:
                    status.update(f"{len(done)} of {len(cases)} faults")

            verdicts = tests.run_selftest(postgres_url(settings()), home, cases, tell)
        report = json.dumps(to_json(verdicts), indent=1)
        if keep:
            (keep / "report.json").write_text(report + "\n", encoding="utf-8")
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)
    held = sum(verdict.held for verdict in verdicts)
    if as_json:
        click.echo(report)
    else:
        print_table(table_of(verdicts), markup=True, fold=True)
        for verdict in verdicts:
            for line in verdict.broken:
                out.print(f"[red]{escape(verdict.name)}[/red]: {escape(line)}")
        out.print(f"{held} of {len(verdicts)} held")
    sys.exit(0 if held == len(verdicts) else 1)


SECTION = "Run"
COMMANDS = (selftest,)
