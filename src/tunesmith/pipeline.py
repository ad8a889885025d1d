"""prepare -> train -> evaluate -> report: each stage is a function on a run folder and can be run
by itself.

A stage that is done leaves its files; `resume` starts at the first stage that is not. The run
folder appears when preparation has succeeded, so bad input leaves nothing behind.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import DataError, RecipeError
from tunesmith.progress import progress, say, show
from tunesmith.recipe import (
    BUILT_IN_MODEL,
    DataConfig,
    Recipe,
    build_recipe,
    dump_recipe,
    load_recipe,
)
from tunesmith.records import SPLITS, Example
from tunesmith.report.content import TUNED
from tunesmith.rundir import (
    RunDir,
    file_sha256,
    open_seal,
    read_json,
    versions,
    write_atomic,
    write_json,
    write_seal,
)

if TYPE_CHECKING:
    from tunesmith.data.dedup.contamination import Overlap
    from tunesmith.data.plan import Source
    from tunesmith.evaluate.metrics import MetricResult
    from tunesmith.train.packing.plan import TrainingData

ASSETS = Path(__file__).parent / "assets"
SELECTED = "selected_by"  # the primary metric with the sign that makes more better


def demo_recipe(folder: Path, model: str = BUILT_IN_MODEL) -> Recipe:
    """The built-in rows on the built-in base model, at sizes that take two minutes on two cores, or
    on another model at the usual settings.
    """
    built_in = {"num_train_epochs": 6, "learning_rate": 1e-3, "train_batch_size": 16}
    values = {
        "model": model,
        "data": {
            "source": str(ASSETS / "reviews.csv"),
            "id": "id",
            "task": "classify",
            "columns": {"text": "review", "label": "sentiment"},
            "split": {"train": 0.6, "validation": 0.1, "test": 0.3},
        },
        "train": built_in if model == BUILT_IN_MODEL else {"num_train_epochs": 2},
        "evaluation": {"panel": [str(ASSETS / "held_out.txt")]},
        "output_dir": str(folder),
    }
    return build_recipe(values)[0]


def next_free(folder: Path) -> Path:
    """The folder itself, or the first of folder-2, folder-3 ... that does not exist."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def run(recipe: Recipe) -> dict[str, Any]:
    """All four stages; the contents of report.json."""
    prepare(recipe)
    return _remaining_stages(RunDir(Path(recipe.output_dir)))


def resume(folder: Path) -> dict[str, Any]:
    """Go on at the first stage that is not done; DataError where what the run was made from has
    changed.
    """
    run_dir = open_run(folder)
    check_unchanged(run_dir)
    return _remaining_stages(run_dir)


def _remaining_stages(run_dir: RunDir) -> dict[str, Any]:
    from tunesmith.stages.seeds import copy_of, seed_folders

    recipe = run_recipe(run_dir)
    if not run_dir.model.is_dir():
        train(run_dir)
    for number, other in enumerate(seed_folders(run_dir, recipe), start=1):
        if not other.manifest.exists():
            shutil.rmtree(other.path, ignore_errors=True)  # a copy that was interrupted
            config = recipe.train.model_copy(
                update={"seed": recipe.train.seed + number, "seeds": 1}
            )
            copy_of(run_dir, other.path, recipe.model_copy(update={"train": config}))
        if not other.model.is_dir():
            train(other)
    if not run_dir.panel.exists():  # what evaluation writes last
        evaluate(run_dir)
    for other in seed_folders(run_dir, recipe):
        if not other.predictions(TUNED, "test").exists():
            answer_tuned(other)
    if not run_dir.verification.exists():
        verify(run_dir)
    return report(run_dir)


def open_run(folder: Path) -> RunDir:
    """A prepared run; DataError where the folder is none."""
    run_dir = RunDir(folder)
    if not run_dir.manifest.exists():
        raise DataError(
            f"{folder}: not a run folder", hint="`tunesmith run` or `tunesmith prepare` makes one"
        )
    return run_dir


