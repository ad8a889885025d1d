"""The recipe: what is asked for, checked before any work starts, and written resolved into the run.

Unknown keys are errors with "did you mean"; the usual names of other tools are accepted and
reported as notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.errors import RecipeError, did_you_mean

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
BUILT_IN_MODEL = "built-in"

# Other tools' names for our keys (TRL, Axolotl, LLaMA-Factory, torchtune), by section.
ALIASES = {
    "model": {"model_name_or_path", "base_model", "model_name", "model_id"},
    "output_dir": {"output", "output_path"},
    "data.source": {"dataset", "dataset_name", "path", "train_file", "data_files"},
    "data.test_source": {"test_file"},
    "data.validation_source": {"validation_file", "eval_file"},
    "train.num_train_epochs": {"num_epochs", "epochs", "n_epochs"},
    "train.learning_rate": {"lr"},
    "train.train_batch_size": {"batch_size", "global_batch_size", "per_device_train_batch_size"},
    "train.max_length": {
        "max_seq_length",
        "max_seq_len",
        "sequence_len",
        "cutoff_len",
        "model_max_length",
    },
    "train.lr_scheduler_type": {"lr_scheduler", "scheduler"},
    "train.optim": {"optimizer"},
    "train.max_grad_norm": {"clip_grad_norm", "gradient_clipping"},
    "evaluation.max_new_tokens": {"max_tokens", "generation_max_length"},
}


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), coerce_numbers_to_str=True
    )


class SplitConfig(Section):
    """How rows become train, validation and test. `mode: auto` picks from the keys that are set."""

    mode: Literal[
        "auto", "random", "stratified", "grouped", "stratified_grouped", "time", "column", "hash"
    ] = "auto"
    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1
    stratify: str | None = None
    group: str | None = None
    time: str | None = None
    column: str | None = None
    seed: int = 0


class SourceConfig(Section):
    """One member of a mixture; keys left out are taken from `data`."""

    source: str
    task: str | None = None
    template: str | None = None
    columns: dict[str, str] | None = None
    labels: list[str] | dict[str, str] | None = None
    replay: bool = False


class DataConfig(Section):
    source: str | list[str | SourceConfig] | None = None
    validation_source: str | None = None
    test_source: str | None = None
    task: str | None = None
    template: str | None = None
    columns: dict[str, str] = {}
    labels: list[str] | dict[str, str] | None = None
    id: str | None = None
    wordings: Annotated[int, Field(ge=1)] = 1
    split: SplitConfig = SplitConfig()
    near_duplicates: bool = True
    max_rejected: Fraction = 0.01
    max_rows: Annotated[int, Field(ge=1)] | None = None
    mixture_cap: Annotated[int, Field(ge=1)] = 3000
    encoding: str = "utf-8"


class LoraConfig(Section):
    r: int = 16
    lora_alpha: int = 32
    target_modules: str | list[str] = "all-linear"


class TrainConfig(Section):
    """Names and meanings of Hugging Face's TrainingArguments. `train_batch_size` is the examples of
    one step.
    """

    num_train_epochs: Annotated[int, Field(ge=1)] = 3
    learning_rate: Annotated[float, Field(gt=0)] | None = None  # None: by the number of parameters
    train_batch_size: Annotated[int, Field(ge=1)] = 16
    max_length: Annotated[int, Field(ge=8)] = 1024
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_ratio: Fraction = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    optim: Literal["adamw", "adafactor", "adamw_8bit", "muon"] = "adamw"
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.999
    adam_epsilon: float = 1e-8
    neftune_noise_alpha: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing_factor: Fraction = 0.0
    merge_with_base: Fraction = 0.0  # share of the base's weights in the saved model
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    share_prefixes: bool = True
    max_batch_tokens: Annotated[int, Field(ge=16)] | None = None  # None: measured
    torch_compile: bool = False
    use_liger_kernel: bool = False
    lora: LoraConfig | None = None
    seed: int = 0
    seeds: Annotated[int, Field(ge=1)] = 1
    save_steps: Annotated[int, Field(ge=1)] | None = None  # None: each epoch
    save_total_limit: Annotated[int, Field(ge=1)] = 2
    report_to: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = ["tensorboard"]


class EvaluationConfig(Section):
    metrics: list[str] | None = None  # None: the task family's
    few_shot: Annotated[int, Field(ge=0)] = 4
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None  # None: from the training completions
    rank_choices: bool = (
        True  # closed tasks: the likelihood of every choice beside the generated answer
    )
    num_validation_examples: Annotated[int, Field(ge=1)] = 200  # generated each epoch
    resamples: Annotated[int, Field(ge=100)] = 10_000
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    panel: list[str] = []  # general text files and recipes whose test sets must not get worse
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    backend: Literal["transformers", "vllm"] = "transformers"


class Recipe(Section):
    model: str = BUILT_IN_MODEL
    chat_template: str | None = None  # a Jinja file; None: the model's own
    chat_template_kwargs: dict[
        str, Any
    ] = {}  # values for the template's variables, pinned in the saved one
    system: str | None = None  # the system message of conversations that bring none
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    output_dir: str = "runs/tunesmith"
    trust_remote_code: bool = False


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, list[str]]:
    """Read a recipe file and apply `section.key=value` overrides; also return notes on translated
    names.

    Raises RecipeError naming the file and the key.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe", hint="`tunesmith init` writes one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path}: not readable as YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{path}: a recipe is a mapping, found {type(values).__name__}",
            hint="see docs/recipe.md",
        )
    return build_recipe(values, overrides, where=str(path))


