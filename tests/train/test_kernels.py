"""Liger's kernels: asked for without the loss, and refused where they cannot be had. The kernels
need a GPU.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
import transformers.integrations.liger
from support import tiny_llama

from tunesmith.errors import InputError
from tunesmith.train.kernels import use_liger_kernels


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model that says it is on a GPU."""
    model = tiny_llama()
    monkeypatch.setattr(
        model, "parameters", lambda: iter([types.SimpleNamespace(device=torch.device("cuda"))])
    )
    return model


def install(monkeypatch: pytest.MonkeyPatch, known: dict[str, Any]) -> None:
    stand_in: Any = types.ModuleType("liger_kernel.transformers.monkey_patch")
    stand_in.MODEL_TYPE_TO_APPLY_LIGER_FN = known
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


def test_transformers_is_asked_for_all_kernels_but_those_of_the_loss(
    on_a_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, dict[str, bool]]] = []
    install(monkeypatch, {"llama": None})
    monkeypatch.setattr(
        transformers.integrations.liger, "apply_liger_kernel", lambda *a: asked.append(a)
    )
    use_liger_kernels(on_a_gpu)
    assert asked == [(on_a_gpu, {"cross_entropy": False, "fused_linear_cross_entropy": False})]


def test_liger_on_a_cpu_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"needs an NVIDIA GPU: the model is on cpu\nhint: train\.use_liger_kernel=f",
    ):
        use_liger_kernels(tiny_llama())


def test_liger_that_is_not_installed_is_named(
    on_a_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(
        InputError,
        match=r"liger-kernel, which is not installed\nhint: pip install 'tunesmith\[gpu\]'",
    ):
        use_liger_kernels(on_a_gpu)


def test_a_model_that_liger_does_not_know_is_refused(
    on_a_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, {"qwen3": None})
    with pytest.raises(InputError, match="Liger has no kernels for llama models"):
        use_liger_kernels(on_a_gpu)
