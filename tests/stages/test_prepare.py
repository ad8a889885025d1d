"""From a file to a prepared run folder: what lies where, what is sealed, and that bad input leaves
nothing behind.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import prepare_source, read_tokenized, shared

from tunesmith import stages
from tunesmith.data.sources import stored
from tunesmith.data.store import example_ids, read_examples
from tunesmith.errors import DataError, RecipeError, TunesmithError
from tunesmith.recipe import build_recipe
from tunesmith.records import IGNORE_INDEX, SPLITS, Turn
from tunesmith.run_files import Twins, read_manifest, read_record
from tunesmith.rundir import RunDir, read_json
from tunesmith.seal import open_seal

ROWS = [
    (f"text number {i} is {'good' if i % 2 else 'bad'}", "yes" if i % 2 else "no")
    for i in range(40)
]


def write_csv(
    path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")
) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def prepare(tmp_path: Path, model: Path, rows: list[tuple[str, str]] = ROWS, **data: Any) -> RunDir:
    return prepare_source(tmp_path, model, write_csv(tmp_path / "rows.csv", rows), **data)


def test_every_row_is_in_one_split_and_the_labels_train_the_answer(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    run = prepare(tmp_path, tiny_model_dir)
    ids = [i for split in SPLITS for i in example_ids(run.examples(split))]
    assert sorted(ids, key=int) == [str(i) for i in range(1, 41)]
    assert [len(list(example_ids(run.examples(split)))) for split in SPLITS] == [32, 4, 4]
    for example, tokens in zip(
        read_examples(run.examples("train")), read_tokenized(run.examples("train")), strict=True
    ):
        trained = [label for label in tokens.labels if label != IGNORE_INDEX]
        assert (
            len(trained) == len(f" {example.completion}") + 1
        )  # one token a byte, and the stop token
        assert example.choices == ("no", "yes")


def test_the_same_recipe_prepares_the_same_bytes(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(
            "TUNESMITH_CACHE", str(tmp_path / name / "cache")
        )  # nothing is taken from the cache
        runs.append(prepare(tmp_path / name, tiny_model_dir))
    one, two = runs
    for split in SPLITS:
        a, b = read_examples(one.examples(split)), read_examples(two.examples(split))
        assert [(e.id, e.prompt, e.completion) for e in a] == [
            (e.id, e.prompt, e.completion) for e in b
        ]


def test_the_cache_is_used_for_the_same_bytes_and_not_for_changed_ones(
    tmp_path: Path,
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    said = []
    for number, rows in enumerate([ROWS, ROWS, [*ROWS[:-1], ("another last text", "yes")]]):
        source = write_csv(
            tmp_path / "rows.csv", rows
        )  # written anew each time: a new date, the same name
        values = {
            "model": str(tiny_model_dir),
            "data": {"source": str(source), "task": "classify"},
            "output_dir": str(tmp_path / f"run{number}"),
        }
        stages.prepare.prepare(build_recipe(values)[0])
        said.append("taken from the cache" in capsys.readouterr().err)
    assert said == [False, True, False]


def count_opens(path: Path) -> list[str]:
    """A list that grows with each open of the path, by whatever function of Python's."""
    opens: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and str(args[0]) == str(path):
            opens.append(event)

    sys.addaudithook(hook)  # it cannot be removed, and this path is never opened again
    return opens


