"""What speaks against learning from a table: rules that each give a sentence, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from tunesmith.data.label_findings import same_spelling
from tunesmith.init.facts import MOST_ROWS, ColumnFacts
from tunesmith.init.rules import Draft, answer_of
from tunesmith.init.table import Table

TOO_FEW, FEW = 50, 200
SMALL_CLASS = 10
CLOSED = ("classify", "pair_classify")

Doubt = Callable[[Table, Draft], str]


def few_rows(table: Table, draft: Draft) -> str:
    """Of a few dozen rows the test split has so few that it shows nothing."""
    rows = table.facts.rows
    if rows < TOO_FEW:
        return (
            f"{rows} rows: no model can learn a task from so few, and a tenth of them as a test "
            "shows nothing; a few hundred are a start"
        )
    if rows < FEW:
        return f"{rows} rows are few: the test split can only show a very large gain"
    return ""


def unread_rows(table: Table, draft: Draft) -> str:
    """A table that is too long was looked at in part."""
    return "" if table.facts.is_whole else f"only the first {MOST_ROWS:,} rows were looked at"


def constant_answer(table: Table, draft: Draft) -> str:
    """There is nothing to learn where every answer is the same."""
    answer = answer_of(table, draft)
    if answer is None or answer.distinct != 1:
        return ""
    return f"{answer.name!r} is the same in every row: there is nothing to learn"


def empty_answer(table: Table, draft: Draft) -> str:
    """There is nothing to learn without answers."""
    answer = answer_of(table, draft)
    return f"{answer.name!r} is empty in every row" if answer and not answer.filled else ""


def id_as_label(table: Table, draft: Draft) -> str:
    """A class with one row each cannot be learnt."""
    answer = answer_of(table, draft)
    if answer is None or draft.family not in CLOSED:
        return ""
    if answer.is_unique or answer.filled < 1.5 * answer.distinct:
        return (
            f"{answer.name!r} has {answer.distinct:,} different values in {answer.filled:,} rows, "
            "like an id: no model can learn such labels"
        )
    return ""


def small_classes(table: Table, draft: Draft) -> str:
    """Classes of a few rows are hardly learnt, and hardly tested."""
    answer = answer_of(table, draft)
    if answer is None or draft.family not in CLOSED or id_as_label(table, draft):
        return ""
    small = [(value, rows) for value, rows in answer.common if rows < SMALL_CLASS]
    if not small or answer.distinct != len(answer.common):
        return ""
    shown = ", ".join(f"{value!r} ({rows})" for value, rows in small[:5])
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    return f"classes with fewer than {SMALL_CLASS} rows: {shown}{more}"


def several_spellings(table: Table, draft: Draft) -> str:
    """Labels that differ in case or signs only are classes of their own."""
    answer = answer_of(table, draft)
    if answer is None or draft.family not in CLOSED:
        return ""
    groups: dict[str, list[str]] = {}
    for value in answer.values:
        groups.setdefault(same_spelling(value), []).append(value)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return ""
    shown = "; ".join(" and ".join(map(repr, group)) for group in several[:3])
    return f"labels that may be one: {shown}; data.labels can give them one name"


def missing_answers(table: Table, draft: Draft) -> str:
    """Rows without an answer are left out."""
    answer = answer_of(table, draft)
    if answer is None or not answer.missing or not answer.filled:
        return ""
    return f"{answer.missing:,} of {answer.rows:,} rows have no {answer.name!r} and are left out"


def decimal_commas(table: Table, draft: Draft) -> str:
    """Of 1,5 nobody knows what the comma separates."""
    found = [column for column in table.facts.columns if column.kind == "comma"]
    if not found:
        return ""
    return (
        f"{found[0].name!r} holds numbers with a comma, such as {found[0].values[0]}: write "
        "decimals with a point, and nothing between thousands, to use them as scores"
    )


def one_column_a_label(table: Table, draft: Draft) -> str:
    """Columns of zeros and ones are several labels, of which only one is learnt."""
    flags = [column.name for column in table.facts.columns if is_flag(column)]
    if len(flags) < 3 or (draft.task and draft.family not in CLOSED):
        return ""
    shown = ", ".join(map(repr, flags[:6]))
    return (
        f"{shown} are zeros and ones, one label each: to learn them together, write the names of "
        "those that apply into one column (task multi_label_classify)"
    )


def is_flag(column: ColumnFacts) -> bool:
    """Whether a column holds nothing but 0 and 1, or true and false."""
    return column.distinct == 2 and {v.lower() for v in column.values} in (
        {"0", "1"},
        {"true", "false"},
    )


def preferences(table: Table, draft: Draft) -> str:
    """Pairs of a better and a worse answer are not trained on."""
    names = {column.name for column in table.facts.columns}
    if not {"chosen", "rejected"} <= names:
        return ""
    return "'chosen' and 'rejected' are preferences, which tunesmith does not train on"


DOUBTS: tuple[Doubt, ...] = (
    empty_answer,
    constant_answer,
    id_as_label,
    few_rows,
    small_classes,
    several_spellings,
    missing_answers,
    decimal_commas,
    one_column_a_label,
    preferences,
    unread_rows,
)


def doubts(table: Table, draft: Draft) -> tuple[str, ...]:
    """A sentence for each thing that speaks against learning from these rows."""
    return tuple(text for rule in DOUBTS if (text := rule(table, draft)))
