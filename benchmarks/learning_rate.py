"""Is `train.learning_rate: null` near the best rate? Trains on the same rows with several rates,
and prints the lowest validation loss of each.

    python benchmarks/learning_rate.py examples/trec.yaml data.max_rows=800 --model MODEL --factor
    0.37 1 1.85

A factor is times the rate that the rule gives for the model's size.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tunesmith import stages
from tunesmith.models.load import load_config
from tunesmith.recipe import Recipe, load_recipe
from tunesmith.rundir import RunDir, read_json
from tunesmith.stages.seeds import copy_of
from tunesmith.train.optim import default_learning_rate
from tunesmith.train.roofline import model_size


def best_losses(recipe: Recipe, factors: list[float], folder: Path) -> dict[float, float]:
    """The lowest validation loss over the epochs, in nats per trained token, by learning rate."""
    whole = RunDir(folder / "rows")
    stages.prepare.prepare(recipe.model_copy(update={"output_dir": str(whole.path)}))
    usual = default_learning_rate(model_size(load_config(recipe.model)).parameters)
    found = {}
    for factor in factors:
        train = recipe.train.model_copy(update={"learning_rate": usual * factor})
        part = copy_of(whole, folder / f"{factor:g}", recipe.model_copy(update={"train": train}))
        stages.train.train(part)
        history = read_json(part.training)["history"]
        found[usual * factor] = min(entry["loss"] for entry in history)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--factor", type=float, nargs="+", default=[0.37, 1.0, 1.85])
    parser.add_argument("overrides", nargs="*", help="key=value of the recipe")
    args = parser.parse_intermixed_args()
    recipe = load_recipe(args.recipe, [f"model={args.model}", *args.overrides])[0]
    with tempfile.TemporaryDirectory() as folder:
        losses = best_losses(recipe, args.factor, Path(folder))
    for rate, loss in losses.items():
        print(f"{args.recipe.stem}: learning rate {rate:.2g}: lowest validation loss {loss:.4f}")


if __name__ == "__main__":
    main()
