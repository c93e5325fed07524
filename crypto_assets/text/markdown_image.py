"""Write an SVG drawing as a Markdown image that holds the whole drawing, in as few characters as possible."""

from __future__ import annotations

from xml.sax.saxutils import escape

from crypto_assets.text.visible import visible

# Markdown takes an address in angle brackets as it is, but for these; base64 would be a third longer. & would begin a name of
# Markdown, # and % have a meaning in addresses. In this order no replacement is replaced; one by one is ten times as fast as
# `str.translate`.
_IN_ADDRESS = (("%", "%25"), ("\\", "%5C"), ("&", "%26"), ("#", "%23"), ("\n", " "), ("<", "\\<"), (">", "\\>"))


def svg_image(alt: str, svg: str) -> str:
    """Return the image; `alt` is plain text without square brackets."""
    for letter, written in _IN_ADDRESS:
        svg = svg.replace(letter, written)
    return f"![{alt}](<data:image/svg+xml,{svg}>)"


def svg_text(text: str) -> str:
    """Return a foreign text as the content of an element."""
    return escape(visible(text))
