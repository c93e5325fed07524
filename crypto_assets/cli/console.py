"""Output of the commands: results go to stdout, everything else to stderr.

`out`, `err` and `print_line` show control characters as escapes: text from outside can neither send codes to the terminal
nor add a line. JSON escapes them by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from crypto_assets.text.visible import visible, visible_lines

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


class _Console(Console):
    """A console that prints each text as one line; pass several texts with `sep="\\n"` for more lines."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Build the text that is drawn; every text passes through here, table cells included."""
        return super().render_str(visible_lines(text), **options)


# With emoji=True rich would print a stored text `:key:` as a picture of a key.
out = _Console(soft_wrap=True, highlight=False, emoji=False)
err = _Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

_TERMINAL_WIDTH = max(out.width, 170)
# Rich cuts the cells of a table wider than this. A terminal wraps long lines itself, and a pipe has no width.
out.width = 1_000_000


def print_line(text: str) -> None:
    """Print one line of a result as it is: no markup, no wrapping."""
    click.echo(visible(text))


def print_error(message: str) -> None:
    """Print the message of an error, which may have several lines, to stderr."""
    # Without rich: this must also work with hardly any memory left.
    first, *more = map(visible, message.split("\n"))
    click.echo("\n".join((f"{click.style('error:', fg='red')} {first}", *more)), err=True)


def plain_table(*titles: str, numbers: Sequence[str] = ()) -> Table:
    """Return a table without lines, with the titles of its columns; those of `numbers` stand to the right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title in numbers else "left")
    return table


def print_table(table: Table, *, markup: bool = False, fold: bool = False) -> None:
    """Print a table without cutting any value, whatever the width of the output.

    Args:
        markup: the cells contain rich tags; otherwise they are printed literally, brackets included.
        fold: on a terminal that is too narrow, continue a cell on its next line.
    """
    out.print(table, markup=markup, width=_TERMINAL_WIDTH if fold and out.is_terminal else None)


def counted(number: int, noun: str) -> str:
    """Return `1 day`, `1,440 days`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def escape(text: str) -> str:
    """Return a text as one line, safe between rich tags."""
    from rich.markup import escape

    return escape(visible(text))


def reading_address(url: str) -> str:
    """Return the Postgres address to show: the read-only account on the embedded server, a configured address unchanged."""
    from crypto_assets.config.environment import settings
    from crypto_assets.text.urls import READER, with_user

    return url if settings().postgres_url else with_user(url, READER)


def without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}"
