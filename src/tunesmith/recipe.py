"""The recipe: every key with its type, default and meaning, checked before any work starts.

Unknown keys are errors with "did you mean"; other tools' names for a key are accepted and reported
as notes. docs/recipe.md is generated from the classes below by tools/recipe_reference.py: a class's
docstring introduces its section, a field's description is the meaning of its key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from tunesmith.errors import RecipeError, did_you_mean
from tunesmith.yaml_files import load_yaml

BUILT_IN_MODEL = "built-in"

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
# Upper bounds keep typing errors (a seed of 40 digits) from becoming hangs and overflows.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Tokens = Annotated[int, Field(ge=16, le=1_000_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Offload = Literal["cpu", "disk"]
Labels = list[str] | dict[str, str]
UNQUOTED = "unquoted_label"
SLOT_OPTIONS = ("text", "label", "target", "question", "context")
"""Slots of the task families that have an option of their name; others are given with --column."""

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
    "train.optim_in_backward": {"optimizer_in_bwd", "optimizer_in_backward"},
    "evaluation.max_new_tokens": {"max_tokens", "generation_max_length"},
}


class Section(BaseModel):
    """A mapping in the recipe: cannot be changed once checked, and allows no unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_not_1(cls, value: object, info: ValidationInfo) -> object:
        """In Python `true` is 1 and `1` may be true, so one typed for the other would pass."""
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
            raise PydanticCustomError("number", "Input should be a number, not true or false")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and bool in kinds:
            raise PydanticCustomError("bool", "Input should be true or false, not a number")
        return value


def _kinds(annotation: object) -> set[object]:
    """The plain types in an annotation: `int` and `NoneType` of `int | None`."""
    inner = get_args(annotation)
    return {annotation}.union(*map(_kinds, inner)) if inner else {annotation}


class SplitConfig(Section):
    """How rows are divided into train, validation and test.

    In a split that tunesmith draws, rows with the same input, near-duplicates and groups stay
    together. A split that you supply, as a column or as separate files, is left as it is, and what
    its parts share is reported.
    """

    mode: Literal[
        "auto", "random", "stratified", "grouped", "stratified_grouped", "time", "column", "hash"
    ] = Field(
        "auto",
        description="`auto` follows from the keys below. `hash` places each row by its own input "
        "or group, so that adding rows moves no others.",
    )
    train: Fraction = Field(
        0.8, description="Share of the rows. The three shares must add up to 1."
    )
    validation: Fraction = Field(
        0.1, description="Share used after each epoch to choose the checkpoint."
    )
    test: Fraction = Field(0.1, description="Share that stays sealed until the end.")
    stratify: str | None = Field(
        None,
        description="A column whose values occur with the same shares in each split. By default "
        "the label, where there is one.",
    )
    group: str | None = Field(
        None,
        description="A column whose equal values stay together: an author, a patient, a day.",
    )
    time: str | None = Field(
        None,
        description="A column of dates or numbers: the oldest rows train, the newest test.",
    )
    column: str | None = Field(
        None, description="A column that names each row's split (train, validation or test)."
    )
    seed: Seed = Field(
        0, description="Seed of the split, of the choice of wordings and of the few-shot examples."
    )


