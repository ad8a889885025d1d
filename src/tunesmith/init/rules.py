"""Which task a table is for: rules in order, each with its reason; the first that holds decides.

A rule is given a table whose answer column has been found (`table.answer`), and returns a `Draft`,
or None where it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tunesmith.data.templates.environment import column_in_jinja
from tunesmith.data.templates.families import load_family
from tunesmith.data.templates.tag_cells import tags_in, words_in
from tunesmith.errors import DataError
from tunesmith.init.facts import LABEL_CHARACTERS, LABEL_WORDS, ColumnFacts
from tunesmith.init.roles import DATA, INPUTS, LABELS, place_in, words_of
from tunesmith.init.table import ANSWER_TYPES, Table, describes, family_of, known_family

LANGUAGES = (
    "en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja", "ko", "ar", "tr", "sv", "cs",
    "fi", "da", "el", "uk", "hi", "ro", "hu", "english", "german", "french", "spanish", "italian",
    "portuguese", "dutch", "polish", "russian", "chinese", "japanese", "korean", "arabic",
    "turkish", "swedish", "czech", "finnish", "danish", "greek", "ukrainian", "hindi",
)  # fmt: skip
FIRST_OF_PAIR = ("premise", "sentence1", "text1", "question1", "text_a", "sentence_a", "query")
SPANS_TEMPLATE = """\
Extract the facts from the text as JSON.

Text: {% for part in COLUMN %}{{ part.text }}{% endfor %}

JSON: ||| [{% for part in COLUMN if part.entity is defined %}{ {{- part.entity | tojson }}: \
{{ part.text | tojson | replace("\\\\u0027", "'") -}} }\
{% if not loop.last %}, {% endif %}{% endfor %}]"""

ASPECT_TEMPLATE = """\
Write the part "{{ COLUMN }}" from the text.

{{ text }}

Part: ||| {{ target }}"""

PAIR_TEMPLATE = """\
How high is this pair rated, from LOW to HIGH?

First: {{ text }}
Second: {{ COLUMN }}

Rating: ||| {{ number }}"""
INSTRUCTION_TEMPLATE = """\
{{ INSTRUCTION }}{% if COLUMN %}

{{ COLUMN }}{% endif %} ||| {{ target }}"""


@dataclass(frozen=True)
class Draft:
    """A task, the column of each slot, and why. `template` is one of its own where no wording of
    the family will do, `allow` are findings that are meant so. `task` is None for tables that need
    no template.
    """

    task: str | None
    columns: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    template: str | None = None
    allow: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The family whose answers the task asks for, as `family_of`."""
        return family_of(self.task)


Rule = Callable[[Table], Draft | None]


def a_known_format(table: Table) -> Draft | None:
    """Columns of conversations, or of prompts and answers, which need no template."""
    names = {
        "prompt_completion": "the columns prompt and completion",
        "messages": "a column of messages",
        "sharegpt": "ShareGPT's column conversations",
        "alpaca": "Alpaca's columns instruction and output",
    }
    found = table.facts.format
    if found is None or table.wanted:
        return None
    return Draft(None, {}, f"it has {names[found]}, which need no template")


def annotated_spans(table: Table) -> Draft | None:
    """Texts in pieces, some of which are named entities: a text in, its entities out."""
    spans = next((column for column in table.facts.columns if column.has_spans), None)
    if spans is None or not spans.name.isidentifier():
        return None
    return Draft(
        "extract",
        {},
        f"{spans.name!r} holds texts in pieces, some of them with the name of an entity",
        SPANS_TEMPLATE.replace("COLUMN", spans.name),
        allow=("target_in_prompt",),  # entities are words of the text
    )


def tagged_words(table: Table) -> Draft | None:
    """Words, and one tag for each."""
    words = table.named(("tokens", "words"), "list", "labels", "text")
    tags = table.named(("tags", "ner_tags", "pos_tags", "labels"), "list", "labels", "text")
    if words is None or tags is None or words == tags:
        return None
    if table.share(words, tags, _same_length) < 1.0:
        return None
    reason = f"{tags.name!r} has one tag for each word of {words.name!r}"
    return Draft("tag", {"tokens": words.name, "tags": tags.name}, reason)


