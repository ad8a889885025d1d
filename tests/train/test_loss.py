"""Our loss and gradients beside transformers' `model(input_ids, labels)`, by architecture."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import transformers
from loss_oracle import (
    ARCHITECTURES,
    SHAPE,
    VOCABULARY,
    alone,
    assert_same,
    build,
    example,
    examples,
    gradients,
    ours,
    reference,
)
from transformers.trainer_pt_utils import LabelSmoother

from tunesmith.recipe import TrainConfig
from tunesmith.train import loss
from tunesmith.train.loss import _PlainHead, add_lookups_in_place, nll_sum, split_model
from tunesmith.train.packing import plan as plan_module
from tunesmith.train.packing.attention import packing, why_not_packed
from tunesmith.train.packing.plan import MicroBatch, TrainingData, cut
from tunesmith.train.packing.tensors import to_packed, to_padded
from tunesmith.train.settings import settle


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_rows_give_the_loss_and_gradients_of_transformers(name: str) -> None:
    model, rows = build(name), examples()
    batch = to_padded(TrainingData.from_examples(rows), alone(len(rows)))
    assert_same(ours(model, [batch]), reference(model, rows))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_rows_give_the_loss_and_gradients_of_transformers(name: str) -> None:
    model, rows = build(name), examples()
    assert why_not_packed(model, split_model(model).decoder) == ""
    batch = to_packed(TrainingData.from_examples(rows), alone(len(rows)))
    assert_same(ours(model, [batch]), reference(model, rows))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shared_tokens_give_the_loss_and_gradients_of_transformers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows begin alike, two have the same prompt and other answers, and one is the beginning of
    another.
    """
    monkeypatch.setattr(plan_module, "MIN_SHARED", 4)
    model, rows = build(name), examples()
    rows.append(example("same prompt", [*rows[1].input_ids[:15], 7, 2], 15))
    rows.append(example("beginning", rows[3].input_ids[:19], 17))
    data = TrainingData.from_examples(rows)
    (micro,) = cut(data, np.arange(len(rows)), 4096, share_prefixes=True)
    assert sorted(micro.shared.tolist()) == [0, 9, 9, 9, 9, 15, 18]
    assert_same(ours(model, [to_packed(data, micro)]), reference(model, rows))


@pytest.mark.parametrize("name", ["gemma3", "mistral", "phi3"])
def test_the_sliding_window_of_five_tokens_matters_in_these_tests(name: str) -> None:
    model, rows = build(name), examples()
    narrow, _ = reference(model, rows)
    ARCHITECTURES[name][1]["sliding_window"] = 50
    try:
        wide, _ = reference(build(name), rows)
    finally:
        ARCHITECTURES[name][1]["sliding_window"] = 5
    assert abs(narrow - wide) > 1e-3


def test_logits_in_slices_give_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gemma2", "llama", "llama_tied"):
        model, rows = build(name), examples()
        batch = to_packed(TrainingData.from_examples(rows), alone(len(rows)))
        monkeypatch.setattr(loss, "SLICE_LOGITS", 3 * VOCABULARY)
        assert_same(ours(model, [batch]), reference(model, rows))
        monkeypatch.undo()


AT = (np.array([0, 3]), np.array([1, 2, 4]))  # the five example rows in two micro-batches


def test_a_lookups_gradient_added_to_a_tied_heads_in_place_is_the_same_gradient() -> None:
    """Over two micro-batches, so that the second one adds to what is there; an untied model is left
    as it is.
    """
    for name, in_place in (("llama_tied", True), ("gemma3", True), ("llama", False)):
        model, rows = build(name), examples()
        data = TrainingData.from_examples(rows)
        add_lookups_in_place(split_model(model))
        assert model.get_input_embeddings().sparse == in_place
        batches_of_step = [
            to_packed(data, MicroBatch(at, np.zeros(len(at), dtype=np.int64))) for at in AT
        ]
        expected = reference(build(name), rows)
        assert_same(ours(model, batches_of_step), expected)
        assert not any(gradient.is_sparse for gradient in gradients(model).values())


