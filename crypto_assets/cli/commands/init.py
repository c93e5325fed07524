"""`init`: make a folder into a project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from crypto_assets.cli.console import out


class _Folder(click.Path):
    """A folder with a name: an empty text, such as an unset variable of a shell, is not the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail("expected the name of a folder, found an empty text; . is the working directory", param, context)
        return super().convert(value, param, context)


@click.command()
@click.argument("folder", type=_Folder(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Make FOLDER a project: collection.yaml, dagster.yaml and workspace.yaml.

    Existing files stay unchanged. FOLDER defaults to the working folder.
    """
    from crypto_assets.config.project import FILES, make_project

    made = make_project(folder)
    for name, what in FILES.items():
        out.print(f"{name:<16} {what if name in made else 'exists, unchanged'}", markup=False)
    # `cd -name` would be an option of `cd`.
    place = f"./{folder}" if str(folder).startswith("-") else str(folder)
    go = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(place)} && "
    out.print(f"Next: {go}crypto-assets demo, or crypto-assets collect --from yesterday", markup=False)


SECTION = "Run"
COMMANDS = (init,)
