"""The commands of `crypto-assets`, one file for each group of them; a module here with `COMMANDS` is found by itself.

Modules import little at the top: `--help` and wrong arguments wait for nothing.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import click


def all_commands() -> list[click.Command]:
    """Return the commands of every module of this folder."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return [command for module in modules for command in getattr(module, "COMMANDS", ())]
