"""The cache of prepared splits: what makes another key, and that a changed entry is never used."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import byte_tokenizer

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.data import cache
from tunesmith.data.cache import cache_key, folder, restore, store
from tunesmith.data.ledger import LedgerFacts
from tunesmith.data.plan import plan_sources
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.sources.stored import StoredRows, store_rows
from tunesmith.recipe import DataConfig
from tunesmith.records import SPLITS
from tunesmith.rundir import RunDir

FACTS = LedgerFacts({"raw": 3}, {}, {}, 0, 0, {}, {}, ("a note",))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def table(tmp_path: Path, text: str = "text,label\na,x\nb,y\n") -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


OTHER = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


def chat_of(tokenizer: Any) -> ChatFormat:
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def key(path: Path, tokenizer: Any = None, max_length: int = 100, **data: Any) -> str:
    config = DataConfig(source=str(path), **({"task": "classify"} | data))
    stored = path.with_name("stored.arrow")
    hashes = store_rows(config, stored)
    sources = plan_sources(config, StoredRows(stored))
    found = cache_key(sources, hashes, config, chat_of(tokenizer or byte_tokenizer()), max_length)
    assert found is not None
    return found


def run_with_files(path: Path) -> RunDir:
    run = RunDir(path)
    for split in SPLITS:
        run.examples(split).parent.mkdir(parents=True, exist_ok=True)
        run.examples(split).write_bytes(f"{split} rows".encode())
    run.rows.write_bytes(b"all rows")
    run.rejected.write_text("{}\n")
    run.twins.write_text("{}\n")
    return run


def test_the_same_bytes_have_the_same_key_whenever_they_were_written(tmp_path: Path) -> None:
    before = key(table(tmp_path))
    os.utime(table(tmp_path), (1, 1))
    assert key(tmp_path / "rows.csv") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: key(table(path, "text,label\na,x\nb,x\n")),
        lambda path: key(table(path), max_length=101),
        lambda path: key(table(path), tokenizer=byte_tokenizer(bos=False)),
        lambda path: key(table(path), tokenizer=byte_tokenizer(chat_template=OTHER)),
        lambda path: key(table(path), task="classify/terse"),
        lambda path: key(table(path), split={"seed": 1}),
        lambda path: key(table(path), labels=["x", "y"]),
    ],
    ids=["rows", "max_length", "tokenizer", "chat template", "wording", "split", "labels"],
)
def test_what_the_splits_depend_on_makes_another_key(
    tmp_path: Path, change: Callable[[Path], str]
) -> None:
    assert change(tmp_path) != key(table(tmp_path))


def test_a_changed_template_file_makes_another_key(tmp_path: Path) -> None:
    slots = "slots: {text: {type: text}, label: {type: label}}"
    family = f"{{family: f, about: b, {slots}, metrics: [accuracy]"
    keys = []
    for end in (":", "?"):
        wording = (
            f"wordings: [{{name: one, template: '{{{{ text }}}}{end} ||| {{{{ label }}}}'}}]}}"
        )
        (tmp_path / "f.yaml").write_text(f"{family}, parser: choice, {wording}")
        keys.append(key(table(tmp_path), task=None, template=str(tmp_path / "f.yaml")))
    assert keys[0] != keys[1]


def test_changed_code_makes_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("a = 1")
    before = key(table(tmp_path))
    monkeypatch.setattr(cache, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(cache, "CODE", ("code.py",))
    first = key(table(tmp_path))
    (tmp_path / "package" / "code.py").write_text("a = 2")
    assert len({before, first, key(table(tmp_path))}) == 3


def test_all_files_of_a_folder_of_rows_count(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "rows" / name).write_text("text,label\na,x\nb,y\n")
    before = key(tmp_path / "rows")
    (tmp_path / "rows" / "b.csv").write_text("text,label\na,x\nc,y\n")
    assert key(tmp_path / "rows") != before


def test_an_entry_comes_back_with_its_facts(tmp_path: Path) -> None:
    store("k", run_with_files(tmp_path / "one"), FACTS)
    run = RunDir(tmp_path / "two")
    assert restore("k", run) == FACTS
    assert run.examples("test").read_bytes() == b"test rows"
    assert run.rejected.read_text() == "{}\n"
    assert run.twins.read_text() == "{}\n"
    assert run.rows.read_bytes() == b"all rows"
    assert [path.name for path in folder().iterdir()] == ["k"]


def test_restored_rows_replace_those_of_the_run_which_may_be_mapped(tmp_path: Path) -> None:
    store("k", run_with_files(tmp_path / "one"), FACTS)
    run = run_with_files(tmp_path / "two")
    before = run.rows.stat().st_ino
    with run.rows.open("rb") as still_open:
        assert restore("k", run) == FACTS
        assert still_open.read() == b"all rows"
    assert run.rows.stat().st_ino != before
    assert run.rows.read_bytes() == b"all rows"


def write_over(path: Path) -> None:
    """In place, as a program does that knows nothing of the cache."""
    with path.open("r+b") as file:
        file.write(b"X")


def test_what_is_written_over_in_a_run_stays_as_it_was_in_the_cache_and_in_other_runs(
    tmp_path: Path,
) -> None:
    first, second, third = (RunDir(tmp_path / name) for name in ("one", "two", "three"))
    store("k", run_with_files(first.path), FACTS)
    assert restore("k", second) == FACTS
    for run in (first, second):
        for path in (run.rows, run.rejected, *(run.examples(split) for split in SPLITS)):
            write_over(path)
    assert restore("k", third) == FACTS
    assert third.rows.read_bytes() == b"all rows"
    assert third.examples("train").read_bytes() == b"train rows"


@pytest.mark.parametrize("when", ["storing", "restoring"])
def test_a_copy_that_went_wrong_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    copy = cache._copy

    def wrong(source: Path, target: Path) -> None:
        copy(source, target)
        if target.name == "train.parquet":
            write_over(target)

    run, other = run_with_files(tmp_path / "one"), run_with_files(tmp_path / "two")
    other.examples("train").write_bytes(b"its own rows")
    with monkeypatch.context() as patched:
        if when == "storing":
            patched.setattr(cache, "_copy", wrong)
        store("k", run, FACTS)
    monkeypatch.setattr(cache, "_copy", wrong if when == "restoring" else copy)
    assert restore("k", other) is None
    assert other.examples("train").read_bytes() == b"its own rows"
    assert not (folder() / "k").exists()


def test_a_file_system_without_shared_copies_gets_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refused)
    store("k", run_with_files(tmp_path / "one"), FACTS)
    run = RunDir(tmp_path / "two")
    assert restore("k", run) == FACTS
    assert run.examples("test").read_bytes() == b"test rows"


def test_what_is_not_there_is_not_restored(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert restore("k", run) is None
    assert not run.path.exists()


def change_a_file(entry: Path) -> None:
    (entry / "train.parquet").write_bytes(b"other rows")


def lose_a_file(entry: Path) -> None:
    (entry / "train.parquet").unlink()


def cut_the_facts(entry: Path) -> None:
    (entry / "facts.json").write_text('{"files": {')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change_a_file, r"train\.parquet has the sha256 \w{12}, written as \w{12}"),
        (lose_a_file, r"No such file .*train\.parquet"),
        (cut_the_facts, r"facts\.json: "),
    ],
)
def test_a_damaged_entry_is_never_used_and_said(
    tmp_path: Path,
    damage: Callable[[Path], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store("k", run_with_files(tmp_path / "one"), FACTS)
    damage(folder() / "k")
    run = RunDir(tmp_path / "two")
    assert restore("k", run) is None
    note = "note: removed a damaged entry of the cache, the rows are prepared anew: "
    assert re.match(f"{note}.*{said}", capsys.readouterr().err)
    assert not [path for path in tmp_path.glob("two/**/*") if path.is_file()]
    store("k", run_with_files(tmp_path / "three"), FACTS)
    assert restore("k", run) == FACTS


def test_an_entry_that_is_not_whole_has_not_taken_its_name(tmp_path: Path) -> None:
    run = run_with_files(tmp_path / "one")
    run.examples("test").unlink()
    store("k", run, FACTS)
    assert list(folder().iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "file"))
    store("k", run_with_files(tmp_path / "one"), FACTS)
    assert restore("k", RunDir(tmp_path / "two")) is None


def test_rows_that_are_no_files_are_not_cached(tmp_path: Path) -> None:
    config = DataConfig(source=str(table(tmp_path)), task="classify")
    sources = plan_sources(config, SourceRows(config))
    assert cache_key(sources, {}, config, chat_of(byte_tokenizer()), 100) is None