def run_recipe(run_dir: RunDir) -> Recipe:
    return load_recipe(run_dir.recipe)[0]


def check_unchanged(run_dir: RunDir) -> None:
    """DataError naming the first file, model or setting that is not what the run was prepared from."""
    from tunesmith.data.cache import input_hashes
    from tunesmith.models.load import fingerprint

    manifest = read_json(run_dir.manifest)
    hint = "start a new run in another output_dir"
    for name, sha256 in manifest["files"].items():
        if not (run_dir.path / name).exists() or file_sha256(run_dir.path / name) != sha256:
            raise DataError(f"{run_dir.path / name}: changed since the run was prepared", hint=hint)
    recipe = run_recipe(run_dir)
    found, wanted = fingerprint(recipe.model), manifest["model_files"]
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            raise DataError(f"{recipe.model}: {name} changed since the run was prepared", hint=hint)
    found, wanted = input_hashes(recipe.data), manifest.get("inputs", {})
    for name in sorted(
        {*found} & {*wanted}
    ):  # rows that are gone are not missed: the prepared ones are here
        if found[name] != wanted[name]:
            raise DataError(f"{name}: changed since the run was prepared", hint=hint)


# ---- prepare


def prepare(recipe: Recipe, trainings: int | None = None) -> dict[str, Any]:
    """Read, split, render, tokenise and prove the rows; the ledger. The run folder appears when all
    is well.

    `trainings` is how many the disk must have room for: the recipe's `train.seeds` where it is not
    given.
    """
    from tunesmith.chat.format import chat_format, complete_tokenizer
    from tunesmith.data.build import prompt_layout
    from tunesmith.data.cache import cache_key, input_hashes, restore, store
    from tunesmith.data.ledger import ledger_table
    from tunesmith.data.plan import plan_sources
    from tunesmith.data.sources.stored import StoredRows, store_rows
    from tunesmith.data.tokenize import resolve_max_length
    from tunesmith.models.load import fingerprint, load_tokenizer
    from tunesmith.stages.preflight import check_before_work

    folder = Path(recipe.output_dir)
    check_before_work(recipe, recipe.train.seeds if trainings is None else trainings)
    _check_evaluation(recipe)
    temporary = RunDir(folder.with_name(f".{folder.name}.preparing"))
    shutil.rmtree(temporary.path, ignore_errors=True)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    try:
        hashes = store_rows(recipe.data, temporary.rows)
        sources = plan_sources(recipe.data, StoredRows(temporary.rows))
        tokenizer = load_tokenizer(recipe.model, recipe.trust_remote_code)
        original = tokenizer.chat_template
        notes = complete_tokenizer(tokenizer, chat_settings(recipe))
        chat = chat_format(tokenizer, recipe.system or "")
        max_length = resolve_max_length(recipe)
        key = cache_key(sources, hashes, recipe.data, chat, max_length)
        facts = restore(key, temporary) if key else None
        if facts is None:
            facts = _prepare_rows(sources, recipe.data, chat, max_length, temporary, notes)
            if key:
                store(key, temporary, facts)
        else:
            say(
                "note: these rows were prepared before, by the same recipe, tokenizer and code: taken from the cache"
            )
        notes = facts["notes"]
        write_json(temporary.ledger, facts)
        _check_splits(temporary)
        template = sources[0].templates[0] if sources[0].templates else None
        write_atomic(temporary.recipe, dump_recipe(recipe))
        write_atomic(temporary.chat_template, tokenizer.chat_template)
        if isinstance(original, str) and original != tokenizer.chat_template:
            write_atomic(temporary.original_chat_template, original)
        write_seal(temporary, _ids(temporary, "test"))
        manifest = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "model_files": fingerprint(recipe.model),
            "inputs": input_hashes(recipe.data, hashes),
            "files": {
                str(path.relative_to(temporary.path)): file_sha256(path)
                for path in [
                    temporary.recipe,
                    temporary.chat_template,
                    *(temporary.examples(split) for split in SPLITS),
                ]
            },
            "max_length": max_length,
            "family": template.family if template else "free",
            "parser": template.parser if template else "text",
            "metrics": list(
                recipe.evaluation.metrics or (template.metrics if template else FREE_TEXT_METRICS)
            ),
            "held_out_wordings": [t.name for t in sources[0].templates if t.held_out],
            "prompt_layout": prompt_layout(sources[0]),
            "notes": notes,
        }
        write_json(temporary.manifest, manifest)
        if folder.exists():
            folder.rmdir()
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.path.rename(folder)
    except DataError:  # the list of rejected rows is what the user needs next
        if temporary.rejected.exists() and temporary.rejected.stat().st_size:
            listed = folder.with_name(f"{folder.name}.rejected.jsonl")
            shutil.move(temporary.rejected, listed)
            say(f"note: the rejected rows are listed in {listed}")
        raise
    finally:
        shutil.rmtree(temporary.path, ignore_errors=True)
        for parent in new_parents:  # innermost first; those that hold the run or the list stay
            with suppress(OSError):
                parent.rmdir()
    show(ledger_table(facts))
    for text in notes:
        say(f"note: {text}")
    return facts


