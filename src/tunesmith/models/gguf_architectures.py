"""The architectures that are written as .gguf: what llama.cpp computes of each, and where its files
hold other numbers than the model has.

They are those that transformers reads back from a file with all that they need. A setting that a
file cannot say, or that transformers does not read from one, has to have the value it is read with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig

from tunesmith.models.gguf_layouts import (
    Log,
    Written,
    as_it_is,
    numpy_log,
    of_bloom,
    of_experts,
    of_gpt2,
    of_llama,
    of_mamba,
    of_qwen3_5,
    without_channel,
)


@dataclass(frozen=True)
class Architecture:
    """`name` is general.architecture, and `read_as` the model_type that transformers makes of it.

    `wanted` are the settings that a file does not say, or llama.cpp does not take otherwise, some
    of which follow from others; a dot leads into a dictionary.
    `added_to_norms` is what the file's norms have on top of the model's, `epsilon` the key of what
    they add to a variance, and `log` the logarithm that transformers reads a decay by.
    """

    name: str
    read_as: str
    wanted: Mapping[str, object] = field(default_factory=dict)
    written: Written = as_it_is
    added_to_norms: float = 0.0
    epsilon: str = "rms_norm_eps"
    is_rms: bool = True
    log: Log = torch.log

    def wrong(self, config: PreTrainedConfig) -> tuple[str, object, object] | None:
        """The first setting with another value than the wanted one: its key and both values."""
        for key, value in self.wanted.items():
            wanted = value(config) if callable(value) else value
            found = setting(config, key)
            if found != wanted and not (wanted is False and found is None):
                return key, found, wanted
        return None

    def is_shifted(self, name: str) -> bool:
        """Whether a tensor is a norm to which something is added in the file."""
        is_norm = name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight")
        return bool(self.added_to_norms) and is_norm

    def kept(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """What is left of the numbers of a float32 tensor after they were in a file."""
        if self.is_shifted(name):
            return weight.add(self.added_to_norms).sub(self.added_to_norms)
        return self.log(weight.exp()) if name.endswith("A_log") else weight


def setting(config: PreTrainedConfig, key: str) -> object:
    """The value of a key of the config, of which a dot leads into a dictionary; None without it."""
    first, *inner = key.split(".")
    found: object = getattr(config, first, None)
    for name in inner:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _every_nth(config: PreTrainedConfig) -> list[str]:
    """The kinds of layers with full attention at the first of them and at all its multiples."""
    kinds = list(config.layer_types)
    step = kinds.index("full_attention") + 1 if "full_attention" in kinds else len(kinds) + 1
    return ["linear_attention" if n % step else "full_attention" for n in range(1, len(kinds) + 1)]


_ROTARY = {"rope_parameters.rope_type": "default"}
_LLAMA = {
    **_ROTARY,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
}
_EVERY_LAYER = {"decoder_sparse_step": 1, "mlp_only_layers": []}
"""Has experts."""
_QWEN3_5: Mapping[str, object] = {
    **_LLAMA,
    "layer_types": _every_nth,
    "linear_value_head_dim": lambda config: config.linear_key_head_dim,
}
_UNTIED = {"tie_word_embeddings": False}
"""llama.cpp wants a matrix for the output of its own."""
_GEMMA = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "head_dim": 256,  # llama.cpp divides by its root, the model by that of the scalar
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", "llama", _LLAMA, of_llama),
    # a file cannot say that it is Mistral's; without a window it is a Llama
    "mistral": Architecture("llama", "llama", {**_LLAMA, "sliding_window": None}, of_llama),
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
        of_gpt2,
        epsilon="layer_norm_epsilon",
        is_rms=False,
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
    "qwen2_moe": Architecture(
        "qwen2moe",
        "qwen2_moe",
        {
            **_LLAMA,
            **_EVERY_LAYER,
            **_UNTIED,
            "qkv_bias": True,
            "norm_topk_prob": False,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
        },
        of_experts,
    ),
    "qwen3_moe": Architecture(
        "qwen3moe",
        "qwen3_moe",
        {**_LLAMA, **_EVERY_LAYER, "norm_topk_prob": True, "moe_intermediate_size": 768},
    ),
    "qwen3_5_text": Architecture(
        "qwen35", "qwen3_5_text", _QWEN3_5, of_qwen3_5, added_to_norms=1.0
    ),
    "qwen3_5_moe_text": Architecture(
        "qwen35moe", "qwen3_5_moe_text", _QWEN3_5, of_qwen3_5, added_to_norms=1.0
    ),
    "lfm2": Architecture(
        "lfm2", "lfm2", {**_ROTARY, "conv_bias": False}, without_channel, epsilon="norm_eps"
    ),
    "stablelm": Architecture(
        "stablelm",
        "stablelm",
        {
            **_ROTARY,
            **_UNTIED,
            "hidden_act": "silu",
            "qk_layernorm": False,
            "rope_parameters.rope_theta": 10_000.0,
            "rope_parameters.partial_rotary_factor": 0.25,
        },
        epsilon="layer_norm_eps",
        is_rms=False,
    ),
    "nemotron": Architecture(
        "nemotron",
        "nemotron",
        {
            **_ROTARY,
            **_UNTIED,
            "head_dim": lambda config: config.hidden_size // config.num_attention_heads,
            "hidden_act": "relu2",
            "attention_bias": False,
            "mlp_bias": False,
            "norm_eps": 1e-5,  # transformers reads it from another key than llama.cpp
            "rope_parameters.partial_rotary_factor": 0.5,
        },
        added_to_norms=1.0,
        epsilon="norm_eps",
        is_rms=False,
    ),
    "falcon": Architecture(
        "falcon",
        "falcon",
        {
            **_ROTARY,
            "activation": "gelu",
            "alibi": False,
            "bias": False,
            "new_decoder_architecture": False,
            "multi_query": True,  # with more heads of keys the file has another order
            "parallel_attn": True,
            "ffn_hidden_size": lambda config: 4 * config.hidden_size,
            "tie_word_embeddings": True,
            "layer_norm_epsilon": 1e-5,  # transformers reads it from another key than llama.cpp
        },
        epsilon="layer_norm_epsilon",
        is_rms=False,
    ),
    "bloom": Architecture(
        "bloom",
        "bloom",
        {
            "apply_residual_connection_post_layernorm": False,
            "slow_but_exact": False,
            "tie_word_embeddings": True,
        },
        of_bloom,
        epsilon="layer_norm_epsilon",
        is_rms=False,
    ),
    "mamba": Architecture(
        "mamba",
        "mamba",
        {"hidden_act": "silu", "expand": 2, "use_bias": False, "use_conv_bias": True},
        of_mamba,
        epsilon="layer_norm_epsilon",
        log=numpy_log,
    ),
    "minimax_m2": Architecture(
        "minimax-m2", "minimax_m2", {**_ROTARY, **_UNTIED, "hidden_act": "silu"}, of_experts
    ),
}
"""By model_type."""
REFUSED: Mapping[str, str] = {
    "starcoder2": "the rotary base and the sliding window",
    "gpt_oss": "the experts' gates and biases",
    "gemma4_text": "which layers see everything, their rotary bases and what layers share",
}
"""By model_type: what transformers does not read from files of other architectures it knows."""
