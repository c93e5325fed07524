"""Read YAML written by people, within bounds: with aliases, a file of some lines can stand for ten billion values.

Content out of bounds is an ordinary YAML error: one line with the place.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_BYTES = 1 << 20
"""Largest file: 10,000 symbols have 0.2 MB."""

_MOST_NODES = 200_000
"""Most values of a file; an alias counts as all its values."""

_MOST_DEPTH = 20
"""Deepest nesting of lists and mappings; collection.yaml has five levels."""

_MOST_LETTERS = 1_000
"""Longest text or number: PyYAML takes time with the square of the length for numbers such as 1:30:00."""


class _Loader(yaml.SafeLoader):
    """Refuses content out of bounds and duplicate keys (YAML would keep the last one)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}
        self._kept: list[yaml.Node] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        mark = event.start_mark
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _MOST_LETTERS:
            raise _out_of_bounds(f"expected texts of at most {_MOST_LETTERS} letters, found {len(event.value)}", mark)
        if getattr(event, "tag", None) is not None:  # PyYAML fails with AttributeError on an invalid !!timestamp
            raise _out_of_bounds(f"expected no tags, found {event.tag[:40]!r}; leave it out", mark)
        if self._depth >= _MOST_DEPTH:
            raise _out_of_bounds(f"expected at most {_MOST_DEPTH} nested lists and mappings, found more", mark)
        self._depth += 1
        try:
            node = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if node is not None and isinstance(event, yaml.AliasEvent):
            self._size(node, mark)
        elif node is not None:
            self._kept.append(node)  # keeps its id from being used again
            self._sizes[id(node)] = size = 1 + sum(self._size(child, mark) for child in _children(node))
            if size > _MOST_NODES:
                raise _out_of_bounds(
                    f"expected at most {_MOST_NODES} values, found {size}, each as often as aliases (*) repeat it", mark
                )
        return node

    def _size(self, node: yaml.Node, mark: yaml.Mark) -> int:
        """Return the number of values in a node; a node that is still being composed contains itself."""
        if id(node) not in self._sizes:
            raise _out_of_bounds("expected no alias (*) inside of what it names, found one", mark)
        return self._sizes[id(node)]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        "while reading a mapping",
                        node.start_mark,
                        f"found the key {key.value[:200]!r} twice",
                        key.start_mark,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """Return the content of a YAML text.

    Raises:
        yaml.YAMLError, ValueError: not YAML, or out of bounds; the message is for people.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES} bytes, found more")
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _out_of_bounds(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    # Without the surrounding text, which may be long and contain anything.
    place = yaml.Mark(mark.name, mark.index, mark.line, mark.column, None, 0)
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place)