def _prepare_rows(
    sources: Sequence[Source],
    data: DataConfig,
    chat: Any,
    max_length: int,
    run_dir: RunDir,
    notes: list[str],
) -> dict[str, Any]:
    """Index, search, render, tokenise and write; the ledger. `notes` are those of the tokenizer."""
    from tunesmith.data.build import write_splits
    from tunesmith.data.ledger import Ledger
    from tunesmith.data.plan import build_index, find_overlap
    from tunesmith.data.sources.stored import StoredRows

    rows = StoredRows(run_dir.rows)
    index = build_index(sources, data, rows, run_dir.path)
    notes = [*notes, *index.notes, *_overlap_note(find_overlap(index), index.ids)]
    with (
        Ledger(run_dir.rejected) as ledger,
        progress("preparing rows", sum(index.num_rows)) as advance,
    ):
        write_splits(index, rows, data, chat, max_length, run_dir, ledger, advance)
    ledger.near_duplicate_clusters, ledger.notes = (
        index.near_duplicate_clusters,
        [*notes, *ledger.remarks()],
    )
    return ledger.finish(data.max_rejected, sum(index.num_rows) + index.num_unreadable)


FREE_TEXT_METRICS = ("exact_match", "token_f1", "rougeL")


def _check_evaluation(recipe: Recipe) -> None:
    """What would only be found after hours of training: unknown metrics, a panel file or backend
    that is not there.
    """
    from tunesmith.evaluate.metrics import check_answer_metrics
    from tunesmith.evaluate.retention import read_texts

    check_answer_metrics(recipe.evaluation.metrics or ())
    _check_backend(recipe)
    for name in recipe.evaluation.panel:
        if name.endswith((".yaml", ".yml")):
            load_recipe(Path(name))
        else:
            read_texts(Path(name))


def _check_backend(recipe: Recipe) -> None:
    if recipe.evaluation.backend == "vllm":
        from tunesmith.evaluate.generate import check_vllm

        check_vllm()


def _ids(run_dir: RunDir, split: str) -> list[str]:
    from tunesmith.data.store import example_ids

    return list(example_ids(run_dir.examples(split)))


def _overlap_note(found: Overlap, ids: Sequence[str]) -> list[str]:
    if not found.pairs:
        return []
    (test_row, train_row), share = found.pairs[0], found.num_overlapping / found.num_test
    return [
        f"{found.num_overlapping:,} of {found.num_test:,} test inputs ({share:.1%}) share 13 words in a row with a "
        f"training input, for example row {ids[test_row]} with row {ids[train_row]}"
    ]


def _check_splits(run_dir: RunDir) -> None:
    from tunesmith.data.store import num_examples, only_answer

    for split in SPLITS:
        if not num_examples(run_dir.examples(split)):
            raise DataError(f"the {split} split is empty", hint="give more rows, or set data.split")
    answer = only_answer(run_dir.examples("train"))
    if answer is not None:
        raise DataError(
            f"every training row has the same answer, {answer!r}: there is nothing to learn",
            hint="are the rows sorted by their label, and only the first of them taken? `tunesmith preview` shows them",
        )


