"""The recipe: what is refused with which words, other tools' names, overrides, and the copy that a
run keeps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tunesmith.errors import RecipeError
from tunesmith.recipe import ALIASES, BUILT_IN_MODEL, Recipe, build_recipe, dump_recipe, load_recipe

# for each key with other names, a value that is not its default
VALUES: dict[str, Any] = {
    "model": "some/model",
    "output_dir": "elsewhere",
    "data.source": "rows.csv",
    "data.test_source": "test.csv",
    "data.validation_source": "validation.csv",
    "train.num_train_epochs": 7,
    "train.learning_rate": 3e-4,
    "train.train_batch_size": 5,
    "train.max_length": 99,
    "train.lr_scheduler_type": "linear",
    "train.optim": "adafactor",
    "train.max_grad_norm": 0.5,
    "train.optim_in_backward": True,
    "evaluation.max_new_tokens": 33,
}
EVERY_ALIAS = sorted((ours, other) for ours, others in ALIASES.items() for other in others)


def nested(dotted: str, value: Any) -> dict[str, Any]:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return dict(value)


def value_of(recipe: Recipe, dotted: str) -> Any:
    found: Any = recipe
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


def error(values: dict[str, Any], *overrides: str) -> tuple[str, str]:
    with pytest.raises(RecipeError) as caught:
        build_recipe(values, overrides)
    return caught.value.message, caught.value.hint


# ---- keys and values that are refused


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("trian", "train"),
        ("train.learning_rte", "learning_rate"),
        ("data.split.stratfy", "stratify"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, nearest: str) -> None:
    assert error(nested(key, 1)) == (f"recipe: unknown key '{key}'", f"did you mean '{nearest}'?")


def test_an_unknown_key_near_to_none_gets_a_list_of_its_section() -> None:
    message, hint = error({"data": {"split": {"zzz": 1}}})
    assert message == "recipe: unknown key 'data.split.zzz'"
    assert hint == "known: column, group, mode, seed, stratify, test, time, train, validation"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (
            "train.num_train_epochs",
            "many",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            "train.num_train_epochs",
            2.5,
            "Input should be a valid integer, got a number with a fractional part",
        ),
        ("train.num_train_epochs", 0, "Input should be greater than or equal to 1"),
        ("train.learning_rate", 0.0, "Input should be greater than 0"),
        ("train.optim", "sgd", "Input should be 'adamw', 'adafactor', 'adamw_8bit' or 'muon'"),
        ("data.split.train", 1.5, "Input should be less than or equal to 1"),
        ("evaluation.confidence", 1.0, "Input should be less than 1"),
    ],
)
def test_a_value_of_the_wrong_type_or_size_names_its_key(key: str, value: Any, reason: str) -> None:
    assert error(nested(key, value)) == (
        f"recipe: {key} = {value!r}: {reason}",
        "see docs/recipe.md",
    )


def test_a_section_that_is_no_mapping_is_named() -> None:
    assert error({"data": None})[0].startswith(
        "recipe: data = None: Input should be a valid dictionary"
    )
    assert error({"train": 3}, "train.seed=1") == ("'train.seed=1': train is not a section", "")


def test_a_recipe_cannot_be_changed_after_it_was_checked() -> None:
    recipe, _ = build_recipe({})
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.seed = 1  # type: ignore[misc]


# ---- other tools' names


def test_every_key_with_other_names_is_tried_here() -> None:
    assert VALUES.keys() == ALIASES.keys()


@pytest.mark.parametrize(
    ("ours", "other"), EVERY_ALIAS, ids=[f"{ours}-{other}" for ours, other in EVERY_ALIAS]
)
def test_another_tool_s_name_sets_our_key_and_is_noted(ours: str, other: str) -> None:
    section, dot, _ = ours.rpartition(".")
    recipe, notes = build_recipe(nested(f"{section}{dot}{other}", VALUES[ours]))
    assert value_of(recipe, ours) == VALUES[ours] != value_of(Recipe(), ours)
    assert notes == [f"{section}{dot}{other} is called {ours} here"]


def test_another_tool_s_name_is_none_of_our_keys() -> None:
    for ours, other in EVERY_ALIAS:
        section = value_of(Recipe(), ours.rpartition(".")[0]) if "." in ours else Recipe()
        assert other not in type(section).model_fields


def test_our_own_names_give_no_note() -> None:
    for ours, value in VALUES.items():
        assert build_recipe(nested(ours, value))[1] == []


@pytest.mark.parametrize(
    ("train", "second"),
    [
        ({"lr": 1e-3, "learning_rate": 1e-4}, "learning_rate"),
        ({"learning_rate": 1e-4, "lr": 1e-3}, "lr"),
    ],
)
def test_one_key_under_two_names_is_refused(train: dict[str, Any], second: str) -> None:
    assert error({"train": train}) == (
        f"train.learning_rate is given twice, once as '{second}'",
        "keep one of the two",
    )


def test_two_names_of_other_tools_for_one_key_are_refused_too() -> None:
    assert (
        error({"data": {"dataset": "a.csv", "path": "b.csv"}})[0]
        == "data.source is given twice, once as 'path'"
    )


def test_another_tool_s_name_in_the_wrong_section_is_unknown() -> None:
    assert error({"lr": 1e-3})[0] == "recipe: unknown key 'lr'"


# ---- overrides


def test_an_override_wins_over_the_file_and_the_last_over_the_others() -> None:
    values = {"train": {"learning_rate": 1.0, "seed": 4}}
    recipe, _ = build_recipe(values, ["train.learning_rate=2", "train.learning_rate=3"])
    assert (recipe.train.learning_rate, recipe.train.seed) == (3.0, 4)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=1e-5", 1e-5),  # YAML 1.1 wants 1.0e-5
        ("train.learning_rate=2.0e-5", 2e-5),
        ("train.num_train_epochs=3", 3),
        ("train.share_prefixes=false", False),
        ("train.learning_rate=null", None),
        ("data.columns={text: review, label: sentiment}", {"text": "review", "label": "sentiment"}),
        ("data.source=[a.csv, b.csv]", ["a.csv", "b.csv"]),
        ("data.split.group=", ""),
        ("data.split.stratify=a=b", "a=b"),
        ("output_dir=2024", "2024"),
        ("train.report_to=[]", []),
    ],
)
def test_an_override_is_read_as_yaml(override: str, value: Any) -> None:
    recipe, notes = build_recipe({}, [override])
    found = value_of(recipe, override.partition("=")[0])
    assert found == value
    assert type(found) is type(value)
    assert notes == []


def test_an_override_three_levels_down_reaches_no_values_of_the_caller() -> None:
    values = {"evaluation": {"metric_options": {"rouge": {"stemmer": False}}}}
    recipe, _ = build_recipe(values, ["evaluation.metric_options.rouge.stemmer=true"])
    assert recipe.evaluation.metric_options.rouge.stemmer
    assert values == {"evaluation": {"metric_options": {"rouge": {"stemmer": False}}}}


def test_an_unknown_tokenizer_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"metric_options.bleu.tokenize = 'jp'.*'13a', 'intl'"):
        build_recipe({"evaluation": {"metric_options": {"bleu": {"tokenize": "jp"}}}})


def test_an_override_makes_the_sections_it_needs() -> None:
    recipe, _ = build_recipe({}, ["train.lora.r=8"])
    assert recipe.train.lora is not None
    assert (recipe.train.lora.r, recipe.train.lora.lora_alpha) == (8, 32)


def test_an_override_may_use_another_tool_s_name() -> None:
    recipe, notes = build_recipe({"train": {"learning_rate": 1.0}}, ["train.lr=1e-5"])
    assert recipe.train.learning_rate == 1e-5
    assert notes == ["train.lr is called train.learning_rate here"]


def test_an_override_of_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    assert error({}, "data.split.sed=3") == (
        "recipe: unknown key 'data.split.sed'",
        "did you mean 'seed'?",
    )


def test_an_override_without_an_equals_sign_is_refused() -> None:
    assert error({}, "epochs") == (
        "'epochs' is not key=value",
        "for example train.learning_rate=1e-5",
    )


# ---- files


def test_1e_5_in_a_file_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("train: {learning_rate: 1e-5, weight_decay: 1e-2, adam_epsilon: 1e-7}\n")
    train = load_recipe(path)[0].train
    assert (train.learning_rate, train.weight_decay, train.adam_epsilon) == (1e-5, 1e-2, 1e-7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a recipe is a mapping, found NoneType"),
        ("- a\n", "a recipe is a mapping, found list"),
        ("train: {seed: x}\n", "train.seed = 'x': Input should be a valid integer"),
        ("train: [1\n", "not readable as YAML: "),
        ("data: !!python/object/apply:os.getcwd []\n", "not readable as YAML: "),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.message.startswith(f"{path}: {message}")
    assert "\n" not in caught.value.message


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "none.yaml")
    assert caught.value.message == f"{tmp_path / 'none.yaml'}: no such recipe"
    assert caught.value.hint == "`tunesmith init` writes one"


# ---- the copy in the run folder


def test_an_empty_recipe_is_all_defaults_and_they_are_written_out() -> None:
    recipe, notes = build_recipe({})
    assert (recipe, notes) == (Recipe(), [])
    written = yaml.safe_load(dump_recipe(recipe))
    assert written["model"] == BUILT_IN_MODEL
    assert list(written) == list(Recipe.model_fields)
    assert written["data"]["split"]["train"] == 0.8


ODD = st.sampled_from(
    ["no", "on", "null", "~", "1e-5", "007", "2024-01-01", "a: b", "# x", "{{text}}\n||| {{label}}"]
)
# PyYAML writes U+0085 (next line, of old mainframes) as it is and reads it back as a space
TEXT = ODD | st.text(st.characters(codec="utf-8", exclude_characters="\x85"), max_size=12)
PLAN = st.fixed_dictionaries(
    {
        "model": TEXT,
        "data": st.fixed_dictionaries(
            {
                "source": TEXT
                | st.lists(TEXT | st.fixed_dictionaries({"source": TEXT, "replay": st.booleans()})),
                "template": TEXT | st.none(),
                "columns": st.dictionaries(TEXT, TEXT, max_size=2),
                "labels": st.none()
                | st.lists(TEXT, max_size=3)
                | st.dictionaries(TEXT, TEXT, max_size=2),
            }
        ),
        "train": st.fixed_dictionaries(
            {
                "learning_rate": st.none() | st.floats(1e-12, 1.0),
                "lora": st.none() | st.fixed_dictionaries({"r": st.integers(1, 64)}),
                "gradient_checkpointing": st.sampled_from(["auto", True, False]),
            }
        ),
    }
)


@given(PLAN)
@settings(deadline=None, max_examples=60)
def test_a_written_recipe_reads_back_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: Any
) -> None:
    recipe, _ = build_recipe(values)
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == (recipe, [])


def test_true_and_false_as_keys_of_labels_are_words(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "data: {source: a.csv, labels: {true: toxic, false: fine}}\noutput_dir: x\n",
        encoding="utf-8",
    )
    assert load_recipe(path)[0].data.labels == {"true": "toxic", "false": "fine"}
    recipe, _ = load_recipe(path, ["data.labels={true: bad, false: good}"])
    assert recipe.data.labels == {"true": "bad", "false": "good"}


@pytest.mark.parametrize(
    "labels, shown",
    [
        ("[no, yes]", "[False, True]"),
        ("[fine, off]", "['fine', False]"),
        ("{0: no, 1: maybe}", "{0: False, 1: 'maybe'}"),
        ("[null, sad]", "[None, 'sad']"),
        ("{~: a, b: c}", "{None: 'a', 'b': 'c'}"),
    ],
)
@pytest.mark.parametrize("in_mixture", [False, True])
def test_a_label_that_yaml_takes_for_a_value_asks_for_quotes(
    tmp_path: Path, labels: str, shown: str, in_mixture: bool
) -> None:
    path = tmp_path / "r.yaml"
    own = f"labels: {labels}"
    source = f"[{{source: a.csv, {own}}}]" if in_mixture else f"a.csv\n  {own}"
    path.write_text(f"data:\n  source: {source}\noutput_dir: x\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    key = "data.source.0.labels" if in_mixture else "data.labels"
    assert str(caught.value) == (
        f"{path}: {key} = {shown}: a word without quotes is true, false or null in YAML\n"
        'hint: quote them: ["no", "yes"]'
    )
