"""What is tried next depends on the trials in the file alone, whatever became of the process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InputError
from tunesmith.train.search import Point, Space, add_trial, check_optuna, next_point, open_study

optuna = pytest.importorskip("optuna")
SPACE = Space(Point(1e-4, 3), None, 0)


def played(file: Path, trials: int, space: Space = SPACE, reopen: bool = False) -> list[Point]:
    """The points of a search whose quality is best at a rate of 2e-4."""
    study, points = open_study(file), list[Point]()
    while len(study.trials) < trials:
        points.append(next_point(study, space))
        add_trial(study, space, points[-1], -abs(points[-1].learning_rate - 2e-4), {})
        if reopen:
            study = open_study(file)
    return points


def test_the_default_and_its_neighbours_come_first_and_all_stay_within_ten_times(
    tmp_path: Path,
) -> None:
    points = played(tmp_path / "optuna.jsonl", 8)
    assert points[:3] == [Point(1e-4, 3), Point(3.3e-5, 3), Point(3e-4, 3)]
    assert all(1e-5 <= point.learning_rate <= 1e-3 for point in points)
    assert {point.num_train_epochs for point in points} == {3}
    assert all(float(f"{p.learning_rate:.1e}") == p.learning_rate for p in points)


def test_a_search_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole = played(tmp_path / "a.jsonl", 8)
    assert played(tmp_path / "b.jsonl", 8, reopen=True) == whole
    assert played(tmp_path / "c.jsonl", 5) + played(tmp_path / "c.jsonl", 8) == whole
    other = played(tmp_path / "d.jsonl", 8, Space(SPACE.default, None, 1))
    assert (other[:3], other == whole) == (whole[:3], False)


def test_half_a_line_and_a_dead_process_lock_are_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "optuna.jsonl"
    whole = played(tmp_path / "whole.jsonl", 5)
    played(file, 4)
    with file.open("ab") as end:
        end.write(b'{"op_code":4,"worker')
    (tmp_path / "optuna.jsonl.lock").symlink_to(file)
    assert played(file, 5) == whole[4:]


def test_epochs_are_searched_where_that_is_asked_for(tmp_path: Path) -> None:
    points = played(tmp_path / "optuna.jsonl", 9, Space(SPACE.default, 5, 0))
    epochs = {point.num_train_epochs for point in points[3:]}
    assert epochs <= {1, 2, 3, 4, 5}
    assert len(epochs) > 1


def test_a_trial_that_failed_counts_as_worse_than_all_others(tmp_path: Path) -> None:
    study = open_study(tmp_path / "optuna.jsonl")
    for rate, quality in ((1e-4, 0.5), (3.3e-5, 0.6), (3e-4, None), (9e-4, None), (8e-4, None)):
        add_trial(study, SPACE, Point(rate, 3), quality, {"failed": "" if quality else "nan"})
    assert next_point(study, SPACE).learning_rate < 1.5e-4
    assert [trial.user_attrs["failed"] for trial in study.trials] == ["", "", "nan", "nan", "nan"]


def test_a_point_of_another_command_line_may_lie_outside(tmp_path: Path) -> None:
    study = open_study(tmp_path / "optuna.jsonl")
    add_trial(study, Space(SPACE.default, 2, 0), Point(5e-3, 4), 0.5, {})
    assert next_point(study, SPACE) == Point(3.3e-5, 3)


def test_the_largest_rate_of_a_recipe_is_not_exceeded(tmp_path: Path) -> None:
    points = played(tmp_path / "optuna.jsonl", 5, Space(Point(8.0, 3), None, 0))
    assert points[:2] == [Point(8.0, 3), Point(2.7, 3)]
    assert max(point.learning_rate for point in points) <= 10


def test_without_optuna_the_pip_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match="needs optuna") as caught:
        check_optuna()
    found: Any = caught.value
    assert (found.hint, found.exit_code) == ("pip install 'tunesmith[tune]'", 2)