def prompt_writer(run_dir: RunDir) -> Callable[[str], str] | None:
    """Puts one text into the run's prompt template; None where the template takes more than one
    text.
    """
    from tunesmith.data.build import PLACEHOLDER

    layout = read_json(run_dir.manifest)["prompt_layout"]
    return None if layout is None else lambda text: layout.replace(PLACEHOLDER, text)


# ---- train


def train(run_dir: RunDir) -> None:
    """Train on the prepared rows, from the last good checkpoint if there is one, and save model/."""
    from tunesmith.data.store import read_examples
    from tunesmith.evaluate.metrics import find_metric, score_predictions
    from tunesmith.evaluate.systems import answer
    from tunesmith.models.load import fit_embeddings
    from tunesmith.models.save import save_model
    from tunesmith.train.adapters import merge_lora, wrap_lora
    from tunesmith.train.loop import train as train_model

    recipe, manifest = run_recipe(run_dir), read_json(run_dir.manifest)
    chat, model = run_chat(run_dir, recipe), _load_base(recipe)
    fit_embeddings(model, chat.tokenizer)
    if recipe.train.lora is not None:
        model = wrap_lora(model, recipe.train.lora, recipe.train.seed)
    primary = manifest["metrics"][0]
    decoding = _decoding(run_dir, recipe, chat, model)
    data, validation = training_data(run_dir, "train"), training_data(run_dir, "validation")
    examples = read_examples(run_dir.examples("validation"))
    sample = _sample(
        examples, _validation_rows(data, validation, examples, recipe, decoding.rank_choices)
    )

    def validate(current: Any) -> dict[str, float]:
        predictions = answer(current, chat, sample, decoding)
        result = score_predictions(sample, predictions, manifest["metrics"], manifest["parser"])
        means = result.corpus | {
            name: sum(scores) / len(scores) for name, scores in result.scores.items()
        }
        return means | {
            SELECTED: find_metric(primary).sign * means[primary],
            **_standard_error(result, primary),
        }

    result = train_model(
        model,
        data,
        recipe.train,
        run=run_dir,
        validation=validation,
        validate=validate,
        select=SELECTED,
        resume=True,
    )
    model = merge_lora(model)
    write_json(run_dir.training, _training_facts(model, data, recipe, asdict(result)))
    save_model(model, chat.tokenizer, run_dir.model, decoding.max_new_tokens)
    if (
        run_dir.original_chat_template.exists()
    ):  # beside the one that was trained on, under a name nothing loads
        shutil.copy(
            run_dir.original_chat_template, run_dir.model / run_dir.original_chat_template.name
        )


def _training_facts(
    model: Any, data: Any, recipe: Recipe, result: dict[str, Any]
) -> dict[str, Any]:
    """The result with speed, memory, and how near it came to the least time this machine allows."""
    import resource

    import torch

    from tunesmith.machine import probe_machine
    from tunesmith.train.roofline import lower_bound, model_size

    epochs, batch_size = recipe.train.num_train_epochs, recipe.train.train_batch_size
    machine = probe_machine(model.device, getattr(torch, result["dtype"]))
    size = model_size(model.config, recipe.trust_remote_code)
    least = lower_bound(data, size, machine, batch_size=batch_size, epochs=epochs)
    seconds = max(result["seconds"], 1e-9)
    return result | {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "rows_per_second": round(epochs * len(data) / seconds, 2),
        "least_seconds": round(least.seconds, 6),
        "fraction_of_limit": round(least.seconds / seconds, 6),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def chat_settings(recipe: Recipe) -> Any:
    from tunesmith.chat.template import ChatSettings

    return ChatSettings(recipe.chat_template, recipe.chat_template_kwargs)


def run_chat(run_dir: RunDir, recipe: Recipe) -> Any:
    """The chat format that the run's rows were prepared in: its template is the run's own file."""
    from tunesmith.chat.format import chat_format, complete_tokenizer
    from tunesmith.models.load import load_tokenizer

    tokenizer = load_tokenizer(recipe.model, recipe.trust_remote_code)
    if run_dir.chat_template.exists():
        tokenizer.chat_template = run_dir.chat_template.read_text(encoding="utf-8")
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer, recipe.system or "")


