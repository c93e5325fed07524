"""Show text from outside with its control characters as readable escapes.

Keys of a listing, names in a zip, bodies and headers of errors, rows of a database and lock files may contain terminal codes
(`ESC ]0;…` sets a window's title), line ends that look like another line of ours, or marks that reverse the order of
letters. A terminal, a log and a page obey them; shown as `\\x1b`, `\\n` and `\\u202e` they do nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any

# By Unicode's classes: Cc (C0, DEL, C1), Cf (direction marks, joiners, invisible), Cs (half a surrogate pair), Zl, Zp.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001-\U000e007f\ud800-\udfff]"
)

_IN_JSON = re.compile(rf"(?!\n){_CONTROL.pattern}")  # line ends of the JSON layout stay


def visible(text: str) -> str:
    """Return a text as one line that is safe to print: `a\\x1b[2Jb`; the same object if nothing needs escaping."""
    return text if text.isprintable() else _CONTROL.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return our own text of several lines, each made visible. For text from outside use `visible`."""
    return text if text.isprintable() else "\n".join(visible(line) for line in text.split("\n"))


def visible_json(text: str) -> str:
    """Return a JSON text with the same content and its control characters, which occur in strings only, as escapes."""
    return text if text.isprintable() else _IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)


def visible_in(value: Any) -> Any:
    """Return a value for a page or a log: every text in it made visible, in lists and under keys too."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible_in(name): visible_in(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [visible_in(one) for one in value]
    return value


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
