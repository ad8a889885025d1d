"""Code that a model folder brings: never run unless the recipe trusts it, and then all the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from empty_on_ranks import own_code_saved
from on_ranks import on_ranks
from support import byte_tokenizer, list_again, tiny_llama, write_rows

from tunesmith.rundir import RunDir, file_sha256, read_json, write_json

ANSWERS = "y\n" * 50
RUNNER = Path(__file__).parents[1] / "run_commands.py"

CONFIG = """
from transformers import LlamaConfig
class OwnConfig(LlamaConfig):
    model_type = "own"
"""
MODEL = """
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
TOKENIZER = """
from transformers import PreTrainedTokenizerFast
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
GENERATE = "def generate(*args, **kwargs): raise RuntimeError('custom')\n"


class Folder:
    """A tiny model of each kind of own code; `marker` appears as soon as a line of it runs."""

    def __init__(
        self, path: Path, model_type: str = "own", tokenizer: bool = False, generate: bool = False
    ) -> None:
        self.path, self.marker = path, path.with_name(f"{path.name}.ran")
        tiny_llama().save_pretrained(path)
        byte_tokenizer().save_pretrained(path)
        self._change(
            "config.json",
            model_type=model_type,
            architectures=["OwnForCausalLM"],
            auto_map={
                "AutoConfig": "configuration_own.OwnConfig",
                "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
            },
        )
        self._code("configuration_own.py", CONFIG)
        self._code("modeling_own.py", MODEL)
        if tokenizer:
            self._change(
                "tokenizer_config.json",
                tokenizer_class="OwnTokenizer",
                auto_map={"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]},
            )
            self._code("tokenization_own.py", TOKENIZER)
        if generate:
            self._code("custom_generate/generate.py", GENERATE)

    def _change(self, name: str, **changes: Any) -> None:
        values = json.loads((self.path / name).read_text())
        (self.path / name).write_text(json.dumps(values | changes))

    def _code(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_text(
            f"open({str(self.marker)!r}, 'a').write({name!r} + chr(10))\n{text}"
        )


def recipe(folder: Path, model: Path, trusted: bool) -> Path:
    values = {
        "model": str(model),
        "trust_remote_code": trusted,
        "output_dir": str(folder / "run"),
        "data": {
            "source": str(write_rows(folder / "rows.csv")),
            "task": "classify",
            "columns": {"text": "text", "label": "label"},
        },
        "train": {"num_train_epochs": 1, "report_to": [], "learning_rate": 0.001},
        "evaluation": {
            "few_shot": 0,
            "num_validation_examples": 2,
            "max_new_tokens": 3,
            "resamples": 100,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def commands(cwd: Path, *args: list[str]) -> dict[str, Any]:
    """Exit codes and messages of commands in one fresh process that could answer "y" to whatever is
    asked.
    """
    environment = os.environ | {"HF_MODULES_CACHE": str(cwd / "modules"), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, str(RUNNER), json.dumps(args)],
        input=ANSWERS,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def of_a_recipe(path: Path) -> list[list[str]]:
    return [
        ["run", str(path)],
        ["prepare", str(path)],
        ["preview", str(path)],
        ["plan", str(path)],
        ["check", str(path)],
        ["limit", str(path)],
        ["curve", str(path), "--fractions", "0.5,1"],
    ]


def test_no_command_runs_a_folders_code_or_asks_whether_to(tmp_path: Path) -> None:
    own = Folder(tmp_path / "own", tokenizer=True, generate=True)
    found = commands(tmp_path, *of_a_recipe(recipe(tmp_path, own.path, trusted=False)))
    assert [code for code, _ in found["found"]] == [2] * 7
    for _, message in found["found"]:
        assert (
            "brings its own code: configuration_own.py, modeling_own.py, tokenization_own.py"
            in message
        )
        assert "hint: trust_remote_code: true" in message
    assert found["stdin"] == ANSWERS
    assert not own.marker.exists()
    assert not (tmp_path / "run").exists()


def test_a_folder_of_a_known_kind_is_loaded_by_transformers_own_classes(tmp_path: Path) -> None:
    known = Folder(tmp_path / "known", model_type="llama", generate=True)
    words = Folder(tmp_path / "words", model_type="llama", tokenizer=True)
    (tmp_path / "other").mkdir()
    path, run = recipe(tmp_path, known.path, trusted=False), str(tmp_path / "run")
    found = commands(
        tmp_path,
        ["run", str(path)],
        ["chat", run, "--once", "good"],
        ["export", run, str(tmp_path / "out")],
        ["limit", str(path)],
        ["prepare", str(recipe(tmp_path / "other", words.path, trusted=False))],
    )
    assert found["found"][:4] == [[0, ""]] * 4
    assert found["found"][4][0] == 2
    assert "the tokenizer brings its own code" in found["found"][4][1]
    assert found["stdin"] == ANSWERS
    assert not known.marker.exists()
    assert not words.marker.exists()


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    folder = tmp_path_factory.mktemp("trusted")
    own = Folder(folder / "own", tokenizer=True)
    path, run = recipe(folder, own.path, trusted=True), str(folder / "run")
    found = commands(
        folder,
        ["run", str(path)],
        ["chat", run, "--once", "good"],
        ["export", run, str(folder / "out")],
        ["plan", str(path)],
        ["preview", str(path)],
        ["evaluate", run],
        ["verify", run],
        ["report", run],
    )
    assert found["found"] == [[0, ""]] * 8
    assert found["stdin"] == ANSWERS
    return folder, own


def test_a_trusted_folder_goes_all_the_way_and_its_code_is_saved_with_the_tuned_model(
    trusted: tuple[Path, Folder],
) -> None:
    folder, own = trusted
    assert {"configuration_own.py", "modeling_own.py", "tokenization_own.py"} <= set(
        own.marker.read_text().split()
    )
    for saved in (folder / "run" / "model", folder / "out"):
        assert (saved / "modeling_own.py").exists()
        assert read_json(saved / "config.json")["model_type"] == "own"


def test_no_command_on_a_run_runs_code_that_its_recipe_does_not_trust(
    trusted: tuple[Path, Folder], tmp_path: Path
) -> None:
    folder, own = trusted
    own.marker.unlink(missing_ok=True)
    shutil.copytree(folder / "run", tmp_path / "whole")
    whole, again = RunDir(tmp_path / "whole"), RunDir(tmp_path / "again")
    distrust(whole)
    shutil.copytree(whole.path, again.path)
    shutil.rmtree(again.model)
    found = commands(
        tmp_path,
        ["chat", str(whole.path), "--once", "good"],
        ["export", str(whole.path), str(tmp_path / "out")],
        ["evaluate", str(whole.path)],
        ["train", str(again.path)],
        ["resume", str(again.path)],
        ["verify", str(whole.path)],
        ["report", str(whole.path)],
        ["compare", str(whole.path), str(whole.path)],
    )
    assert [code for code, _ in found["found"]] == [2] * 6 + [0] * 2
    assert found["stdin"] == ANSWERS
    assert not own.marker.exists()
    assert not (tmp_path / "out").exists()


def distrust(run: RunDir) -> None:
    run.recipe.write_text(
        run.recipe.read_text().replace("trust_remote_code: true", "trust_remote_code: false")
    )
    manifest = read_json(run.manifest)
    manifest["files"]["recipe.yaml"] = file_sha256(run.recipe)
    write_json(run.manifest, manifest)
    list_again(run)


def test_a_trusted_model_that_is_read_in_parts_is_saved_with_its_code_too(tmp_path: Path) -> None:
    own = Folder(tmp_path / "own")
    assert on_ranks(2, own_code_saved, own.path, tmp_path / "saved") == [True, True]
    assert (tmp_path / "saved" / "modeling_own.py").exists()
    assert "modeling_own.py" in own.marker.read_text().split()
