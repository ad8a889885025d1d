"""Run mypy and measure how much of the package its types cover; exit code 1 where it falls short.

python tools/type_coverage.py

Two figures: the share of expressions whose type is not Any (mypy's --any-exprs-report, as an
untyped library's results count there too), and the number of times that the code itself says
`Any`, outside imports, in 1,000 lines.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
LEAST_TYPED = 97.0
"""Percentage of expressions."""
MOST_ANYS = 8.0
"""In 1,000 lines."""


def typed_percentage(report: str) -> float:
    """The total of mypy's any-exprs.txt, whose last line is `Total <anys> <expressions> <share>%`.

    Counted from the numbers, since mypy's own percentage is rounded.
    """
    name, anys, expressions, _ = report.splitlines()[-1].split()
    assert name == "Total", report
    return 100 * (1 - int(anys) / int(expressions))


def count_anys(source: str) -> int:
    """How often the name Any occurs outside import statements, comments and strings."""
    count, importing, line_starts = 0, False, True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
            continue
        if line_starts:
            importing = token.string in ("from", "import")
        line_starts = token.type == tokenize.NEWLINE
        count += token.type == tokenize.NAME and token.string == "Any" and not importing
    return count


def anys_in_1000_lines(sources: Iterable[str]) -> float:
    """`Any`s of all sources by their lines."""
    texts = list(sources)
    return 1000 * sum(map(count_anys, texts)) / sum(text.count("\n") for text in texts)


def main() -> int:
    """Mypy's exit code where that is not 0."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mypy", "--any-exprs-report", folder]
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
        typed = typed_percentage((Path(folder) / "any-exprs.txt").read_text(encoding="utf-8"))
    anys = anys_in_1000_lines(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    print(f"typed expressions: {typed:.2f} % (at least {LEAST_TYPED:g})")
    print(f"Any per 1,000 lines: {anys:.2f} (at most {MOST_ANYS:g})")
    return int(typed < LEAST_TYPED or anys > MOST_ANYS)


if __name__ == "__main__":
    sys.exit(main())
