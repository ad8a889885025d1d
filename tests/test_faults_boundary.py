"""One error boundary: whatever goes wrong, one message with a hint, an exit code, no traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError
from support import byte_tokenizer, save, tiny_llama, write_rows

import tunesmith
import tunesmith.models.save as saving
from tunesmith.chat.format import complete_tokenizer
from tunesmith.cli_boundary import guarded
from tunesmith.errors import DataError, InputError, RecipeError, RunError
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.recipe import build_recipe, load_recipe
from tunesmith.run_files import read_manifest
from tunesmith.rundir import RunDir, cache_folder, read_json, write_atomic
from tunesmith.stages.export import export
from tunesmith.stages.prepare import prepare
from tunesmith.train.trackers import read_metrics


def raises(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    "error, code, message",
    [
        (InputError("a.csv: no such file", "look"), 2, "error: a.csv: no such file\nhint: look\n"),
        (RunError("it broke"), 1, "error: it broke\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs/a/report.md"),
            1,
            "error: runs/a/report.md: Permission denied\n"
            "hint: is it there, and may this user read and write it?\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.parquet"),
            1,
            "error: x.parquet: the disk is full\n"
            "hint: free some space; `tunesmith resume FOLDER` continues a run that was prepared\n",
        ),
        (
            OSError(errno.EFBIG, "File too large"),
            1,
            "error: a file: a file would grow beyond what is allowed here\n"
            "hint: `ulimit -f` says how much\n",
        ),
        (
            SafetensorError("IoError(Os { code: 28, kind: StorageFull })"),
            1,
            "error: a file: the disk is full\n"
            "hint: free some space; `tunesmith resume FOLDER` continues a run that was prepared\n",
        ),
        (
            SafetensorError("Error while serializing: I/O error: Input/output error (os error 5)"),
            1,
            "error: a file: Input/output error\n"
            "hint: is it there, and may this user read and write it?\n",
        ),
        (
            Exception('Permission denied (os error 13) at path "/runs/a/.tmp0"'),
            1,
            "error: /runs/a/.tmp0: Permission denied\n"
            "hint: is it there, and may this user read and write it?\n",
        ),
        (
            RuntimeError(
                "unable to open file </runs/a/model.safetensors> in read-only mode: "
                "Permission denied (13)"
            ),
            1,
            "error: /runs/a/model.safetensors: Permission denied\n"
            "hint: is it there, and may this user read and write it?\n",
        ),
        (
            MemoryError(),
            1,
            "error: there is not enough memory\nhint: a smaller model, or fewer rows at once\n",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
        (SystemExit(3), 3, ""),
        (SystemExit(None), 0, ""),
        (
            KeyboardInterrupt(),
            130,
            "error: interrupted by Ctrl-C\n"
            "hint: `tunesmith resume FOLDER` continues a run that was prepared\n",
        ),
    ],
)
def test_every_error_is_one_message_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    assert guarded(raises(error)) == code
    assert capsys.readouterr().err == message


def test_a_mistake_of_ours_is_said_and_its_traceback_kept_in_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert guarded(raises(TypeError("two\nlines"))) == 1
    (kept,) = tmp_path.iterdir()
    assert capsys.readouterr().err == (
        "error: unexpected TypeError: two lines\n"
        f"hint: this is a mistake in tunesmith; please report it, with {kept}\n"
    )
    assert "Traceback" in kept.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert guarded(raises(TypeError("again"))) == 1
    assert capsys.readouterr().err.endswith("mistake in tunesmith; please report it\n")


# ---- the environment: what a shell may do to a program


PRINTS = (
    "import sys; from tunesmith.cli_boundary import guarded; sys.exit(guarded(lambda: print(1)))"
)


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`command` in bash, with `$T` for tunesmith."""
    without = ("HOME", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    program = f"{sys.executable} -W error::UserWarning -m tunesmith.cli"
    source = str(Path(tunesmith.__file__).parents[1])
    given = kept | {"T": program, "P": sys.executable, "PYTHONPATH": source} | environment
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=given)


@pytest.mark.parametrize(
    "command, code, said",
    [
        ("$T --help >&-", 0, ""),
        ("$T init recipe.yaml >&- && cat recipe.yaml | head -1 > /dev/null", 0, ""),
        ("$T --help > /dev/full", 1, "error: "),
        (f"$P -c '{PRINTS}' > /dev/full", 1, "error: standard output: No space left on device\n"),
        (f"$P -c '{PRINTS}' | true", None, ""),
        ("set -o pipefail; $T --help | true", None, ""),
        ("$T run gone.yaml 2>&-", 2, ""),
        ("$T run gone.yaml >&- 2>&-", 2, ""),
        ("mkdir folder.yaml; $T run folder.yaml", 2, "error: folder.yaml: Is a directory\nhint: "),
        ("mkdir -p x.yaml; $T init x.yaml", 2, "error: x.yaml: exists already\nhint: "),
        ("touch file; $T init file/recipe.yaml", 1, "error: "),
    ],
)
def test_what_a_shell_does_to_it_gives_no_traceback(
    tmp_path: Path, command: str, code: int | None, said: str
) -> None:
    done = shell(f"cd {tmp_path}; {command}")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert code is None or done.returncode == code, done.stderr
    assert done.stderr.startswith(said)


