"""Does a template write the answer into its own question?

Found out by changing one value of a row at a time: a value that reaches the target and the prompt
is shown, unless it is one option among others. A text that merely happens to contain the answer
(extractive questions) is no finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

PROBE = "9081726354"  # no filter for case or spaces changes it
Path = tuple[str | int, ...]
Parts = tuple[str, str, Sequence[str]]  # prompt, target, choices


def shown_column(
    values: Mapping[str, object], target: str, render: Callable[[dict[str, object]], Parts | None]
) -> str:
    """The column (`a.b[0]`) whose value the template writes into both target and prompt; or "".

    `render` gives None where a changed row cannot be rendered.
    """
    leaves = dict(_leaves(values, ()))
    for path, text in leaves.items():
        if text.strip() and text.strip() in target:
            parts = render(
                {name: _replaced(value, path, (name,)) for name, value in values.items()}
            )
            if parts is not None and PROBE in parts[1]:
                prompt, _, choices = parts
                others = [choice for choice in choices if PROBE not in choice] + _siblings(
                    leaves, path
                )
                if count(PROBE, prompt) > max(
                    (count(other, prompt) for other in others), default=0
                ):
                    return _written(path)
    return ""


def count(text: str, prompt: str) -> int:
    """How often `text` occurs in the prompt as whole words."""
    return len(re.findall(rf"(?<!\w){re.escape(text)}(?!\w)", prompt)) if text else 0


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))


def _replaced(value: object, wanted: Path, path: Path) -> object:
    """`value` with PROBE at `wanted`."""
    if path == wanted:
        return PROBE
    if isinstance(value, Mapping):
        return {key: _replaced(inner, wanted, (*path, key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(inner, wanted, (*path, index)) for index, inner in enumerate(value)]
    return value


def _siblings(leaves: Mapping[Path, str], path: Path) -> list[str]:
    """The other texts of the list `path` is in."""

    def pattern(one: Path) -> Path:
        return tuple(0 if isinstance(step, int) else step for step in one)

    return [
        text for other, text in leaves.items() if other != path and pattern(other) == pattern(path)
    ]


def _written(path: Path) -> str:
    return str(path[0]) + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[1:]
    )
