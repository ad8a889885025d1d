"""docs/recipe.md: every key of a recipe with its type, default, meaning and other tools' names for
it.

python tools/recipe_reference.py > docs/recipe.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from tunesmith.recipe import ALIASES, Recipe, Section

INTRO = """\
# Recipes

A recipe says what to train on what. Every key has a default, so most recipes are short. `tunesmith init` writes one
with comments; `tunesmith run recipe.yaml` runs it.

Classify the reviews of a table, with the built-in base model:

```yaml
data:
  source: reviews.csv
  task: classify
  columns: {text: review, label: sentiment}
output_dir: runs/reviews
```

Summarise dialogues with a larger model. The dialogues of one customer stay on one side of the split, and the test rows
are a file of their own:

```yaml
model: HuggingFaceTB/SmolLM2-135M
data:
  source: calls.jsonl
  test_source: calls_of_june.jsonl
  task: summarise
  columns: {text: dialogue, target: summary}
  split: {train: 0.9, validation: 0.1, test: 0.0, group: customer}
train: {num_train_epochs: 2, learning_rate: 2.0e-5, max_length: 2048}
evaluation: {metrics: [rougeL], few_shot: 2}
output_dir: runs/calls
```

Two sources with a template each, general rows mixed into training, and a text on which the model must not get worse:

```yaml
model: ./my-base-model
data:
  source:
    - {source: tickets.parquet, task: classify, columns: {text: body, label: queue}}
    - {source: faq.csv, template: "{{ question }}\\nAnswer: ||| {{ answer }}"}
    - {source: general_chats.jsonl, replay: true}
train: {lora: {r: 32}, merge_with_base: 0.1}
evaluation: {panel: [general_text.txt]}
output_dir: runs/support
```

## How it is read

- On the command line any key can be set after the recipe: `tunesmith run recipe.yaml train.learning_rate=1e-5
  data.split.seed=1`. A value is read as YAML: `data.columns="{text: review}"`.
- An unknown key or a value of the wrong type is an error that names the key, before any work is done.
- Other tools' names for a key ("also accepted" below) are understood in the same section and reported in a note. A key
  that is given twice, under two names, is an error.
