"""Write the rows of the examples whose data sets are not ready to use, one JSON object per line.

    python tools/example_rows.py ../shared/data runs/rows

`snips_train.jsonl`, `snips_test.jsonl`: an utterance, and its slots as JSON. `induction.jsonl`:
tasks of instruction_induction, each input under one of the instructions that people wrote for the
task. `banking77_train.jsonl`, `banking77_test.jsonl`, `customer_reviews.jsonl`: tables that are
sorted by label, shuffled.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

ROWS_PER_INTENT = {"train": 200, "validate": 40}
ROWS_PER_TASK = 60  # of instruction_induction: a mixture in which no task dominates


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


def table(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Shuffled, so that the first rows (`data.max_rows`) are of all kinds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    random.Random(0).shuffle(lines)
    path.write_text("".join(lines), encoding="utf-8")


def write_all(data: Path, folder: Path) -> None:
    write(folder / "snips_train.jsonl", snips(data / "snips", "train"))
    write(folder / "snips_test.jsonl", snips(data / "snips", "validate"))
    write(folder / "induction.jsonl", induction(data / "instruction_induction"))
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
