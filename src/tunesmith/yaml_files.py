"""YAML that people write, read with limits on its size and depth, and with no key given twice.

A few lines of YAML can stand for billions of values, because an alias (`*name`) repeats what it
names and aliases nest. Values are counted as they would be written out, before any is built.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Never

import yaml

MAX_CHARACTERS = 1_000_000
"""PyYAML reads about 100,000 characters a second."""
MAX_VALUES = 100_000
MAX_DEPTH = 50


class BoundedLoader(yaml.SafeLoader):
    """PyYAML's SafeLoader that refuses a document of more values or levels than a person writes,
    and a mapping with the same key twice, of which the first would be lost in silence.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, tuple[int, int]] = {}  # by id(node): values and levels written out
        self._parents: list[list[tuple[int, int]]] = [[]]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, with each node's values and levels counted, those behind aliases too."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if len(self._parents) > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", mark)
        self._parents.append([])
        node = super().compose_node(parent, index)
        inner = self._parents.pop()
        if id(node) not in self._sizes:
            if self._is_open(node):
                _refuse("an alias stands inside what it names", mark)
            self._sizes[id(node)] = (
                1 + sum(values for values, _ in inner),
                1 + max((levels for _, levels in inner), default=0),
            )
        values, levels = self._sizes[id(node)]
        if values > MAX_VALUES:
            _refuse(f"more than {MAX_VALUES:,} values, written out", mark)
        if levels > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", mark)
        self._parents[-1].append((values, levels))
        return node

    def _is_open(self, node: object) -> bool:
        """Whether a collection has not been read to its end, as seen from an alias inside it."""
        return isinstance(node, yaml.CollectionNode) and node.end_mark is None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As PyYAML's; ConstructorError for a key that stands twice."""
        seen: dict[object, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                _refuse("a list or mapping is used as a key", key.start_mark)
            line = key.start_mark.line + 1
            if name in seen:
                _refuse(f"the key {name!r} is given twice, in lines {seen[name]} and {line}")
            seen[name] = line
        return super().construct_mapping(node, deep=deep)


def load_yaml(text: str, loader: type[BoundedLoader] = BoundedLoader) -> object:
    """The value of a document; ValueError with one line that says what is wrong with it, and where.

    Refused besides what is not YAML: more than MAX_CHARACTERS characters, MAX_VALUES values or
    MAX_DEPTH levels (aliases written out), an alias inside what it names, and a key given twice.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{len(text):,} characters, more than {MAX_CHARACTERS:,}")
    try:
        return yaml.load(text, loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    # scalars that look like a date, a number or base64 and are none, such as 2024-13-45
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"a value is not what it looks like: {error}") from error


def _refuse(problem: str, mark: yaml.Mark | None = None) -> Never:
    raise yaml.constructor.ConstructorError(None, None, problem, mark)
