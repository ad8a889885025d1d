"""Rows to token ids: read, split, render, tokenise, prove. The folder appears when all is well."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.data.build import write_splits
from tunesmith.data.cache import cache_key, input_hashes, restore, store
from tunesmith.data.dedup.contamination import Overlap
from tunesmith.data.ledger import Ledger, LedgerFacts, ledger_table
from tunesmith.data.lint.before import findings_before_training
from tunesmith.data.lint.names import check_names, not_allowed, stop_on_errors
from tunesmith.data.lint.texts import check_scan
from tunesmith.data.plan import (
    JUDGED,
    Index,
    Source,
    build_index,
    find_overlap,
    find_twins,
    plan_sources,
)
from tunesmith.data.sources.members import members
from tunesmith.data.sources.stored import StoredRows, store_rows
from tunesmith.data.store import (
    example_ids,
    num_examples,
    only_answer,
    sample_examples,
    task_counts,
)
from tunesmith.errors import DataError
from tunesmith.evaluate.fitness import SAMPLE, check_fitness
from tunesmith.evaluate.generate import check_vllm
from tunesmith.evaluate.harness import check_harness_task, is_harness_task
from tunesmith.evaluate.metrics import check_recipe_metrics, check_template_metrics
from tunesmith.evaluate.metrics.semantic import check_embedding_model
from tunesmith.evaluate.metrics.translation import check_tokenizer
from tunesmith.evaluate.retention import read_texts
from tunesmith.models.licence import base_licence
from tunesmith.models.load import fingerprint, load_tokenizer, max_positions
from tunesmith.progress import note, progress, say, show, working
from tunesmith.recipe import DataConfig, Recipe, dump_recipe, load_recipe
from tunesmith.records import SPLITS, Finding
from tunesmith.run_files import Task, Twins, new_manifest, write_record
from tunesmith.rundir import RunDir, file_sha256, sync, sync_tree, temporary_name, write_atomic
from tunesmith.seal import write_seal
from tunesmith.stages.common import chat_settings, list_prepared
from tunesmith.stages.deciding import check_gates, check_slices, check_task_gates
from tunesmith.stages.preflight import check_before_work, check_output
from tunesmith.stages.tasks import check_tasks, run_task
from tunesmith.stages.working import at_work


def prepare(
    recipe: Recipe,
    trainings: int | None = None,
    list_rejected: bool = True,
    use_cache: bool = True,
) -> LedgerFacts:
    """Make the recipe's run folder; the ledger. Raises InputError, and then leaves nothing behind
    but the list of rejected rows.

    `trainings` is how many the disk must have room for: the recipe's `train.seeds` where it is not
    given. Without `list_rejected` the list goes too: for a folder that will not stay. Without
    `use_cache` all is made anew, and nothing is kept.
    """
    check_names(recipe.data.allow)
    check_scan(recipe.data.scan)
    check_before_work(recipe, recipe.train.seeds if trainings is None else trainings)
    check_evaluation(recipe)
    folder, again = Path(recipe.output_dir), "run the same command again"
    with at_work(folder, "preparation", again), working("preparation"):
        with _appearing(folder, list_rejected) as run:
            facts = _fill(run, recipe, use_cache)
        show(ledger_table(facts))
        for text in facts.notes:
            note(text)
        for finding in not_allowed(facts.findings, recipe.data.allow):
            say(f"{finding.severity}: {finding.text}")
    return facts


@contextmanager
def _appearing(folder: Path, list_rejected: bool) -> Iterator[RunDir]:
    """A hidden folder to fill, which takes the wanted name when the block ends without an error."""
    check_output(folder)  # again: another process may have made it while we waited for the lock
    run = RunDir(temporary_name(folder, "preparing"))
    try:
        yield run
        if folder.exists():
            folder.rmdir()
        folder.parent.mkdir(parents=True, exist_ok=True)
        sync_tree(run.path)
        run.path.rename(folder)
        sync(folder.parent)
    except DataError:  # the list of rejected rows is what the user needs next
        if list_rejected and run.rejected.exists() and run.rejected.stat().st_size:
            listed = folder.with_name(f"{folder.name}.rejected.jsonl")
            shutil.move(run.rejected, listed)
            note(f"the rejected rows are listed in {listed}")
        raise
    finally:
        shutil.rmtree(run.path, ignore_errors=True)


def _fill(run: RunDir, recipe: Recipe, use_cache: bool) -> LedgerFacts:
    """Everything that a prepared run holds: the rows as they were read first, the manifest last."""
    recognised: list[str] = []  # in the files
    with progress("reading rows") as advance:
        hashes = store_rows(recipe.data, run.rows, recognised, advance)
    sources = plan_sources(recipe.data, StoredRows(run.rows))
    check_slices(recipe, StoredRows(run.rows))
    task = run_task(recipe, sources)
    check_task_gates(recipe, task)
    for template in (template for source in sources for template in source.templates):
        check_template_metrics(template.name, template.metrics)
    tokenizer = load_tokenizer(recipe.model, recipe.trust_remote_code)
    original = tokenizer.chat_template
    notes = [*recognised, *complete_tokenizer(tokenizer, chat_settings(recipe))]
    chat = chat_format(tokenizer, recipe.system or "")
    facts = _cached_rows(run, recipe, sources, hashes if use_cache else {}, chat, notes)
    odd = _check_splits(run, task, recipe.data.allow)
    facts = replace(facts, findings=(*facts.findings, *odd))
    facts = replace(facts, notes=(*facts.notes, *_check_metrics(run, recipe, sources, task)))
    write_record(run.ledger, facts)
    write_atomic(run.recipe, dump_recipe(recipe))
    write_atomic(run.chat_template, tokenizer.chat_template)
    if isinstance(original, str) and original != tokenizer.chat_template:
        write_atomic(run.original_chat_template, original)
    write_seal(run, example_ids(run.examples("test")))
    own = [run.recipe, run.chat_template, *(run.examples(split) for split in SPLITS)]
    manifest = new_manifest(
        task,
        files={str(path.relative_to(run.path)): file_sha256(path) for path in own},
        inputs=input_hashes(recipe.data, hashes),
        model_files=fingerprint(recipe.model),
        notes=(*facts.notes, *(finding.text for finding in facts.findings)),
        licence=base_licence(recipe.model),
    )
    write_record(run.manifest, manifest)
    list_prepared(run)
    return facts


def _check_metrics(run: RunDir, recipe: Recipe, sources: Sequence[Source], task: Task) -> list[str]:
    """Notes on how well the metrics of each trained task fit its right answers; DataError where one
    that decides does not.

    The test's answers stay unseen, and so all those of a held-out task.
    """
    drawn = [
        example
        for split in ("train", "validation")
        for example in sample_examples(run.examples(split), SAMPLE * len(task.judged))
    ]
    notes = []
    for name, own in task.judged.items():
        used = [s for s in sources if s.task == name and not s.is_replay]
        templates = {template.name for source in used for template in source.templates}
        examples = [
            e for e in drawn if e.task == name and (e.template in templates or not templates)
        ]
        judged = own.metrics[:1] if task.tasks else recipe.evaluation.metrics or own.metrics[:1]
        if examples:
            found = check_fitness(examples, judged, own.metrics, own.parser, own.options)
            notes += [f"{name}: {note}" if name else note for note in found]
    return notes


def _cached_rows(
    run: RunDir,
    recipe: Recipe,
    sources: Sequence[Source],
    hashes: Mapping[str, str],
    chat: ChatFormat,
    notes: Sequence[str],
) -> LedgerFacts:
    """The splits, from the cache where the same were prepared before."""
    max_length = usable_length(recipe)
    key = cache_key(sources, hashes, recipe.data, chat, max_length)
    facts = restore(key, run) if key else None
    if facts is not None:
        note(
            "these rows were prepared before, by the same recipe, tokenizer and code: taken "
            "from the cache"
        )
        return facts
    facts = _prepare_rows(sources, recipe.data, chat, max_length, run, notes)
    if key:
        store(key, run, facts)
    return facts


def usable_length(recipe: Recipe) -> int:
    """Tokens that an example may have: what the recipe allows and the model can read."""
    return min(recipe.train.max_length, max_positions(recipe.model, recipe.trust_remote_code))


def _prepare_rows(
    sources: Sequence[Source],
    data: DataConfig,
    chat: ChatFormat,
    max_length: int,
    run: RunDir,
    notes: Sequence[str],
) -> LedgerFacts:
    """Index, search, render, tokenise and write. `notes` are those of the tokenizer."""
    rows = StoredRows(run.rows)
    with progress("splitting, and looking for duplicates"):
        index = build_index(sources, data, rows, run.path)
    with progress("looking for what is wrong with the rows"):
        found = findings_before_training(index, data, rows)
        stop_on_errors(found, data.allow)
    with progress("looking for overlaps of test and training rows"):
        notes = [*notes, *index.notes, *_overlap_note(find_overlap(index), index.ids)]
        notes += _held_out_note(find_overlap(index, held_out=True), index.ids)
        notes += _record_twins(run, index)
    num_rows = sum(index.num_rows)
    with (
        Ledger(run.rejected) as ledger,
        progress("rendering and tokenising rows", num_rows) as advance,
    ):
        write_splits(index, rows, data, chat, max_length, run, ledger, advance)
    ledger.near_duplicate_clusters = index.near_duplicate_clusters
    ledger.notes = [*notes, *ledger.notes, *ledger.remarks()]
    ledger.findings = [*found, *ledger.findings]
    stop_on_errors(ledger.findings, data.allow)
    return ledger.finish(data.max_rejected, num_rows + index.num_unreadable)


def _overlap_note(found: Overlap, ids: Sequence[str]) -> list[str]:
    if not found.pairs:
        return []
    (test_row, train_row), share = found.pairs[0], found.num_overlapping / found.num_test
    return [
        f"{found.num_overlapping:,} of {found.num_test:,} test inputs ({share:.1%}) share 13 words "
        f"in a row with a training input, for example row {ids[test_row]} with row {ids[train_row]}"
    ]


def _record_twins(run: RunDir, index: Index) -> list[str]:
    """Write which test rows have a near-twin in training, for the report; notes."""
    found, notes = find_twins(index), []
    for split in JUDGED:
        rows, in_train = found.rows[split], found.in_train[split]
        if index.searched and len(rows):
            notes.append(
                f"{len(rows):,} {split} inputs have a near-twin among the training inputs, for "
                f"example row {index.ids[int(rows[0])]} has row {index.ids[int(in_train[0])]}"
            )
    test = tuple(index.ids[int(row)] for row in found.rows["test"])
    twins = Twins(index.searched, test, len(found.rows["validation"]))
    write_record(run.twins, twins if index.searched else Twins(False))
    return notes


def _held_out_note(found: Overlap, ids: Sequence[str]) -> list[str]:
    """What a held-out task shares with the training rows, which is not removed from either."""
    if not found.num_test:
        return []
    what = f"{found.num_overlapping:,} of {found.num_test:,} inputs of held-out tasks"
    if not found.pairs:
        return [f"{what} share 13 words in a row with a training input"]
    test_row, train_row = found.pairs[0]
    return [
        f"{what} share 13 words in a row with a training input, or are equal to one, for example "
        f"row {ids[test_row]} with row {ids[train_row]}"
    ]


def _check_splits(run: RunDir, task: Task, allow: Sequence[str]) -> list[Finding]:
    """DataError for an empty split; the finding of a constant answer, where it is allowed."""
    for split in SPLITS:
        if not num_examples(run.examples(split)):
            raise DataError(f"the {split} split is empty", hint="give more rows, or set data.split")
    check_tasks(task, {split: task_counts(run.examples(split)) for split in SPLITS})
    answer = only_answer(run.examples("train"))
    if answer is None:
        return []
    constant = Finding(
        "constant_target",
        "error",
        f"every training row has the same answer, {answer!r}: there is nothing to learn",
        hint="are the rows sorted by their label, and only the first of them taken? "
        "`tunesmith preview` shows them",
    )
    stop_on_errors([constant], allow)
    return [constant]


# ---- what evaluation will need, looked at before hours of training


def check_evaluation(recipe: Recipe) -> None:
    """Unknown metrics, a panel file or a backend that is not there: InputError now, not after the
    training.
    """
    check_recipe_metrics(recipe.evaluation.metrics or ())
    check_embedding_model(
        recipe.evaluation.metrics or (), recipe.evaluation.metric_options.semantic_similarity.model
    )
    for member in members(recipe.data):
        check_recipe_metrics(member.metrics)
    check_tokenizer(recipe.evaluation.metric_options)
    check_backend(recipe)
    check_gates(recipe)
    for name in recipe.evaluation.panel:
        if is_harness_task(name):
            check_harness_task(name)
        elif name.endswith((".yaml", ".yml")):
            load_recipe(Path(name))
        else:
            read_texts(Path(name))


def check_backend(recipe: Recipe) -> None:
    """InputError where vLLM is asked for and not installed."""
    if recipe.evaluation.backend == "vllm":
        check_vllm()
