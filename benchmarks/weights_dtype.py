"""What the kind of numbers costs in quality: weights in float32, with products in float32 or in
bfloat16, or weights in bfloat16, rounded stochastically or to the nearest.

    pip install 'tunesmith[gpu]'
    python benchmarks/weights_dtype.py --rates 1e-3 1e-4 --epochs 3

The built-in model on the built-in reviews, prepared once; the same rows in the same steps.
`nearest` is the same AdamW of torchao with stochastic rounding off, which no recipe can ask for.
Prints the validation loss (nats per trained token) after the last epoch, and the share of weights
that training moved at all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchao.optim

from tunesmith import stages
from tunesmith.chat.format import complete_tokenizer
from tunesmith.models.load import fit_embeddings, load_model, load_tokenizer
from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train

KINDS = {
    "float32": ("float32", "float32"),
    "float32, computed in bfloat16": ("float32", "bfloat16"),
    "bfloat16, stochastic": ("bfloat16", "bfloat16"),
    "bfloat16, nearest": ("bfloat16", "bfloat16"),
}  # what the weights are kept in, and what is computed in
torchao_adamw = torchao.optim._AdamW


def built_in() -> Any:
    """The built-in base model, as a run prepares it."""
    model, tokenizer = load_model(BUILT_IN_MODEL), load_tokenizer(BUILT_IN_MODEL)
    complete_tokenizer(tokenizer)
    fit_embeddings(model, tokenizer)
    return model


def nearest(*arguments: Any, **options: Any) -> torch.optim.Optimizer:
    """AdamW of torchao, rounding to the nearest number instead of stochastically."""
    return torchao_adamw(*arguments, **{**options, "bf16_stochastic_round": False})


def main() -> None:
    """Train with every kind of weights at every rate, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3, 1e-4])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    print(
        "| learning rate | seed | weights | validation loss | weights moved | seconds |\n"
        "|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        recipe = stages.demo.demo_recipe(Path(folder) / "rows")
        stages.prepare.prepare(recipe)
        rows = RunDir(Path(folder) / "rows")
        data, validation = (
            stages.common.training_data(rows, split) for split in ("train", "validation")
        )
        base = {name: p.detach().clone() for name, p in built_in().named_parameters()}
        for rate, seed, kind in (
            (r, s, k) for r in args.rates for s in args.seeds for k in args.kinds
        ):
            changes = {
                "learning_rate": rate,
                "num_train_epochs": args.epochs,
                "seed": seed,
                "report_to": [],
            }
            weights, dtype = KINDS[kind]
            config = recipe.train.model_copy(
                update={**changes, "weights_dtype": weights, "dtype": dtype}
            )
            model, run, started = (
                built_in(),
                RunDir(Path(folder) / f"{kind} {rate} {seed}"),
                time.perf_counter(),
            )
            other = nearest if kind.endswith("nearest") else torchao_adamw
            with mock.patch.object(torchao.optim, "_AdamW", other):
                result = train(model, data, config, run=run, validation=validation)
            moved = [
                (p.float() != base[name].to(p.dtype).float()).sum()
                for name, p in model.named_parameters()
            ]
            share = int(sum(moved)) / sum(p.numel() for p in base.values())
            loss, seconds = result.history[-1]["loss"], time.perf_counter() - started
            print(
                f"| {rate:g} | {seed} | {kind} | {loss:.4f} | {share:.1%} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
