"""Read the pictures of `small_calendar` back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Row:
    """One symbol: its bars as (colour, first cell, cell after the last), ascending, and the words right of it."""

    label: str
    note: str
    bars: list[tuple[str, int, int]]


def rows_of(text: str) -> list[Row]:
    """Return the rows of a Markdown image."""
    drawing = re.match(r"!\[coverage\]\(<data:image/svg\+xml,((?:[^<>\\\n#]|\\[<>])*)>\)", text)[1]
    svg = ElementTree.fromstring(unquote(re.sub(r"\\([<>])", r"\1", drawing)))
    rows: dict[int, Row] = {}
    for element in svg.iter(f"{_SVG}text"):
        row = rows.setdefault(int(element.get("y")) - 4, Row("", "", []))
        if element.get("x"):
            row.note = element.text
        else:
            row.label = element.text
    for path in svg.iter(f"{_SVG}path"):
        for begin, middle, end in re.findall(r"M(\d+) (\d+)H(\d+)", path.get("d")):
            rows[int(middle)].bars.append((path.get("stroke"), int(begin), int(end)))
    for row in rows.values():
        row.bars.sort(key=lambda bar: bar[1])
    return [rows[middle] for middle in sorted(rows)]