def label_names(value: object) -> object:
    """`labels` as YAML gave them, with true and false as keys in words.

    A name that is true, false or null was a word that nobody quoted: which one is lost.
    """
    names = list(
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    keys = list(value) if isinstance(value, dict) else []
    if any(name is None or isinstance(name, bool) for name in names) or None in keys:
        raise PydanticCustomError(UNQUOTED, "a word without quotes is true, false or null in YAML")
    if not isinstance(value, dict):
        return value
    return {str(key).lower() if isinstance(key, bool) else key: name for key, name in value.items()}


class SourceConfig(Section):
    """A mixture: each member is a path or a mapping of these keys.

    Keys that are left out are taken from `data`. Members of several tasks are judged task by task;
    see [templates.md](templates.md#mixtures).
    """

    source: str = Field(description="As `data.source`, one path.")
    name: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="The name of its task: members with one name are one task. Without names, "
        "members of one family and with labels in common are one task, named after the first file.",
    )
    task: str | None = Field(None, description="As `data.task`.")
    template: str | None = Field(None, description="As `data.template`.")
    columns: dict[str, str] | None = Field(None, description="As `data.columns`.")
    labels: Labels | None = Field(None, description="As `data.labels`.")
    metrics: list[str] | None = Field(None, description="As `evaluation.metrics`, for its task.")
    held_out: bool = Field(
        False,
        description="A task that is never trained or validated on, only tested before and after "
        "training: does the model follow instructions for tasks that it never saw?",
    )
    replay: bool = Field(
        False,
        description="General rows against forgetting: trained on, never validated or tested on.",
    )

    _labels_are_text = field_validator("labels", mode="before")(label_names)


class DataConfig(Section):
    """The rows, and how they become prompts and answers; see [templates.md](templates.md)."""

    source: str | list[str | SourceConfig] | None = Field(
        None,
        description="A csv, tsv, json, jsonl, parquet, arrow, xlsx, ods or text file, a folder of "
        "them, a hub data set (`org/name:split`), or a list of these; text files also as .gz. A "
        "folder with train, validation and test files is split so.",
    )
    validation_source: str | None = Field(
        None, description="Rows to validate on, instead of a share of `source`."
    )
    test_source: str | None = Field(
        None,
        description="Rows to test on, instead of a share of `source`. Rows that are in both are "
        "left out of training.",
    )
    task: str | None = Field(
        None,
        description="A task family, as in `tunesmith templates list`, or one wording of it "
        "(`classify/terse`).",
    )
    template: str | None = Field(
        None,
        description="An inline template (`{{text}} ||| {{label}}`), a file, a wording, or "
        "`promptsource:data_set/name`. Not needed for prompt/completion, messages, Alpaca and "
        "ShareGPT columns.",
    )
    columns: dict[str, str] = Field(
        {},
        description="Maps the template's slots to your columns: `{text: review}`. A column with "
        "the slot's name is found by itself.",
    )
    labels: Labels | None = Field(
        None,
        description="Names of the labels 0, 1, 2 ... in order, or of each raw value "
        "(`{true: toxic, false: fine}`).",
    )
    label_separator: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="What stands between the labels of a text cell that holds several (`;`). "
        "`null`: found by a look at the column, and said.",
    )
    id: str | None = Field(
        None, description="The column with each row's id. By default the row's number."
    )
    wordings: Annotated[int, Field(ge=1, le=1000)] = Field(
        1,
        description="The number of the family's wordings to use, one for each row, so that the "
        "model does not learn one phrase.",
    )
    split: SplitConfig = SplitConfig()
    near_duplicates: bool = Field(
        True, description="Keep near-identical texts together when drawing a split."
    )
    max_rejected: Fraction = Field(
        0.01,
        description="The share of examples that may be unusable (too long, without a label or "
        "another value, unreadable) before it is an error.",
    )
    allow: list[str] = Field(
        [],
        description="Names of findings that are meant so ([findings.md](findings.md)): with an "
        "error of that name the run goes on, and a warning of that name is not shown.",
    )
    scan: list[Literal["secrets", "personal_data"]] = Field(
        [],
        description="Look for these in all texts. Needs `pip install 'tunesmith[scan]'`.",
    )
    max_rows: Count | None = Field(None, description="Read at most this many rows of each source.")
    mixture_cap: Count = Field(
        3000,
        description="In a mixture, a source counts as at most this many examples: "
        "rate = min(n, cap) / sum of min(n, cap).",
    )
    encoding: str | None = Field(
        None,
        description="The character encoding of text files. `null`: UTF-8, else found out and said.",
    )
    names: list[str] | None = Field(
        None,
        description="Names of the columns, from left to right, of a table without a header.",
    )
    sheet: str | None = Field(
        None,
        description="The sheet of a workbook. `null`: the first one with cells; others are named.",
    )

    _labels_are_text = field_validator("labels", mode="before")(label_names)


