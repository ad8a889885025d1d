"""Tasks of EleutherAI's lm-evaluation-harness, by name: `lm_eval:arc_easy`.

The harness asks and scores, in its own prompts and without a chat template, as its published
figures are had; the score of every document is kept, so that two models can be compared by pairs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith.errors import DataError, InputError
from tunesmith.evaluate.statistics import estimate_mean
from tunesmith.packages import installed
from tunesmith.records import Evaluation

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

PREFIX = "lm_eval:"
TASK_LINE = r"^task:\s*[\"']?([^\s\"'#]+)"
METRICS = {
    "acc": "choice_acc",
    "acc_norm": "choice_acc_norm",
    "acc_bytes": "choice_acc_bytes",
    "exact_match": "exact_match",
}
"""Of the harness's metrics those that score a document by itself, and their names here."""


def is_harness_task(name: str) -> bool:
    """Whether a member of the panel is a task of the harness."""
    return name.startswith(PREFIX)


def check_harness_task(name: str) -> None:
    """InputError where the harness is not installed, or knows no such task."""
    if not installed("lm_eval"):
        raise InputError(
            f"evaluation.panel: {name} needs lm-evaluation-harness, which is not installed",
            hint="pip install 'tunesmith[lm-eval]'",
        )
    task, folder = _task(name)
    if not _manager(folder).match_tasks([task]):
        raise InputError(
            f"evaluation.panel: lm-evaluation-harness has no task {task!r}",
            hint="`lm-eval ls tasks` lists them; a task file of your own is lm_eval:FILE.yaml",
        )


def harness_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, system: str
) -> tuple[Evaluation, str]:
    """The score of each document, and by which metric: the task's first one of METRICS.

    Raises DataError for a task without one.
    """
    # it takes seconds to import, and need not be installed
    from lm_eval import simple_evaluate  # noqa: PLC0415
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    task, folder = _task(name)
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer),
        tasks=[task],
        log_samples=True,
        bootstrap_iters=0,
        task_manager=_manager(folder),
    )
    samples = [
        (f"{part}/{sample['doc_id']}", sample)
        for part, documents in found["samples"].items()
        for sample in _first_filter(documents)
    ]
    metric = _metric(name, [sample for _, sample in samples])
    ids = [document for document, _ in samples]
    scores = [float(sample[metric]) for _, sample in samples]
    ours = METRICS[metric]
    estimates = {ours: estimate_mean(scores, proportion=True)}
    return Evaluation(system, "test", ids, ids, (), {ours: scores}, estimates), ours


def _task(name: str) -> tuple[str, Path | None]:
    """The harness's name of a task, and the folder of its file where it is the user's own.

    The name is read as text: such files have tags that only the harness knows.
    """
    task = name.removeprefix(PREFIX)
    if not task.endswith((".yaml", ".yml")):
        return task, None
    path = Path(task)
    if not path.is_file():
        raise InputError(f"evaluation.panel: {name}: there is no file {task}")
    found = re.search(TASK_LINE, path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise InputError(f"{path}: no line `task: NAME`", hint="it names the task in the file")
    return found[1], path.parent


def _manager(folder: Path | None) -> TaskManager:
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - as above

    if folder is None:
        return TaskManager()
    # its own thousands of tasks take long to list
    return TaskManager(include_path=str(folder), include_defaults=False)


def _first_filter(documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Where a task reads answers in several ways, a document stands there once for each."""
    return [sample for sample in documents if sample["filter"] == documents[0]["filter"]]


def _metric(name: str, samples: Sequence[Mapping[str, Any]]) -> str:
    for metric in METRICS:
        if samples and all(metric in sample for sample in samples):
            return metric
    known = sorted({str(metric) for sample in samples[:1] for metric in sample.get("metrics", ())})
    raise DataError(
        f"evaluation.panel: {name}: no metric that scores each document by itself; it has "
        f"{', '.join(known) or 'none'}",
        hint=f"tasks with {', '.join(METRICS)} can be compared before and after",
    )