def training_data(run_dir: RunDir, split: str) -> Any:
    from tunesmith.data.store import read_token_arrays
    from tunesmith.train.packing.plan import TrainingData

    return TrainingData.from_arrays(*read_token_arrays(run_dir.examples(split)))


def _standard_error(result: MetricResult, metric: str) -> dict[str, float]:
    """Of the selecting metric's mean over the rows; none for a metric of the whole split."""
    from tunesmith.train.loop import STANDARD_ERROR

    scores = result.scores.get(metric, [])
    if len(scores) < 2:
        return {}
    return {f"{SELECTED}{STANDARD_ERROR}": statistics.stdev(scores) / math.sqrt(len(scores))}


def _validation_rows(
    data: TrainingData,
    validation: TrainingData,
    examples: Sequence[Example],
    recipe: Recipe,
    ranked: bool,
) -> int:
    """How many validation rows are answered after each epoch; a note where they are fewer than was
    asked for.
    """
    from tunesmith.evaluate.budget import affordable_rows
    from tunesmith.evaluate.forward import common_prefix

    answers = validation.num_trained
    prompts = [validation.row(row)[:-n].tolist() for row, n in enumerate(answers[:200])]
    shared = common_prefix(prompts)
    asked = min(recipe.evaluation.num_validation_examples, len(examples))
    found = affordable_rows(
        int((data.lengths - shared).clip(min=1).sum()),
        float((validation.lengths - answers).mean()) - shared,
        float(answers.mean()),
        sum(len(example.choices) for example in examples) / len(examples) if ranked else 0.0,
        asked,
    )
    if found < asked:
        say(
            f"note: {found} of {asked} validation rows are answered after each epoch, for a fifth of its training time"
        )
    return found


def _decoding(
    run_dir: RunDir,
    recipe: Recipe,
    chat: Any,
    model: Any,
    train_split: Sequence[Example] | None = None,
) -> Any:
    """How all systems answer; `train_split` where it has been read already."""
    from tunesmith.data.store import read_examples
    from tunesmith.evaluate.systems import decoding_for

    train_split = read_examples(run_dir.examples("train")) if train_split is None else train_split
    lengths = training_data(run_dir, "train").num_trained.tolist()
    return decoding_for(
        train_split, lengths, chat, model, recipe.evaluation, answered_in(run_dir, recipe)
    )


def answered_in(run_dir: RunDir, recipe: Recipe) -> str:
    """What answers are computed in, float32 or bfloat16: decided at its first use and kept through
    every resume, so that all systems, seeds and parts of a curve are answered alike.
    """
    import torch

    from tunesmith.machine import fastest_dtype
    from tunesmith.models.load import default_device

    if not run_dir.answered_in.exists():
        asked = recipe.evaluation.dtype
        found = fastest_dtype(torch.device(default_device())) if asked == "auto" else asked
        write_json(run_dir.answered_in, {"dtype": found})
    return str(read_json(run_dir.answered_in)["dtype"])


def _sample(examples: Sequence[Example], n: int) -> list[Example]:
    """At most n examples, spread evenly over the split."""
    step = max(1.0, len(examples) / n)
    return [examples[int(i * step)] for i in range(min(n, len(examples)))]


# ---- evaluate


