"""The names of all findings, and what stops a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.data.lint.rules import RULES
from tunesmith.errors import DataError, RecipeError, did_you_mean
from tunesmith.records import Finding

ABOUT_ROWS: Mapping[str, str] = {
    "null_label": "a label that is a word for no value, such as N/A",
    "label_spelling": "one label in several spellings",
    "label_typo": "a rare label that is nearly the same as a common one",
    "number_labels": "labels that are numbers without names",
    "one_class_per_row": "nearly as many classes as rows",
    "conflicting_labels": "rows with one input and different targets",
    "same_input": "one input in all rows",
    "shifted_labels": "labels that stand beside the row before or after their own",
    "cut_sorted": "data.max_rows took the first rows of a file that is sorted by its labels",
    "train_in_validation": "validation rows that are equal, or nearly equal, to training rows",
    "train_in_test": "test rows that are equal, or nearly equal, to training rows",
    "validation_in_test": "test rows that are equal, or nearly equal, to validation rows",
    "same_group": "a group with rows in two splits",
    "mojibake": "text that was decoded with the wrong encoding",
    "unknown_characters": "characters that the model's tokenizer does not know",
    "secrets": "keys and passwords (data.scan)",
    "personal_data": "addresses and numbers of persons (data.scan)",
}
"""Findings about rows; those about templates are in rules.py."""


def check_names(allow: Sequence[str]) -> None:
    """RecipeError for a name in `data.allow` that no finding has."""
    known = [*ABOUT_ROWS, *RULES]
    for name in allow:
        if name not in known:
            raise RecipeError(
                f"data.allow: no finding is called {name!r}", hint=did_you_mean(name, known)
            )


def not_allowed(findings: Sequence[Finding], allow: Sequence[str]) -> list[Finding]:
    """The findings that the recipe does not accept by name."""
    return [finding for finding in findings if finding.name not in allow]


def stop_on_errors(findings: Sequence[Finding], allow: Sequence[str]) -> None:
    """DataError with every finding that is an error and is not allowed."""
    errors = [one for one in not_allowed(findings, allow) if one.severity == "error"]
    if not errors:
        return
    names = list(dict.fromkeys([*allow, *(error.name for error in errors)]))
    remedies = dict.fromkeys(error.hint for error in errors if error.hint)
    meant = f"where this is meant so, data.allow: [{', '.join(names)}] goes on"
    raise DataError(
        "; ".join(f"{error.name}: {error.message}" for error in errors),
        hint="; ".join([*remedies, meant]),
    )
