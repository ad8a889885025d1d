"""The same defects for TRL's SFTTrainer, with its defaults: does it say anything?

    PYTHONPATH=PEERS python benchmarks/defect_kinds/peers.py FOLDER

The last line of stdout is JSON: for the name of each kind `noticed`, `handled` (the right thing is
trained without a word) or `not noticed`, and why. What counts as noticed is an exception, a warning
or a line of the log that is about the defect.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from defect_kinds import faults, models, training
from defect_kinds.job import Row, flip, good_rows
from tunesmith.models.load import resolve_model

BASE = resolve_model("built-in")
NOTICED, HANDLED, MISSED = "noticed", "handled", "not noticed"


@dataclass(frozen=True)
class Tried:
    """What SFTTrainer made of rows: its error if it raised one, all that it logged, and the trained
    positions of its first batches, decoded.
    """

    error: str
    log: str
    trained: str
    losses: tuple[float, ...]


def pairs(completion: Callable[[int, str], Any]) -> list[Row]:
    return [
        {"prompt": row["text"] + " Good or bad? ", "completion": completion(i, row["label"])}
        for i, row in enumerate(good_rows())
    ]


def sft(
    folder: Path,
    rows: list[Row],
    template: str = "",
    model: str = BASE,
    evaluated: list[Row] | None = None,
    resume: bool = False,
    **options: Any,
) -> Tried:
    """Two steps of SFTTrainer with its defaults."""
    import datasets
    import torch
    import transformers
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    held = io.StringIO()
    handler = logging.StreamHandler(held)
    logging.getLogger().addHandler(handler)
    transformers.utils.logging.enable_propagation()  # else their warnings go past the handler
    transformers.utils.logging.set_verbosity_warning()  # ours sets it to errors
    datasets.logging.enable_propagation()
    error, trained, losses = "", "", ()
    try:
        with contextlib.redirect_stdout(held), contextlib.redirect_stderr(held):
            warnings.simplefilter("always")
            tokenizer = AutoTokenizer.from_pretrained(model)
            if template:
                tokenizer.chat_template = template
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
            settings: dict[str, Any] = {
                "output_dir": str(folder), "max_steps": 2, "use_cpu": True, "report_to": [],
                "logging_steps": 1, "save_steps": 1, "bf16": False, **options,
            }  # fmt: skip
            trainer = SFTTrainer(
                loaded, SFTConfig(**settings), train_dataset=Dataset.from_list(rows),
                eval_dataset=Dataset.from_list(evaluated) if evaluated else None,
                processing_class=tokenizer,
            )  # fmt: skip
            trained = "".join(_trained(trainer, tokenizer))
            trainer.train(resume_from_checkpoint=True if resume else None)
            losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    except Exception as found:
        error = f"{type(found).__name__}: {' '.join(str(found).split())[:160]}"
    finally:
        logging.getLogger().removeHandler(handler)
    return Tried(error, held.getvalue(), trained, losses)


def _trained(trainer: Any, tokenizer: Any) -> list[str]:
    """The trained positions of each row of all batches, with a bar after each."""
    texts = []
    for batch in trainer.get_train_dataloader():
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            kept = [int(i) for i, label in zip(ids, labels, strict=True) if label != -100]
            texts.append(tokenizer.decode(kept) + "|")
    return texts


def shown(tried: Tried) -> str:
    return ", ".join(f"{loss:.3g}" for loss in tried.losses)


def about(tried: Tried, words: str) -> str:
    """`noticed: ...` where an error or a line of the log is about the defect, else empty."""
    if tried.error:
        return f"{NOTICED}: {tried.error}"
    # the numbers of a step and progress bars are there whatever the rows are
    lines = [x for x in re.split(r"[\r\n]+", tried.log) if not re.match(r"\{|.*\d%\|", x)]
    line = next((line for line in lines if re.search(words, line, re.I)), "")
    return f"{NOTICED}: {line.strip()[:160]}" if line else ""


def weight_zero(folder: Path) -> str:
    tried = sft(folder, training.conversations(training.bad_answer_first), training.CHATML)
    if found := about(tried, "weight"):
        return found
    return f"{MISSED}: trains WRONG" if "WRONG" in tried.trained else HANDLED


def prompts_in_the_loss(folder: Path) -> str:
    tried = sft(folder, training.conversations(training.asked_and_answered), training.CHATML)
    if found := about(tried, "assistant_only_loss"):
        return found
    return f"{MISSED}: trains the question" if "Order" in tried.trained else HANDLED


def no_stop_token(folder: Path) -> str:
    tried = sft(folder, training.conversations(training.asked_and_answered), training.NO_STOP)
    if found := about(tried, "eos|stop token|end token"):
        return found
    return HANDLED if "<|eos|>" in tried.trained else f"{MISSED}: trains no stop token"


def cut_answers(folder: Path) -> str:
    rows = pairs(lambda i, x: f"{x} " * (400 if i % 5 == 0 else 4) + "END")
    tried = sft(folder, rows, max_length=256)
    if found := about(tried, "truncat|max_length|too long|longer than"):
        return found
    whole = tried.trained.count("END")
    return HANDLED if whole == len(rows) else f"{MISSED}: {len(rows) - whole} answers are cut"


def answers(value: Any, words: str) -> Callable[[Path], str]:
    def attempt(folder: Path) -> str:
        rows = pairs(lambda i, x: value if i % 5 == 0 else x)
        tried = sft(folder, rows)
        if found := about(tried, words):
            return found
        empty = len(re.findall(r"(?:^|\|)\s*(?:<\|eos\|>)?\s*(?=\|)", tried.trained))
        return f"{MISSED}: trains an end without an answer ({empty} rows)" if empty else HANDLED

    return attempt


def repeated_rows(folder: Path) -> str:
    rows = pairs(lambda _, x: x)
    tried = sft(folder, rows * 3)
    found = about(tried, "duplicate")
    return found or f"{MISSED}: trains each row three times"


def test_in_train(folder: Path) -> str:
    rows = pairs(lambda _, x: x)
    tried = sft(folder, rows, evaluated=rows[:12], eval_strategy="steps", eval_steps=1)
    found = about(tried, "duplicate|overlap|leak")
    return found or f"{MISSED}: trains and evaluates the same rows"


def damaged_checkpoint(change: Callable[[Path], object]) -> Callable[[Path], str]:
    def attempt(folder: Path) -> str:
        rows = pairs(lambda _, x: x)
        sft(folder, rows)
        newest = folder / "checkpoint-1"
        shutil.rmtree(folder / "checkpoint-2", ignore_errors=True)
        change(newest / "model.safetensors")
        tried = sft(folder, rows, resume=True)
        found = about(tried, "damaged|checksum|corrupt|hash")
        return found or f"{MISSED}: goes on with other weights"

    return attempt


def changed_rows(folder: Path) -> str:
    rows = pairs(lambda _, x: x)
    sft(folder, rows)
    shutil.rmtree(folder / "checkpoint-2", ignore_errors=True)
    tried = sft(folder, [*rows, *rows[:1]], resume=True)
    found = about(tried, "dataset.*(changed|differ)|rows.*changed")
    return found or f"{MISSED}: goes on with other rows"


def rate(value: float) -> Callable[[Path], str]:
    def attempt(folder: Path) -> str:
        tried = sft(folder, pairs(lambda _, x: x), learning_rate=value, max_steps=4)
        found = about(tried, "learning.rate|not finite|nan loss")
        return found or f"{MISSED}: losses {shown(tried)}"

    return attempt


def nan_weights(folder: Path) -> str:
    model = models.copy_base(folder)
    models.with_a_nan(model)
    tried = sft(folder / "run", pairs(lambda _, x: x), model=str(model))
    found = about(tried, r"\bnan\b|not finite")
    return found or f"{MISSED} (but for grad_norm: nan): losses {shown(tried)}"


def missing_tensor(folder: Path) -> str:
    model = models.copy_base(folder)
    models.without_a_tensor(model)
    tried = sft(folder / "run", pairs(lambda _, x: x), model=str(model))
    return about(tried, "missing|newly initialized") or f"{MISSED}: trains random weights"


def tool_calls(folder: Path) -> str:
    tried = sft(folder, training.conversations(training.tool_call), training.CHATML)
    found = about(tried, "tool")
    return found or (HANDLED if "stock" in tried.trained else f"{MISSED}: trains empty answers")


def spellings(folder: Path) -> str:
    tried = sft(folder, pairs(lambda i, x: x.title() if i % 5 == 0 else x))
    return about(tried, "spell|case") or f"{MISSED}: trains both"


NAMES: dict[str, Callable[[Path], str]] = {
    "a bad answer of weight 0 in a conversation": weight_zero,
    "prompts in the loss: only the label and its end are trained": prompts_in_the_loss,
    "a chat template without a stop token": no_stop_token,
    "answers that are longer than max_length": cut_answers,
    "empty answers, one in five": answers("", "empty"),
    "answers of blanks, one in five": answers("  ", "empty|blank"),
    "missing answers (null), one in five": answers(None, "None|null|missing"),
    "tool calls, and a chat template that does not write them": tool_calls,
    "every row three times": repeated_rows,
    "the test file's rows in the training file": test_in_train,
    "a label in two cases: Good, good": spellings,
    "the best checkpoint is damaged while training, then train": damaged_checkpoint(flip),
    "the newest checkpoint is cut off, then train": damaged_checkpoint(faults.cut),
    "a row is added between prepare and train": changed_rows,
    "recipe: train.learning_rate=.inf": rate(float("inf")),
    "a loss that is not finite: a rate of 10, unclipped": rate(10.0),
    "a NaN in the base model's weights": nan_weights,
    "a tensor is missing": missing_tensor,
}


def main(folder: Path) -> None:
    found = {}
    for number, (name, attempt) in enumerate(NAMES.items()):
        place = folder / f"{number}"
        place.mkdir(parents=True)
        found[name] = attempt(place)
        print(f"{name}: {found[name]}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
