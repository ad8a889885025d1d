"""Numbers of a recipe have ranges, and what is no number is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_llama
from test_recipe import error, nested, value_of

from tunesmith.errors import RecipeError
from tunesmith.recipe import LoraConfig, Recipe, Section, build_recipe, load_recipe
from tunesmith.train.adapters import check_lora
from tunesmith.train.bad_loss import bad_loss


def numbers(section: type[Section], path: str = "") -> list[str]:
    """The dotted key of every number in the recipe."""
    found = []
    for name, field in section.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found += numbers(annotation, f"{path}{name}.")
        elif any(kind in str(annotation) for kind in ("int", "float")):
            found.append(f"{path}{name}")
    return found


NUMBERS = [*numbers(Recipe), "train.lora.r", "train.lora.lora_alpha"]


def test_the_recipe_s_numbers_are_found() -> None:
    assert len(NUMBERS) > 35
    assert {"train.seed", "train.adam_epsilon", "evaluation.gates.least_gain"} <= {*NUMBERS}


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [True, False, math.inf, -math.inf, math.nan, "nan", "inf", -1])
def test_no_number_may_be_true_infinite_nan_or_negative(key: str, value: Any) -> None:
    message, hint = error(nested(key, value))
    assert message.startswith(f"recipe: {key} = {value!r}: Input should be")
    assert hint == "see docs/recipe.md"


WHOLE = [key for key in NUMBERS if key.rpartition(".")[2] in (
    "seed", "seeds", "num_train_epochs", "train_batch_size", "max_length", "max_rows", "resamples",
    "max_new_tokens", "batch_tokens", "max_batch_tokens", "save_steps", "save_total_limit", "r",
    "few_shot", "wordings", "mixture_cap", "lora_alpha", "num_validation_examples",
)]  # fmt: skip


@pytest.mark.parametrize("key", WHOLE)
def test_no_whole_number_is_so_large_that_arrays_overflow(key: str) -> None:
    message, _ = error(nested(key, 10**40))
    assert f"{key} = {10**40}: Input should be less than or equal to" in message


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("train.adam_beta1", 1.0, "Input should be less than 1"),
        ("train.adam_beta2", 1.0, "Input should be less than 1"),
        ("train.adam_epsilon", 0.0, "Input should be greater than 0"),
        ("train.label_smoothing_factor", 1.0, "Input should be less than 1"),
        ("train.merge_with_base", 1.0, "Input should be less than 1"),
        ("train.learning_rate", 11.0, "Input should be less than or equal to 10"),
        ("train.num_train_epochs", 10_001, "Input should be less than or equal to 10000"),
        ("train.seed", 2**32, "Input should be less than or equal to 4294967295"),
        ("train.lora.r", 0, "Input should be greater than or equal to 1"),
        ("evaluation.resamples", 99, "Input should be greater than or equal to 100"),
        ("train.share_prefixes", 1, "Input should be true or false, not a number"),
        ("train.gradient_checkpointing", 0, "Input should be true or false, not a number"),
    ],
)
def test_a_value_outside_its_range_is_refused(key: str, value: Any, reason: str) -> None:
    assert error(nested(key, value))[0] == f"recipe: {key} = {value!r}: {reason}"


def test_the_last_of_several_seeds_is_in_range_too() -> None:
    message, _ = error({"train": {"seed": 2**32 - 1, "seeds": 2}})
    assert message == "recipe: train.seeds = 2: The last seed would be above 4294967295"
    assert build_recipe({"train": {"seed": 2**32 - 2, "seeds": 2}})[0].train.seeds == 2


def test_a_long_value_is_cut_in_its_error() -> None:
    message, _ = error({"train": {"seed": list(range(1000))}})
    assert len(message) < 300


@pytest.mark.parametrize(
    ("override", "value"),
    [("data.id=nan", "nan"), ("data.id=inf", "inf"), ("data.id=1_0e", "1_0e")],
)
def test_a_column_may_be_called_nan(override: str, value: str) -> None:
    assert value_of(build_recipe({}, [override])[0], "data.id") == value


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("train:\n  learning_rate: 1e-5\n  seed: 1\n  learning_rate: 1e-3\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.message == (
        f"{path}: not readable as YAML: the key 'learning_rate' is given twice, in lines 2 and 4"
    )


# ---- adapters and the model


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        (
            LoraConfig(target_modules=["q_prj"]),
            "train.lora.target_modules: 'q_prj': no layer is called so",
            "did you mean 'q_proj'?",
        ),
        (
            LoraConfig(target_modules="norm"),
            "train.lora.target_modules: 'norm': model.norm is no linear layer",
            "known: all-linear, down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj",
        ),
        (
            LoraConfig(r=33, target_modules="q_proj"),
            "train.lora.r = 33 is above 32, the smaller side of model.layers.0.self_attn.q_proj",
            "8 to 64 is usual; to train all weights, leave train.lora out",
        ),
    ],
)
def test_adapters_that_do_not_suit_the_model_are_refused(
    config: LoraConfig, message: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_lora(tiny_llama(), config)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("targets", ["all-linear", "q_proj", ["q_proj", "mlp.up_proj"]])
def test_adapters_that_suit_the_model_are_not(targets: Any) -> None:
    check_lora(tiny_llama(), LoraConfig(r=8, target_modules=targets))


# ---- the hint for a loss that is not finite

GOOD = [("a", torch.ones(2))]


def test_rows_are_named_where_they_alone_have_no_finite_loss() -> None:
    found = bad_loss(3, "the loss is nan", ["r1", "r2"], 1e-3, GOOD)
    assert str(found) == (
        "step 3: the loss is nan (peak learning rate 0.001; rows r1, r2)\n"
        "hint: try train.learning_rate=0.0002 or a longer train.warmup_ratio, "
        "and look at these rows"
    )


def test_weights_are_named_in_place_of_rows() -> None:
    bad = [*GOOD, ("b", torch.tensor([1.0, math.nan]))]
    first, later = (bad_loss(step, "the loss is nan", ["r1"], 1e-3, bad) for step in (1, 9))
    assert first.message == "step 1: the loss is nan: b has a NaN or an infinity in it"
    assert first.hint == "not a fault of the rows: get the base model again"
    assert "r1" not in str(later)
    assert later.hint.startswith("not a fault of the rows: try train.learning_rate=0.0002")


@pytest.mark.parametrize("peak", [0.0, math.inf, math.nan, 1e-8])
def test_no_rate_is_advised_that_is_none(peak: float) -> None:
    assert bad_loss(1, "x", [], peak, GOOD).hint == "try train.dtype=float32, or another base model"