def evaluate(run_dir: RunDir) -> None:
    """Answers of base, few-shot base and tuned on the sealed test, same rows and decoding, and the
    baselines'.
    """
    from tunesmith.chat.format import chat_format
    from tunesmith.data.store import read_examples
    from tunesmith.evaluate.few_shot import TRIAL_ROWS, best_wording
    from tunesmith.evaluate.forward import in_dtype
    from tunesmith.evaluate.predictions import write_predictions
    from tunesmith.evaluate.systems import (
        answer,
        baseline_predictions,
        few_shot_exemplars,
        linear_predictions,
        with_exemplars,
    )
    from tunesmith.models.load import fit_embeddings, load_tokenizer
    from tunesmith.stages.report import YARDSTICK
    from tunesmith.stages.retention import panel_rows

    recipe, manifest = run_recipe(run_dir), read_json(run_dir.manifest)
    if not run_dir.model.is_dir():
        raise DataError(
            f"{run_dir.path}: no tuned model yet", hint=f"`tunesmith train {run_dir.path}` first"
        )
    _check_backend(recipe)
    run_dir.verification.unlink(missing_ok=True)  # it was of the answers that are made anew
    test, train_split = (
        read_examples(run_dir.examples("test")),
        read_examples(run_dir.examples("train")),
    )
    uses = open_seal(run_dir, [example.id for example in test], "base, few-shot base and tuned")
    if uses > 1:
        say(
            f"note: the test split has now been used {uses} times; a choice made on it makes its result optimistic"
        )
    chat = chat_format(
        load_tokenizer(str(run_dir.model), recipe.trust_remote_code), recipe.system or ""
    )
    tuned, base = _load_tuned(run_dir, recipe), _load_base(recipe)
    fit_embeddings(base, chat.tokenizer)
    decoding = _for_the_test(_decoding(run_dir, recipe, chat, tuned, train_split), recipe)
    tuned, base = in_dtype(tuned, decoding.dtype), in_dtype(base, decoding.dtype)
    exemplars = few_shot_exemplars(train_split, recipe.evaluation.few_shot, recipe.data.split.seed)
    trial_rows = _sample(read_examples(run_dir.examples("validation")), TRIAL_ROWS)
    asked, exemplars, trial = best_wording(
        recipe.data,
        run_dir.rows,
        trial_rows,
        test,
        exemplars,
        chat,
        base,
        decoding,
        manifest["metrics"][0],
        manifest["parser"],
    )
    prompted, mean_shown = with_exemplars(asked, exemplars, chat, base, decoding)
    write_json(
        run_dir.few_shot,
        {**asdict(trial), "exemplars": [e.row_id for e in exemplars], "mean_shown": mean_shown},
    )
    for system, model, examples in (
        ("base", base, test),
        ("base_few_shot", base, prompted),
        (TUNED, tuned, test),
    ):
        if system == "base_few_shot" and not mean_shown:
            continue
        started = time.monotonic()
        with progress(f"evaluating {system}", len(test)) as advance:
            predictions = answer(model, chat, examples, decoding, advance)
        write_predictions(run_dir, system, examples, predictions, time.monotonic() - started)
    primary, parser = manifest["metrics"][0], manifest["parser"]
    baselines = baseline_predictions(
        train_split, test, manifest["family"], parser, primary, manifest["prompt_layout"]
    )
    for name, predictions in baselines.items():
        write_predictions(run_dir, name, test, predictions)
    if test[0].choices:
        write_predictions(run_dir, YARDSTICK, test, linear_predictions(train_split, test))
    write_json(
        run_dir.panel,
        panel_rows(run_dir, recipe, (base, tuned), chat, partial(prepare, trainings=0), _decoding),
    )


def verify(run_dir: RunDir) -> Any:
    """A fresh process answers test prompts from model/ alone; what it found goes into the report."""
    from tunesmith.chat.format import chat_format
    from tunesmith.data.store import read_examples
    from tunesmith.evaluate.predictions import read_predictions
    from tunesmith.models.load import load_tokenizer
    from tunesmith.stages.verify import verify as verify_folder

    recipe = run_recipe(run_dir)
    if not run_dir.predictions(TUNED, "test").exists():
        raise DataError(
            f"{run_dir.path}: not evaluated yet", hint=f"`tunesmith resume {run_dir.path}` goes on"
        )
    tokenizer = load_tokenizer(str(run_dir.model), recipe.trust_remote_code)
    found = verify_folder(
        run_dir.model,
        chat_format(tokenizer, recipe.system or ""),
        read_examples(run_dir.examples("test")),
        read_predictions(run_dir, TUNED, "test")[0],
        dtype=answered_in(run_dir, recipe),
        trust_remote_code=recipe.trust_remote_code,
    )
    write_json(run_dir.verification, asdict(found))
    say(f"note: {found.sentence}")
    return found