def build_recipe(
    values: dict[str, Any], overrides: Sequence[str] = (), where: str = "recipe"
) -> tuple[Recipe, list[str]]:
    """A checked recipe from plain values and `key=value` overrides, with notes on other tools'
    names in it.
    """
    notes: list[str] = []
    values = _translate(values, "", notes)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RecipeError(
                f"{override!r} is not key=value", hint="for example train.learning_rate=1e-5"
            )
        _set(values, _canonical(key.strip(), notes), _parse_scalar(text), override)
    try:
        return Recipe.model_validate(values), notes
    except ValidationError as error:
        raise _explain(error, where) from error


def dump_recipe(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse_scalar(text: str) -> Any:
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:  # a template such as {{text}} ||| {{label}} is text, not YAML
        return text
    if isinstance(
        value, str
    ):  # YAML 1.1 reads 1e-5 as a string; a user of the command line means the number
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _canonical(dotted: str, notes: list[str]) -> str:
    section, _, last = dotted.rpartition(".")
    for ours, others in ALIASES.items():
        our_section, _, our_last = ours.rpartition(".")
        if our_section == section and last in others:
            notes.append(f"{dotted} is called {ours} here")
            return ours
        if our_section == section and last == our_last:
            return dotted
    return dotted


def _translate(values: dict[str, Any], section: str, notes: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        value = (
            dict(value) if isinstance(value, dict) else value
        )  # overrides must not change the caller's
        dotted = _canonical(f"{section}.{key}" if section else str(key), notes)
        name = dotted.rpartition(".")[2]
        if name in out:
            raise RecipeError(
                f"{dotted} is given twice, once as {key!r}", hint="keep one of the two"
            )
        out[name] = (
            _translate(value, dotted, notes) if isinstance(value, dict) and not section else value
        )
        if name in {"learning_rate", "weight_decay", "adam_epsilon"} and isinstance(value, str):
            out[name] = _parse_scalar(value)
    return out


def _set(values: dict[str, Any], dotted: str, value: Any, override: str) -> None:
    *path, last = dotted.split(".")
    for name in path:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{override!r}: {name} is not a section")
        values = inner
    values[last] = value


def _explain(error: ValidationError, where: str) -> RecipeError:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return RecipeError(
            f"{where}: unknown key {key!r}", hint=did_you_mean(location[-1], _keys(location[:-1]))
        )
    return RecipeError(
        f"{where}: {key} = {first['input']!r}: {first['msg']}", hint="see docs/recipe.md"
    )


def _keys(path: Sequence[str]) -> list[str]:
    model: Any = Recipe
    for name in path:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))
