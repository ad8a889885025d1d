"""`tunesmith tune`: several trainings on the same prepared rows, judged on validation rows alone.

The test split is neither answered nor its seal touched. A finished trial keeps its answers, its log
and its recipe; its weights go, because the best recipe is trained again by `tunesmith run`.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.artefacts import check, forget, model_files
from tunesmith.data.store import read_examples
from tunesmith.errors import BadLossError, InterruptedRun, RecipeError, RunError
from tunesmith.evaluate.best_of import as_good_as_the_best, best_of
from tunesmith.evaluate.compare import Resampling, plain
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.parse import Json
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.system_table import TUNED
from tunesmith.evaluate.systems import answer
from tunesmith.evaluate.tasks import evaluate_task
from tunesmith.models.load import check_weights
from tunesmith.progress import note, progress, say, showing
from tunesmith.recipe import Recipe, dump_recipe
from tunesmith.records import Estimate, Evaluation, Example
from tunesmith.run_files import TrainingFacts, is_made, read_manifest, read_record, run_state
from tunesmith.rundir import RunDir, write_atomic, write_json
from tunesmith.stages.common import (
    answered_in,
    check_unchanged,
    decoding,
    load_tuned,
    run_recipe,
    store_answers,
    tuned_chat,
)
from tunesmith.stages.prepare import prepare
from tunesmith.stages.seeds import copy_of
from tunesmith.stages.train import train
from tunesmith.stages.working import at_work
from tunesmith.train.optim import resolved_learning_rate
from tunesmith.train.processes import check_single_process
from tunesmith.train.search import Point, Space, add_trial, check_optuna, next_point, open_study

if TYPE_CHECKING:
    from optuna import Study

FAILED = "failed"
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Trial:
    """One training: what it was trained with, the primary metric on the validation rows, and the
    seconds that its steps took. `failed` says why there is none. `as_good_as_best`: the validation
    rows do not tell it from the best trial.
    """

    number: int
    learning_rate: float
    num_train_epochs: int
    estimate: Estimate | None = None
    seconds: float = 0.0
    failed: str = ""
    as_good_as_best: bool = False


@dataclass(frozen=True)
class Tuning:
    """What tune.json holds. `best` has the highest value, `chosen` is the trial whose recipe was
    written to `recipe`; `sentence` says why.
    """

    metric: str
    rows: int
    trials: tuple[Trial, ...]
    best: int
    chosen: int
    recipe: str
    sentence: str

    def to_json(self) -> dict[str, Json]:
        """Numbers that are not finite are null."""
        return plain(asdict(self))


def tune(
    recipe: Recipe,
    trials: int,
    minutes: float | None = None,
    max_epochs: int | None = None,
) -> Tuning:
    """Train until there are `trials` trials, or `minutes` have passed: then none is begun any more.

    A search in the recipe's folder that was stopped goes on. Raises InputError where optuna is not
    installed or the folder holds something else, RunError where every trial failed, and
    InterruptedRun.
    """
    check_optuna()
    check_single_process()
    whole = RunDir(Path(recipe.output_dir))
    until = math.inf if minutes is None else time.monotonic() + SECONDS_PER_MINUTE * minutes
    with showing(), _going_on_by_the_same_command(whole):
        if _is_begun(whole, recipe):
            check_unchanged(whole)
        else:
            prepare(recipe, trainings=1)
        with at_work(whole.path, "the search", ""):
            return _Search(whole, recipe, max_epochs).result(trials, until)


@contextmanager
def _going_on_by_the_same_command(whole: RunDir) -> Iterator[None]:
    """A trial by itself is not what to resume."""
    try:
        yield
    except InterruptedRun as stopped:
        raise InterruptedRun(
            stopped.message,
            hint=f"the same command goes on there; {whole.path / 'trials'} keeps what is finished",
            exit_code=stopped.exit_code,
        ) from stopped


def _is_begun(whole: RunDir, recipe: Recipe) -> bool:
    """Whether the folder is prepared for just this recipe; RecipeError where a search is there for
    another.
    """
    if run_state(whole).prepared and run_recipe(whole) == recipe:
        return True
    if (whole.path / "trials").exists():
        raise RecipeError(
            f"output_dir {whole.path}: there is a search for another recipe",
            hint="put the recipe back as it was, or set another --output-dir (output_dir)",
        )
    return False


class _Search:
    """A search in a prepared run folder."""

    def __init__(self, whole: RunDir, recipe: Recipe, max_epochs: int | None) -> None:
        self.whole, self.recipe = whole, recipe
        self.task = read_manifest(whole).task
        found = read_examples(whole.examples("validation"))
        self.examples = [e for e in found if not self.task.judged[e.task].held_out]
        model = check_weights(recipe.model, recipe.trust_remote_code)
        rate = resolved_learning_rate(model, recipe.train)
        default = Point(rate, recipe.train.num_train_epochs)
        self.space = Space(default, max_epochs, recipe.train.seed)

    def result(self, trials: int, until: float) -> Tuning:
        """All trials, those of before among them, and which is chosen."""
        (self.whole.path / "trials").mkdir(exist_ok=True)
        answered_in(self.whole, self.recipe)  # decided once, for all trials
        study = open_study(self.whole.path / "trials" / "optuna.jsonl")
        for number in range(1, len(study.trials) + 1):
            _drop_weights(self._folder(number))
        while len(study.trials) < trials and time.monotonic() < until:
            self._run_trial(study)
        return self._judged(study)

    def _folder(self, number: int) -> RunDir:
        return RunDir(self.whole.path / "trials" / str(number))

    def _run_trial(self, study: Study) -> None:
        number = len(study.trials) + 1
        run, point = self._prepared(number, next_point(study, self.space))
        say(f"trial {number}: learning rate {point.learning_rate:g}, {_epochs(point)}")
        try:
            if not run_state(run).trained:
                train(run)
        except BadLossError as error:
            note(f"trial {number} failed: {error.message}")
            add_trial(study, self.space, point, None, {FAILED: error.message})
        else:
            _answer(run, self.examples)
            found = self._evaluation(number).estimates[self.task.primary]
            add_trial(
                study, self.space, point, find_metric(self.task.primary).sign * found.mean, {}
            )
        _drop_weights(run)

    def _prepared(self, number: int, point: Point) -> tuple[RunDir, Point]:
        """The trial's folder; one that was begun keeps what it was begun with."""
        run = self._folder(number)
        if not run_state(run).prepared:
            shutil.rmtree(run.path, ignore_errors=True)
            copy_of(self.whole, run.path, self._recipe(point, seeds=1))
        config = run_recipe(run).train
        return run, Point(config.learning_rate or point.learning_rate, config.num_train_epochs)

    def _recipe(self, point: Point, seeds: int) -> Recipe:
        config = self.recipe.train.model_copy(update={**asdict(point), "seeds": seeds})
        return self.recipe.model_copy(update={"train": config})

    def _evaluation(self, number: int) -> Evaluation:
        run = self._folder(number)
        check(run, [run.predictions(TUNED, "validation")])
        answers = read_predictions(run, TUNED, "validation")
        confidence = self.recipe.evaluation.confidence
        return evaluate_task(
            f"trial {number}", "validation", self.examples, answers, self.task, confidence
        )

    def _judged(self, study: Study) -> Tuning:
        """The table, the choice, and the chosen recipe's file."""
        failures = [trial.user_attrs.get(FAILED, "") for trial in study.trials]
        found = {
            number: self._evaluation(number)
            for number, failed in enumerate(failures, start=1)
            if not failed
        }
        if not found:
            raise RunError(
                f"all {len(failures)} trials failed; the first: {failures[0]}"
                if failures
                else "no trial was finished in this time",
                hint="a lower train.learning_rate, around which is searched, or a longer "
                "--time-limit",
            )
        settings, primary = self.recipe.evaluation, self.task.primary
        how = Resampling(
            confidence=settings.confidence,
            resamples=settings.resamples,
            seed=self.recipe.train.seed,
        )
        equals = as_good_as_the_best(found, primary, how)
        points = {n: self._point(n) for n in range(1, len(failures) + 1)}
        trials = [
            self._trial(n, point, found.get(n), failures[n - 1], n in equals)
            for n, point in points.items()
        ]
        best = best_of(found, primary)
        chosen = nearest({n: points[n] for n in equals}, self.space.default)
        sentence = _sentence(best, chosen, equals, len(found), len(self.examples), primary)
        path = self._write_recipe(points[chosen], chosen, sentence)
        result = Tuning(
            primary, len(self.examples), tuple(trials), best, chosen, str(path), sentence
        )
        write_json(self.whole.path / "tune.json", result.to_json())
        return result

    def _point(self, number: int) -> Point:
        config = run_recipe(self._folder(number)).train
        return Point(config.learning_rate or 0.0, config.num_train_epochs)

    def _trial(
        self, number: int, point: Point, found: Evaluation | None, failed: str, equal: bool
    ) -> Trial:
        if found is None:
            return Trial(number, **asdict(point), failed=failed)
        facts = read_record(self._folder(number).training, TrainingFacts)
        estimate = found.estimates[self.task.primary]
        return Trial(
            number, **asdict(point), estimate=estimate, seconds=facts.seconds, as_good_as_best=equal
        )

    def _write_recipe(self, point: Point, chosen: int, sentence: str) -> Path:
        path = self.whole.path / "best.yaml"
        recipe = self._recipe(point, self.recipe.train.seeds)
        folder = f"{self.recipe.output_dir.rstrip('/')}-best"
        text = dump_recipe(recipe.model_copy(update={"output_dir": folder}))
        write_atomic(path, f"# tunesmith tune, trial {chosen}. {sentence}\n{text}")
        return path