class LoraConfig(Section):
    """`lora: {}` takes these defaults. Needs `pip install 'tunesmith[lora]'`."""

    r: Annotated[int, Field(ge=1, le=65536)] = Field(
        16,
        description="Rank of the adapters, at most the smaller side of the matrices that get one.",
    )
    lora_alpha: Count = Field(
        32, description="The adapters' update is scaled by `lora_alpha` / `r`."
    )
    target_modules: str | list[str] = Field(
        "all-linear", description="Names of the layers that get an adapter."
    )
    load_in_4bit: bool = Field(
        False,
        description="Keep the base model's linear layers in 4 bits while adapters are trained "
        "(QLoRA). Needs an NVIDIA GPU and bitsandbytes; see [tuning.md](tuning.md).",
    )


class FsdpConfig(Section):
    """How torch's FSDP2 divides a model among several processes."""

    shards: Count | None = Field(
        None,
        description="Processes that share one copy of weights, gradients and optimiser state; each "
        "further group of as many has a copy of its own, and only gradients go between groups "
        "(HSDP). Usually the GPUs of a machine. `null`: all processes share one copy.",
    )
    cpu_offload: bool = Field(
        False,
        description="Keep each process' part of weights, gradients and optimiser state in the "
        "machine's memory, and let the optimiser step there. Needs NVIDIA GPUs.",
    )


