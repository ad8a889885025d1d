"""Write the rows of the examples whose data sets are not ready to use, one JSON object per line.

    python tools/example_rows.py ../shared/data runs/rows

`snips_train.jsonl`, `snips_test.jsonl`: an utterance, and its slots as JSON. `induction.jsonl`:
tasks of instruction_induction, each input under one of the instructions that people wrote for the
task. `induction/TASK.jsonl`: the same task by task, all 24, with all answers that count as right.
`banking77_train.jsonl`, `banking77_test.jsonl`, `customer_reviews.jsonl`: tables that are sorted by
label, shuffled.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROWS_PER_INTENT = {"train": 200, "validate": 40}
ROWS_PER_TASK = 60  # of instruction_induction: a mixture in which no task dominates
OTHER_ANSWERS = ("other_rhymes", "possible_translations", "possible_outputs", "all_common_concepts")


def snips(folder: Path, part: str) -> Iterator[dict[str, str]]:
    for path in sorted(folder.glob(f"{part}_*.json")):
        [(intent, utterances)] = json.loads(
            path.read_text(encoding="utf-8", errors="replace")
        ).items()
        for utterance in random.Random(0).sample(utterances, ROWS_PER_INTENT[part]):
            slots: dict[str, str] = {"intent": intent}
            slots |= {
                piece["entity"]: piece["text"].strip()
                for piece in utterance["data"]
                if "entity" in piece
            }
            text = "".join(piece["text"] for piece in utterance["data"]).strip()
            if "\ufffd" not in text:
                yield {"utterance": text, "slots": json.dumps(slots, ensure_ascii=False)}


def induction(folder: Path) -> Iterator[dict[str, str]]:
    rng = random.Random(0)
    for path in sorted((folder / "raw" / "induce").glob("*.json")):
        examples = list(json.loads(path.read_text(encoding="utf-8"))["examples"].values())
        if not {"input", "output"} <= set(examples[0]):  # two tasks, of 17 and 26 rows
            continue
        instructions = json.loads((folder / "annotations" / path.name).read_text(encoding="utf-8"))[
            "annotations"
        ]
        for example in rng.sample(examples, min(ROWS_PER_TASK, len(examples))):
            instruction = rng.choice(instructions).strip()
            prompt = f"{instruction}\n\nInput: {example['input']}"
            yield {"task": path.stem, "prompt": prompt, "completion": str(example["output"])}


def induction_tasks(folder: Path) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """(task, rows) with the columns `question` and `target`, a list with the data set's own answer
    first. The rows are of both of its parts, since three tasks have few.
    """
    for path in sorted((folder / "raw" / "induce").glob("*.json")):
        rng = random.Random(path.stem)
        parts = (path, folder / "raw" / "execute" / path.name)
        examples = [
            example
            for part in parts
            for example in json.loads(part.read_text(encoding="utf-8"))["examples"].values()
        ]
        written = json.loads((folder / "annotations" / path.name).read_text(encoding="utf-8"))
        rows = []
        for example in rng.sample(examples, min(ROWS_PER_TASK, len(examples))):
            text, answers = question_and_answers(example, rng)
            instruction = rng.choice(written["annotations"]).strip()
            rows.append({"question": f"{instruction}\n\nInput: {text}", "target": answers})
        yield path.stem, rows


def question_and_answers(example: dict[str, Any], rng: random.Random) -> tuple[str, list[str]]:
    """As the data set's own prompts have it for the two tasks without `input` and `output`."""
    if "concept" in example:
        text, answer = ", ".join(example["items"]), example["concept"]
    elif "cause" in example:
        first, second = rng.sample([example["cause"], example["effect"]], 2)
        text, answer = f"Sentence 1: {first} Sentence 2: {second}", example["cause"]
    else:
        text, answer = example["input"], example["output"]
    others = [other for name in OTHER_ANSWERS for other in example.get(name, ())]
    if "other_rhymes" in example:  # a word is no rhyme of itself
        others = [other for other in others if other != text]
    return text, list(dict.fromkeys([str(answer), *others]))


def table(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def write(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Shuffled, so that the first rows (`data.max_rows`) are of all kinds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    random.Random(0).shuffle(lines)
    path.write_text("".join(lines), encoding="utf-8")


def write_all(data: Path, folder: Path) -> None:
    write(folder / "snips_train.jsonl", snips(data / "snips", "train"))
    write(folder / "snips_test.jsonl", snips(data / "snips", "validate"))
    write(folder / "induction.jsonl", induction(data / "instruction_induction"))
    for task, rows in induction_tasks(data / "instruction_induction"):
        write(folder / "induction" / f"{task}.jsonl", rows)
    write(folder / "banking77_train.jsonl", table(data / "banking77" / "train.csv"))
    write(folder / "banking77_test.jsonl", table(data / "banking77" / "test.csv"))
    write(folder / "customer_reviews.jsonl", table(data / "reviews" / "customer_reviews.csv"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    write_all(args.data, args.folder)
