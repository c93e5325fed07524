"""The commands of `crypto-assets`, one file for each group of them; a module here with `COMMANDS` is found by itself.

Its `SECTION` says under which title of the help they stand. Modules import little at the top: `--help` and wrong arguments
wait for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules

import click

SECTIONS = ("Collect", "Look", "Control", "Quality", "Run")
"""Titles in the help, in the order of a day's work."""


def all_commands() -> Mapping[str, Sequence[click.Command]]:
    """Return the commands of every module of this folder, by section."""
    found: dict[str, list[click.Command]] = {title: [] for title in SECTIONS}
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for command in getattr(module, "COMMANDS", ()):
            found[module.SECTION].append(command)
    return found