class TrainConfig(Section):
    """Names and meanings are those of Hugging Face's `TrainingArguments` where it has them."""

    num_train_epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        3, description="Passes over the training rows."
    )
    early_stopping_patience: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None,
        description="Stop after this many epochs without a better one on validation, better in the "
        "sense in which the best checkpoint is chosen (see [tuning.md](tuning.md)). The "
        "learning rate follows the schedule for all epochs in any case. `null`: train them all.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = Field(
        None,
        description="The peak of the schedule. `null`: chosen by the number of parameters (2e-5 at "
        "a billion, 4.5e-5 at 200 million, 1e-3 at most; ten times as much for LoRA).",
    )
    train_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        16,
        description="Examples per optimiser step, over all devices. How they are divided into "
        "micro-batches to fit into memory does not change the step.",
    )
    max_length: Annotated[int, Field(ge=8, le=100_000_000)] = Field(
        1024,
        description="Longest example in tokens, prompt and answer together; the model's own limit "
        "applies too. Longer rows are rejected, never cut.",
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = Field(
        "cosine",
        description="The schedule after the warm-up. `wsd` (warmup-stable-decay) stays at the peak "
        "and decays over the last fifth.",
    )
    warmup_ratio: Fraction = Field(
        0.05, description="Share of the steps over which the learning rate rises from 0."
    )
    weight_decay: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0, description="On weight matrices only, not on norms and biases."
    )
    max_grad_norm: NonNegative = Field(
        1.0, description="Clip the gradient to this norm; 0 turns clipping off."
    )
    optim: Literal["adamw", "adafactor", "adamw_8bit", "muon"] = Field(
        "adamw",
        description="`adamw_8bit` needs torchao or bitsandbytes. `muon` trains matrices, with "
        "AdamW for the rest.",
    )
    adam_beta1: BelowOne = Field(
        0.9, description="AdamW's decay rate of the running mean of gradients."
    )
    adam_beta2: BelowOne = Field(
        0.999, description="AdamW's decay rate of the running mean of squared gradients."
    )
    adam_epsilon: Annotated[float, Field(gt=0, le=1)] = Field(1e-8, description="AdamW's epsilon.")
    neftune_noise_alpha: Annotated[float, Field(ge=0, le=1000)] = Field(
        0.0,
        description="Noise on the embeddings during training (NEFTune); 5 is usual, 0 turns it "
        "off.",
    )
    label_smoothing_factor: BelowOne = Field(
        0.0,
        description="Share of the target probability that is spread over the whole vocabulary.",
    )
    merge_with_base: BelowOne = Field(
        0.0,
        description="Share of the base model's weights that is averaged into the trained ones at "
        "the end: each weight becomes (1 - share) tuned + share base, against forgetting.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="The number format of the computation. `auto`: bfloat16 on a GPU, and on a CPU "
        "that is fast at it.",
    )
    weights_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="The number format of the trained weights. `bfloat16` halves the memory (8 "
        "bytes per parameter with AdamW) and rounds each update stochastically. Needs torchao, and "
        "`optim` adamw or adamw_8bit.",
    )
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto",
        description="Compute activations twice to save memory. `auto`: only if training would not "
        "fit otherwise.",
    )
    fit: Literal["check", "auto"] = Field(
        "check",
        description="A training that needs more memory than there is: `check` refuses it before "
        "its first step and names a change that fits. `auto` first takes those that leave what is "
        "trained as it is, gradient checkpointing and smaller micro-batches, whatever the recipe "
        "says of them.",
    )
    optim_in_backward: bool = Field(
        False,
        description="Step each weight in the backward pass as soon as its gradient is whole, and "
        "free the gradient: one layer's are in memory and not all. The update is the same bit for "
        "bit. Needs `max_grad_norm: 0`, for the norm of all gradients is known too late; saves "
        "little where a step has several micro-batches (see [memory.md](memory.md)).",
    )
    offload_optimizer: Offload | None = Field(
        None,
        description="Keep the optimiser's state in RAM (`cpu`, for a model on a GPU) or in a file "
        "of the run's folder (`disk`), and bring it for the one weight that is stepped. The update "
        "is the same bit for bit.",
    )
    offload_activations: Offload | None = Field(
        None,
        description="Keep what a forward pass saves for its backward pass in RAM (`cpu`, for a "
        "model on a GPU) or in a file of the run's folder (`disk`) in between. The gradients are "
        "the same bit for bit.",
    )
    share_prefixes: bool = Field(
        True,
        description="Compute what the prompts of a batch have in common at the beginning only "
        "once. The gradients are the same.",
    )
    max_batch_tokens: Tokens | None = Field(
        None,
        description="Most tokens, padding included, in memory at once; rows that share little use "
        "a quarter of it. `null`: measured against the available memory.",
    )
    torch_compile: bool = Field(
        False, description="Compile the model's layers; worthwhile for long runs on a GPU."
    )
    use_liger_kernel: bool = Field(
        False,
        description="Use Liger's kernels for norms, rotary embeddings and feed-forward layers; "
        "needs an NVIDIA GPU.",
    )
    lora: LoraConfig | None = Field(
        None,
        description="Train low-rank adapters instead of all weights (see train.lora below).",
    )
    fsdp: FsdpConfig = Field(
        FsdpConfig(),
        description="What several processes share (see train.fsdp below and "
        "[scaling.md](scaling.md)).",
    )
    seed: Seed = Field(
        0, description="Seed of the order of the rows and of all other randomness in training."
    )
    seeds: Annotated[int, Field(ge=1, le=100)] = Field(
        1,
        description="The number of trainings, each with its own seed; the variance between them "
        "widens the interval.",
    )
    save_steps: Count | None = Field(
        None,
        description="Save a checkpoint every this many steps, besides the one after each epoch.",
    )
    save_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Save a checkpoint when this many minutes have passed since the last one, "
        "after the step that is being taken. SIGTERM, SIGUSR1 and Ctrl-C save one in any case.",
    )
    save_total_limit: Count = Field(
        2, description="Keep this many of the newest checkpoints, and the best."
    )
    report_to: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = Field(
        ["tensorboard"],
        description="Where the curves go, besides `metrics.jsonl`; see [trackers.md](trackers.md).",
    )

    @field_validator("seeds")
    @classmethod
    def _every_seed_is_one(cls, seeds: int, info: ValidationInfo) -> int:
        if info.data.get("seed", 0) + seeds > 2**32:
            raise PydanticCustomError("seeds", "The last seed would be above 4294967295")
        return seeds