def test_validation_computes_no_gradients_and_the_same_loss() -> None:
    model, rows = build("llama"), examples()
    batch = to_packed(TrainingData.from_examples(rows), alone(len(rows)))
    with torch.no_grad():
        found = nll_sum(split_model(model), batch)
    assert not found.requires_grad
    assert found.item() == pytest.approx(reference(model, rows)[0], rel=1e-6)


def test_a_loss_far_from_the_label_is_finite_and_exact() -> None:
    """Where the label's softmax underflows, its -log does not."""
    states_NH, weight_VH = (
        torch.tensor([[300.0]], requires_grad=True),
        torch.tensor([[1.0], [0.0], [-1.0]]),
    )
    loss = _PlainHead.apply(states_NH, weight_VH, torch.tensor([2]), 8, False)
    assert loss.item() == 600.0
    loss.backward()
    assert states_NH.grad.item() == 2.0  # the softmax is (1, 0, 0): 1 * 1 - 1 * -1


@pytest.mark.parametrize("name, plain", [("llama", True), ("granite", False)])
def test_slices_add_up_the_heads_gradient_in_float32_under_autocast(
    name: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 slices of one position: summed in bfloat16 (8 bits), the later ones would be rounded
    away.
    """
    model = build(name)
    ids = np.random.default_rng(3).integers(3, VOCABULARY, (20, 12)).tolist()
    data = TrainingData.from_examples([example(f"r{i}", row, 2) for i, row in enumerate(ids)])
    batch = to_packed(data, alone(20))

    def head_gradient() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            gradients = ours(model, [batch])[1]
        return gradients.get("lm_head.weight", gradients["model.embed_tokens.weight"])

    whole = head_gradient()
    monkeypatch.setattr(loss, "SLICE_LOGITS", VOCABULARY)
    assert float((head_gradient() - whole).norm() / whole.norm()) < 3e-3
    if not plain:
        monkeypatch.setattr(loss, "_autocast_without_cache", lambda device_type: nullcontext())
        assert float((head_gradient() - whole).norm() / whole.norm()) > 3e-3


def test_a_plain_heads_products_under_autocast_are_autocasts() -> None:
    torch.manual_seed(0)
    states_NH, weight_VH = (
        torch.randn(40, 64, requires_grad=True),
        torch.randn(300, 64, requires_grad=True),
    )
    labels_N = torch.arange(40)

    def loss_and_gradients(total: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return total.detach(), *torch.autograd.grad(total, (states_NH, weight_VH))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_NV = torch.nn.functional.linear(states_NH, weight_VH)
        expected = loss_and_gradients(
            torch.nn.functional.cross_entropy(logits_NV.float(), labels_N, reduction="sum")
        )
        found = loss_and_gradients(_PlainHead.apply(states_NH, weight_VH, labels_N, 300, False))
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-6)
    for ours_, autocasts in zip(found, expected, strict=True):
        assert float((ours_ - autocasts).norm()) <= 1e-3 * float(autocasts.norm())


def test_label_smoothing_is_transformers() -> None:
    model, rows = build("llama"), examples()[:1]
    data = TrainingData.from_examples(rows)
    smoother = LabelSmoother(epsilon=0.1)
    ids_BT, labels_BT = torch.tensor([rows[0].input_ids]), torch.tensor([rows[0].labels])
    expected = smoother(model(input_ids=ids_BT), labels_BT, shift_labels=True) * int(
        data.num_trained[0]
    )
    found = nll_sum(split_model(model), to_packed(data, alone(1)), label_smoothing=0.1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_gradient_checkpointing_on_packed_rows_gives_the_same_gradients() -> None:
    model, rows = build("qwen3"), examples()
    expected = reference(model, rows)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.zero_grad()
    parts, data = split_model(model), TrainingData.from_examples(rows)
    found = nll_sum(parts, to_packed(data, alone(len(rows))))
    with packing(parts.decoder):
        found.backward()
    assert_same((found.item(), gradients(model)), expected)


def test_the_model_attends_as_usual_after_packing() -> None:
    model, rows = build("llama"), examples()
    before = reference(model, rows)
    ours(model, [to_packed(TrainingData.from_examples(rows), alone(len(rows)))])
    assert_same(reference(model, rows), before)
    assert model.config._attn_implementation == "sdpa"


WITHOUT_HEAD_DIM = {name: value for name, value in SHAPE.items() if name != "head_dim"}
MIXED = {
    "layer_types": ["linear_attention", "full_attention"],
    "num_experts": 2,
    "num_experts_per_tok": 1,
}
DELTA = {f"linear_{name}": 2 if name.startswith("num") else 8 for name in (
    "num_value_heads", "num_key_heads", "key_head_dim", "value_head_dim",
)}  # fmt: skip
NOT_PACKED = {
    "Qwen3Next": ({**SHAPE, **MIXED, **DELTA, "moe_intermediate_size": 16}, "linear_attention"),
    "Lfm2": ({**SHAPE, "layer_types": ["conv", "full_attention"]}, "conv"),
    "Jamba": (
        {**WITHOUT_HEAD_DIM, "attn_layer_period": 2, "attn_layer_offset": 1},
        "linear_attention",
    ),
    "RecurrentGemma": (
        {**SHAPE, "lru_width": 32, "block_types": ["recurrent", "attention"]},
        "linear_attention",
    ),
    "Rwkv": (
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2},
        "a state space",
    ),
}


@pytest.mark.parametrize("kind", NOT_PACKED)
def test_models_with_a_state_are_padded_and_share_nothing(kind: str) -> None:
    shape, reason = NOT_PACKED[kind]
    config = getattr(transformers, f"{kind}Config")(**shape)
    torch.manual_seed(0)
    parts = split_model(transformers.AutoModelForCausalLM.from_config(config))
    settings, notes = settle(
        parts, TrainingData.from_examples(examples()), TrainConfig(), torch.device("cpu")
    )
    assert settings.padded
    assert not settings.share_prefixes
    why = f"the model has layers other than attention ({reason})"
    assert notes == [f"rows are padded and share nothing: {why}"]


def test_a_state_space_model_is_trained_padded_and_says_why() -> None:
    config = transformers.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4
    )
    torch.manual_seed(0)
    model, rows = transformers.MambaForCausalLM(config).train(), examples()
    parts = split_model(model)
    assert (
        why_not_packed(model, parts.decoder)
        == "the model has layers other than attention (linear_attention)"
    )
    batch = to_padded(TrainingData.from_examples(rows), alone(len(rows)))
    assert_same(ours(model, [batch]), reference(model, rows))


def test_a_head_that_does_more_than_its_config_says_is_not_taken_apart() -> None:
    model, rows = build("llama"), examples()
    model.config.logits_scaling = 2.0  # Llama pays no attention to it
    parts = split_model(model)
    assert parts.head is None
    batch = to_padded(TrainingData.from_examples(rows), alone(len(rows)))
    assert nll_sum(parts, batch).item() == pytest.approx(reference(model, rows)[0], rel=1e-6)


def test_bfloat16_gradients_of_shared_tokens_point_where_float32_ones_do() -> None:
    """300 rows over one beginning: had their gradients been added up in bfloat16, the small ones
    would be lost.
    """
    model = build("llama")
    start = list(range(3, 33))
    rows = [example(f"r{i}", [*start, 40 + i % 20, 3 + i % 40, 2], 31) for i in range(300)]
    data = TrainingData.from_examples(rows)
    (micro,) = cut(data, np.arange(len(rows)), 9000, share_prefixes=True)
    batch = to_packed(data, micro)
    _, expected = ours(model, [batch])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, found = ours(model, [batch])
    for name, gradient in expected.items():
        cosine = torch.nn.functional.cosine_similarity(
            found[name].flatten(), gradient.flatten(), dim=0
        )
        assert float(cosine) > 0.999, name
