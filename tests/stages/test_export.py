"""`tunesmith export` to a .gguf file and to the hub, and `tunesmith chat --compare`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import RepoUrl
from huggingface_hub.errors import HTTPError
from support import exit_code_of, write_rows

from tunesmith import stages
from tunesmith.cli_use import Target
from tunesmith.cli_use import export as export_command
from tunesmith.errors import DataError, InputError, RecipeError, RunError
from tunesmith.models.load import load_model
from tunesmith.recipe import build_recipe
from tunesmith.rundir import RunDir
from tunesmith.stages import export_hub
from tunesmith.stages.export_hub import check_hub, upload


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of the built-in model, trained for one step."""
    folder = tmp_path_factory.mktemp("export")
    recipe = build_recipe(
        {
            "data": {
                "source": str(write_rows(folder / "rows.csv")),
                "task": "classify/terse",
                "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
            },
            "train": {"num_train_epochs": 1, "train_batch_size": 32},
            "evaluation": {"few_shot": 0},
            "output_dir": str(folder / "run"),
        }
    )[0]
    stages.prepare.prepare(recipe)
    run = RunDir(folder / "run")
    stages.train.train(run)
    return run


def test_a_gguf_file_is_read_back_before_it_stays(
    trained: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    file = tmp_path / "new" / "model.gguf"
    stages.export.export_file(trained, file, "bfloat16")
    tuned, read = load_model(str(trained.model)), load_model(str(file))
    name = "model.layers.0.mlp.up_proj.weight"
    rounded = tuned.get_parameter(name).bfloat16().float()
    assert rounded.equal(read.get_parameter(name))
    with pytest.raises(RecipeError, match="exists already"):
        stages.export.export_file(trained, file, "bfloat16")
    monkeypatch.setattr("tunesmith.stages.export_gguf.difference", lambda *_: "a wrong tensor")
    with pytest.raises(RunError, match="not written, as it is not the model: a wrong tensor"):
        stages.export.export_file(trained, tmp_path / "other.gguf", "float32")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_what_cannot_be_a_gguf_file_is_said_before_any_work(
    trained: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"out: not the name of a .gguf file\nhint: .*out.gguf"):
        stages.export.export_file(trained, tmp_path / "out", "float32")
    monkeypatch.setattr("tunesmith.models.gguf.installed", lambda name: name != "gguf")
    with pytest.raises(InputError, match=r"needs gguf, not installed here"):
        stages.export.export_file(trained, tmp_path / "out.gguf", "float32")


class Hub:
    """What a fake of huggingface_hub's HfApi was asked for."""

    def __init__(self, token: str | None = "t", there: tuple[str, ...] = ()) -> None:
        self.token, self.there, self.asked = token, there, dict[str, Any]()

    def whoami(self) -> dict[str, str]:
        return {"name": "ann"}

    def repo_exists(self, repo_id: str) -> bool:
        return repo_id in self.there

    def create_repo(self, repo_id: str, *, private: bool) -> RepoUrl:
        full = repo_id if "/" in repo_id else f"ann/{repo_id}"
        self.asked |= {"repo_id": full, "private": private}
        return RepoUrl(f"https://huggingface.co/{full}")

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert commit_message
        files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        self.asked |= {"uploaded_to": repo_id, "files": files}


class Unreachable(Hub):
    def repo_exists(self, repo_id: str) -> bool:
        raise HTTPError("no route\nto it")

    def create_repo(self, repo_id: str, *, private: bool) -> RepoUrl:
        raise HTTPError("")


def test_the_model_folder_goes_to_a_new_private_repository(
    trained: RunDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub = Hub()
    monkeypatch.setattr(export_hub, "HfApi", lambda: hub)
    run = RunDir(tmp_path / "run")
    shutil.copytree(trained.path, run.path)
    (run.model / "README.md").write_text("# Card\n")
    export_command(run.path, Path("ann/reviews"), Target.HUB)
    assert capsys.readouterr().out == "https://huggingface.co/ann/reviews\n"
    assert (hub.asked["private"], hub.asked["uploaded_to"]) == (True, "ann/reviews")
    files = hub.asked["files"]
    assert files["README.md"] == b"# Card\n"
    assert json.loads(files["config.json"])["dtype"] == "bfloat16"
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {*files}


def test_a_repository_is_public_only_where_asked(tmp_path: Path) -> None:
    hub: Any = Hub()
    assert upload(tmp_path, "reviews", True, hub) == "https://huggingface.co/ann/reviews"
    assert (hub.asked["private"], hub.asked["uploaded_to"]) == (False, "ann/reviews")


@pytest.mark.parametrize(
    "hub, repo_id, said",
    [
        (Hub(), "a/b/c", "a/b/c: not the id of a repository"),
        (Hub(token=None), "ann/x", "ann/x: no token for the hub\nhint: `hf auth login`"),
        (Hub(there=("ann/x",)), "x", "ann/x: exists already on the hub"),
        (Unreachable(), "ann/x", "ann/x: the hub does not answer: no route\nhint: is there"),
    ],
)
def test_what_the_hub_will_not_take_is_said_before_any_work(
    hub: Any, repo_id: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_hub, "get_token", lambda: None)
    with pytest.raises(InputError) as error:
        check_hub(repo_id, hub)
    assert str(error.value).startswith(said)


def test_an_upload_that_fails_is_one_line(tmp_path: Path) -> None:
    hub: Any = Unreachable()
    with pytest.raises(RunError, match=r"ann/x: not uploaded: HTTPError\nhint"):
        upload(tmp_path, "ann/x", False, hub)


def test_public_is_for_the_hub_only(
    trained: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(monkeypatch, "export", str(trained.path), "out", "--public") == 2
    assert "--public is for the hub only" in capsys.readouterr().err


def test_base_and_tuned_model_answer_beside_each_other(
    trained: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("chat", str(trained.path), "--once", "good thing")
    assert exit_code_of(monkeypatch, *given) == 0
    alone = capsys.readouterr().out
    assert exit_code_of(monkeypatch, *given, "--compare") == 0
    base, tuned = capsys.readouterr().out.split("\ntuned  ")
    assert base.startswith("base   ")
    assert tuned == alone
    # with the base as the tuned model, both say the same
    monkeypatch.setattr("tunesmith.stages.chat.load_tuned", lambda *_: _untuned(trained))
    assert exit_code_of(monkeypatch, *given, "--compare") == 0
    again = capsys.readouterr().out
    assert again == f"{base}\ntuned  {base.removeprefix('base   ')}\n"


def _untuned(run: RunDir) -> Any:
    recipe = stages.common.run_recipe(run)
    found, tuned = stages.common.load_base(recipe), load_model(str(run.model))
    found.generation_config = tuned.generation_config
    return found


def test_comparing_needs_the_base_that_the_run_started_from(
    trained: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.stages.common.fingerprint", lambda _: {})
    with pytest.raises(DataError, match="changed since the run was prepared"):
        stages.chat.chat(trained.path, once="good", compare=True)