class RougeOptions(Section):
    """ROUGE, by rouge-score."""

    stemmer: bool = Field(
        False,
        description="Count words by their Porter stems (`use_stemmer`), as most papers on "
        "summarisation do.",
    )


class BleuOptions(Section):
    """BLEU, by sacrebleu."""

    tokenize: Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"] = Field(
        "13a",
        description="What counts as a word: `zh` for Chinese, `ja-mecab` for Japanese (needs "
        "`pip install 'sacrebleu[ja]'`), `ko-mecab` for Korean (`'sacrebleu[ko]'`), `char` for "
        "other scripts without spaces.",
    )


class SemanticOptions(Section):
    """Semantic similarity, by sentence-transformers: `pip install 'tunesmith[semantic]'`.

    Naming a model adds the metric to those of free text; it is judged only where `metrics` names
    it. See [judges.md](judges.md).
    """

    model: str = Field(
        "",
        description="A model of sentence embeddings: a folder or a hub id, with safetensors. Code "
        "that comes with it is not run. Empty: the metric is not computed.",
    )


class MetricOptions(Section):
    """Settings of metrics, which must agree for two scores to be comparable.

    They are part of each score's signature in the report.
    """

    rouge: RougeOptions = RougeOptions()
    bleu: BleuOptions = BleuOptions()
    semantic_similarity: SemanticOptions = SemanticOptions()


DEFAULT_METRIC_OPTIONS = MetricOptions()


class GatesConfig(Section):
    """What must be shown before the model is used.

    A gate is passed only where the whole interval is on the right side of its limit, and none by a
    model that answers every test row as its base does. `tunesmith run` and `tunesmith report` exit
    with 4 where one is not passed. See [deciding.md](deciding.md).
    """

    least_gain: NonNegative | None = Field(
        None,
        description="The least gain in the primary metric over the verdict's reference system: "
        "0.02 is 2 points of accuracy or of BLEU.",
    )
    largest_broken_share: Fraction | None = Field(
        None,
        description="The largest share of the test rows that the base has right and the tuned "
        "model wrong.",
    )
    largest_retention_loss: NonNegative | None = Field(
        None,
        description="The largest loss on each text and task of `evaluation.panel`, in its metric: "
        "0.05 is 5 points of accuracy, or 0.05 bits per byte.",
    )