def _same_length(words: object, tags: object) -> bool:
    try:
        return len(words_in(words)) == len(tags_in(tags))
    except ValueError:  # a word or a tag is missing
        return False


def row_choices(table: Table) -> Draft | None:
    """A question, possible answers of the row's own, and which of them is right."""
    choices = table.named(("choices", "options", "candidates"), "list", "labels", "object")
    right = table.named(("answer", "label", "correct", "gold", "key", "answerKey"))
    if choices is None or right is None or choices == right or not table.texts:
        return None
    question = table.named(("question", "query", "prompt", "stem"), "text") or table.texts[0]
    slots = {"question": question.name, "choices": choices.name, "label": right.name}
    context = table.named(("context", "passage", "article"), "text")
    if context is not None and context != question:
        slots["context"] = context.name
    return Draft(
        "multiple_choice", slots, f"each row has its own {choices.name!r}, {right.name!r} is right"
    )


def passage_and_question(table: Table) -> Draft | None:
    """A passage, a question about it, and an answer."""
    answer, context = table.answer, table.named(("context", "passage", "paragraph"), "text")
    question = table.named(("question", "query"), "text")
    if answer is None or context is None or question is None or answer in (context, question):
        return None
    is_closed = table.roles[answer.name] in ("label", "number")
    if is_closed and not table.stands_in(answer, context):
        return None
    slots = {"context": context.name, "question": question.name, "target": answer.name}
    return Draft("answer_from_context", slots, "a passage, a question about it, and an answer")


def several_labels(table: Table) -> Draft | None:
    """Cells with several labels, each of which comes back in other rows."""
    answer = table.answer
    if answer is None or table.roles[answer.name] != "labels" or not table.texts:
        return None
    if table.stands_in(answer, table.texts[0]):
        return None
    between = f" between {answer.separator!r}" if answer.separator else ""
    reason = f"the cells of {answer.name!r} hold any of {len(answer.parts):,} labels{between}"
    return Draft(
        "multi_label_classify", {"text": table.texts[0].name, "labels": answer.name}, reason
    )


def two_texts_and_a_label(table: Table) -> Draft | None:
    """Two texts, and one of a few labels for how they relate."""
    answer = table.answer
    if answer is None or table.roles[answer.name] != "label" or len(table.texts) < 2:
        return None
    first = _first_of_pair(table)
    if first is None:
        return None
    second = next(column for column in table.texts if column != first)
    reason = f"{answer.name!r} says in {answer.distinct} values how two texts relate"
    slots = {"text": first.name, "text_pair": second.name, "label": answer.name}
    return Draft("pair_classify", slots, reason)


def _first_of_pair(table: Table) -> ColumnFacts | None:
    """The first of two texts that belong together: by its name, by a name that differs from the
    other's in its number, or a passage with a question.
    """
    texts = sorted(table.texts, key=lambda column: column.place)
    for column in texts:
        if column.name.lower() in FIRST_OF_PAIR or column.name.lower() + "_pair" in (
            other.name.lower() for other in texts
        ):
            return column
    for column in texts:
        stem = column.name.rstrip("0123456789_ ")
        if any(o != column and o.name.rstrip("0123456789_ ") == stem for o in texts):
            return column
    context = table.named(("context", "passage", "paragraph"), "text")
    return context if context and table.named(("question", "query"), "text") else None


def one_label(table: Table) -> Draft | None:
    """One text, and one of a few labels that are not words of the text itself."""
    answer = table.answer
    if answer is None or not table.texts:
        return None
    text, role = table.texts[0], table.roles[answer.name]
    is_short = answer.words <= LABEL_WORDS and answer.longest <= LABEL_CHARACTERS
    is_named = place_in(answer, ("label", "class", "category")) is not None and is_short
    if role not in ("label", "labels") and not is_named:
        return None
    is_copied = place_in(answer, LABELS) is None and table.stands_in(answer, text)
    if role == "labels" or (answer.kind == "text" and is_copied):
        return None
    if role == "number" and (answer.kind != "whole" or answer.distinct > 20):
        return None
    repeated = "come back in other rows" if role == "label" else "are labels by its name"
    reason = f"the {answer.distinct:,} values of {answer.name!r} {repeated}"
    return Draft("classify", {"text": text.name, "label": answer.name}, reason)


