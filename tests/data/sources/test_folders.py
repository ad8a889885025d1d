"""Splits inside a source: a folder's files and a document's keys are what their names say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import shared

from tunesmith.data.sources.folders import splits_in
from tunesmith.data.sources.members import SourceRows, members
from tunesmith.data.sources.splits import split_named
from tunesmith.data.sources.stored import StoredRows, source_hash, store_rows
from tunesmith.errors import DataError
from tunesmith.recipe import DataConfig, SourceConfig


@pytest.mark.parametrize(
    "name, among, split",
    [
        ("train.csv", "", "train"),
        ("train-00000-of-00002.parquet", "", "train"),
        ("reviews_dev.jsonl", "", "validation"),
        ("valid.txt", "", "validation"),
        ("val", "", "validation"),
        ("test/part1.csv", "", "test"),
        ("train/test.csv", "", "test"),
        ("Test.CSV", "", "test"),
        ("eval.csv", "train.csv", "test"),
        ("eval.csv", "train.csv test.csv", "validation"),
        ("evaluation/a.csv", "train/a.csv test/a.csv", "validation"),
        ("train_test.csv", "", None),
        ("latest.csv", "", None),
        ("device.csv", "", None),
        ("trainers.csv", "", None),
        ("contest.csv", "", None),
    ],
)
def test_a_split_is_a_whole_word_of_the_last_part_that_has_one(
    name: str, among: str, split: str | None
) -> None:
    assert split_named(name, [name, *among.split()]) == split


def folder(path: Path, **files: int) -> Path:
    path.mkdir(exist_ok=True)
    for name, n in files.items():
        (path / f"{name}.csv").write_text("text\n" + "".join(f"{name} {i}\n" for i in range(n)))
    return path


def texts(data: DataConfig, path: Path) -> dict[str, list[str]]:
    """The texts of each member by the split that it fixes."""
    store_rows(data, path)
    rows = StoredRows(path)
    return {
        str(member.split): [row.values["text"] for row in rows.read(i)]
        for i, member in enumerate(members(data))
    }


@pytest.mark.parametrize("validation", ["validation", "dev", "valid", "val", "eval"])
def test_the_files_of_a_folder_are_its_splits(tmp_path: Path, validation: str) -> None:
    source = folder(tmp_path / "d", train=3, test=2, **{validation: 1})
    notes: list[str] = []
    data = DataConfig(source=str(source))
    hashes = store_rows(data, tmp_path / "stored.arrow", notes)
    assert texts(data, tmp_path / "stored.arrow") == {
        "None": ["train 0", "train 1", "train 2"],
        "validation": [f"{validation} 0"],
        "test": ["test 0", "test 1"],
    }
    assert hashes == {str(source): source_hash(str(source))}
    assert notes == [
        f"{source}: the files are the splits (train: train.csv; validation: {validation}.csv; "
        "test: test.csv)"
    ]


def test_ids_differ_between_the_splits_of_a_folder(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", train=2, train_more=1, dev=2, test=2)
    rows = SourceRows(DataConfig(source=str(source)))
    ids = [row.id for i in range(3) for row in rows.read(i)]
    assert len(set(ids)) == len(ids) == 7


def test_a_file_that_the_recipe_names_takes_the_place_of_the_folders(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", train=2, test=2)
    own = folder(tmp_path / "own", mine=1) / "mine.csv"
    found = texts(DataConfig(source=str(source), test_source=str(own)), tmp_path / "s.arrow")
    assert found == {"None": ["train 0", "train 1"], "test": ["mine 0"]}


def test_of_a_second_source_only_the_training_files_are_read(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a", a=1), folder(tmp_path / "b", train=1, test=1)
    data = DataConfig(source=[str(first), str(second)])
    rows = SourceRows(data)
    assert [row.values["text"] for i in (0, 1) for row in rows.read(i)] == ["a 0", "train 0"]


def test_of_a_source_that_is_held_out_the_test_files_are_read(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a", a=1), folder(tmp_path / "b", train=1, dev=1, test=2)
    held_out = SourceConfig(source=str(second), held_out=True)
    rows = SourceRows(DataConfig(source=[str(first), held_out]))
    assert [row.values["text"] for row in rows.read(1)] == ["test 0", "test 1"]


def test_without_a_training_file_those_of_no_split_are_trained_on(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", reviews=2, test=1)
    found = texts(DataConfig(source=str(source)), tmp_path / "s.arrow")
    assert found == {"None": ["reviews 0", "reviews 1"], "test": ["test 0"]}


def test_files_beside_those_of_the_splits_are_named_and_not_read(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", train=1, test=1, other=1)
    rows = SourceRows(DataConfig(source=str(source)))
    assert [row.values["text"] for row in rows.read(0)] == ["train 0"]
    assert f"{source}: not read, of no split by their names: other.csv" in rows.notes


def test_a_folder_without_names_of_splits_is_one_table(tmp_path: Path) -> None:
    assert splits_in(folder(tmp_path / "a", one=1, two=1)) == {}
    assert splits_in(folder(tmp_path / "b", train=1, train_more=1)) == {}
    assert splits_in(folder(tmp_path / "c", test=1)) == {}


def test_validation_and_test_files_alone_are_an_error(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", dev=1, test=1)
    with pytest.raises(DataError) as caught:
        members(DataConfig(source=str(source)))
    assert caught.value.message == (
        f"{source}: validation and test files, and none to train on: dev.csv, test.csv"
    )


def test_the_keys_of_a_document_are_its_splits(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({k: [{"text": k}] for k in ("train", "dev", "test", "oos_test")}))
    found = texts(DataConfig(source=str(path)), tmp_path / "s.arrow")
    assert found == {"None": ["train"], "validation": ["dev"], "test": ["test", "oos_test"]}


def test_the_splits_of_a_saved_data_set_are_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved = datasets.DatasetDict(
        {name: datasets.Dataset.from_list([{"text": name}]) for name in ("train", "test")}
    )
    saved.save_to_disk(tmp_path / "d")
    found = texts(DataConfig(source=str(tmp_path / "d")), tmp_path / "s.arrow")
    assert found == {"None": ["train"], "test": ["test"]}


def test_a_file_that_changes_between_two_splits_of_a_document_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    value = {k: [{"text": k}] for k in ("train", "test")}
    path.write_text(json.dumps(value))
    data = DataConfig(source=str(path))
    seen = iter(["a", "b"])
    monkeypatch.setattr("tunesmith.data.sources.stored.source_hash", lambda *_: next(seen))
    with pytest.raises(DataError, match=r"a.json: changed while it was read"):
        store_rows(data, tmp_path / "s.arrow")


def test_the_shared_folder_with_three_files() -> None:
    source = shared("cases", "22-folder-splits", "data")
    rows = SourceRows(DataConfig(source=str(source)))
    found = [[row.values["text"].split()[0] for row in rows.read(i)] for i in range(3)]
    assert found == [["train"] * 60, ["validation"] * 12, ["test"] * 12]
