"""Which learning rate is tried next: optuna's TPE on the trials that are finished, which a file in
the run keeps.

A trial is put into the file when it has ended. What comes next depends on those in the file and on
the trial's number alone, so that a search that was killed goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import InputError
from tunesmith.packages import installed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

WIDTH = 10.0
"""The search goes from a tenth of the default learning rate to ten times it."""
FIRST = (1.0, 1 / 3, 3.0)
"""The first trials' learning rates, as multiples of the default: TPE needs some to learn from."""
LARGEST = 10.0
"""Of all learning rates that a recipe may have."""


@dataclass(frozen=True)
class Point:
    """What a trial trains with."""

    learning_rate: float
    num_train_epochs: int


@dataclass(frozen=True)
class Space:
    """Where to look: around `default`, and with 1 to `max_epochs` epochs (None: the default's)."""

    default: Point
    max_epochs: int | None
    seed: int

    def first(self) -> list[Point]:
        """The points that are tried before any is proposed."""
        epochs = self.default.num_train_epochs
        others = [Point(_rounded(self.default.learning_rate * times), epochs) for times in FIRST]
        return [self.default, *(p for p in others[1:] if p.learning_rate <= LARGEST)]


def check_optuna() -> None:
    """InputError where optuna is not installed."""
    if not installed("optuna"):
        raise InputError(
            "tunesmith tune needs optuna, which is not installed",
            hint="pip install 'tunesmith[tune]'",
        )


def open_study(file: Path) -> Study:
    """The finished trials, more being better. The caller has the folder to itself."""
    import optuna  # noqa: PLC0415 - an extra, whose presence was checked
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - as above

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _mend(file)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
    return optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", load_if_exists=True
    )


def _mend(file: Path) -> None:
    """Remove what a process that died while writing has left: its lock, and half a line."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            file.write_bytes(whole)


def next_point(study: Study, space: Space) -> Point:
    """What the next trial trains with: one of the first points, then what TPE proposes."""
    import optuna  # noqa: PLC0415 - an extra, whose presence was checked

    number, first = len(study.trials), space.first()
    if number < len(first):
        return first[number]
    sampler = optuna.samplers.TPESampler(seed=space.seed + number, n_startup_trials=len(first))
    scratch = optuna.create_study(sampler=sampler, direction="maximize")
    scratch.add_trials(study.trials)
    found = scratch.ask(_distributions(space)).params
    epochs = found.get("num_train_epochs", space.default.num_train_epochs)
    return Point(_rounded(found["learning_rate"]), epochs)


def add_trial(
    study: Study, space: Space, point: Point, quality: float | None, notes: Mapping[str, str]
) -> None:
    """Keep a trial; `quality` is None where its training failed, which is the worst there is."""
    import optuna  # noqa: PLC0415 - an extra, whose presence was checked

    params: dict[str, float | int] = {"learning_rate": point.learning_rate}
    if space.max_epochs is not None:
        params["num_train_epochs"] = point.num_train_epochs
    states = optuna.trial.TrialState
    study.add_trial(
        optuna.trial.create_trial(
            # TPE takes a pruned trial without a value for worse than all others
            state=states.COMPLETE if quality is not None else states.PRUNED,
            value=quality,
            params=params,
            distributions=_distributions(space, point),
            user_attrs=dict(notes),
        )
    )


def _distributions(space: Space, *points: Point) -> dict[str, BaseDistribution]:
    """The space, and these points, which another command line may have put outside of it."""
    from optuna.distributions import FloatDistribution, IntDistribution  # noqa: PLC0415 - an extra

    middle = space.default
    rates = [point.learning_rate for point in points]
    rates += [_rounded(middle.learning_rate / WIDTH), _rounded(middle.learning_rate * WIDTH)]
    high = min(LARGEST, max(rates))
    found: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(min(rates), high, log=True)
    }
    if space.max_epochs is not None:
        most = (space.max_epochs, *(point.num_train_epochs for point in points))
        found["num_train_epochs"] = IntDistribution(1, max(most))
    return found


def _rounded(rate: float) -> float:
    """To two digits, as it stands in a recipe."""
    return float(f"{rate:.1e}")
