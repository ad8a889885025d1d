"""Tables on which `tunesmith init` is tried, and what is right for each: made-up awkward ones, and
the real data sets beside this checkout.

What is right is written by hand, in the words of `tunesmith.init.proposal.in_words`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

THINGS = ("lamp", "kettle", "chair", "phone", "mug", "desk", "tent", "bike", "clock", "radio")
SIGNS = ("red", "old", "tiny", "loud", "bright", "cheap", "heavy")
PLACES = ("hall", "yard", "attic", "shop", "garden", "office", "cellar", "street", "harbour")
ROWS = 120


def sentence(i: int) -> str:
    """The i-th of 630 short sentences that all differ."""
    thing, sign = THINGS[i % 10], SIGNS[i // 10 % 7]
    return f"the {sign} {thing} stands in the {PLACES[i // 70 % 9]} near gate {i} here"


def story(i: int, sentences: int) -> str:
    """A longer text of that many sentences."""
    return ". ".join(sentence(7 * i + k) for k in range(sentences)) + "."


@dataclass(frozen=True)
class Case:
    """`files` are contents by name; the first is the one that `init` is given, or the folder of
    them all where `is_folder`. `warns` is a part of a warning that has to come.
    """

    name: str
    what: str
    files: Mapping[str, str]
    right: str
    warns: str = ""
    is_folder: bool = False


def write_case(case: Case, folder: Path) -> Path:
    """The case's files in a folder of its own; what `init` is given."""
    own = folder / case.name
    own.mkdir(parents=True)
    for name, text in case.files.items():
        (own / name).write_text(text, encoding="utf-8", newline="")
    return own if case.is_folder else own / next(iter(case.files))


Row = Mapping[str, Any]
Make = Callable[[int], Row]


