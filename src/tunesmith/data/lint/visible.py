"""Does the prompt show the answer, whatever the template?

A text that names its class now and then is no finding; one that does so in nearly all rows is.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.data.lint.answer_leak import count
from tunesmith.data.lint.rules import Rendered
from tunesmith.records import Finding, Row, Severity

MIN_ROWS = 20
SHOWN_ERROR, SHOWN_WARNING = 0.9, 0.5  # of the rows
OTHERS = 0.05  # of the rows may name another class instead, in a warning
MOST_CLASSES = 0.1  # different targets, of the rows, that are classes
LONG = 5  # words that are in a prompt by no chance

Shown = Sequence[tuple[Row, Rendered]]


def visible_target(rendered: Shown, extractive: bool = True) -> Finding | None:
    """`rendered` are rows from all over the table. `extractive`: answers may be a part of the text,
    word for word.
    """
    if len(rendered) < MIN_ROWS:
        return None
    targets = {one.target for _, one in rendered}
    if len(targets) < 2:
        return None
    if any(one.choices for _, one in rendered):
        return _named(rendered)
    if len(targets) <= MOST_CLASSES * len(rendered):
        choices = tuple(sorted(targets))
        return _named([(row, Rendered(r.prompt, r.target, choices)) for row, r in rendered])
    return _written(rendered, extractive)


def _named(rendered: Shown) -> Finding | None:
    """Rows whose own class is named more often than any other in the prompt."""
    shown, others = list[tuple[Row, Rendered]](), 0
    for row, one in rendered:
        prompt = one.prompt.casefold()
        own = count(one.target.casefold(), prompt)
        most = max((count(c.casefold(), prompt) for c in one.choices if c != one.target), default=0)
        if own > most:
            shown.append((row, one))
        others += most > own
    share = len(shown) / len(rendered)
    if share >= SHOWN_ERROR:
        return _finding(shown, len(rendered), "error", "names its own label, and no other as often")
    if share >= SHOWN_WARNING and others <= OTHERS * len(rendered):
        what = "names its own label, and hardly any names another"
        return _finding(shown, len(rendered), "warning", what)
    return None


def _written(rendered: Shown, extractive: bool) -> Finding | None:
    """Rows whose prompt ends with the answer, or has a long one in it."""
    ends = [(row, one) for row, one in rendered if _ends_with(one.prompt, one.target)]
    if len(ends) >= SHOWN_ERROR * len(rendered):
        return _finding(ends, len(rendered), "error", "ends with its own answer")
    inside = [
        (row, one)
        for row, one in rendered
        if len(one.target.split()) >= LONG and one.target.strip() in one.prompt
    ]
    if len(inside) >= SHOWN_ERROR * len(rendered):
        severity: Severity = "warning" if extractive else "error"
        return _finding(inside, len(rendered), severity, "has its own answer in it, word for word")
    return None


def _ends_with(prompt: str, target: str) -> bool:
    before = prompt.rstrip().removesuffix(target.strip())
    return bool(target.strip()) and len(before) < len(prompt.rstrip()) and not before[-1:].isalnum()


def _finding(shown: Shown, number: int, severity: Severity, what: str) -> Finding:
    row, one = shown[0]
    return Finding(
        "target_in_prompt",
        severity,
        f"the prompt {what}, in {len(shown):,} of {number:,} rows, for example {row.source}: the "
        f"answer {one.target[:60]!r} in {_around(one.prompt, one.target)!r}",
        tuple(row.source for row, _ in shown[:2]),
        "take the answer out of the columns of the input",
    )


def _around(prompt: str, target: str) -> str:
    """The part of a prompt in which the answer stands."""
    at = max(0, prompt.casefold().rfind(target.strip().casefold()))
    return prompt[max(0, at - 30) : at + len(target) + 10][:100]
