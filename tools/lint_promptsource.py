"""Lint a folder of PromptSource files on rows made up from each template's source.

Prints the table of docs/lint.md, or writes it:

python tools/lint_promptsource.py ~/.tunesmith/promptsource --write docs/lint.md
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tunesmith.data.lint.findings import from_promptsource, lint
from tunesmith.data.lint.rules import RULES
from tunesmith.data.lint.run import NEED_REAL_ROWS
from tunesmith.data.lint.synthetic_rows import made_rows
from tunesmith.data.templates.promptsource import FILE_NAME, Template, loads
from tunesmith.records import Finding, Row

START, END = "<!-- table: tools/lint_promptsource.py -->", "<!-- end of table -->"
NUM_EXAMPLES = 3


def templates_of(folder: Path) -> Iterator[Template]:
    for file in sorted(folder.rglob(FILE_NAME)):
        yield from loads(file.read_text(encoding="utf-8"), str(file)).templates


def findings_of(template: Template) -> list[Finding]:
    made = made_rows(template.jinja, template.answer_choices or "")
    rows = [Row(str(number), row, f"made:{number}") for number, row in enumerate(made, start=1)]
    return lint([from_promptsource(template)], rows)


def table(by_rule: Mapping[str, Sequence[Finding]], num_templates: int) -> str:
    lines = [
        f"{num_templates:,} templates.",
        "",
        "| rule | templates | made rows can tell | examples |",
        "|---|---|---|---|",
    ]
    for rule in RULES:
        found = by_rule.get(rule, [])
        step = max(1, len(found) // NUM_EXAMPLES)
        examples = "; ".join(f"`{finding.template}`" for finding in found[::step][:NUM_EXAMPLES])
        lines.append(
            f"| {rule} | {len(found)} | {'no' if rule in NEED_REAL_ROWS else 'yes'} | {examples} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path, help="put the table between the marks of this file")
    arguments = parser.parse_args()
    by_rule: dict[str, list[Finding]] = defaultdict(list)
    templates = list(templates_of(arguments.folder))
    for template in templates:
        for finding in findings_of(template):
            by_rule[finding.name].append(finding)
    made = table(by_rule, len(templates))
    if arguments.write is None:
        print(made)
        return
    before, _, rest = arguments.write.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    arguments.write.write_text(f"{before}{START}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
