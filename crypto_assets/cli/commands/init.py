"""`init`: make a folder into a project."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from crypto_assets.cli.console import out


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Make FOLDER a project: collection.yaml, dagster.yaml and workspace.yaml.

    Existing files stay unchanged. FOLDER defaults to the working folder.
    """
    from crypto_assets.config.project import FILES, make_project

    made = make_project(folder)
    for name, what in FILES.items():
        out.print(f"{name:<16} {what if name in made else 'exists, unchanged'}", markup=False)
    go = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    out.print(f"Next: {go}crypto-assets demo, or crypto-assets collect --from yesterday", markup=False)


SECTION = "Run"
COMMANDS = (init,)
