"""The few-shot base is asked in the wording that it does best with on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import write_rows

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.data.build import render_source_row
from tunesmith.data.plan import plan_sources
from tunesmith.data.sources.stored import StoredRows, store_rows
from tunesmith.evaluate import few_shot as wordings
from tunesmith.evaluate.few_shot import Trial, best_wording
from tunesmith.evaluate.systems import Decoding
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.recipe import DataConfig
from tunesmith.records import Example, Prediction

DECODING = Decoding(4, (1,), frozenset(), 4096, rank_choices=True)


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    config = DataConfig(source=str(write_rows(tmp_path / "rows.csv", 12)), task="classify/terse")
    store_rows(config, stored(config))
    return config


def stored(data: DataConfig) -> Path:
    return Path(str(data.source)).with_name("rows.arrow")


def examples_of(data: DataConfig) -> list[Example]:
    rows = StoredRows(stored(data))
    source = plan_sources(data, rows)[0]
    rendered = [render_source_row(source, row, "test", data)[0] for row in rows.read(0)]
    return [rendering.example for rendering in rendered]  # type: ignore[union-attr]


def chosen(
    data: DataConfig,
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    liked: str,
    examples: list[Example] | None = None,
) -> tuple[list[Example], list[Example], Trial, list[Sequence[Example]]]:
    """With a model that answers right only where the prompt holds `liked`; also the examples it was
    asked.
    """
    asked: list[Sequence[Example]] = []

    def answer(
        model: Any, chat: Any, given: Sequence[Example], decoding: Decoding, on_progress: Any
    ) -> list[Prediction]:
        assert not decoding.rank_choices
        asked.append(given)
        return [
            Prediction(e.id, e.completion if liked in e.prompt else "?", True, 1) for e in given
        ]

    monkeypatch.setattr(wordings, "answer", answer)
    examples = examples_of(data) if examples is None else examples
    tokenizer = load_tokenizer(str(model_dir))
    complete_tokenizer(tokenizer)
    test, exemplars, trial = best_wording(
        data, stored(data), examples[:4], examples[4:9], examples[9:],
        chat_format(tokenizer), load_model(str(model_dir)), DECODING, "accuracy", "choice",
    )  # fmt: skip
    return test, exemplars, trial, asked


def test_the_best_wording_on_validation_is_the_one_that_test_rows_and_exemplars_get(
    data: DataConfig, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, exemplars, trial, asked = chosen(data, tiny_model_dir, monkeypatch, "Which")
    own = examples_of(data)
    assert list(trial.scores) == [
        "classify/terse", "classify/default", "classify/question", "classify/plain",
        "classify/reader",
    ]  # fmt: skip
    assert trial.scores[trial.wording] == 1.0 > trial.scores["classify/terse"]
    assert (trial.metric, trial.rows) == ("accuracy", 4)
    assert {e.template for e in (*test, *exemplars)} == {trial.wording}
    assert [(e.id, e.completion, e.choices) for e in test] == [
        (e.id, e.completion, e.choices) for e in own[4:9]
    ]
    assert all("Which" in e.prompt for e in test)
    assert [len(given) for given in asked] == [5 * 4], (
        "every wording is tried on each validation row, at once"
    )


def test_among_equals_the_run_keeps_its_own_wording(
    data: DataConfig, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, exemplars, trial, _ = chosen(data, tiny_model_dir, monkeypatch, "")
    own = examples_of(data)
    assert (trial.wording, test, exemplars) == ("classify/terse", own[4:9], own[9:])


def test_rows_that_have_changed_since_keep_the_wording_they_were_prepared_in(
    data: DataConfig, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = examples_of(data)
    changed = [replace(own[4], prompt="shortened"), *own[5:]]
    test, _, trial, _ = chosen(data, tiny_model_dir, monkeypatch, "Which", [*own[:4], *changed])
    assert trial.wording != "classify/terse"
    assert test[0] == changed[0]
    assert {e.template for e in test[1:]} == {trial.wording}


def test_a_source_that_is_gone_does_not_change_the_baseline(
    data: DataConfig, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = chosen(data, tiny_model_dir, monkeypatch, "Which")
    assert before[2].wording != "classify/terse"
    Path(str(data.source)).unlink()
    assert chosen(data, tiny_model_dir, monkeypatch, "Which") == before


def test_nothing_is_tried_without_the_stored_rows_a_family_or_exemplars(
    data: DataConfig,
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = examples_of(data)
    assert chosen(data, tiny_model_dir, monkeypatch, "Which", own[:9])[3] == []
    inline = data.model_copy(update={"task": "classify", "template": "{{text}} ||| {{label}}"})
    assert chosen(inline, tiny_model_dir, monkeypatch, "Which")[3] == []
    assert "note:" not in capsys.readouterr().err
    stored(data).unlink()  # as in a run that an older version prepared
    test, exemplars, trial, asked = chosen(data, tiny_model_dir, monkeypatch, "Which", own)
    assert (test, exemplars, asked) == (own[4:9], own[9:], [])
    assert trial == Trial("classify/terse", "accuracy", 0, {})
    assert "rows.arrow: the few-shot base is asked in the run's own" in capsys.readouterr().err