def two_texts_and_a_number(table: Table) -> Draft | None:
    """Two texts that belong together, and a number that says how much."""
    single, first = a_number(table), _first_of_pair(table)
    if single is None or first is None or len(table.texts) < 2 or table.answer is None:
        return None
    second = next(column for column in table.texts if column != first)
    low, high = _ends(table.answer)
    template = PAIR_TEMPLATE.replace("LOW", low).replace("HIGH", high)
    return replace(
        single,
        columns={**single.columns, "text": first.name},
        reason=f"{single.reason}, for two texts",
        template=template.replace("COLUMN", column_in_jinja(second.name)),
    )


def an_instruction_with_context(table: Table) -> Draft | None:
    """An instruction, a context that many rows leave empty, and an answer."""
    answer, instruction = table.answer, table.named(("instruction", "question", "prompt"), "text")
    context = table.named(("context", "passage", "input"), "text")
    if answer is None or instruction is None or context is None:
        return None
    if answer in (instruction, context) or instruction == context:
        return None
    if table.roles[answer.name] != "text" or "instruction" not in instruction.name.lower():
        return None
    template = INSTRUCTION_TEMPLATE.replace("INSTRUCTION", column_in_jinja(instruction.name))
    reason = f"{instruction.name!r} says what to do, with or without {context.name!r}"
    template = template.replace("COLUMN", column_in_jinja(context.name))
    return Draft("free", {"target": answer.name}, reason, template)


def a_number(table: Table) -> Draft | None:
    """One text, and a number that measures something."""
    answer = table.answer
    if answer is None or not table.texts or table.roles[answer.name] not in ("number", "id"):
        return None
    if answer.kind not in ("whole", "number"):
        return None
    is_generic = place_in(answer, ("output", "answer", "completion", "response")) is not None
    if answer.kind == "whole" and is_generic:
        return None
    low, high = _ends(answer)
    reason = f"{answer.name!r} holds numbers from {low} to {high}"
    return Draft("score", {"text": table.texts[0].name, "number": answer.name}, reason)


def _ends(column: ColumnFacts) -> tuple[str, str]:
    numbers = []
    for value in column.values:
        try:
            numbers.append((float(value), value))
        except ValueError:  # a word for no value
            continue
    return (min(numbers)[1], max(numbers)[1]) if numbers else ("?", "?")


def a_record_out(table: Table) -> Draft | None:
    """One text, and JSON."""
    answer = table.answer
    if answer is None or answer.kind != "object" or not table.texts:
        return None
    slots = {"text": table.texts[0].name, "target": answer.name}
    return Draft("extract", slots, f"{answer.name!r} holds JSON objects")


def a_record_in(table: Table) -> Draft | None:
    """A record or a list of facts, and a text."""
    answer = table.answer
    named = table.named(DATA, "object", "list", "labels", "text")
    records = [named] if named else table.of("object")
    if answer is None or not records or answer in records or (table.texts and not named):
        return None
    if table.roles[answer.name] != "text":
        return None
    slots = {"data": records[0].name, "target": answer.name}
    return Draft("data_to_text", slots, f"{records[0].name!r} holds facts, {answer.name!r} a text")