class EvaluationConfig(Section):
    """Base, few-shot base and tuned model answer the same prompts with the same settings."""

    metrics: list[str] | None = Field(
        None,
        description="The first one chooses the checkpoint and decides the verdict; several are "
        "tested together (Holm). `null`: the task family's, of which the first is tested.",
    )
    metric_options: MetricOptions = MetricOptions()
    few_shot: Annotated[int, Field(ge=0, le=1000)] = Field(
        4,
        description="Training rows shown to the base model in the few-shot baseline, as many as "
        "fit, in the wording that does best on validation, of up to five; 0: no such baseline.",
    )
    max_new_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None,
        description="Longest answer in tokens. `null`: a quarter more than the longest training "
        "answer.",
    )
    rank_choices: bool = Field(
        True,
        description="For closed tasks, also rank all choices by their likelihood, at the cost of a "
        "forward pass over all of them.",
    )
    num_validation_examples: Count = Field(
        200,
        description="Most validation rows answered after each epoch; fewer if answering them would "
        "take more than a fifth of the epoch's training, estimated by tokens. The loss is computed "
        "on all rows.",
    )
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        10_000, description="Random swaps or resamples behind a p or an interval that needs them."
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        0.95, description="Confidence level of the intervals."
    )
    margin: NonNegative | None = Field(
        None,
        description="The gain that counts, in the metric's own unit. `not better` is said only "
        "where the whole interval is below it. `null`: 0.01, or a tenth of the baseline's error "
        "where that is less.",
    )
    retention_margin: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05,
        description="The loss of general language that is still accepted, as a share of the base "
        "model's value.",
    )
    retention: Literal["auto"] | bool = Field(
        "auto",
        description="Ask 505 general questions and read plain text, both included here, before and "
        "after training. `auto`: for models that come with a chat template, except the built-in "
        "one.",
    )
    panel: list[str] = Field(
        [],
        description="What else is scored before and after training to show what was forgotten: "
        "general text files, recipes with their test sets, and tasks of lm-evaluation-harness "
        "(`lm_eval:arc_easy`, or `lm_eval:FILE.yaml`; needs `pip install 'tunesmith[lm-eval]'`).",
    )
    slices: list[str] = Field(
        [],
        description="Columns by whose values the test rows are divided, each part judged by "
        "itself, beside label, prompt length and source.",
    )
    gates: GatesConfig = GatesConfig()
    answer_at_accuracy: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95,
        description="For closed tasks: the share of its answers that must be right where the model "
        "answers by itself. The threshold of its confidence is fitted on validation and saved with "
        "the model.",
    )
    batch_tokens: Tokens = Field(
        16384, description="Most tokens in the key-value cache of one batch of answers."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="The number format of answers and likelihoods, the same for every system. "
        "`auto`: bfloat16 if the machine is fast at it; decided once per run.",
    )
    backend: Literal["transformers", "vllm"] = Field(
        "transformers",
        description="What generates the answers to the test set; likelihoods, and validation "
        "during training, always use transformers. `vllm` needs `pip install 'tunesmith[vllm]'`.",
    )


class Recipe(Section):
    """What to train on what, and where the run goes. Every key has a default."""

    model: str = Field(
        BUILT_IN_MODEL,
        description="The base model: a folder with safetensors, a .gguf file, a hub id, or "
        "`built-in` for the small one that is included.",
    )
    chat_template: str | None = Field(
        None,
        description="A file with a Jinja chat template that replaces the model's own. See "
        "[chat_templates.md](chat_templates.md).",
    )
    chat_template_kwargs: dict[str, object] = Field(
        {},
        description="Values for the chat template's variables, such as `{enable_thinking: false}`. "
        "They are pinned in the saved template.",
    )
    system: str | None = Field(
        None, description="The system message of conversations that have none."
    )
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    output_dir: str = Field(
        "runs/tunesmith", description="The run folder. It must be empty or not exist yet."
    )
    trust_remote_code: bool = Field(
        False,
        description="Run Python code that comes with the model. Only for models whose code you "
        "have read.",
    )


def is_recipe(path: Path) -> bool:
    """Whether a file is a recipe; any other is taken for data."""
    return path.suffix.lower() in (".yaml", ".yml")


def run_folder_of(table: Path) -> str:
    """Where the run on a data file goes that nobody named a folder for."""
    return f"runs/{table.stem}"


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, list[str]]:
    """Read a recipe file and apply `section.key=value` overrides.

    Returns the checked recipe and notes on other tools' names that were translated. Raises
    RecipeError naming the file and the key.
    """
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe", hint="`tunesmith init` writes one") from error
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}", hint="give a recipe file") from error
    except ValueError as error:  # bytes that are not UTF-8 among them
        raise RecipeError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{path}: a recipe is a mapping, found {type(values).__name__}",
            hint="see docs/recipe.md",
        )
    return build_recipe(values, overrides, where=str(path))


