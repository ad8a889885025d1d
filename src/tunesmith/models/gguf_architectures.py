"""The architectures that are written as .gguf: what llama.cpp computes of each, and where its files
hold other numbers than the model has.

They are those that transformers reads back from a file with all that they need. A setting that a
file cannot say, or that transformers does not read from one, has to have the value it is read with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig

Written = Callable[[PreTrainedConfig, str, torch.Tensor], torch.Tensor]
"""From the model's tensor of that name to the file's."""


def as_it_is(_: PreTrainedConfig, __: str, weight: torch.Tensor) -> torch.Tensor:
    """The same numbers."""
    return weight


@dataclass(frozen=True)
class Architecture:
    """`name` is general.architecture, and `read_as` the model_type that transformers makes of it.

    `wanted` are the settings that a file does not say; a dot leads into a dictionary.
    `added_to_norms` is what the file's norms have on top of the model's.
    """

    name: str
    read_as: str
    wanted: Mapping[str, object] = field(default_factory=dict)
    written: Written = as_it_is
    added_to_norms: float = 0.0

    def in_float32(self, name: str, weight: torch.Tensor) -> bool:
        """Whether llama.cpp wants it so in a file of any format: norms, biases and positions, none
        of which is multiplied as a matrix.
        """
        return weight.ndim == 1 or name.endswith("wpe.weight")

    def is_shifted(self, name: str) -> bool:
        """Whether a tensor is a norm to which something is added in the file."""
        return bool(self.added_to_norms) and name.endswith("norm.weight")


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys [heads * head_dim, hidden] as llama.cpp's Llama rotates them: the
    number i of a head's first half beside the number i of its second half (`permute` in llama.cpp's
    convert_hf_to_gguf.py).
    """
    halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape).contiguous()


def _of_llama(config: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Queries and keys are rotated in neighbouring pairs there, in two halves here."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    part = name.split(".")[-2]
    return interleaved(weight, heads[part]) if part in heads else weight


def _of_gpt2(_: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """GPT-2's Conv1D keeps its matrices as [in, out], the file as [out, in]."""
    is_conv1d = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
    return weight.T.contiguous() if is_conv1d else weight


_ROTARY = {"rope_parameters.rope_type": "default"}
_LLAMA = {
    **_ROTARY,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
}
_GEMMA = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "head_dim": 256,  # llama.cpp divides by its root, the model by that of the scalar
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", "llama", _LLAMA, _of_llama),
    # a file cannot say that it is Mistral's; without a window it is a Llama
    "mistral": Architecture("llama", "llama", {**_LLAMA, "sliding_window": None}, _of_llama),
    "qwen2": Architecture("qwen2", "qwen2", _LLAMA),
    # transformers reads no other head_dim from a file
    "qwen3": Architecture("qwen3", "qwen3", {**_LLAMA, "head_dim": 128}),
    "phi3": Architecture(
        "phi3",
        "phi3",
        {
            **_ROTARY,
            "hidden_act": "silu",
            "sliding_window": None,
            "rope_parameters.partial_rotary_factor": 1.0,
        },
    ),
    "gpt2": Architecture(
        "gpt2",
        "gpt2",
        {
            "activation_function": "gelu_new",
            "n_positions": 1024,  # transformers reads the length into another key
            "n_inner": None,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        _of_gpt2,
    ),
    "gemma2": Architecture(
        "gemma2",
        "gemma2",
        {
            **_GEMMA,
            **_ROTARY,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        added_to_norms=1.0,  # Gemma multiplies by 1 + weight, llama.cpp by what is in the file
    ),
    "gemma3_text": Architecture(
        "gemma3",
        "gemma3_text",
        {
            **_GEMMA,
            "rope_parameters.full_attention.rope_type": "default",
            "rope_parameters.sliding_attention.rope_type": "default",
            "rope_parameters.sliding_attention.rope_theta": 10_000.0,  # a file has the other one
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
        },
        added_to_norms=1.0,
    ),
}
"""By model_type."""


def setting(config: PreTrainedConfig, key: str) -> object:
    """The value of a key of the config, of which a dot leads into a dictionary; None without it."""
    first, *inner = key.split(".")
    found: object = getattr(config, first, None)
    for name in inner:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def rope_theta(config: PreTrainedConfig) -> float | None:
    """The rotary base, of several that of full attention; None for a model without rotation."""
    keys = ("rope_parameters.rope_theta", "rope_parameters.full_attention.rope_theta")
    found = [value for key in keys if isinstance(value := setting(config, key), float | int)]
    return float(found[0]) if found else None


def norm_epsilon(config: PreTrainedConfig) -> tuple[float, bool]:
    """What is added to a variance, and whether norms are RMS norms."""
    rms = getattr(config, "rms_norm_eps", None)
    return (float(rms), True) if rms is not None else (float(config.layer_norm_epsilon), False)
