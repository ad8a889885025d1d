"""The optimiser's step in the backward pass, and states and activations that are put away: each
changes where numbers are and when, and no bit of a weight, of a loss or of a gradient's norm.
"""

from __future__ import annotations

import errno
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support import made_data, tiny_llama
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from tunesmith.errors import InputError, TrainingError
from tunesmith.recipe import LoraConfig, TrainConfig, build_recipe
from tunesmith.rundir import RunDir
from tunesmith.stages import preflight
from tunesmith.train import offload, offload_activations
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.checkpoint import latest_checkpoint, weights
from tunesmith.train.loop import train
from tunesmith.train.optim import has_compiler
from tunesmith.train.trackers import read_metrics

IN_BACKWARD = {"optim_in_backward": True}
STATES, KEPT = {"offload_optimizer": "disk"}, {"offload_activations": "disk"}
SAVINGS: list[dict[str, Any]] = [
    IN_BACKWARD,
    STATES,
    {"offload_optimizer": "cpu"},
    KEPT,
    {"offload_activations": "cpu"},
    IN_BACKWARD | STATES | KEPT,
]


class Stop(Exception):
    """In place of a crash."""


def untied() -> Any:
    torch.manual_seed(0)
    shape = tiny_llama().config.to_dict() | {"tie_word_embeddings": False}
    return LlamaForCausalLM(LlamaConfig(**shape))


def mixture_of_experts() -> Any:
    """Of eight experts a token goes to one, so that some have no gradient in a step."""
    torch.manual_seed(0)
    shape = tiny_llama().config.to_dict() | {"moe_intermediate_size": 32, "head_dim": 8}
    shape = {k: v for k, v in shape.items() if k not in ("model_type", "architectures")}
    experts = {"num_experts": 8, "num_experts_per_tok": 1, "decoder_sparse_step": 1}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape | experts))


def config(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "num_train_epochs": 2,
        "train_batch_size": 4,
        "learning_rate": 3e-3,
        "max_grad_norm": 0.0,
        "weight_decay": 0.1,
        "report_to": [],
        "dtype": "float32",
    }
    return TrainConfig(**values | changes)


def run(folder: Path, model: Any = None, resume: bool = False, **keys: Any) -> Any:
    """Weights, and the loss and norm of every step."""
    model, stop_at = tiny_llama() if model is None else model, keys.pop("stop_at", None)

    def crash(record: dict[str, Any]) -> None:
        if record["step"] == stop_at:
            raise Stop

    train(
        model, made_data(), config(**keys), run=RunDir(folder), validation=made_data(4, seed=5),
        resume=resume, on_progress=crash,
    )  # fmt: skip
    told = read_metrics(folder / "metrics.jsonl")
    return weights(model), [(r["loss"], r["grad_norm"], r.get("validation_loss")) for r in told]


def assert_same(one: Any, other: Any) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])


