"""Whether a training fits is said before it starts, with the change that makes it fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import classify_values, made_data, shared

from tunesmith import cli, stages
from tunesmith.errors import InputError, ModelError
from tunesmith.models.load import empty_model, load_config
from tunesmith.recipe import build_recipe, load_recipe
from tunesmith.run_files import TrainingFacts, read_record
from tunesmith.rundir import RunDir, write_json
from tunesmith.stages import dry_run, memory
from tunesmith.train.memory_plan import MemoryPlan, Place
from tunesmith.train.peak import Peak
from tunesmith.train.settings import Settings

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def recipe(folder: Path, model: Path, **train: Any) -> Any:
    return build_recipe(classify_values(folder, model, **train))[0]


def with_memory(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda device: num_bytes)
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1_000_000)


# ---- a training that does not fit


def test_a_training_that_does_not_fit_is_refused_with_what_makes_it_fit(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(tmp_path, tiny_model_dir, gradient_checkpointing=False)
    with_memory(monkeypatch, 1 << 40)
    peak = memory.check_fits(wanted, made_data(), tmp_path).planned
    assert peak > 1_000_000
    with_memory(monkeypatch, peak - 1)
    with pytest.raises(InputError) as found:
        memory.check_fits(wanted, made_data(), tmp_path)
    assert found.value.exit_code == 2
    said = str(found.value)
    assert "training needs" in said
    assert "hint: train.gradient_checkpointing=true " in said
    assert " would take " in said
    assert memory.check_fits(wanted, made_data(), tmp_path, resumed=True).planned == peak


def plans_of(monkeypatch: pytest.MonkeyPatch, *peaks: int) -> list[Any]:
    """Plans with these peaks, one after another; the list has what each was asked for."""
    asked: list[Any] = []

    def plan(config: Any, data: Any, train: Any, place: Place, *_: object) -> MemoryPlan:
        settings = Settings("float32", 512, False, True, train.gradient_checkpointing is True)
        asked.append(train)
        return MemoryPlan(settings, 1, 1, Peak(peaks[len(asked) - 1], 0, 0, 0, 0), place, 12)

    monkeypatch.setattr(memory, "plan_memory", plan)
    return asked


def test_what_nothing_makes_fit_has_another_hint(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 1 << 20)
    asked = plans_of(monkeypatch, *[1 << 21] * 10)
    with pytest.raises(InputError, match="hint: take a smaller model, shorter rows, or a device"):
        memory.check_fits(recipe(tmp_path, tiny_model_dir), made_data(), tmp_path)
    assert len(asked) == 10  # the training twice, and all eight changes on a CPU


def test_the_changes_go_on_until_one_fits_and_add_up(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(tmp_path, tiny_model_dir)
    asked = plans_of(monkeypatch, *(n << 30 for n in (90, 80, 70, 50, 40, 30, 20)))
    monkeypatch.setattr(memory, "_taken", lambda device: 0)
    found = memory.memory_of(wanted, made_data(), Place(CPU, 24 << 30), "an L4")
    assert found.as_text.splitlines()[1:] == [
        "does not fit into 24.0 GiB of an L4; a checkpoint takes 0 MiB on the disk",
        "  train.gradient_checkpointing=true: 80.0 GiB, which does not fit either; about a third "
        "more time",
        "  train.max_batch_tokens=23: 70.0 GiB, which does not fit either; smaller micro-batches, "
        "which are slower",
        "  train.offload_optimizer=disk: 50.0 GiB, which does not fit either; the optimiser's "
        "state goes to the disk and back in each step",
        "  train.offload_activations=disk: 40.0 GiB, which does not fit either; activations go to "
        "the disk and back in each pass",
        "  train.max_grad_norm=0 train.optim_in_backward=true: 30.0 GiB, which does not fit "
        "either; gradients are not clipped",
        "  train.optim=adafactor: 20.0 GiB; another optimiser",
    ]
    last = asked[-1]
    assert (last.gradient_checkpointing, last.max_batch_tokens, last.optim) == (
        True, 23, "adafactor",
    )  # fmt: skip


def test_weights_that_do_not_fit_are_refused_before_a_row_is_read(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(tmp_path, tiny_model_dir)
    number = sum(p.numel() for p in empty_model(load_config(str(tiny_model_dir))).parameters())
    with_memory(monkeypatch, 16 * number)
    memory.check_states(empty_model(load_config(str(tiny_model_dir))), wanted)
    with_memory(monkeypatch, 16 * number - 1)
    monkeypatch.setattr(
        "tunesmith.stages.prepare.store_rows", lambda data, path: pytest.fail("rows were looked at")
    )
    with pytest.raises(
        InputError, match=r"hint: train\.offload_optimizer=disk: .* of weights, gradients"
    ):
        stages.prepare.prepare(wanted)
    fitted = wanted.model_copy(update={"train": wanted.train.model_copy(update={"fit": "auto"})})
    memory.check_states(empty_model(load_config(str(tiny_model_dir))), fitted)


def test_a_model_that_needs_numbers_is_not_planned_and_not_refused(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("data-dependent\nmore")

    monkeypatch.setattr(memory, "plan_memory", fail)
    wanted = recipe(tmp_path, tiny_model_dir)
    found = memory.memory_of(wanted, made_data(), Place(CPU, 1), "cpu")
    number = sum(p.numel() for p in empty_model(load_config(str(tiny_model_dir))).parameters())
    assert found.as_text == (
        "peak memory: not known: llama does not run without numbers (data-dependent); its weights, "
        f"gradients and optimiser state take {memory.size(16 * number)}"
    )
    assert memory.check_fits(wanted, made_data(), tmp_path).planned == 0


# ---- train.fit: auto


def test_fit_auto_puts_away_what_does_not_fit_and_changes_no_bit(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = {"num_train_epochs": 1, "dtype": "float32", "max_grad_norm": 0.0}
    plain = recipe(tmp_path, tiny_model_dir, **asked)
    stages.prepare.prepare(plain)
    stages.train.train(RunDir(tmp_path / "run"))
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    (tmp_path / "run").rename(tmp_path / "plain")

    stages.prepare.prepare(recipe(tmp_path, tiny_model_dir, fit="auto", **asked))
    in_backward, both = 3_000_000, 1_500_000
    plans = plans_of(monkeypatch, 4_000_000, in_backward, both)
    with_memory(monkeypatch, both)
    monkeypatch.setattr(memory, "_taken", lambda device: 0)
    stages.train.train(RunDir(tmp_path / "run"))
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    assert [(p.optim_in_backward, p.offload_optimizer, p.offload_activations) for p in plans] == [
        (False, None, None), (True, None, None), (True, "disk", None),
    ]  # fmt: skip
    said = "train.fit: train.optim_in_backward=true train.offload_optimizer=disk, for it does not"
    assert said in capsys.readouterr().err
    assert (
        read_record(RunDir(tmp_path / "run").training, TrainingFacts).planned_memory_bytes == both
    )


def test_fit_auto_takes_nothing_that_changes_what_is_trained(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 1 << 20)
    asked = plans_of(monkeypatch, *[1 << 21] * 12)
    with pytest.raises(InputError, match="training needs"):
        memory.check_fits(recipe(tmp_path, tiny_model_dir, fit="auto"), made_data(), tmp_path)
    tried = [(p.optim, p.offload_optimizer, p.max_grad_norm) for p in asked[1:3]]
    assert tried == [("adamw", "disk", 1.0)] * 2


def test_a_file_that_the_disk_has_no_room_for_is_refused_before_the_first_step(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(tmp_path, tiny_model_dir, offload_activations="disk")
    Path(wanted.output_dir).mkdir()
    with_memory(monkeypatch, 1 << 40)
    found = memory.memory_of(wanted, made_data(), Place(CPU, 1 << 40), "cpu")
    assert found.away is not None
    (needed,) = found.away.values()
    assert needed > 0
    assert f"activations in a file of the run's folder: {memory.size(needed)}" in found.as_text
    full = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: full)
    with pytest.raises(InputError, match=r"keeps up to .* in a file there, and .* are free"):
        memory.check_fits(wanted, made_data(), tmp_path)
    full.free = needed
    memory.check_fits(wanted, made_data(), tmp_path)


def test_room_is_looked_for_where_the_run_is_now(tmp_path: Path, tiny_model_dir: Path) -> None:
    wanted = recipe(tmp_path, tiny_model_dir, offload_activations="disk")
    assert not Path(wanted.output_dir).exists()  # the run was moved
    assert memory.check_fits(wanted, made_data(), tmp_path).planned > 0


# ---- where it is planned for


def test_a_named_device_has_its_own_memory_unless_another_is_given() -> None:
    place, rates = memory.place_asked("L4", None)
    assert (place.device.type, place.memory, place.libraries) == ("cuda", 24_000_000_000, 0)
    assert rates is not None
    assert rates.flops_per_second == 121e12
    assert memory.place_asked("L4", "20GiB")[0].memory == 20 * 2**30


def test_an_amount_of_memory_is_of_a_device_as_this_one() -> None:
    place, rates = memory.place_asked(None, "2GiB")
    assert (place.device, place.memory, rates) == (memory.place_here().device, 2 * 2**30, None)


# ---- a run, and a model without weights


def test_a_run_reports_planned_beside_measured(tmp_path: Path, tiny_model_dir: Path) -> None:
    wanted = recipe(tmp_path, tiny_model_dir, num_train_epochs=1)
    run = RunDir(tmp_path / "run")
    stages.prepare.prepare(wanted)
    stages.train.train(run)
    facts = read_record(run.training, TrainingFacts)
    assert facts.planned_memory_bytes > 0
    assert {"planned_memory_bytes", "peak_memory_bytes"} <= set(facts.shown())


def test_a_training_from_before_plans_shows_none() -> None:
    older = TrainingFacts(best_step=1, steps=1, history=(), seconds=1.0)
    assert "planned_memory_bytes" not in older.shown()
    assert "planned_memory_bytes" in replace(older, planned_memory_bytes=5).shown()


def test_a_model_is_planned_without_its_weights(tmp_path: Path, tiny_model_dir: Path) -> None:
    folder = tmp_path / "config only"
    folder.mkdir()
    for file in tiny_model_dir.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    whole, empty = recipe(tmp_path, tiny_model_dir), recipe(tmp_path, folder)
    found, expected = dry_run.plan(empty, "H100"), dry_run.plan(whole, "H100")
    assert (found.memory, found.parameters) == (expected.memory, expected.parameters)
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        stages.prepare.prepare(empty)


def test_plan_prints_json_and_text_of_a_device(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    write_json(path, classify_values(tmp_path, tiny_model_dir))  # which YAML reads too
    cli.app(["plan", str(path), "--device", "h100", "--json"], standalone_mode=False)
    out = capsys.readouterr().out
    found = json.loads(out[out.index("\n{") :] if not out.startswith("{") else out)
    assert found["memory"]["fits"]
    assert found["memory"]["peak_bytes"] == sum(found["memory"]["parts"].values())
    assert found["seconds_per_epoch"] > 0
    cli.app(["plan", str(path), "--memory", "1TB"], standalone_mode=False)
    assert "fits into 931.3 GiB of a device of 1TB" in capsys.readouterr().out


def test_plan_of_several_processes(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    write_json(path, classify_values(tmp_path, tiny_model_dir))
    cli.app(["plan", str(path), "--device", "h100", "--processes", "4"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "of each of 4 processes" in out
    assert "of training on 4 x h100" in out
    assert "in the machine's memory: " in out
    one, four = (dry_run.plan(recipe(tmp_path, tiny_model_dir), "H100", None, n) for n in (1, 4))
    assert four.least_seconds == pytest.approx(one.least_seconds / 4)
    assert one.memory is not None
    assert four.memory is not None
    before, after = one.memory.parts or {}, four.memory.parts or {}
    assert after["weights"] == pytest.approx(before["weights"] / 4, 0.05)
    assert four.memory.peak_bytes == sum(after.values())
    assert before["gathered weights"] == one.memory.beside_bytes == 0
    assert after["gathered weights"] > 0


def test_several_processes_on_a_cpu_share_its_memory_and_cores(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "place_here", lambda: Place(CPU, 8 << 30, 1 << 20))
    place, _ = memory.place_asked(None, None, 2)
    assert (place.memory, place.processes) == (4 << 30, 2)
    assert memory.place_asked(None, "3GiB", 2)[0].memory == 3 << 30


def test_what_several_processes_cannot_do_is_no_plan(tmp_path: Path, tiny_model_dir: Path) -> None:
    with pytest.raises(InputError, match=r"train\.optim with 2 processes: only one"):
        dry_run.plan(recipe(tmp_path, tiny_model_dir, optim="adafactor"), "H100", None, 2)
    with pytest.raises(InputError, match=r"train\.fsdp\.shards = 3 with 4 processes"):
        dry_run.plan(recipe(tmp_path, tiny_model_dir, fsdp={"shards": 3}), "H100", None, 4)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared("data")
    monkeypatch.chdir(ROOT)
    wanted, _ = load_recipe(path)
    members = wanted.data.source if isinstance(wanted.data.source, list) else [wanted.data.source]
    for member in members:
        source = str(getattr(member, "source", member))
        if not Path(source).exists():
            pytest.skip(f"{source} is not here")
    few = wanted.data.model_copy(
        update={"max_rows": 200, "allow": ["cut_sorted", "constant_target"]}
    )
    found = dry_run.plan(wanted.model_copy(update={"data": few}), "L4")
    assert found.memory is not None
    assert found.memory.fits
    assert found.memory.peak_bytes > 16 * found.parameters