def build_recipe(
    values: Mapping[str, object], overrides: Sequence[str] = (), where: str = "recipe"
) -> tuple[Recipe, list[str]]:
    """Check plain values and `key=value` overrides; `values` is left as it is.

    Returns the recipe and notes on other tools' names that were translated. Raises RecipeError
    naming `where` and the key.
    """
    notes: list[str] = []
    translated = _translate(values, "", notes)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RecipeError(
                f"{override!r} is not key=value", hint="for example train.learning_rate=1e-5"
            )
        _set(translated, _canonical(key.strip(), notes), _parse_scalar(text), override)
    try:
        return Recipe.model_validate(translated), notes
    except ValidationError as error:
        raise _explain(error, where) from error


def metric_options(values: Mapping[str, object]) -> MetricOptions:
    """As in `evaluation.metric_options`; RecipeError naming what is not allowed."""
    try:
        return MetricOptions.model_validate(values)
    except ValidationError as error:
        raise _explain(error, "metric options") from error


def dump_recipe(recipe: Recipe) -> str:
    """YAML with every default filled in; `load_recipe` reads it back as an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse_scalar(text: str) -> object:
    """An override's value, read as YAML, or as plain text if it is not valid YAML."""
    try:
        value = load_yaml(text) if text.strip() else ""
    except ValueError:  # a template such as {{text}} ||| {{label}} is text, not YAML
        return text
    # YAML 1.1 reads 1e-5 as a string; a user of the command line means the number. Only that form:
    # a column may be called nan, and a folder 1_000.
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)
    return value


def _canonical(dotted: str, notes: list[str]) -> str:
    """Our name for a dotted key; a translation from another tool's name is added to `notes`."""
    section, _, last = dotted.rpartition(".")
    for ours, others in ALIASES.items():
        our_section, _, our_last = ours.rpartition(".")
        if our_section == section and last in others:
            notes.append(f"{dotted} is called {ours} here")
            return ours
        if our_section == section and last == our_last:
            return dotted
    return dotted


def _translate(values: Mapping[str, object], section: str, notes: list[str]) -> dict[str, object]:
    """A copy of the values with our names for the keys."""
    out: dict[str, object] = {}
    for key, value in values.items():
        dotted = _canonical(f"{section}.{key}" if section else str(key), notes)
        name = dotted.rpartition(".")[2]
        if name in out:
            raise RecipeError(
                f"{dotted} is given twice, once as {key!r}", hint="keep one of the two"
            )
        if isinstance(value, dict):
            # copied at every level that an override may change, which must not reach the caller
            out[name] = deepcopy(value) if section else _translate(value, dotted, notes)
        elif isinstance(value, str) and name in {"learning_rate", "weight_decay", "adam_epsilon"}:
            out[name] = _parse_scalar(value)
        else:
            out[name] = value
    return out


def _set(values: dict[str, object], dotted: str, value: object, override: str) -> None:
    *path, last = dotted.split(".")
    for name in path:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{override!r}: {name} is not a section")
        values = inner
    values[last] = value


def _explain(error: ValidationError, where: str) -> RecipeError:
    """The first of pydantic's errors as one line."""
    errors = error.errors()
    # in a mixture pydantic also lists the forms that the source might have had instead
    first = next((e for e in errors if e["type"] == UNQUOTED), errors[0])
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return RecipeError(
            f"{where}: unknown key {key!r}", hint=did_you_mean(location[-1], _keys(location[:-1]))
        )
    if first["type"] == UNQUOTED:
        key = ".".join(p for p in location if "[" not in p and p != SourceConfig.__name__)
        return RecipeError(
            f"{where}: {key} = {first['input']!r}: {first['msg']}",
            hint='quote them: ["no", "yes"]',
        )
    return RecipeError(
        f"{where}: {key} = {_brief(first['input'])}: {first['msg']}", hint="see docs/recipe.md"
    )


def _brief(value: object) -> str:
    """The value as Python writes it, of a long one the beginning: it may be a whole section."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _keys(path: Sequence[str]) -> list[str]:
    """The keys of the section at `path`; none if that is not a plain section."""
    section: type[BaseModel] = Recipe
    for name in path:
        field = section.model_fields.get(name)
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ):
            return []
        section = field.annotation
    return list(section.model_fields)
