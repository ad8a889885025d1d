"""Write the tree of src/tunesmith, with the first sentence of each file, into a page.

    python tools/source_tree.py docs/architecture.md

The sentence is the first of the module's docstring, up to a colon where it is long.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "tunesmith"
START, END = "<!-- tools/source_tree.py writes from here -->", "<!-- to here -->"
WIDTH, LONG = 24, 110


def summary(path: Path) -> str:
    """The first sentence of a module's docstring on one line, without its full stop.

    >>> re.split(r"[.;](?= |$)", "One idea: a file. More.")[0]
    'One idea: a file'
    """
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"[.;](?= |$)", line)[0]
    return sentence if len(sentence) <= LONG else sentence.split(": ")[0]


def tree(folder: Path, depth: int = 0) -> list[str]:
    """Files first, then folders, each with its package's sentence."""
    lines, indent = [], "  " * depth
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    lines += [f"{indent}{path.name + ' ':<{WIDTH - len(indent)}}{summary(path)}" for path in files]
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        name = f"{indent}{inner.name}/"
        lines += (
            ["", f"{name:<{WIDTH}}{summary(inner / '__init__.py')}"]
            if not depth
            else [f"{name:<{WIDTH}}{summary(inner / '__init__.py')}"]
        )
        lines += tree(inner, depth + 1)
    return lines


def updated(text: str) -> str:
    """The document with the tree as it is now between its marks."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return "\n".join([before + START, "```", *tree(PACKAGE), "```", END]) + after


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path)
    path = parser.parse_args().document
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