def test_an_ascii_locale_stops_no_message(tmp_path: Path) -> None:
    (tmp_path / "café.yaml").write_text("{", encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = shell(f"cd {tmp_path}; $T run caf*.yaml", **ascii_only)
    assert done.returncode == 2
    assert done.stderr.startswith(r"error: caf\udcc3\udca9.yaml: not readable as YAML")


def test_a_user_without_a_home_has_a_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TUNESMITH_CACHE")
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/.cache/tunesmith")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder().parts[-3:] == (f"tunesmith-{os.getuid()}", ".cache", "tunesmith")


# ---- damaged files of a run


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"text"', "nul\x00", "[" * 100_000, "\xff"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    run = RunDir(tmp_path)
    run.manifest.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"manifest\.json: .*\nhint: the file was"):
        read_manifest(run)


def test_a_file_of_a_run_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as found:
        read_json(tmp_path / "training.json")
    assert str(found.value) == (
        f"{tmp_path / 'training.json'}: is missing\n"
        "hint: the file was damaged: put it back from a copy, or start a new run in another "
        "output_dir"
    )


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"step": "one"}', "[" * 100_000])
def test_a_damaged_line_of_the_metrics_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "loss": 2.5}}\n{line}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not the numbers of a step\nhint: "):
        read_metrics(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def garbage(path: Path) -> None:
    path.write_bytes(b"PAR1 and then nothing of the kind")


def another_table(path: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), path)


@pytest.mark.parametrize("damage", [cut, garbage, another_table, Path.unlink])
def test_damaged_answers_are_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run = RunDir(tmp_path)
    path = run.predictions("tuned", "test")
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"example_id": ["a"], "text": ["b"]}), path)
    damage(path)
    with pytest.raises(DataError, match=r"tuned/test\.parquet: not readable as answers: .*\nhint"):
        read_predictions(run, "tuned", "test")


# ---- where results go


def test_an_export_to_a_place_that_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    nothing = RunDir(tmp_path / "run")  # not even looked at
    with pytest.raises(RecipeError, match=r"export to .*: .*/file is a file\nhint: name another"):
        export(nothing, tmp_path / "file" / "model", "float32")
    with pytest.raises(
        RecipeError, match=r"export to .*link is a link to .*, which is not there\nhint: name"
    ):
        export(nothing, tmp_path / "link", "float32")


def test_a_recipe_that_is_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as found:
        load_recipe(tmp_path)
    assert str(found.value) == f"{tmp_path}: Is a directory\nhint: give a recipe file"


def test_a_disk_that_fills_up_under_a_model_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    complete_tokenizer(tokenizer)
    save(model, tokenizer, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise SafetensorError(
            "Error while serializing: IoError(Os { code: 28, kind: StorageFull })"
        )

    monkeypatch.setattr(saving, "_write_files", full)
    with pytest.raises(RunError) as found:
        save(tiny_llama(seed=1), tokenizer, tmp_path / "model")
    assert str(found.value) == (
        f"{tmp_path / 'model'}: the disk is full; the model is not saved\n"
        "hint: free some space, then run the same command again, or `tunesmith resume RUN`"
    )
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_the_new_model_cannot_take_its_name_the_old_one_takes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    complete_tokenizer(tokenizer)
    save(model, tokenizer, tmp_path / "model")
    rename = Path.rename

    def broken(path: Path, target: Path) -> Any:
        if path.name.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OSError, match="Input/output error"):
        save(tiny_llama(seed=1), tokenizer, tmp_path / "model")
    assert (tmp_path / "model" / "config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# ---- what is renamed is on the disk first, and the folder after it


def calls_of(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """The fsyncs and renames from now on, in their order, by names relative to `folder`."""
    calls: list[str] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def shown(path: str | Path) -> str:
        parts = Path(path).relative_to(folder).parts
        return "/".join("TEMPORARY" if part.startswith(".") else part for part in parts) or "."

    def note_sync(descriptor: int) -> None:
        calls.append(f"fsync {shown(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def noting(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(path: Path, target: Path) -> Path:
            calls.append(f"rename {shown(path)} {shown(target)}")
            return move(path, target)

        return moved

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", noting(rename))
    monkeypatch.setattr(Path, "replace", noting(replace))
    return calls


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch, tmp_path)
    write_atomic(tmp_path / "manifest.json", "{}")
    assert calls == ["fsync TEMPORARY", "rename TEMPORARY manifest.json", "fsync ."]


def test_a_model_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    complete_tokenizer(tokenizer)
    calls = calls_of(monkeypatch, tmp_path)
    save(model, tokenizer, tmp_path / "model")
    names = [path.name for path in (tmp_path / "model").iterdir()]
    assert sorted(calls[:-3]) == sorted(f"fsync TEMPORARY/{name}" for name in names)
    assert calls[-3:] == ["fsync TEMPORARY", "rename TEMPORARY model", "fsync ."]


def test_a_prepared_folder_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": str(write_rows(tmp_path / "rows.csv")), "task": "classify"},
        "output_dir": str(tmp_path / "runs" / "a"),
    }
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    calls = calls_of(monkeypatch, tmp_path)
    prepare(build_recipe(values)[0])
    appeared = calls.index("rename runs/TEMPORARY runs/a")
    assert calls[appeared + 1] == "fsync runs"
    for path in (tmp_path / "runs" / "a").rglob("*"):
        name = path.relative_to(tmp_path / "runs" / "a")
        assert f"fsync runs/TEMPORARY/{name}" in calls[:appeared]
    (entry,) = (tmp_path / "cache" / "prepared").iterdir()
    stored = calls.index(f"rename cache/prepared/TEMPORARY/entry cache/prepared/{entry.name}")
    assert calls[stored + 1] == "fsync cache/prepared"
    for path in entry.iterdir():
        assert f"fsync cache/prepared/TEMPORARY/entry/{path.name}" in calls[:stored]
