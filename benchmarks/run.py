"""The whole job, from rows to a verdict, beside the same job put together by hand: TRL's
SFTTrainer, transformers' `generate`, scikit-learn and rouge-score.

    pip install trl==1.16.0
    python benchmarks/run.py runs/trec --steps 20 --answers 64

The folder is a finished run of tunesmith; its stages' seconds are in `seconds.json`
(tools/run_examples.py writes it), else those that the run measured itself. By hand, the same
prepared rows, base model, number format, batch size and epochs: training, a validation of the same
rows after each epoch, the answers of base, few-shot base and tuned model to the same test prompts,
the linear model, and the same metrics. The slow parts are measured on `--steps` optimiser steps and
`--answers` answers, and counted up to the whole; `--steps 0 --answers 0` does all of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tunesmith import stages
from tunesmith.data.store import read_examples
from tunesmith.evaluate.baselines import linear_predictions
from tunesmith.evaluate.few_shot import few_shot_exemplars, with_exemplars
from tunesmith.evaluate.metrics import score_predictions
from tunesmith.models.load import fit_embeddings, load_model
from tunesmith.records import Example, Prediction
from tunesmith.run_files import TrainingFacts, read_manifest, read_record
from tunesmith.rundir import RunDir, read_json
from tunesmith.train.packing.plan import TrainingData

BATCH = 8  # of transformers' generate on a CPU; larger batches were not faster


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def train_by_hand(model: Any, data: TrainingData, recipe: Any, dtype: str, steps: int) -> float:
    """Seconds of all epochs with TRL's trainer, from those of `steps` steps (0: all of them)."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    records = []
    for row in range(len(data)):
        ids, n = data.row(row).tolist(), int(data.num_prompt_tokens[row])
        records.append({"input_ids": ids, "labels": [-100] * n + ids[n:]})
    batch_size = recipe.train.train_batch_size
    whole = -(-len(records) // batch_size) * recipe.train.num_train_epochs
    settings = SFTConfig(
        output_dir="runs/by_hand",
        per_device_train_batch_size=batch_size,
        num_train_epochs=recipe.train.num_train_epochs,
        max_steps=steps or -1,
        max_length=None,
        bf16=dtype == "bfloat16",
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(model=model, args=settings, train_dataset=Dataset.from_list(records))
    seconds, _ = timed(trainer.train)
    return seconds * whole / (steps or whole)


def answer_by_hand(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, answers: int
) -> tuple[float, list[str]]:
    """Seconds for all prompts with `generate`, from those of `answers` of them (0: all); and its
    texts.
    """
    step = max(1, len(prompts) // answers) if answers else 1
    chosen = sorted(prompts[::step], key=len)
    tokenizer.padding_side = "left"
    texts: list[str] = []

    def work() -> None:
        for start in range(0, len(chosen), BATCH):
            batch = tokenizer.pad({"input_ids": chosen[start : start + BATCH]}, return_tensors="pt")
            with torch.no_grad():
                whole = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
            texts.extend(
                tokenizer.batch_decode(
                    whole[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
                )
            )

    seconds, _ = timed(work)
    return seconds * len(prompts) / len(chosen), texts


def by_hand(run: RunDir, steps: int, answers: int) -> dict[str, float]:
    """Seconds of each part."""
    recipe, task = stages.common.run_recipe(run), read_manifest(run).task
    chat, dtype = (
        stages.common.run_chat(run, recipe),
        read_record(run.training, TrainingFacts).dtype,
    )
    train, test = read_examples(run.examples("train")), read_examples(run.examples("test"))
    validation = read_examples(run.examples("validation"))[
        : recipe.evaluation.num_validation_examples
    ]
    base = load_model(recipe.model)
    fit_embeddings(base, chat.tokenizer)
    training = train_by_hand(base, stages.common.training_data(run, "train"), recipe, dtype, steps)
    model = base.to(getattr(torch, dtype)).eval()
    decoding = stages.common.decoding(run, recipe, chat, model, train)
    exemplars = few_shot_exemplars(train, recipe.evaluation.few_shot, recipe.data.split.seed)
    asked: dict[str, Sequence[Example]] = {
        "validation": validation,
        "base": test,
        "few-shot base": with_exemplars(test, exemplars, chat, model, decoding)[0],
        "tuned": test,
    }
    found = {"training": training}
    for name, examples in asked.items():
        prompts = chat.encode([text for text in chat.prompts(examples) if isinstance(text, str)])
        seconds, texts = answer_by_hand(
            model, chat.tokenizer, prompts, decoding.max_new_tokens, answers
        )
        found[name] = seconds * (recipe.train.num_train_epochs if name == "validation" else 1)
        some = [
            Prediction(e.id, text.strip(), True, 0)
            for e, text in zip(examples, texts, strict=False)
        ]
        found["metrics"] = (
            found.get("metrics", 0.0)
            + timed(
                lambda some=some, examples=examples: score_predictions(
                    examples[: len(some)], some, task.metrics, task.parser
                )
            )[0]
        )
    if test[0].choices:
        found["linear model"] = timed(lambda: linear_predictions(train, test))[0]
    return found


def ours(run: RunDir) -> dict[str, float]:
    """Seconds of each stage of the finished run."""
    path = run.path / "seconds.json"
    if path.exists():
        return dict(read_json(path))
    evaluations = read_json(run.report_json)["evaluations"].values()
    return {
        "training": read_json(run.training)["seconds"],
        "answers": sum(e.get("seconds", 0) for e in evaluations),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--answers", type=int, default=64)
    args = parser.parse_args()
    mine, theirs = ours(RunDir(args.run)), by_hand(RunDir(args.run), args.steps, args.answers)
    for name, parts in (("tunesmith", mine), ("by hand", theirs)):
        print(
            f"{name}: {sum(parts.values()):,.0f} s: "
            + ", ".join(f"{key} {value:,.0f}" for key, value in parts.items())
        )
    print(f"by hand / tunesmith: {sum(theirs.values()) / sum(mine.values()):.1f}")


if __name__ == "__main__":
    main()