def nearest(points: Mapping[int, Point], default: Point) -> int:
    """The number of the point whose learning rate is nearest to the default's, by their ratio; of
    those, whose epochs are; of those, the first.
    """

    def distance(number: int) -> tuple[float, int, int]:
        point = points[number]
        ratio = abs(math.log(point.learning_rate / default.learning_rate))
        return ratio, abs(point.num_train_epochs - default.num_train_epochs), number

    return min(points, key=distance)


def _answer(run: RunDir, examples: Sequence[Example]) -> None:
    """Store the tuned model's answers to the validation rows."""
    if is_made(run, run.predictions(TUNED, "validation")):
        return
    recipe, started = run_recipe(run), time.monotonic()
    chat, tuned = tuned_chat(run, recipe), load_tuned(run, recipe)
    how = decoding(run, recipe, chat, tuned)
    with progress("answering validation rows", len(examples)) as advance:
        predictions = answer(in_dtype(tuned, how.dtype), chat, examples, how, advance)
    store_answers(run, TUNED, examples, predictions, time.monotonic() - started)


def _drop_weights(run: RunDir) -> None:
    """Those of a trial that is finished: a search would fill the disk with them."""
    forget(run, model_files(run))
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    shutil.rmtree(run.model, ignore_errors=True)


def _epochs(point: Point) -> str:
    return f"{point.num_train_epochs} epoch{'s' if point.num_train_epochs > 1 else ''}"


def _sentence(
    best: int, chosen: int, equals: Sequence[int], finished: int, rows: int, metric: str
) -> str:
    if finished == 1:
        return f"Trial {chosen} is the only one that was finished: nothing was compared."
    if len(equals) == 1:
        return (
            f"Trial {best} has the best {metric}, and {rows:,} validation rows tell it from the "
            f"{finished - 1} others (one training each: another seed may differ)."
        )
    of_all = "all" if len(equals) == finished else f"{len(equals)} of the"
    return (
        f"{rows:,} validation rows cannot tell {of_all} {finished} trials from the best, trial "
        f"{best}, in {metric}; of these, trial {chosen} is taken, which is nearest to the default "
        "learning rate."
    )