def test_the_source_is_opened_exactly_once(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    opens = count_opens(tmp_path / "rows.jsonl")
    lines = [*JSON_LINES, "unreadable"]
    run = prepare_lines(tmp_path, tiny_model_dir, lines, max_rejected=0.1)
    assert len(opens) == 1 + 1  # the first is this test's own, which writes it
    assert read_json(run.ledger)["rows"]["unreadable"] == 1


def test_the_hash_of_what_was_read_is_that_of_the_file(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    run = prepare(tmp_path, tiny_model_dir)
    inputs = read_json(run.manifest)["inputs"]
    one_file = f". {hashlib.sha256((tmp_path / 'rows.csv').read_bytes()).hexdigest()}"
    assert inputs[str(tmp_path / "rows.csv")] == hashlib.sha256(one_file.encode()).hexdigest()
    stages.common.check_unchanged(run)
    write_csv(tmp_path / "rows.csv", ROWS[:-1])
    with pytest.raises(DataError, match=r"rows\.csv changed since the run was prepared: sha256 "):
        stages.common.check_unchanged(run)


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_cached(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    encode = stored.encode_values

    def encode_and_change(values: Mapping[str, Any]) -> bytes:
        with (tmp_path / "here" / "rows.csv").open("a") as file:
            file.write("one more,yes\n")
        return encode(values)

    with monkeypatch.context() as patch:
        patch.setattr(stored, "encode_values", encode_and_change)
        with pytest.raises(DataError, match=r"rows\.csv: changed while it was read\nhint:"):
            prepare(tmp_path / "here", tiny_model_dir)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["rows.csv"]
    assert not (tmp_path / "cache").exists()
    prepare(tmp_path / "here", tiny_model_dir)


def test_bad_rows_leave_no_new_folder_above_the_run(tmp_path: Path, tiny_model_dir: Path) -> None:
    source = write_csv(tmp_path / "rows.csv", ROWS)
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": str(source), "task": "no such task"},
        "output_dir": str(tmp_path / "runs" / "of today" / "run"),
    }
    with pytest.raises(TunesmithError, match="no such task"):
        stages.prepare.prepare(build_recipe(values)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_the_test_split_is_sealed_and_each_use_is_counted(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    run = prepare(tmp_path, tiny_model_dir)
    ids = list(example_ids(run.examples("test")))
    sha256 = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    own = hashlib.sha256(f"{sha256}\n4".encode()).hexdigest()
    assert read_json(run.seal) == {"sha256": sha256, "n": 4, "uses": [], "own_sha256": own}
    assert [open_seal(run, ids, "first"), open_seal(run, ids, "second")] == [1, 2]
    with pytest.raises(DataError, match="the test split is not the sealed one"):
        open_seal(run, ids[1:], "third")


def test_a_changed_split_file_is_refused_by_name(tmp_path: Path, tiny_model_dir: Path) -> None:
    run = prepare(tmp_path, tiny_model_dir)
    stages.common.check_unchanged(run)
    run.recipe.write_text(
        run.recipe.read_text().replace("num_train_epochs: 3", "num_train_epochs: 4")
    )
    with pytest.raises(DataError, match=r"recipe.yaml: changed since it was made: sha256 "):
        stages.common.check_unchanged(run)


def test_rows_of_the_users_test_file_are_left_out_of_training(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    test_file = write_csv(tmp_path / "test.csv", [ROWS[3], ("something new", "yes")])
    run = prepare(tmp_path, tiny_model_dir, test_source=str(test_file))
    assert {e.prompt.splitlines()[-2] for e in read_examples(run.examples("test"))} == {
        f"Text: {ROWS[3][0]}",
        "Text: something new",
    }
    texts = [
        e.prompt for split in ("train", "validation") for e in read_examples(run.examples(split))
    ]
    assert len(texts) == 39
    assert not any(ROWS[3][0] in text for text in texts)
    assert read_json(run.ledger)["rows"]["leaked"] == 1


def test_duplicates_are_dropped_and_conflicts_stay_on_one_side(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    conflict = [("the same words", "yes"), ("The same words!", "no")]
    run = prepare(tmp_path, tiny_model_dir, rows=[*ROWS, ROWS[0], *conflict])
    facts = read_json(run.ledger)
    assert (facts["rows"]["duplicates"], facts["conflicting_rows"]) == (1, 2)
    sides = {
        e.split
        for split in SPLITS
        for e in read_examples(run.examples(split))
        if "same words" in e.prompt
    }
    assert len(sides) == 1


def test_rows_with_one_answer_only_are_refused_before_training(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(DataError, match="every training row has the same answer, 'yes'"):
        prepare(tmp_path, tiny_model_dir, rows=[(text, "yes") for text, _ in ROWS])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_near_duplicates_are_counted_and_two_of_them_named(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    long = " ".join(f"word{i}" for i in range(30))
    run = prepare(
        tmp_path,
        tiny_model_dir,
        rows=[*ROWS, (f"{long} end", "yes"), ("between", "no"), (long, "yes")],
    )
    facts = read_json(run.ledger)
    assert facts["near_duplicate_clusters"] == 1
    assert "there are near-duplicates, for example rows 41 and 43" in facts["notes"]


def test_rows_that_say_the_same_have_the_first_ones_id_as_group_and_others_their_own(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [*ROWS, ("the same words", "yes"), ("something else", "no"), ("The same words!", "no")]
    run = prepare(tmp_path, tiny_model_dir, rows=rows)
    groups = {e.row_id: e.group for split in SPLITS for e in read_examples(run.examples(split))}
    assert (groups.pop("41"), groups.pop("43")) == ("41", "41")
    assert all(row_id == group for row_id, group in groups.items())


def test_a_named_group_column_gives_the_groups(tmp_path: Path, tiny_model_dir: Path) -> None:
    files = [
        write_csv(tmp_path / f"{name}.csv", [(f"a new {name}", "yes")])
        for name in ("validation", "test")
    ]
    given = {"validation_source": str(files[0]), "test_source": str(files[1])}
    run = prepare(tmp_path, tiny_model_dir, split={"group": "label"}, allow=["same_group"], **given)
    assert {e.group for e in read_examples(run.examples("train"))} == {"yes", "no"}


def test_a_bad_row_is_named_and_nothing_is_left_behind(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(TunesmithError, match=r"rows.csv:42"):
        prepare(tmp_path, tiny_model_dir, rows=[*ROWS, ("x", "-1")])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def prepare_lines(tmp_path: Path, model: Path, lines: list[str], **data: Any) -> RunDir:
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = {"source": str(tmp_path / "rows.jsonl"), "task": "classify", **data}
    values = {"model": str(model), "data": data, "output_dir": str(tmp_path / "run")}
    stages.prepare.prepare(build_recipe(values)[0])
    return RunDir(tmp_path / "run")


JSON_LINES = [json.dumps({"text": text, "label": label}) for text, label in ROWS]


def test_unreadable_lines_are_counted_and_listed(tmp_path: Path, tiny_model_dir: Path) -> None:
    lines = [*JSON_LINES[:20], '{"text": "broken', *JSON_LINES[20:]]
    run = prepare_lines(tmp_path, tiny_model_dir, lines, max_rejected=0.05)
    rows = read_json(run.ledger)["rows"]
    assert (rows["raw"], rows["unreadable"], rows["kept"]) == (41, 1, 40)
    (listed,) = [json.loads(line) for line in run.rejected.read_text(encoding="utf-8").splitlines()]
    assert listed["id"] == listed["source"] == f"{tmp_path / 'rows.jsonl'}:21"
    assert (listed["reason"], listed["detail"][:11]) == ("unreadable", "bad json at")


@pytest.mark.parametrize("empty", [None, float("nan"), "", " "])
def test_rows_without_a_label_are_counted_and_left_out(
    tmp_path: Path, tiny_model_dir: Path, empty: object
) -> None:
    lines = [*JSON_LINES, json.dumps({"text": "one more", "label": empty})]
    run = prepare_lines(tmp_path, tiny_model_dir, lines, max_rejected=0.05)
    ledger = read_json(run.ledger)
    assert (ledger["rows"]["raw"], ledger["rows"]["kept"]) == (41, 40)
    assert ledger["rejected"] == {"excluded: the slot 'label' is empty": 1}


def test_more_rows_without_a_label_than_allowed_are_an_error_that_names_them(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    none = [json.dumps({"text": f"more {i}", "label": None}) for i in range(10)]
    with pytest.raises(DataError) as caught:
        prepare_lines(tmp_path, tiny_model_dir, [*JSON_LINES, *none], max_rejected=0.1)
    rows = tmp_path / "rows.jsonl"
    assert str(caught.value) == (
        "10 of 50 rows rejected (20.0%), data.max_rejected is 10.0%: "
        f"excluded: the slot 'label' is empty 10 ({rows}:41, {rows}:42, {rows}:43, ...)\n"
        "hint: fill the empty cells, or leave these rows out of the source; "
        "data.max_rejected=0.2 goes on without them"
    )


def test_odd_labels_are_noted_before_training(tmp_path: Path, tiny_model_dir: Path) -> None:
    odd = [json.dumps({"text": f"more {i}", "label": "N/A"}) for i in range(5)]
    run = prepare_lines(tmp_path, tiny_model_dir, [*JSON_LINES, *odd])
    (finding,) = read_json(run.ledger)["findings"]
    assert (finding["name"], finding["severity"]) == ("null_label", "warning")
    assert f"(5 of 45 rows, 11.1%, first {tmp_path / 'rows.jsonl'}:41)" in finding["message"]
    (note,) = [text for text in read_json(run.manifest)["notes"] if "'N/A'" in text]
    assert note.startswith("null_label: the column 'label' has the label 'N/A'")


def test_more_unreadable_lines_than_allowed_are_an_error_that_names_the_first(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    lines = [*JSON_LINES[:20], "[]", "{", *JSON_LINES[20:]]
    problem = (
        r"2 of 42 rows cannot be read \(4.8%\), data.max_rejected is 1.0%; "
        r"the first: .*rows.jsonl:21: a JSON list, expected an object\n"
        r"hint: repair these lines; data.max_rejected=0.05 goes on without them"
    )
    with pytest.raises(DataError, match=problem):
        prepare_lines(tmp_path, tiny_model_dir, lines)
    with pytest.raises(DataError, match=r"rows.jsonl:1: bad json at column 1"):
        prepare_lines(tmp_path, tiny_model_dir, ["{", "{"])


def test_an_existing_run_is_never_overwritten(tmp_path: Path, tiny_model_dir: Path) -> None:
    prepare(tmp_path, tiny_model_dir)
    with pytest.raises(
        RecipeError, match=r"exists already and is not empty\nhint: `tunesmith resume"
    ):
        prepare(tmp_path, tiny_model_dir)


def test_known_forms_of_the_same_data_give_identical_labels(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    pairs = [(f"question {i}", f"answer {i}") for i in range(30)]
    forms = {
        "pc.jsonl": [{"prompt": q, "completion": a} for q, a in pairs],
        "messages.jsonl": [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in pairs
        ],
        "alpaca.jsonl": [{"instruction": q, "input": "", "output": a} for q, a in pairs],
        "sharegpt.jsonl": [
            {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
            for q, a in pairs
        ],
    }
    found = []
    for name, records in forms.items():
        (tmp_path / name).write_text("\n".join(json.dumps(record) for record in records))
        values = {
            "model": str(tiny_model_dir),
            "data": {
                "source": str(tmp_path / name),
                "split": {"mode": "hash"},
                "near_duplicates": False,
            },
            "output_dir": str(tmp_path / name.removesuffix(".jsonl")),
        }
        stages.prepare.prepare(build_recipe(values)[0])
        run = RunDir(Path(values["output_dir"]))
        found.append(
            {
                t.id: (t.input_ids, t.labels)
                for split in SPLITS
                for t in read_tokenized(run.examples(split))
            }
        )
    assert len(found[0]) == 30
    assert all(tokens == found[0] for tokens in found[1:])


def test_a_conversation_gives_an_example_for_each_answer_on_one_side(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    turns = ["hi", "hello", "more?", "no"]
    roles = ["user", "assistant"] * 2
    records = [
        {
            "messages": [
                {"role": r, "content": f"{c} {i}"} for r, c in zip(roles, turns, strict=True)
            ]
        }
        for i in range(30)
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": str(tmp_path / "chat.jsonl")},
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    examples = [
        e for split in SPLITS for e in read_examples(RunDir(tmp_path / "run").examples(split))
    ]
    assert len(examples) == 60
    assert {e.history for e in examples if e.row_id == "1"} == {
        (),
        (Turn("user", "hi 0"), Turn("assistant", "hello 0")),
    }
    sides = {
        row: {e.split for e in examples if e.row_id == row} for row in {e.row_id for e in examples}
    }
    assert all(len(split) == 1 for split in sides.values())


def test_a_field_marked_fit_is_shortened_and_counted_and_the_answer_is_whole(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [(f"{i} " + "word " * (40 if i else 400), "yes" if i % 2 else "no") for i in range(40)]
    run = prepare(
        tmp_path,
        tiny_model_dir,
        rows=rows,
        task=None,
        template="Say: {{ text | fit }}\nLabel: ||| {{ label }}",
    )
    long = next(
        e
        for split in SPLITS
        for e in read_examples(run.examples(split))
        if e.prompt.startswith("Say: 0 ")
    )
    tokens = next(
        t for split in SPLITS for t in read_tokenized(run.examples(split)) if t.id == long.id
    )
    assert 500 < len(tokens.input_ids) <= 512
    assert (long.completion, long.prompt[-7:]) == ("no", "\nLabel:")
    assert read_json(run.ledger)["shortened"]["text"]["examples"] == 1


def test_too_long_rows_are_an_error_with_their_lines_when_there_are_many(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [*ROWS, ("word " * 200, "yes")]
    with pytest.raises(DataError, match=r"1 of 41 rows rejected .*too_long 1 \(.*rows.csv:42\)"):
        prepare(tmp_path, tiny_model_dir, rows=rows)


def test_the_list_of_rejected_rows_survives_a_failed_preparation(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(DataError, match="1 of 41 rows rejected"):
        prepare(tmp_path, tiny_model_dir, rows=[*ROWS, ("word " * 200, "yes")])
    lines = (tmp_path / "run.rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["too_long"]
    assert not (tmp_path / "run").exists()


def test_long_runs_of_words_on_both_sides_of_the_split_are_noted(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    shared_words = " ".join(f"w{i}" for i in range(13))
    test_file = write_csv(
        tmp_path / "test.csv", [(f"{shared_words} then quite another end", "yes")]
    )
    rows = [*ROWS, (f"a different and longer beginning of it, {shared_words}", "no")]
    run = prepare(tmp_path, tiny_model_dir, rows=rows, test_source=str(test_file))
    assert any(
        "1 of 1 test inputs (100.0%) share 13 words in a row" in note
        for note in read_json(run.manifest)["notes"]
    )


ZH = [
    (f"第{i}段文字说了很多事情。" * 3, f"{'甲乙丙丁戊'[i % 5]}说了第{i}件事情。") for i in range(40)
]


def prepare_summaries(
    tmp_path: Path, model: Path, rows: list[tuple[str, str]], **evaluation: Any
) -> RunDir:
    source = write_csv(tmp_path / "rows.csv", rows, header=("text", "target"))
    values = {
        "model": str(model),
        "data": {"source": str(source), "task": "summarise"},
        "evaluation": evaluation,
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    return RunDir(tmp_path / "run")


def test_a_metric_that_cannot_judge_the_answers_stops_the_run_before_training(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(DataError, match=r"rougeL (.|\n)*rows.csv:\d+(.|\n)*hint: use chrf"):
        prepare_summaries(tmp_path, tiny_model_dir, ZH)
    with pytest.raises(DataError, match=r"bleu.tokenize=zh"):
        prepare_summaries(tmp_path, tiny_model_dir, ZH, metrics=["chrf", "bleu"])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_the_metric_and_the_tokenizer_that_are_proposed_are_taken_and_kept(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    options = {"bleu": {"tokenize": "zh"}, "rouge": {"stemmer": True}}
    run = prepare_summaries(
        tmp_path, tiny_model_dir, ZH, metrics=["chrf", "bleu"], metric_options=options
    )
    task = read_manifest(run).task
    assert task.metrics == ("chrf", "bleu")
    assert task.options.bleu.tokenize == "zh"
    assert task.options.rouge.stemmer
    assert not any("right answer" in note for note in read_manifest(run).notes)


def test_the_summaries_of_the_cases_folder_are_refused_by_rouge_and_scored_by_chrf(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    lines = shared("cases", "24-chinese-summaries", "zh.jsonl").read_text(encoding="utf-8")
    rows = [(row["text"], row["summary"]) for row in map(json.loads, lines.splitlines())]
    with pytest.raises(DataError, match="hint: use chrf"):
        prepare_summaries(tmp_path, tiny_model_dir, rows)
    assert prepare_summaries(tmp_path, tiny_model_dir, rows, metrics=["chrf"]).manifest.exists()


def test_the_answers_of_the_test_are_not_looked_at(tmp_path: Path, tiny_model_dir: Path) -> None:
    """Chinese ones among them stop no run; among those of training they would."""
    english = [(f"The story number {i} is long.", f"Story {i} is long.") for i in range(60)]
    write_csv(tmp_path / "test.csv", ZH, header=("text", "target"))
    values = {
        "model": str(tiny_model_dir),
        "data": {
            "source": str(write_csv(tmp_path / "rows.csv", english, header=("text", "target"))),
            "test_source": str(tmp_path / "test.csv"),
            "task": "summarise",
        },
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    notes = read_manifest(RunDir(tmp_path / "run")).notes
    assert not any("right answer" in note for note in notes)


def test_rows_that_a_metric_cannot_score_are_noted(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows = [(f"The story number {i} is long.", f"Story {i} is long.") for i in range(40)]
    rows[:8] = [(text, "👍" * (i + 1)) for i, (text, _) in enumerate(rows[:8])]
    notes = read_manifest(prepare_summaries(tmp_path, tiny_model_dir, rows)).notes
    assert any("rougeL, rouge1, rouge2 takes the right answer for wrong" in n for n in notes)


def two_tasks(tmp_path: Path, model: Path, second: dict[str, Any], **data: Any) -> RunDir:
    rows = [(f"quite other text {i}", f"its own answer {i}") for i in range(50)]
    other = write_csv(tmp_path / "other.csv", rows, header=("text", "target"))
    first = write_csv(tmp_path / "first.csv", ROWS)
    members = [str(first), {"source": str(other), "task": "rewrite"} | second]
    values = {
        "model": str(model),
        "data": {"source": members, "task": "classify", **data},
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    return RunDir(tmp_path / "run")


def tasks_by_split(run: RunDir) -> dict[str, Counter[str]]:
    return {split: Counter(e.task for e in read_examples(run.examples(split))) for split in SPLITS}


def test_a_mixture_caps_each_source_and_every_task_is_in_every_split(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    run = two_tasks(tmp_path, tiny_model_dir, {}, mixture_cap=20)
    assert tasks_by_split(run) == {
        "train": {"first": 20, "other": 20},
        "validation": {"first": 4, "other": 5},
        "test": {"first": 4, "other": 5},
    }
    assert read_json(run.ledger)["rows"]["raw"] == 90
    task = read_manifest(run).task
    assert task.primary == "task_mean"
    found = {name: (own.family, own.parser, own.primary) for name, own in task.tasks.items()}
    assert found == {
        "first": ("classify", "choice", "accuracy"),
        "other": ("rewrite", "text", task.tasks["other"].primary),
    }
    assert not any(own.held_out for own in task.tasks.values())


def test_each_task_of_a_mixture_needs_a_metric_that_can_judge_its_answers(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    """Those of a held-out task are the test's, and are not looked at."""
    chinese = write_csv(tmp_path / "zh.csv", ZH, header=("text", "target"))
    second = {"source": str(chinese), "task": "summarise", "name": "zh"}
    with pytest.raises(DataError, match=r"rougeL (.|\n)*zh.csv:\d+(.|\n)*hint: use chrf"):
        two_tasks(tmp_path, tiny_model_dir, second)
    run = two_tasks(tmp_path, tiny_model_dir, second | {"held_out": True})
    assert read_manifest(run).task.tasks["zh"].primary == "rougeL"


def test_a_held_out_task_has_no_row_in_training_or_validation(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    run = two_tasks(tmp_path, tiny_model_dir, {"held_out": True, "name": "unseen"})
    found = tasks_by_split(run)
    assert found["test"] == {"first": 4, "unseen": 50}
    assert found["train"] == {"first": 32}
    assert found["validation"] == {"first": 4}
    assert read_manifest(run).task.tasks["unseen"].held_out
    notes = read_json(run.manifest)["notes"]
    assert "held-out tasks, tested and never trained: unseen (50 rows)" in notes
    assert "0 of 50 inputs of held-out tasks share 13 words in a row with a training input" in notes


def test_what_a_held_out_task_shares_with_training_is_reported_and_not_removed(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    shared = write_csv(tmp_path / "shared.csv", [(text, "plus") for text, _ in ROWS])
    first = write_csv(tmp_path / "first.csv", ROWS)
    values = {
        "model": str(tiny_model_dir),
        "data": {
            "source": [str(first), {"source": str(shared), "held_out": True}],
            "task": "classify",
        },
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    run = RunDir(tmp_path / "run")
    ledger = read_json(run.ledger)
    assert tasks_by_split(run)["train"] == {"first": 32}
    assert tasks_by_split(run)["test"] == {"first": 4, "shared": 40}
    assert (ledger["rows"]["duplicates"], ledger["rows"]["leaked"]) == (0, 0)
    assert ledger["conflicting_rows"] == 0  # the same text has another answer in another task
    assert any(
        note.startswith("32 of 40 inputs of held-out tasks share 13 words in a row with a training")
        for note in read_json(run.manifest)["notes"]
    )


def test_sources_of_one_family_with_a_label_in_common_are_one_task(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    first = write_csv(tmp_path / "first.csv", ROWS)
    more = write_csv(tmp_path / "more.csv", [(f"one more text {i}", "yes") for i in range(20)])
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": [str(first), str(more)], "task": "classify"},
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    run = RunDir(tmp_path / "run")
    assert tasks_by_split(run)["test"].keys() == {""}
    assert read_manifest(run).task.tasks == {}
    assert all(e.choices == ("no", "yes") for e in read_examples(run.examples("train")))


def test_a_test_file_is_the_first_tasks_and_the_others_keep_their_own_rows(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    test = write_csv(tmp_path / "test.csv", [(f"unlike the others {i}", "yes") for i in range(7)])
    run = two_tasks(tmp_path, tiny_model_dir, {}, test_source=str(test))
    found = tasks_by_split(run)
    assert found["test"] == {"first": 7, "other": 5}
    assert found["train"]["other"] == 40
    assert found["train"]["first"] + found["validation"]["first"] == 40


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"held_out": True, "replay": True}, "other.csv is both replay, which is only trained on"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'"),
        ({"metrics": ["task_mean"]}, "task_mean is computed by itself"),
    ],
)
def test_a_member_that_cannot_be_judged_is_refused_before_any_work(
    tmp_path: Path, tiny_model_dir: Path, second: dict[str, Any], message: str
) -> None:
    with pytest.raises(TunesmithError, match=message):
        two_tasks(tmp_path, tiny_model_dir, second)
    assert not (tmp_path / "run").exists()


def test_a_mixture_without_a_task_to_train_is_refused(tmp_path: Path, tiny_model_dir: Path) -> None:
    first = write_csv(tmp_path / "first.csv", ROWS)
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": [{"source": str(first), "held_out": True}], "task": "classify"},
        "output_dir": str(tmp_path / "run"),
    }
    with pytest.raises(DataError, match="there is no task to train"):
        stages.prepare.prepare(build_recipe(values)[0])


def test_a_task_without_test_rows_is_refused(tmp_path: Path, tiny_model_dir: Path) -> None:
    few = write_csv(tmp_path / "few.csv", [("one", "a b c")], header=("text", "target"))
    with pytest.raises(DataError, match="the task 'few' has no rows in the test split"):
        two_tasks(tmp_path, tiny_model_dir, {"source": str(few)})


def test_a_mixture_that_has_no_mean_over_its_tasks_is_refused(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    second = {"held_out": True, "name": "unseen"}
    with pytest.raises(RecipeError, match=r"the metric of none is .*: first \(mcc\)"):
        two_tasks(
            tmp_path,
            tiny_model_dir,
            second,
            source=[
                {"source": str(write_csv(tmp_path / "first.csv", ROWS)), "metrics": ["mcc"]},
                {"source": str(write_csv(tmp_path / "b.csv", ROWS)), **second},
            ],
        )


def test_replayed_rows_are_trained_and_never_held_out(tmp_path: Path, tiny_model_dir: Path) -> None:
    replay = write_csv(tmp_path / "replay.csv", [(f"general text {i}", "yes") for i in range(12)])
    first = write_csv(tmp_path / "first.csv", ROWS)
    values = {
        "model": str(tiny_model_dir),
        "data": {
            "source": [str(first), {"source": str(replay), "replay": True}],
            "task": "classify",
        },
        "output_dir": str(tmp_path / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    run = RunDir(tmp_path / "run")
    sides = {split: [e.row_id for e in read_examples(run.examples(split))] for split in SPLITS}
    assert sum(i.startswith("2:") for i in sides["train"]) == 12
    assert not any(i.startswith("2:") for i in sides["validation"] + sides["test"])


def test_one_text_can_be_put_into_the_prompt_layout(tmp_path: Path, tiny_model_dir: Path) -> None:
    run = prepare(tmp_path, tiny_model_dir)
    write = stages.common.prompt_writer(run)
    assert write is not None
    assert write("{x}") in {
        e.prompt.replace(e.prompt.splitlines()[-2], "Text: {x}")
        for e in read_examples(run.examples("test"))
    }


def test_a_folder_with_three_files_is_its_splits_and_the_ledger_says_so(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    source = shared("cases", "22-folder-splits", "data")
    run = prepare_source(tmp_path, tiny_model_dir, source)
    first_words = {
        split: {example.prompt.split("note")[0].split()[-1] for example in examples}
        for split in SPLITS
        if (examples := list(read_examples(run.examples(split))))
    }
    assert first_words == {split: {split} for split in SPLITS}
    facts = read_json(run.ledger)
    assert [facts["splits"][split]["rows"] for split in SPLITS] == [60, 12, 12]
    assert any("the files are the splits" in note for note in facts["notes"])


def test_what_was_recognised_in_a_file_is_noted_also_when_it_comes_from_the_cache(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared("cases", "27-excel-semicolon", "de.csv")
    columns = {"text": "Text", "label": "Label"}
    for name in ("a", "b"):
        run = prepare_source(tmp_path / name, tiny_model_dir, source, columns=columns)
        notes = " ".join(read_json(run.ledger)["notes"])
        assert "de.csv: not utf-8, read as cp1252: 'Die Tür 0, schön;schlecht'" in notes
        assert "de.csv: read with semicolons" in notes
    assert "taken from the cache" in capsys.readouterr().err.replace("\n", " ")


def test_a_file_without_a_header_is_prepared_under_the_names_it_is_given(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("".join(f"{i},{text},{label}\n" for i, (text, label) in enumerate(ROWS)))
    run = prepare_source(tmp_path, tiny_model_dir, source, names=["n", "text", "label"])
    assert read_json(run.ledger)["rows"]["raw"] == len(ROWS)


TWIN_ROWS = [
    ("how do I close my account", "yes"),
    ("why is my transfer still pending", "no"),
    *ROWS,
]
TWIN_TESTS = [
    ("How can I close the account?", "yes"),  # of the first training row
    ("where is the nearest branch", "no"),
    ("my transfer is still pending, why", "no"),  # of the second
]


def test_test_rows_with_a_near_twin_in_training_are_recorded_and_named(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    test_file = write_csv(tmp_path / "test.csv", TWIN_TESTS)
    run = prepare(tmp_path, tiny_model_dir, rows=TWIN_ROWS, test_source=str(test_file))
    twins = read_record(run.twins, Twins)
    rows = {example.row_id: example for example in read_examples(run.examples("test"))}
    assert twins.searched
    assert ["account" in rows[i].prompt or "pending" in rows[i].prompt for i in twins.test] == [
        True,
        True,
    ]
    notes = read_json(run.ledger)["notes"]
    (note,) = [note for note in notes if "near-twin among" in note]
    # they are left in training: a user's file is left as it is, and the report shows both scores
    assert note.startswith("2 test inputs have a near-twin among the training inputs, for example ")


def test_near_twins_are_never_on_two_sides_of_a_split_that_is_drawn(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    colours = ["red", "blue", "green", "brown", "grey", "pink", "black", "white", "gold", "teal"]
    pairs = [
        (f"{how} i close the {word} account{end}", "yes" if i % 2 else "no")
        for i, word in enumerate(colours)
        for how, end in (("how do", ""), ("how can", " please"), ("how would", ""))
    ]
    run = prepare(tmp_path, tiny_model_dir, rows=pairs)
    splits: dict[str, set[str]] = {}
    for split in SPLITS:
        for example in read_examples(run.examples(split)):
            splits.setdefault(example.group, set()).add(split)
    assert len(splits) == 10
    assert all(len(found) == 1 for found in splits.values())
    assert read_record(run.twins, Twins) == Twins(searched=True)


def test_without_the_search_for_near_duplicates_nothing_is_said_of_twins(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    test_file = write_csv(tmp_path / "test.csv", TWIN_TESTS)
    run = prepare(
        tmp_path,
        tiny_model_dir,
        rows=TWIN_ROWS,
        test_source=str(test_file),
        near_duplicates=False,
    )
    assert read_record(run.twins, Twins) == Twins(searched=False)