def two_languages(table: Table) -> Draft | None:
    """Two texts whose columns are called by languages, or source and target."""
    texts = sorted(table.of("text"), key=lambda column: column.place)
    named = [column for column in texts if column.name.lower() in LANGUAGES]
    answer = table.answer
    if len(named) == 2 and (answer is None or answer in named):
        source, target = named if not table.wanted or answer == named[1] else reversed(named)
        reason = f"the columns {source.name!r} and {target.name!r} are called by languages"
        return Draft("translate", {"text": source.name, "target": target.name}, reason)
    if answer is None or not table.texts or table.roles[answer.name] != "text":
        return None
    of_file, of_column = words_of(Path(table.facts.source).stem), words_of(answer.name)
    if not {"translation", "translations", "translate"} & {*of_file, *of_column}:
        return None
    where = "column" if "translation" in of_column else "file"
    reason = f"{answer.name!r} is a translation by the {where}'s name"
    return Draft("translate", {"text": table.texts[0].name, "target": answer.name}, reason)


def keywords(table: Table) -> Draft | None:
    """One text, and words or phrases about it that are no fixed set."""
    answer = table.answer
    if answer is None or not table.texts:
        return None
    is_list = answer.kind == "list" or (answer.separator == "," and len(answer.parts) > 1)
    is_named = place_in(answer, ("keywords", "keyphrases", "topics", "tags", "entities"))
    taken = is_list and table.stands_in(answer, table.texts[0])
    if not taken and (is_named is None or not is_list):
        return None
    if answer.kind != "list" and answer.words < 2:
        return None
    slots = {"text": table.texts[0].name, "target": answer.name}
    where = "that stand in the text" if taken else "without a fixed set"
    return Draft("keywords", slots, f"{answer.name!r} holds lists of words {where}")


def a_title(table: Table) -> Draft | None:
    """A text, and a title for it."""
    answer = table.answer
    if answer is None or not table.texts or place_in(answer, ("title", "headline")) is None:
        return None
    slots = {"text": table.texts[0].name, "target": answer.name}
    return Draft("title", slots, f"{answer.name!r} is a title for the longer {slots['text']!r}")


def a_summary(table: Table) -> Draft | None:
    """A text, and a shorter one that is a summary by its name, or much shorter and still long."""
    answer = table.answer
    if answer is None or not table.texts or table.roles[answer.name] != "text":
        return None
    text = table.texts[0]
    named = bool({"summary", "highlights", "abstract", "tldr"} & set(words_of(answer.name)))
    about = next((c for c in table.of("label") if describes(c, answer)), None)
    shorter = answer.words >= 5 and text.words >= 2 * answer.words and text.words >= 30
    is_question = place_in(text, ("question", "query", "instruction", "prompt")) is not None
    if not named and (not shorter or is_question):
        return None
    reason = f"{answer.name!r} is a summary by its name" if named else (
        f"{answer.name!r} has {answer.words:.0f} words for {text.words:.0f} of {text.name!r}"
    )  # fmt: skip
    slots = {"text": text.name, "target": answer.name}
    if about is None:
        return Draft("summarise", slots, reason)
    reason += f", and {about.name!r} says which part of it is wanted"
    return Draft("summarise", slots, reason, _with_aspect(about.name))


def _with_aspect(column: str) -> str:
    return ASPECT_TEMPLATE.replace("COLUMN", column_in_jinja(column))


def question_and_answer(table: Table) -> Draft | None:
    """A question by its name or by its question mark, and an answer."""
    answer = table.answer
    if answer is None or not table.texts or table.roles[answer.name] in ("label", "labels"):
        return None
    question = table.texts[0]
    by_name = place_in(question, ("question", "query")) is not None
    if not by_name and question.questions < 0.5:
        return None
    slots = {"question": question.name, "target": answer.name}
    why = "by its name" if by_name else f"in {question.questions:.0%} of the rows"
    return Draft("answer", slots, f"{question.name!r} is a question {why}")


def the_same_in_other_words(table: Table) -> Draft | None:
    """Two texts of about one length that share many words, and are not the same."""
    answer = table.answer
    if answer is None or not table.texts or table.roles[answer.name] != "text":
        return None
    text = table.texts[0]
    shared, longer = table.common_words(text, answer), max(text.words, answer.words)
    if longer < 4 or shared < 0.2 or min(text.words, answer.words) * 2 < longer:
        return None
    slots = {"text": text.name, "target": answer.name}
    return Draft("rewrite", slots, f"the two texts share {shared:.0%} of their words")