def _for_the_test(decoding: Any, recipe: Recipe) -> Any:
    """What validation in training leaves out: the likelihood of the right answers, and another
    program's engine, which reads weights from a folder.
    """
    return replace(decoding, score_references=True, backend=recipe.evaluation.backend)


def answer_tuned(run_dir: RunDir) -> None:
    """The tuned model's answers to the test split alone; the caller records the use."""
    from tunesmith.chat.format import chat_format
    from tunesmith.data.store import read_examples
    from tunesmith.evaluate.predictions import write_predictions
    from tunesmith.evaluate.systems import answer
    from tunesmith.models.load import load_tokenizer

    recipe = run_recipe(run_dir)
    _check_backend(recipe)
    chat = chat_format(
        load_tokenizer(str(run_dir.model), recipe.trust_remote_code), recipe.system or ""
    )
    tuned = _load_tuned(run_dir, recipe)
    test = read_examples(run_dir.examples("test"))
    decoding = _for_the_test(_decoding(run_dir, recipe, chat, tuned), recipe)
    with progress("evaluating tuned", len(test)) as advance:
        write_predictions(run_dir, TUNED, test, answer(tuned, chat, test, decoding, advance))


def _load_base(recipe: Recipe) -> Any:
    from tunesmith.models.load import load_model

    return load_model(recipe.model, trust_remote_code=recipe.trust_remote_code)


def _load_tuned(
    run_dir: RunDir, recipe: Recipe, dtype: str = "auto", device: str | None = None
) -> Any:
    """Code that the base brought was saved with the tuned model, and is trusted as the base's was."""
    from tunesmith.models.load import load_model

    return load_model(str(run_dir.model), dtype, recipe.trust_remote_code, device)


# ---- report


def report(run_dir: RunDir) -> dict[str, Any]:
    """Score the stored answers, compare, and write report.html, report.md, report.json and the
    model card.
    """
    from tunesmith.report.console import show as show_report
    from tunesmith.report.content import to_json
    from tunesmith.report.write import write_report
    from tunesmith.stages.report import build_report
    from tunesmith.train.trackers import read_metrics

    if not run_dir.panel.exists():
        raise DataError(
            f"{run_dir.path}: not evaluated yet", hint=f"`tunesmith resume {run_dir.path}` goes on"
        )
    content = build_report(run_dir, run_recipe(run_dir), read_metrics(run_dir.metrics))
    write_report(run_dir, content)
    show_report(content)
    say(f"report: {run_dir.report_html}")
    return to_json(content)


def compare_runs(a: RunDir, b: RunDir, metric: str | None = None) -> dict[str, Any]:
    """The tuned models of two runs on the same test rows: b minus a, and the verdict."""
    from tunesmith.stages import report as judge

    return judge.compare_runs(a, b, (run_recipe(a), run_recipe(b)), metric)


def export(run_dir: RunDir, folder: Path, dtype: str) -> None:
    """The tuned model in another folder and number format, with its tokenizer and card."""
    from tunesmith.models.load import load_tokenizer
    from tunesmith.models.save import save_model

    if folder.exists():
        raise RecipeError(f"{folder}: exists already", hint="name a folder that does not exist")
    recipe = run_recipe(run_dir)
    model = _load_tuned(run_dir, recipe, dtype, "cpu")
    tokenizer = load_tokenizer(str(run_dir.model), recipe.trust_remote_code)
    save_model(model, tokenizer, folder, model.generation_config.max_new_tokens)
    for name in ("README.md", run_dir.original_chat_template.name):
        if (run_dir.model / name).exists():
            shutil.copy(run_dir.model / name, folder / name)