- The recipe with all defaults filled in is kept in the run folder as `recipe.yaml`.
- Unquoted `yes`, `no`, `on` and `off` are true and false in YAML: write `labels: ["no", "yes"]`.
"""

HEADINGS = {
    "": ("Top level", ""),
    "data": (
        "data",
        "The rows and how they become prompts and answers; [templates.md](templates.md) says more.",
    ),
    "data.source[]": (
        "data.source, as a list",
        "A mixture: each member is a path or these keys. Keys that are left out are taken from `data`.",
    ),
    "data.split": (
        "data.split",
        "Rows that share an input, near-duplicates and groups stay on one side of a split that is drawn. A split that "
        "you give, by a column or files of your own, stays as it is; what its sides share is reported.",
    ),
    "train": (
        "train",
        "Names and meanings are those of Hugging Face's `TrainingArguments` where it has them.",
    ),
    "train.lora": (
        "train.lora",
        "`lora: {}` takes these defaults. Needs `pip install 'tunesmith[lora]'`.",
    ),
    "evaluation": (
        "evaluation",
        "Base, few-shot base and tuned answer the same prompts with the same settings.",
    ),
}

MEANINGS = {
    "model": "The base model: a folder with safetensors, a .gguf file, a hub id, or the small model that is built in.",
    "chat_template": "A file with a Jinja chat template, in place of the model's own. See chat_templates.md.",
    "chat_template_kwargs": "Values for the chat template's variables, such as `{enable_thinking: false}`. They are "
    "pinned in the saved template.",
    "system": "The system message of conversations that bring none.",
    "output_dir": "The run folder. It must not exist, or be empty.",
    "trust_remote_code": "Run Python code that comes with the model. Only for models whose code you have read.",
    "data.source": "A csv, tsv, json, jsonl, parquet or arrow file, a folder of them, a hub data set "
    "(`org/name:split`), or a list of these.",
    "data.validation_source": "Rows to validate on, instead of a share of `source`.",
    "data.test_source": "Rows to test on, instead of a share of `source`. Rows that stand in both are left out of "
    "training.",
    "data.task": "A task family, as in `tunesmith templates list`, or one wording of it (`classify/terse`).",
    "data.template": "An inline template (`{{text}} ||| {{label}}`), a file, a wording, or "
    "`promptsource:data_set/name`. Not needed for prompt/completion, messages, Alpaca and ShareGPT columns.",
    "data.columns": "The template's slots and your columns: `{text: review}`. A column of the slot's name is found.",
    "data.labels": "Names of the labels: of 0, 1, 2 ... in order, or of each raw value.",
    "data.id": "The column with a row's id; without it, the row's number.",
    "data.wordings": "Of how many wordings of the family each row gets one, so that the phrase is not what is learnt.",
    "data.near_duplicates": "Keep texts that are almost the same on one side of a split that is drawn.",
    "data.max_rejected": "The share of rows that may be unusable (too long, empty, unreadable) before it is an error.",
    "data.max_rows": "Read only so many rows of each source.",
    "data.mixture_cap": "In a mixture a source counts for at most so many examples: rate = min(n, cap) / their sum.",
    "data.encoding": "Of text files.",
    "data.source[].source": "As `data.source`, one path.",
    "data.source[].task": "As `data.task`.",
    "data.source[].template": "As `data.template`.",
    "data.source[].columns": "As `data.columns`.",
    "data.source[].labels": "As `data.labels`.",
    "data.source[].replay": "General rows against forgetting: trained on, never validated or tested on.",
    "data.split.mode": "`auto` takes what the keys below ask for. `hash` places a row by its own input or group, so "
    "that added rows move no others.",
    "data.split.train": "Share of the rows. The three shares add up to 1.",
    "data.split.validation": "Share that is used after each epoch to choose the checkpoint.",
    "data.split.test": "Share that is sealed until the end.",
    "data.split.stratify": "A column whose values have the same shares in each split. The label is taken by itself.",
    "data.split.group": "A column whose equal values stay together: an author, a patient, a day.",
    "data.split.time": "A column with dates or numbers: the oldest rows train, the newest test.",
    "data.split.column": "A column that names each row's split (train, validation or test).",
    "data.split.seed": "Of the draw, of the wordings and of the few-shot examples.",
    "train.num_train_epochs": "Passes over the training rows.",
    "train.learning_rate": "The highest rate of the schedule. `null`: from the number of parameters (2e-5 at a "
    "billion, 4.5e-5 at 200 million, 1e-3 at most; ten times as much for LoRA).",
    "train.train_batch_size": "Examples of one optimiser step, over all devices. How they are cut to fit into memory "
    "does not change the step.",
    "train.max_length": "Longest example in tokens, prompt and answer; also limited by the model. Longer rows are "
    "rejected, never cut.",
    "train.lr_scheduler_type": "After the warm-up. `wsd` stays at the highest rate and falls over the last fifth.",
    "train.warmup_ratio": "Share of the steps over which the rate rises from 0.",
    "train.weight_decay": "On weight matrices only, not on norms and biases.",
    "train.max_grad_norm": "Clip the gradient to this norm; 0 is no clipping.",
    "train.optim": "`adamw_8bit` needs torchao or bitsandbytes. `muon` trains matrices, with AdamW for the rest.",
    "train.adam_beta1": "AdamW's decay of the mean gradient.",
    "train.adam_beta2": "AdamW's decay of the mean squared gradient.",
    "train.adam_epsilon": "AdamW's epsilon.",
    "train.neftune_noise_alpha": "Noise on the embeddings while training (NEFTune); 5 is usual, 0 is none.",
    "train.label_smoothing_factor": "Share of the target probability that is spread over the whole vocabulary.",
    "train.merge_with_base": "After training, each weight becomes (1 - share) tuned + share base, against forgetting.",
    "train.dtype": "What is computed in. `auto`: bfloat16 on a GPU, and where a CPU is fast at it.",
    "train.weights_dtype": "What the trained weights are kept in. `bfloat16` halves the memory (8 bytes a parameter "
    "with AdamW); each update is rounded up or down at random. Needs torchao, and `optim` adamw or adamw_8bit.",
    "train.gradient_checkpointing": "Compute activations twice to save memory. `auto`: only when it would not fit.",
    "train.share_prefixes": "Compute the common beginning of the prompts of a batch once. The gradients are the same.",
    "train.max_batch_tokens": "Most tokens, padding included, in memory at once; rows that share little use a quarter "
    "of it. `null`: from the memory there is.",
    "train.torch_compile": "Compile the model's layers; pays on a GPU and long runs.",
    "train.use_liger_kernel": "Liger's kernels for norms, rotary embeddings and feed-forwards; needs an NVIDIA GPU.",
    "train.lora": "Train low-rank adapters (see train.lora below) instead of all weights.",
    "train.seed": "Of the order of the rows and of whatever else training draws.",
    "train.seeds": "Train so many times with different seeds; the variance between runs widens the interval.",
    "train.save_steps": "Save a checkpoint every so many steps, beside the one after each epoch.",
    "train.save_total_limit": "Keep the newest so many checkpoints, and the best.",
    "train.report_to": "Where the curves go, beside `metrics.jsonl`.",
    "train.lora.r": "Rank of the adapters.",
    "train.lora.lora_alpha": "The adapters' change is scaled by lora_alpha / r.",
    "train.lora.target_modules": "Names of the layers that get an adapter.",
    "evaluation.metrics": "The first one chooses the checkpoint and gives the verdict; several are judged together "
    "(Holm). `null`: the task family's, of which the first is judged.",
    "evaluation.few_shot": "Training rows shown to the base model in the few-shot baseline, as many as fit, in the "
    "best of up to five wordings on validation; 0: none.",
    "evaluation.max_new_tokens": "Longest answer in tokens. `null`: a quarter more than the longest training answer.",
    "evaluation.rank_choices": "Closed tasks: rank every choice by its likelihood too, a pass over all choices.",
    "evaluation.num_validation_examples": "Most validation rows answered after each epoch; fewer where answering would "
    "take more than a fifth of the epoch's training, by their tokens. The loss is taken of all rows.",
    "evaluation.resamples": "Of the bootstrap behind intervals.",
    "evaluation.confidence": "Of the intervals.",
    "evaluation.panel": "General text files, and recipes with their test sets, scored before and after: what was lost.",
    "evaluation.batch_tokens": "Most tokens in the cache of the answers that are written at once.",
    "evaluation.dtype": "What answers and likelihoods are computed in, the same for every system. `auto`: bfloat16 "
    "where the machine is fast at it; decided once for a run.",
    "evaluation.backend": "What generates the answers to the test set; likelihoods and validation in training are "
    "transformers' always. `vllm` needs `pip install 'tunesmith[serve]'`.",
}

PLAIN_TYPES = {
    Any: "any value",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}


@dataclass(frozen=True)
class Key:
    section: str
    name: str
    type: str
    default: str
    also: tuple[str, ...]

    @property
    def dotted(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name


def recipe_keys(model: type[Section] = Recipe, section: str = "") -> Iterator[Key]:
    """Every key in the order of the models; a section's own keys follow those of the section it
    stands in.
    """
    inner: list[tuple[type[Section], str]] = []
    for name, field in model.model_fields.items():
        dotted = f"{section}.{name}" if section else name
        found = sections_in(field.annotation)
        inner += [(part, f"{dotted}[]" if listed else dotted) for part, listed in found]
        if not isinstance(field.default, Section):
            also = tuple(sorted(ALIASES.get(dotted, ())))
            yield Key(
                section, name, describe(field.annotation, field.metadata), default_of(field), also
            )
    for part, path in inner:
        yield from recipe_keys(part, path)


def sections_in(annotation: Any, listed: bool = False) -> list[tuple[type[Section], bool]]:
    """The sections in a type, each with whether it is a member of a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [(annotation, listed)]
    listed = listed or get_origin(annotation) is list
    return [found for part in get_args(annotation) for found in sections_in(part, listed)]


def describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type in words; LookupError for one that has none here."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(parts[0], parts[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        words = [describe(part) for part in parts if part is not NoneType]
        return (", or " if any(" or " in word for word in words) else " or ").join(words)
    if origin is list:
        return f"list of {describe(parts[0])}"
    if origin is dict:
        return f"mapping of {describe(parts[0])} to {describe(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "mapping"
    return PLAIN_TYPES[annotation] + bounds(metadata)


def bounds(metadata: Sequence[Any]) -> str:
    """The limits in pydantic's metadata: ", 0 to 1"."""
    flat = [
        m for item in metadata for m in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    limit = {
        name: getattr(m, name)
        for m in flat
        for name in ("ge", "gt", "le", "lt")
        if hasattr(m, name)
    }
    if limit.keys() == {"ge", "le"}:
        return f", {limit['ge']:g} to {limit['le']:g}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(f", {words[name]} {value:g}" for name, value in limit.items())


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return (
        "`"
        + yaml.safe_dump(field.default, default_flow_style=True).removesuffix("...\n").strip()
        + "`"
    )


def reference() -> str:
    """The page; KeyError naming a key or section without words."""
    by_section: dict[str, list[Key]] = {}
    for key in recipe_keys():
        by_section.setdefault(key.section, []).append(key)
    parts = [INTRO]
    for section, its_keys in by_section.items():
        title, sentence = HEADINGS[section]
        parts.append(
            "\n".join(
                [f"## {title}", "", *([sentence, ""] if sentence else []), *table(its_keys), ""]
            )
        )
    return "\n".join(parts)


def table(its_keys: Sequence[Key]) -> list[str]:
    lines = ["| key | type | default | meaning | also accepted |", "|---|---|---|---|---|"]
    for key in its_keys:
        meaning = MEANINGS[key.dotted].replace("|", "\\|")
        also = ", ".join(f"`{name}`" for name in key.also)
        lines.append(f"| `{key.name}` | {key.type} | {key.default} | {meaning} | {also} |")
    return lines


if __name__ == "__main__":
    print(reference(), end="")