def any_text_out(table: Table) -> Draft | None:
    """Whatever is left: a text or a list in, a text out."""
    answer = table.answer
    inputs = table.texts or [c for c in table.of("list", "labels", "number") if c != answer]
    if answer is None or not inputs:
        return None
    slots = {"text": inputs[0].name, "target": answer.name}
    if (place_in(answer, ("output",)) is None) and place_in(inputs[0], INPUTS) is None:
        return Draft("free", slots, "one text and another, and no task that fits better")
    return Draft("free", slots, f"{slots['text']!r} in, {slots['target']!r} out, by their names")


RULES: tuple[Rule, ...] = (
    a_known_format,
    an_instruction_with_context,
    annotated_spans,
    tagged_words,
    row_choices,
    passage_and_question,
    several_labels,
    two_texts_and_a_label,
    one_label,
    two_texts_and_a_number,
    a_number,
    a_record_out,
    a_record_in,
    two_languages,
    keywords,
    a_title,
    a_summary,
    question_and_answer,
    the_same_in_other_words,
    any_text_out,
)


def draft(table: Table) -> Draft:
    """The draft of the first rule that holds, with the task and the columns that the user gave.

    Raises DataError where no column can be the answer, or none can be read.
    """
    made = (rule(table) for rule in RULES)
    found = next((one for one in made if one and _has_slots(one.task, table.wanted)), None)
    is_wording = "/" in (table.task or "")
    if table.task and (
        found is None
        or known_family(found.task) != known_family(table.task)
        or (is_wording and found.template)  # the user's wording stands for the template
    ):
        found = Draft(table.task, _slots(table, table.task), "you named the task")
    elif found is None and table.wanted:
        task = next((name for name in BY_SLOTS if _has_slots(name, table.wanted)), BY_SLOTS[0])
        found = Draft(task, _slots(table, task), "it has the slots that you named")
    if found is None:
        raise DataError(
            f"{table.facts.source}: no column here can be the answer that a model learns to give: "
            f"{_shown(table)}",
            hint="name the task and the columns: --task classify --text COLUMN --label COLUMN "
            "(data.task, data.columns)",
        )
    columns = {**found.columns, **table.wanted}
    return replace(found, task=table.task or found.task, columns=columns)


def answer_of(table: Table, draft: Draft) -> ColumnFacts | None:
    """The column that a draft takes for the answer, where it has one."""
    slots = ("label", "labels", "target", "number", "tags")
    name = next((draft.columns[slot] for slot in slots if slot in draft.columns), None)
    return table.facts.column(name) if name else None


def _shown(table: Table) -> str:
    return ", ".join(f"{name!r} ({role})" for name, role in list(table.roles.items())[:10])


BY_SLOTS = ("classify", "answer", "answer_from_context", "multi_label_classify", "score", "free")
"""Families in which the slots that a user names are looked for."""


def _has_slots(task: str | None, wanted: Mapping[str, str]) -> bool:
    """Whether a task has the slots for which the user named columns."""
    family = known_family(task)
    return not wanted or (family is not None and set(wanted) <= {*family.slots, "group"})


def _slots(table: Table, task: str) -> dict[str, str]:
    """A column for each slot of a task: by the slot's own name, else the answer, and the texts one
    after the other.
    """
    family = load_family(task.partition("/")[0])
    texts, found = list(table.texts), {}
    for name, slot in family.slots.items():
        if name in table.wanted or not slot.required:
            continue
        own = table.facts.column(name)
        if own is not None:
            found[name] = own.name
        elif slot.type in ANSWER_TYPES and table.answer is not None:
            found[name] = table.answer.name
        elif texts:
            found[name] = texts.pop(0).name
    return found


def names_of_rules(rules: Sequence[Rule] = RULES) -> list[tuple[str, str]]:
    """Each rule's name in words and what it looks for, in their order, for the docs."""
    return [
        (rule.__name__.replace("_", " "), " ".join((rule.__doc__ or "").split())) for rule in rules
    ]
