"""Write the table of docs/init.md: what `tunesmith init` proposes for each case, beside what is
right.

    python tools/init_table.py docs/init.md ../shared/data

Rows of data sets that are not there are kept as they stand in the page.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from init_cases import REFUSED, SHARED, Case, cases, hopeless, write_case

from tunesmith.errors import DataError
from tunesmith.init.proposal import in_words
from tunesmith.init.read import Seen, read_table
from tunesmith.init.rules import names_of_rules
from tunesmith.recipe import DataConfig

MARKS = {
    "rules": ("<!-- tools/init_table.py: rules -->", "<!-- end of rules -->"),
    "made": ("<!-- tools/init_table.py: made-up tables -->", "<!-- end of made-up tables -->"),
    "real": ("<!-- tools/init_table.py: real data -->", "<!-- end of real data -->"),
}
YES, NO = "yes", "**no**"


def seen(path: Path) -> Seen:
    return read_table(DataConfig(source=str(path)), {})


def proposed(path: Path) -> str:
    found = seen(path)
    return in_words(found.proposal, found.table)


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rules() -> list[str]:
    """Each rule's name and what it looks for, in their order."""
    return [
        f"{number}. {name}: {what[0].lower()}{what[1:]}"
        for number, (name, what) in enumerate(names_of_rules(), start=1)
    ]


def made_up() -> list[str]:
    lines = ["| table | right | proposed | the same |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for case in (*cases(), *hopeless()):
            lines.append(case_row(case, Path(folder)))
    return lines


def case_row(case: Case, folder: Path) -> str:
    found = proposed(write_case(case, folder))
    warned = f" (warned: {case.warns} ...)" if case.warns else ""
    return row(case.what + warned, case.right, found, YES if found == case.right else NO)


def real(data: Path) -> list[str]:
    lines = ["| data | right | proposed | the same |", "|---|---|---|---|"]
    for name, right in SHARED.items():
        found = proposed(data / name)
        lines.append(row(f"`{name}`", right, found, YES if found == right else NO))
    for name, why in REFUSED.items():
        try:
            found, refused = proposed(data / name), False
        except DataError as error:
            found, refused = "error", why in error.message
        lines.append(row(f"`{name}`", f"error: {why} ...", found, YES if refused else NO))
    return lines


def between(text: str, part: str, lines: list[str]) -> str:
    """The page with these lines between the part's marks."""
    start, end = MARKS[part]
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return "\n".join([before + start, "", *lines, "", end]) + after


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    args = parser.parse_args()
    text = between(args.document.read_text(encoding="utf-8"), "rules", rules())
    text = between(text, "made", made_up())
    if args.data is not None and args.data.is_dir():
        text = between(text, "real", real(args.data))
    args.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
