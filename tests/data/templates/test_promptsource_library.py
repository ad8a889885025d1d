"""Every real PromptSource file: bytes kept, and each template's text equal to what plain jinja2
gives.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import pytest

from tunesmith.data.lint.synthetic_rows import made_rows
from tunesmith.data.templates.promptsource import Template, dumps, find, loads
from tunesmith.errors import TemplateError

SHARED = Path(
    os.environ.get("TUNESMITH_SHARED") or Path(__file__).resolve().parents[3] / "../shared"
)
FOLDER = SHARED / "data" / "promptsource"
FILES = sorted(FOLDER.rglob("templates.yaml"))
pytestmark = pytest.mark.skipif(not FILES, reason=f"no PromptSource files in {FOLDER}")

# Columns whose values a source does not show: a pattern inside a text, lists that belong together,
# a code number.
TOKENS = {"tokens": ["a", "bad", "cold"], "ner_tags": [0, 1, 2]}
SENTENCES = {"original": "a long and winding sentence", "simplifications": ["a sentence", "a line"]}
EDITED = "the <boat/> sank"
COLUMNS_BY_PREFIX: dict[str, dict[str, Any]] = {
    "asset/": SENTENCES,
    "turk/": SENTENCES,
    "cbt/raw": {"title": "A_Writer___The_Long.Road.txt.out"},
    "conv_ai_3/generate_clarif_question": {"clarification_need": 4},
    "coqa/": {
        "story": "Ann fed the grey cat.",
        "answers": {"answer_start": [8], "answer_end": [20]},
    },
    "discofuse/": {"discourse_type": "PAIR_ANAPHORA"},
    "docred/": {
        "labels": {"head": [0], "tail": [1], "relation_text": ["mayor of"]},
        "vertexSet": [[{"name": "Ann", "type": "PER"}], [{"name": "Ulm", "type": "LOC"}]],
    },
    "e2e_nlg_cleaned/": {
        "meaning_representation": "name[Blue Fox], eatType[pub], food[soup], "
        "area[riverside], familyFriendly[yes], "
        "near[Hill Inn], priceRange[cheap], customer rating[low]"
    },
    "great_code/": {
        "source_tokens": [
            "def area(",
            "a",
            "#NEWLINE#",
            "#INDENT#",
            "return",
            "b",
            "#NEWLINE#",
            "#UNINDENT#",
        ],
        "repair_targets": [1],
        "has_bug": True,
        "error_location": 5,
    },
    "hellaswag/": {"endings": ["it ends", "it stops", "it goes on", "it sleeps"]},
    "humicroedit/": {"original": EDITED, "original1": EDITED, "original2": EDITED},
    "mdd/": {
        "dialogue_turns": {
            "speaker": list("abcdef"),
            "utterance": ["hi", "ho", "who?", "me", "why?", "so"],
        }
    },
    "ncbi_disease/": TOKENS,
    "nlu_evaluation_data/": {"scenario": "alarm"},
    "openai_humaneval/": {
        "test": "def check(f):\n    assert f(2) == 3, 'two'\n    assert f(4) == 5"
    },
    "piqa/": {"sol1": "Use soap", "sol2": "Use sand"},
    "selqa/": {"candidates": ["Yes.", " ", "In May."], "answers": [2]},
    "species_800/": TOKENS,
    "subjqa/": {"domain": "books"},
    "super_glue/copa": {"label": 1},
    "trec/fine_grained_DESC": {"coarse_label": 2, "fine_label": 25},
    "trec/fine_grained_ENTY": {"coarse_label": 1, "fine_label": 9},
    "trec/fine_grained_HUM": {"coarse_label": 3, "fine_label": 30},
    "trec/fine_grained_LOC": {"coarse_label": 4, "fine_label": 33},
    "trec/fine_grained_NUM": {"coarse_label": 5, "fine_label": 40},
    "tydiqa/secondary_task": {"id": "english-7"},
    "wiki_hop/masked/Indirect": {"question": "place_of_birth anna"},
}


@lru_cache(maxsize=1)
def templates() -> list[Template]:
    return [
        template for file in FILES for template in loads(file.read_text(encoding="utf-8")).templates
    ]


def rows_for(template: Template) -> list[dict[str, Any]]:
    rows = made_rows(template.jinja, template.answer_choices or "")
    for prefix, columns in COLUMNS_BY_PREFIX.items():
        if template.full_name.startswith(prefix):
            rows += [
                row | {name: value for name, value in columns.items() if name in row}
                for row in rows
            ]
    return rows


# ---- the oracle: jinja2 itself, with the three filters and the global the format names


@jinja2.pass_context
def draw(context: jinja2.runtime.Context, items: Any) -> Any:
    """Draw number i is the first 8 bytes of SHA-256(key, zero byte, i)."""
    items, key, counter = list(items), context["the key"], context["the counter"]
    digest = hashlib.sha256(f"{key}\0{counter['draws']}".encode()).digest()
    counter["draws"] += 1
    return items[int.from_bytes(digest[:8], "big") % len(items)]


def most_frequent(items: Any) -> Any:
    counts = Counter(items)
    return [item for item in counts if counts[item] == max(counts.values())] if items else None


@lru_cache(maxsize=1)
def plain_jinja() -> jinja2.Environment:
    environment = jinja2.Environment()
    environment.filters |= {"choice": draw, "random": draw, "most_frequent": most_frequent}
    environment.globals["zip"] = zip
    return environment


@lru_cache(maxsize=16)
def compiled(source: str) -> jinja2.Template:
    return plain_jinja().from_string(source)


def plain_parts(source: str, row: Mapping[str, Any], key: str) -> list[str]:
    text = compiled(source).render(
        {**copy.deepcopy(row), "the key": key, "the counter": {"draws": 0}}
    )
    return [part.strip() for part in text.split("|||")]


def plain_apply(template: Template, row: dict[str, Any], row_id: str, seed: int) -> list[str]:
    key = f"{seed}\x1f{template.id}\x1f{row_id}"
    choices = None
    if template.answer_choices is not None:
        choices = plain_parts(template.answer_choices, row, f"{key}\x1fchoices")
    return plain_parts(template.jinja, {**row, "answer_choices": choices}, key)


def test_all_files_are_byte_identical_after_load_and_dump() -> None:
    collections = {file: loads(file.read_bytes().decode()) for file in FILES}
    changed = [
        file
        for file, collection in collections.items()
        if dumps(collection).encode() != file.read_bytes()
    ]
    assert changed == []
    assert len(FILES) == 279
    assert sum(len(collection.templates) for collection in collections.values()) == 2085


def test_the_stray_key_of_six_templates_is_kept() -> None:
    extras = [template.extra for template in templates() if template.extra]
    assert [list(extra) for extra in extras] == [["task_template"]] * 6


def test_every_template_renders_as_plain_jinja_does() -> None:
    """On rows made from its variables; where we raise instead, plain jinja failed too or was
    silently wrong.
    """
    never_rendered, differing, raised = [], [], Counter[str]()
    for template in templates():
        rendered = False
        for number, row in enumerate(rows_for(template)):
            try:
                applied = template.apply(row, row_id=str(number), seed=5)
            except TemplateError as error:
                raised[why_raised(error, template, row, str(number))] += 1
                continue
            expected = plain_apply(template, row, str(number), seed=5)
            if len(expected) < 2:
                same = applied is None
            else:
                same = applied is not None and [applied.prompt, *applied.targets] == expected
            differing += [] if same else [template.full_name]
            rendered = rendered or applied is not None
        never_rendered += [] if rendered else [template.full_name]
    assert differing == []
    assert never_rendered == []
    assert set(raised) <= {
        "jinja fails too",
        "empty target",
        "position outside",
        "missing field",
        "None",
    }, raised


def why_raised(error: TemplateError, template: Template, row: dict[str, Any], row_id: str) -> str:
    reasons = {
        "the target is empty": "empty target",
        "the position": "position outside",
        "has no": "missing field",
    }
    for words, reason in reasons.items():
        if words in error.message:
            return reason
    try:
        plain_apply(template, row, row_id, seed=5)
    except Exception:
        return "jinja fails too"
    return error.message


@pytest.mark.parametrize(
    "spec", ["promptsource:ag_news/classify_question_first", "promptsource:glue/mrpc/want to know"]
)
def test_find_reads_data_set_subset_and_name(spec: str) -> None:
    assert find(spec, FOLDER).full_name == spec.removeprefix("promptsource:")


def test_find_takes_a_name_that_holds_slashes() -> None:
    assert find("anli/always/sometimes/never", FOLDER).name == "always/sometimes/never"