@pytest.fixture(autouse=True)
def _everything_is_worth_moving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload_activations, "SMALLEST", 64)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each tensor that is put away: without any, equal runs would show nothing."""
    sizes: list[int] = []
    for kind in (offload.InRam, offload.OnDisk):

        def put(self: Any, tensor: Any, spot: Any = None, own: Any = kind.put) -> Any:
            sizes.append(tensor.numel() * tensor.element_size())
            return own(self, tensor, spot)

        monkeypatch.setattr(kind, "put", put)
    return sizes


def name_of(keys: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in keys.items())


@pytest.mark.parametrize("saving", SAVINGS, ids=name_of)
@pytest.mark.parametrize("optim", ["adamw", "adafactor", "muon"])
def test_no_bit_of_a_training_changes(
    tmp_path: Path, optim: str, saving: dict[str, Any], stored: list[int]
) -> None:
    plain = run(tmp_path / "plain", optim=optim)
    assert not stored
    saved = run(tmp_path / "saved", optim=optim, **saving)
    assert_same(plain, saved)
    assert bool(stored) == (saving != IN_BACKWARD)


@pytest.mark.parametrize(
    "keys",
    [
        {"max_batch_tokens": 24},  # a step of several micro-batches
        {"share_prefixes": False},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "max_batch_tokens": 24},
        {"dtype": "bfloat16"},
        {"label_smoothing_factor": 0.1},  # the head's gradient comes by autograd
        {"neftune_noise_alpha": 5.0},  # padded rows
        {"merge_with_base": 0.3},
        {"lora": LoraConfig(r=4)},
    ],
    ids=name_of,
)
@pytest.mark.parametrize("tied", [True, False])
def test_nor_with_whatever_else_a_recipe_asks_for(
    tmp_path: Path, tied: bool, keys: dict[str, Any]
) -> None:
    def made() -> Any:
        model = tiny_llama() if tied else untied()
        return wrap_lora(model, keys["lora"], 0) if "lora" in keys else model

    plain = run(tmp_path / "plain", made(), **keys)
    assert_same(plain, run(tmp_path / "saved", made(), **keys, **IN_BACKWARD, **STATES, **KEPT))


def test_nor_where_some_weights_have_no_gradient_in_a_step(tmp_path: Path) -> None:
    keys = {"max_batch_tokens": 24, "train_batch_size": 2}
    plain = run(tmp_path / "plain", mixture_of_experts(), **keys)
    saved = run(tmp_path / "saved", mixture_of_experts(), **keys, **IN_BACKWARD, **STATES, **KEPT)
    assert_same(plain, saved)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None or not has_compiler(),
    reason="needs torchao and a C++ compiler",
)
@pytest.mark.parametrize("weights_dtype", ["float32", "bfloat16"])
def test_nor_with_states_in_8_bits_and_weights_that_are_rounded_stochastically(
    tmp_path: Path, weights_dtype: str
) -> None:
    keys = {"optim": "adamw_8bit", "weights_dtype": weights_dtype, "save_steps": 1}
    plain = run(tmp_path / "plain", tiny_llama(512), **keys)
    saving = IN_BACKWARD | STATES
    assert_same(plain, run(tmp_path / "saved", tiny_llama(512), **keys, **saving))
    with pytest.raises(Stop):
        run(tmp_path / "cut", tiny_llama(512), **keys, **saving, stop_at=5)
    torch.manual_seed(1234)
    assert_same(plain, run(tmp_path / "cut", tiny_llama(512), resume=True, **keys, **saving))


@pytest.mark.parametrize("optim", ["adamw", "adafactor", "muon"])
@pytest.mark.parametrize("first, then", [(True, True), (True, False), (False, True)])
def test_a_run_is_resumed_with_the_same_bits_whichever_way_its_checkpoint_was_written(
    tmp_path: Path, optim: str, first: bool, then: bool
) -> None:
    saving = IN_BACKWARD | STATES | KEPT
    plain = run(tmp_path / "plain", optim=optim, save_steps=1)
    keys = {"optim": optim, "save_steps": 1}
    with pytest.raises(Stop):
        run(tmp_path / "cut", **keys, stop_at=5, **saving if first else {})
    torch.manual_seed(1234)
    resumed = run(tmp_path / "cut", resume=True, **keys, **saving if then else {})
    assert_same(plain, resumed)


# ---- what is in memory


def test_gradients_are_freed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an untied model without checkpoints: at each weight's step no other gradient is there,
    but those that one node of autograd gives together.
    """
    there: list[int] = []
    model = untied()
    own = torch.optim.AdamW.step

    def step(self: Any, *args: Any) -> Any:
        there.append(sum(p.grad is not None for p in model.parameters()))
        return own(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(tmp_path, model, **IN_BACKWARD)
    number = len(list(model.parameters()))
    assert len(there) == 6 * number
    assert set(there) == {1}


def test_between_steps_only_counts_of_the_state_are_in_memory(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    own = torch.optim.AdamW.step
    optimizers: set[Any] = set()

    def step(self: Any, *args: Any) -> Any:
        optimizers.add(self)
        here = [
            key
            for state in self.state.values()
            for key, value in state.items()
            if value.device.type != "meta"
        ]
        seen.append({key: here.count(key) for key in ("exp_avg", "exp_avg_sq")})
        return own(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        run(tmp_path, **STATES)
    assert all(max(found.values()) <= 1 for found in seen)
    assert seen[-1] == {"exp_avg": 1, "exp_avg_sq": 1}  # that of the weight that is stepped
    (optimizer,) = optimizers
    states = [state["exp_avg"].device.type for state in optimizer.state.values()]
    assert set(states) == {"meta"}


# ---- what is refused before any work


@pytest.mark.parametrize(
    "keys, device, said",
    [
        (
            {"optim_in_backward": True},
            "cuda",
            r"train\.optim_in_backward with train\.max_grad_norm = 1: .* not there yet .*\n"
            r"hint: train\.max_grad_norm=0, ",
        ),
        (
            {"optim_in_backward": True, "max_grad_norm": 0.0, "torch_compile": True},
            "cuda",
            r"train\.optim_in_backward with train\.torch_compile: .*\n"
            r"hint: train\.torch_compile=false",
        ),
        (
            {"offload_optimizer": "cpu"},
            "cpu",
            r"train\.offload_optimizer = cpu with the model on the CPU: .*\n"
            r"hint: train\.offload_optimizer=disk, or null",
        ),
        (
            {"offload_activations": "cpu"},
            "cpu",
            r"train\.offload_activations = cpu with the model on the CPU",
        ),
        (
            {"offload_activations": "disk", "torch_compile": True},
            "cuda",
            r"train\.offload_activations = disk with train\.torch_compile: .*\n"
            r"hint: train\.torch_compile=false",
        ),
    ],
    ids=str,
)
def test_what_cannot_go_together_is_refused_before_any_work(
    tmp_path: Path, keys: dict[str, Any], device: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "default_device", lambda: device)
    monkeypatch.setattr(preflight, "check_states", lambda *_: pytest.fail("too late"))
    monkeypatch.setattr(preflight, "check_weights", lambda *_: tiny_llama())
    recipe = build_recipe(
        {
            "model": "anything",
            "data": {"source": "rows.csv", "task": "classify"},
            "output_dir": str(tmp_path / "run"),
            "train": {"report_to": [], **keys},
        }
    )[0]
    with pytest.raises(InputError, match=said):
        preflight.check_before_work(recipe, trainings=1)


def test_clipping_is_never_left_out_in_silence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"max_grad_norm = 0\.5"):
        run(tmp_path, max_grad_norm=0.5, **IN_BACKWARD)


# ---- what goes wrong


@pytest.mark.parametrize("saving", [IN_BACKWARD, IN_BACKWARD | STATES], ids=name_of)
def test_a_gradient_that_is_not_finite_reaches_no_weight(
    tmp_path: Path, saving: dict[str, Any]
) -> None:
    """The loss is finite, and the gradient of the second layer's first norm is made infinite."""
    model = tiny_llama()
    weight = model.model.layers[1].input_layernorm.weight
    weight.register_hook(lambda grad: grad * torch.inf)
    before = {name: w.clone() for name, w in weights(model).items()}
    with pytest.raises(TrainingError, match=r"step 1: the loss is 5\.\d+ and the gradient norm"):
        run(tmp_path, model, warmup_ratio=0.0, **saving)
    after = weights(model)
    assert all(bool(w.isfinite().all()) for w in after.values())
    # the last layers' weights came before it, and none after it
    assert not torch.equal(after["model.norm.weight"], before["model.norm.weight"])
    for name in ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"):
        assert torch.equal(after[name], before[name])
    assert latest_checkpoint(RunDir(tmp_path).checkpoints) is None


def test_a_loss_that_is_not_finite_stops_before_any_weight_is_stepped(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    before = {name: w.clone() for name, w in weights(model).items()}
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan: model\.norm\.weight has"):
        run(tmp_path, model, **IN_BACKWARD)
    after = weights(model)
    assert all(torch.equal(after[n], before[n]) for n in after if n != "model.norm.weight")


@pytest.mark.parametrize("saving", [STATES, KEPT, IN_BACKWARD | STATES], ids=name_of)
def test_a_full_disk_names_the_last_whole_checkpoint_and_resuming_gives_the_same_bits(
    tmp_path: Path, saving: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(tmp_path / "plain", save_steps=1)
    own, steps = os.pwrite, 0

    def count(_: Any) -> None:
        nonlocal steps
        steps += 1

    def full(*args: Any) -> int:
        if steps >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return own(*args)

    settings, folder = config(save_steps=1, **saving), RunDir(tmp_path / "cut")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TrainingError, match=r"the disk is full; step-000003 is whole"):
        train(
            tiny_llama(), made_data(), settings, run=folder, validation=made_data(4, seed=5),
            on_progress=count,
        )  # fmt: skip
    monkeypatch.undo()
    assert_same(plain, run(folder.path, resume=True, save_steps=1, **saving))


def test_a_write_that_takes_only_a_part_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Linux does beyond 2 GiB."""
    own_write, own_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, part, at: own_write(fd, part[:100], at))
    monkeypatch.setattr(os, "preadv", lambda fd, parts, at: own_read(fd, [parts[0][:70]], at))
    store, tensor = offload.OnDisk(tmp_path), torch.randn(10, 17)
    found = store.get(store.put(tensor), torch.device("cpu"))
    assert torch.equal(found, tensor)


def test_nothing_is_left_in_the_folder_while_a_store_is_open(tmp_path: Path) -> None:
    """So nothing is left after kill -9 either: the file has no name."""
    store = offload.OnDisk(tmp_path)
    spot = store.put(torch.ones(1000))
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(store.get(spot, torch.device("cpu")), torch.ones(1000))


def test_a_file_of_activations_is_as_long_as_one_pass_keeps(tmp_path: Path) -> None:
    store = offload.OnDisk(tmp_path)
    for _ in range(3):
        spots = [store.put(torch.ones(256)) for _ in range(4)]
        assert [spot.start for spot in spots] == [0, 1024, 2048, 3072]  # type: ignore[attr-defined]
        del spots


def test_numbers_of_every_kind_come_back(tmp_path: Path) -> None:
    for store in (offload.InRam(), offload.OnDisk(tmp_path)):
        for dtype in (torch.float32, torch.bfloat16, torch.uint8, torch.int64):
            tensor = (torch.randn(3, 5) * 50).to(dtype)
            spot = store.put(tensor)
            assert torch.equal(store.get(spot, torch.device("cpu")), tensor)
            assert store.put(tensor * 2, spot) is spot
            assert torch.equal(store.get(spot, torch.device("cpu")), tensor * 2)
