"""The commands of `crypto-assets`, one module for each group; every module here with `COMMANDS` is found automatically.

`SECTION` is their title in the help. Modules import little at the top, to start `--help` and refuse wrong arguments
quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules

import click

SECTIONS = ("Collect", "Look", "Control", "Quality", "Run")
"""Titles in the help, in their order."""


def all_commands() -> Mapping[str, Sequence[click.Command]]:
    """Return the commands of every module of this folder, by section."""
    found: dict[str, list[click.Command]] = {title: [] for title in SECTIONS}
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for command in getattr(module, "COMMANDS", ()):
            found[module.SECTION].append(command)
    return found