def as_csv(make: Make, rows: int = ROWS) -> str:
    made = [make(i) for i in range(rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(made[0]))
    writer.writeheader()
    writer.writerows(made)
    return text.getvalue()


def as_jsonl(make: Make, rows: int = ROWS) -> str:
    return "".join(json.dumps(make(i), ensure_ascii=False) + "\n" for i in range(rows))


def labels_of(i: int) -> list[str]:
    """Any of four labels, also none."""
    return [
        name for bit, name in enumerate(("billing", "refund", "delay", "praise")) if i >> bit & 1
    ]


def cases() -> Iterator[Case]:
    """The awkward tables."""
    yield Case(
        "integer_labels",
        "labels 0, 1, 2, whose names nobody tells",
        {"notes.csv": as_csv(lambda i: {"text": sentence(i), "label": i % 3})},
        "classify: text=text, label=label; accuracy; drawn",
    )
    yield Case(
        "numbers_with_names",
        "a number and a name for each class",
        {
            "mails.csv": as_csv(
                lambda i: {
                    "body": sentence(i),
                    "label": i % 3,
                    "label_text": ("work", "home", "spam")[i % 3],
                }
            )
        },
        "classify: text=body, label=label_text; accuracy; drawn",
    )
    yield Case(
        "flag_in_the_header",
        "a column is_spam of 0 and 1: its header says what they mean",
        {"mails.csv": as_csv(lambda i: {"message": sentence(i), "is_spam": int(i % 3 == 0)})},
        "classify: text=message, label=is_spam; labels 0=not spam, 1=spam; accuracy; drawn",
    )
    yield Case(
        "names_in_the_header",
        "a header that explains its numbers, and has blanks",
        {
            "survey.csv": as_csv(
                lambda i: {"Free text ": sentence(i), "mood (0=bad, 1=fair, 2=good)": i % 3}
            )
        },
        "classify: text=Free text, label=mood (0=bad, 1=fair, 2=good); "
        "labels 0=bad, 1=fair, 2=good; accuracy; drawn",
    )
    yield Case(
        "labels_with_semicolons",
        "any number of labels in a cell, between semicolons",
        {
            "tickets.csv": as_csv(
                lambda i: {"ticket": sentence(i), "tags": ";".join(labels_of(i % 15 + 1))}
            )
        },
        "multi_label_classify: text=ticket, labels=tags; between ';'; multilabel_micro_f1; drawn",
    )
    yield Case(
        "labels_in_lists",
        "lists of labels in JSON, some empty",
        {"notes.jsonl": as_jsonl(lambda i: {"text": sentence(i), "topics": labels_of(i % 16)})},
        "multi_label_classify: text=text, labels=topics; multilabel_micro_f1; drawn",
    )
    yield Case(
        "numeric_scores",
        "scores with decimals",
        {"essays.csv": as_csv(lambda i: {"essay": story(i, 2), "score": i % 37 / 10})},
        "score: text=essay, number=score; mae; drawn",
    )
    yield Case(
        "stars",
        "whole stars from 1 to 5: an order, and no classes",
        {"reviews.csv": as_csv(lambda i: {"review": sentence(i), "stars": i % 5 + 1})},
        "score: text=review, number=stars; mae; drawn",
    )
    yield Case(
        "ticket_table",
        "an id, a date, an author with several rows, an empty and a constant column",
        {
            "tickets.csv": as_csv(
                lambda i: {
                    "ticket_id": f"T-{1000 + i}",
                    "created": f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}",
                    "customer_id": f"C{i % 23}",
                    "description": sentence(i),
                    "remark": "",
                    "source": "web",
                    "team": ("billing", "delivery", "repair")[i % 3],
                }
            )
        },
        "classify: text=description, label=team; id ticket_id; accuracy; group customer_id",
    )
    yield Case(
        "dated_rows",
        "rows with the day on which they were written",
        {
            "log.csv": as_csv(
                lambda i: {
                    "created_at": f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}T10:00:00",
                    "born": f"19{i % 60 + 20}-01-01",
                    "entry": sentence(i),
                    "severity": ("low", "high")[i % 2],
                }
            )
        },
        "classify: text=entry, label=severity; accuracy; time created_at",
    )
    yield Case(
        "free_answers",
        "questions with answers of a sentence",
        {"faq.csv": as_csv(lambda i: {"question": f"Where is thing {i}?", "answer": sentence(i)})},
        "answer: question=question, target=answer; exact_match; drawn",
    )
    yield Case(
        "worked_answers",
        "answers that end with the number that counts",
        {
            "sums.jsonl": as_jsonl(
                lambda i: {
                    "question": f"{sentence(i)}, what is {i} and {i}?",
                    "answer": f"we add {i} to {i}, which gives the result\n#### {2 * i}",
                }
            )
        },
        "answer: question=question, target=answer; number; drawn",
    )
    yield Case(
        "long_documents",
        "documents that are longer than the model reads, with summaries",
        {
            "reports.jsonl": as_jsonl(
                lambda i: {
                    "doc_name": f"r{i}.txt",
                    "report": story(i, 85),
                    "summary": f"from gate {7 * i} on there are many things of every kind",
                },
                60,
            )
        },
        "summarise: text=report, target=summary; id doc_name; rougeL; drawn",
        "60 rows are few",
    )
    yield Case(
        "passages",
        "several questions to a passage, each with an answer from it",
        {
            "reading.jsonl": as_jsonl(
                lambda i: {
                    "title": f"part {i // 4}",
                    "context": story(i // 4, 6),
                    "question": f"What stands near gate {7 * (i // 4) + i % 4}?",
                    "answer": THINGS[(7 * (i // 4) + i % 4) % 10],
                },
            )
        },
        "answer_from_context: context=context, question=question, target=answer; squad_em; "
        "group context",
    )
    yield Case(
        "pairs",
        "two texts and how they relate",
        {
            "pairs.csv": as_csv(
                lambda i: {
                    "sentence1": sentence(i),
                    "sentence2": sentence(i + 1),
                    "gold": ("same", "other")[i % 2],
                }
            )
        },
        "pair_classify: text=sentence1, text_pair=sentence2, label=gold; accuracy; drawn",
    )
    yield Case(
        "rated_pairs",
        "two texts and a score for the two together",
        {
            "pairs.csv": as_csv(
                lambda i: {
                    "sentence1": sentence(i),
                    "sentence2": sentence(i + 1),
                    "similarity": i % 51 / 10,
                }
            )
        },
        "score: text=sentence1, number=similarity; with sentence2; mae; drawn",
    )
    yield Case(
        "instructions",
        "instructions, most of them without a context",
        {
            "dolly.jsonl": as_jsonl(
                lambda i: {
                    "instruction": f"Say where thing {i} is",
                    "context": story(i, 2) if i % 4 == 0 else "",
                    "response": f"it is number {i} in the row",
                    "category": ("open", "closed")[i % 2],
                }
            )
        },
        "free: target=response; with instruction, context; rougeL; drawn",
    )
    yield Case(
        "facts_in",
        "lists of facts, and a text that says them",
        {
            "facts.jsonl": as_jsonl(
                lambda i: {
                    "triples": [f"{THINGS[i % 10]}, place, hall {i}", f"number, is, {i}"],
                    "text": sentence(i),
                }
            )
        },
        "data_to_text: data=triples, target=text; bleu; drawn",
    )
    yield Case(
        "own_choices",
        "each row with its own possible answers",
        {
            "quiz.jsonl": as_jsonl(
                lambda i: {
                    "question": f"What stands near gate {i}?",
                    "choices": [THINGS[i % 10], THINGS[(i + 3) % 10], THINGS[(i + 5) % 10]],
                    "answer": "A",
                }
            )
        },
        "multiple_choice: question=question, choices=choices, label=answer; accuracy; drawn",
    )
    yield Case(
        "files_of_splits",
        "a file whose test and validation rows stand beside it",
        {
            "shop_train.csv": as_csv(
                lambda i: {"text": sentence(i), "label": ("good", "bad")[i % 2]}
            ),
            "shop_test.csv": as_csv(
                lambda i: {"text": sentence(i + 300), "label": ("good", "bad")[i % 2]}, 40
            ),
            "shop_dev.csv": as_csv(
                lambda i: {"text": sentence(i + 400), "label": ("good", "bad")[i % 2]}, 40
            ),
            "other_test.csv": as_csv(lambda i: {"text": sentence(i), "label": "good"}, 5),
        },
        "classify: text=text, label=label; accuracy; validation shop_dev.csv; test shop_test.csv",
    )
    yield Case(
        "folder_of_splits",
        "a folder with files for training and test",
        {
            "train.jsonl": as_jsonl(
                lambda i: {"text": sentence(i), "label": ("good", "bad")[i % 2]}
            ),
            "test.jsonl": as_jsonl(
                lambda i: {"text": sentence(i + 300), "label": ("good", "bad")[i % 2]}, 40
            ),
        },
        "classify: text=text, label=label; accuracy; files train, test",
        is_folder=True,
    )
    yield Case(
        "split_column",
        "a column that names each row's split",
        {
            "all.csv": as_csv(
                lambda i: {
                    "text": sentence(i),
                    "label": ("good", "bad", "fair")[i % 3],
                    "fold": ("train", "train", "train", "dev", "test")[i % 5],
                }
            )
        },
        "classify: text=text, label=label; accuracy; column fold",
    )
    yield Case(
        "true_and_false",
        "truth values as labels, most of them false",
        {"posts.jsonl": as_jsonl(lambda i: {"post": sentence(i), "toxic": i % 8 == 0})},
        "classify: text=post, label=toxic; labels false=not toxic, true=toxic; macro_f1; drawn",
    )
    yield Case(
        "records_out",
        "JSON objects to be read out of a text",
        {
            "orders.jsonl": as_jsonl(
                lambda i: {
                    "request": f"please send {i % 9 + 1} {THINGS[i % 10]}s, order {i}",
                    "order": {"thing": THINGS[i % 10], "number": i % 9 + 1},
                }
            )
        },
        "extract: text=request, target=order; json_f1; drawn",
    )
    yield Case(
        "two_languages",
        "columns that are called by languages",
        {"both.csv": as_csv(lambda i: {"en": sentence(i), "de": f"das Ding {i} im Hof"})},
        "translate: text=en, target=de; chrf; drawn",
    )
    yield Case(
        "tagged_words",
        "a tag for each word",
        {
            "names.jsonl": as_jsonl(
                lambda i: {
                    "tokens": ["Ann", "saw", *["Bob"][: i % 2], THINGS[i % 10], str(i)],
                    "ner_tags": ["B-PER", "O", *["B-PER"][: i % 2], "O", "O"],
                }
            )
        },
        "tag: tokens=tokens, tags=ner_tags; entity_f1; drawn",
    )
    yield Case(
        "other_script",
        "summaries in Chinese, which have no blanks between words",
        {
            "zh.jsonl": as_jsonl(
                lambda i: {
                    "text": "".join(chr(0x4E00 + (i * 37 + k * 11) % 900) for k in range(60)),
                    "summary": "".join(chr(0x4E00 + (i * 37 + k * 11) % 900) for k in range(12)),
                }
            )
        },
        "summarise: text=text, target=summary; chrf; drawn",
    )
    yield Case(
        "messages",
        "conversations",
        {
            "chats.jsonl": as_jsonl(
                lambda i: {
                    "messages": [
                        {"role": "user", "content": f"Where is thing {i}?"},
                        {"role": "assistant", "content": sentence(i)},
                    ]
                }
            )
        },
        "no task: messages; drawn",
    )
    yield Case(
        "alpaca",
        "Alpaca's columns, the input sometimes empty",
        {
            "alpaca.jsonl": as_jsonl(
                lambda i: {
                    "instruction": f"Say where thing {i} is",
                    "input": "" if i % 2 else "in the house",
                    "output": sentence(i),
                }
            )
        },
        "no task: alpaca; drawn",
    )
    yield Case(
        "sharegpt",
        "ShareGPT's conversations",
        {
            "share.jsonl": as_jsonl(
                lambda i: {
                    "conversations": [
                        {"from": "human", "value": f"Where is thing {i}?"},
                        {"from": "gpt", "value": sentence(i)},
                    ]
                }
            )
        },
        "no task: sharegpt; drawn",
    )
    yield Case(
        "prompt_completion",
        "prompts with their completions",
        {"pairs.csv": as_csv(lambda i: {"prompt": f"Where is {i}?", "completion": sentence(i)})},
        "no task: prompt_completion; drawn",
    )


def hopeless() -> Iterator[Case]:
    """Tables of which no model can learn: what counts is the warning."""
    yield Case(
        "id_as_label",
        "a label that differs in every row",
        {"notes.csv": as_csv(lambda i: {"text": sentence(i), "label": f"N-{i}"})},
        "classify: text=text, label=label; accuracy; drawn",
        "like an id",
    )
    yield Case(
        "twelve_rows",
        "twelve rows",
        {"notes.csv": as_csv(lambda i: {"text": sentence(i), "label": ("a", "b")[i % 2]}, 12)},
        "classify: text=text, label=label; accuracy; drawn",
        "12 rows: no model can learn",
    )
    yield Case(
        "one_answer",
        "the same label in every row",
        {"notes.csv": as_csv(lambda i: {"text": sentence(i), "label": "good"})},
        "classify: text=text, label=label; macro_f1; drawn",
        "the same in every row",
    )
    yield Case(
        "column_a_label",
        "a column of zeros and ones for each label",
        {
            "notes.csv": as_csv(
                lambda i: {
                    "text": sentence(i),
                    "billing": i & 1,
                    "refund": i >> 1 & 1,
                    "delay": i >> 2 & 1,
                }
            )
        },
        "classify: text=text, label=delay; labels 0=not delay, 1=delay; accuracy; drawn",
        "one label each",
    )
    yield Case(
        "decimal_commas",
        "scores with a decimal comma",
        {"notes.csv": as_csv(lambda i: {"text": sentence(i), "score": f"{i % 40},{i % 9 + 1}"})},
        "free: text=text, target=score; exact_match; drawn",
        "decimals with a point",
    )


INDUCTION: dict[str, str] = {
    "active_to_passive": "rewrite: text=input, target=output; rougeL; drawn",
    "antonyms": "free: text=input, target=output; exact_match; drawn",
    "cause_and_effect": "free: text=cause, target=effect; rougeL; drawn",
    "common_concept": "free: text=items, target=concept; rougeL; drawn",
    "diff": "free: text=input, target=output; exact_match; drawn",
    "first_word_letter": "free: text=input, target=output; exact_match; drawn",
    "informal_to_formal": "rewrite: text=input, target=output; rougeL; drawn",
    "larger_animal": "free: text=input, target=output; exact_match; drawn",
    "letters_list": "free: text=input, target=output; exact_match; drawn",
    "negation": "rewrite: text=input, target=output; id orig_id; rougeL; drawn",
    "num_to_verbal": "free: text=input, target=output; exact_match; drawn",
    "orthography_starts_with": "free: text=input, target=output; exact_match; drawn",
    "rhymes": "free: text=input, target=output; exact_match; group rhyme_group",
    "second_word_letter": "free: text=input, target=output; exact_match; drawn",
    "sentence_similarity": "classify: text=input, label=output; accuracy; drawn",
    "sentiment": "classify: text=input, label=output; accuracy; drawn",
    "singular_to_plural": "free: text=input, target=output; exact_match; drawn",
    "sum": "free: text=input, target=output; exact_match; drawn",
    "synonyms": "free: text=input, target=output; exact_match; drawn",
    "taxonomy_animal": "keywords: text=input, target=output; token_f1; drawn",
    "translation_en-de": "translate: text=input, target=output; chrf; drawn",
    "translation_en-es": "translate: text=input, target=output; chrf; drawn",
    "translation_en-fr": "translate: text=input, target=output; chrf; drawn",
    "word_in_context": "classify: text=input, label=output; accuracy; drawn",
}

SHARED: dict[str, str] = {
    "reviews/customer_reviews.csv": "classify: text=review, label=sentiment; accuracy; drawn",
    "reviews/movie_sentences.csv": "classify: text=text, label=label; accuracy; drawn",
    "trec/train.csv": "classify: text=question, label=type; accuracy; test test.csv",
    "trec": "classify: text=question, label=type; accuracy; files train, test",
    "banking77/train.csv": "classify: text=text, label=category; accuracy; test test.csv",
    "dialogsum/dev.jsonl": "summarise: text=dialogue, target=summary; id fname; rougeL; drawn",
    "gsm8k/train.jsonl": "answer: question=question, target=answer; number; test test.jsonl",
    "mts_dialog/train.csv": "summarise: text=dialogue, target=section_text; with section_header; "
    "id ID; rougeL; validation validation.csv; test test.csv",
    **{
        f"snips/train_{intent}.json": "extract: with data; json_f1; "
        f"validation validate_{intent}.json"
        for intent in (
            "AddToPlaylist",
            "BookRestaurant",
            "GetWeather",
            "RateBook",
            "SearchCreativeWork",
            "SearchScreeningEvent",
        )
    },
    **{f"instruction_induction/raw/induce/{name}.json": right for name, right in INDUCTION.items()},
}
"""What is right for the data sets of shared/data, by path."""

REFUSED: dict[str, str] = {
    "snips/train_PlayMusic.json": "not utf-8",
    "instruction_induction/annotations/antonyms.json": "no column here can be the answer",
}
"""Files of shared/data that give no recipe, and a part of the error that says why."""
