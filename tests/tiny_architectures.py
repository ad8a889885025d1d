# ruff: noqa: E501 - tables of sizes
"""A tiny random model of every decoder architecture that transformers knows: generic sizes by a
config's field names, and a table of those that need sizes of their own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

MODEL_TYPES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
MAX_PARAMETERS = 5_000_000
VOCABULARY = 64
WINDOW = 12  # tokens: longer than what probes look at, shorter than the rows

HEADS = "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads attention_heads"
LAYERS = "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers"
WIDTHS = "hidden_size d_model n_embd dim emb_dim embedding_size input_embedding_size output_embedding_size"
INNER = "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim dff dim_ff feed_forward_size intermediate_size_mlp"
EXPERTS = "num_experts num_local_experts n_routed_experts moe_num_experts"
CHOSEN = "num_experts_per_tok moe_topk moe_k top_k_experts num_experts_per_token moe_top_k"
SMALL_INNER = (
    "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size ffn_hidden_size"
)
POSITIONS = "max_position_embeddings n_positions max_seq_len n_ctx context_length model_max_length"
WINDOWS = "sliding_window sliding_window_size window_size local_attention attention_window_size attention_chunk_size"


def _all(names: str, value: Any) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


SIZES: dict[str, Any] = {
    **_all(WIDTHS, 32), **_all(LAYERS, 2), **_all(HEADS, 4), **_all(INNER, 48), **_all(EXPERTS, 4), **_all(CHOSEN, 2),
    **_all(SMALL_INNER, 16), **_all(POSITIONS, 128), **_all(WINDOWS, WINDOW),
    "vocab_size": VOCABULARY, "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8, "dim_head": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "is_decoder": True,
    "rotary_dim": 4, "n_group": 1, "topk_group": 1, "type_vocab_size": 2,
    # latent attention, and attention to the tokens that an indexer chooses
    "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "o_lora_rank": 8, "o_groups": 2, "index_n_heads": 16, "index_head_dim": 8, "index_topk": WINDOW,
    # state spaces, linear attention, convolutions
    "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_num_heads": 4, "mamba_head_dim": 16,
    "mamba_d_ssm": 64, "mamba_chunk_size": WINDOW, "chunk_size": WINDOW, "state_size": 8, "ssm_state_size": 8,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_head_dim": 8, "linear_num_heads": 4, "block_size": WINDOW, "block_multiple_of": 8,
}  # fmt: skip
KINDS = ("layer_types", "layers_block_type", "mlp_layer_types")
SLIDING_FULL = ["sliding_attention", "full_attention"]
LINEAR_FULL = ["linear_attention", "full_attention"]
GEMMA = {
    "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "num_hidden_layers": 4,
    "layer_types": SLIDING_FULL * 2, "num_kv_shared_layers": 2,
}  # fmt: skip
INKLING = {
    "unpadded_vocab_size": VOCABULARY,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
}
INKLING |= {"swa_head_dim": 8, "d_rel": 4, "rel_extent": 8, "n_layers_per_attn_res_block": 1}
QWEN4_EXP = {
    "hc_count": 2, "hc_lowrank": 8, "ple_layer_ids": [1], "heads_per_ngram": 2, "ngram_vocab_size_base": 64,
    "make_ngram_vocab_size_divisible_by": 8, "split_ngram_parts": 2, "indexer_n_heads": 2, "indexer_kv_heads": 1,
    "indexer_head_dim": 8, "indexer_budget": WINDOW, "indexer_compress_ratio": 2,
}  # fmt: skip
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "blt_local_encoder": {"hidden_size_global": 32, "num_key_value_heads": 4},
    "blt_local_decoder": {"hidden_size_global": 32, "num_key_value_heads": 4},
    "blt_global_transformer": {"num_key_value_heads": 4},
    "blt_patcher": {"num_key_value_heads": 4},
    "cohere_compass_text": {
        "layer_types": SLIDING_FULL,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]} for kind in SLIDING_FULL
        },
    },
    "dots1": {"n_shared_experts": 1, "layer_types": SLIDING_FULL},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 16},
    },
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32, "downsample_hidden_size": 8},
    "dots3_note_text": {
        "shared_experts_intermediate_size": 16, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16, "swa_kv_lora_rank": 8, "swa_head_dim": 12, "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "dots3_note_vision_encoder": {"adapter_in_dim": 32, "adapter_out_dim": 32},
    "gemma3n_text": {**GEMMA, "laurel_rank": 4},
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text", "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0,
        },
    },
    "gemma4_text": GEMMA,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": LINEAR_FULL, "shared_intermediate_size": 16},
    "inkling2_loop_text": {
        **INKLING, "num_hidden_layers": 4, "layer_types": ["hybrid_sliding", "hybrid"] * 2,
        "loop_layer_index_start": 1, "loop_layer_index_end": 3, "loop_gate_rank": 4,
    },
    "inkling2_text": INKLING,
    "inkling_text": {**INKLING, "n_layers_per_attn_res_block": None},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "jetmoe": {"kv_channels": 8, "num_key_value_heads": 2},
    "laguna": {"layer_types": SLIDING_FULL},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 4, "num_layers": 1, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8},
    "mellum": {"layer_types": SLIDING_FULL},
    "minimax_m3_vl_text": {"dense_intermediate_size": 48, "shared_intermediate_size": 16, "index_block_size": WINDOW},
    "ministral": {"layer_types": SLIDING_FULL},
    "mpt": {"attn_config": {}},
    "nemotron_h": {"n_groups": 2, "moe_shared_expert_intermediate_size": 16},
    "phi4_multimodal_audio": {
        "num_blocks": 2, "ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "nemo_conv_channels": 16,
    },
    "qwen4_exp_text": QWEN4_EXP,
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 32},
    "reformer": {
        "axial_pos_embds": False, "attention_head_size": 8, "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 2, "hash_seed": 0,
    },
    "roc_bert": {
        "pronunciation_vocab_size": 8, "pronunciation_embed_dim": 8, "shape_vocab_size": 8, "shape_embed_dim": 8,
    },
    "xlnet": {"d_inner": 48},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "linear_attention", "hybrid", "linear_attention", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 8},
}  # fmt: skip


def tiny_config(model_type: str) -> Any:
    """The smallest sensible config: no dropout, two layers or one of each kind the default has."""
    return _tiny(CONFIG_MAPPING[model_type])


def tiny_model(model_type: str) -> Any:
    """In float32 and evaluation mode, random, with weights larger than at initialisation, so that
    masks, caps and positions matter. It is built without memory first: ValueError where the config
    is not small.
    """
    config = tiny_config(model_type)
    with torch.device("meta"):
        size = sum(p.numel() for p in _from_config(config).parameters())
    if size > MAX_PARAMETERS:
        raise ValueError(f"{model_type}: {size} parameters")
    torch.manual_seed(0)
    model = _from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def _from_config(config: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _tiny(config_class: Any) -> Any:
    model_type = config_class.model_type
    fields = [field.name for field in dataclasses.fields(config_class)]
    changes = {name: SIZES[name] for name in fields if name in SIZES}
    changes |= {name: 0.0 for name in fields if _is_noise(name)}
    changes |= _one_layer_of_each_kind(config_class, fields)
    if "kv_lora_rank" in changes and "num_key_value_heads" in changes:
        changes["num_key_value_heads"] = changes["num_attention_heads"]
    own = OVERRIDES.get(model_type, {})
    changes |= {
        name: _tiny(type(part)) for name, part in _parts(config_class).items() if name not in own
    }
    changes |= own
    for name in KINDS:
        if changes.get(name) and "num_hidden_layers" in fields:
            changes["num_hidden_layers"] = len(changes[name])
    return config_class(**changes)


def _default(config_class: Any) -> Any | None:
    try:
        return config_class()
    except Exception:  # some cannot be made without arguments
        return None


def _parts(config_class: Any) -> dict[str, Any]:
    """The configs inside a config, such as a text model's inside one that sees."""
    default = _default(config_class)
    parts = {name: getattr(default, name, None) for name in config_class.sub_configs}
    return {
        name: part
        for name, part in parts.items()
        if isinstance(part, transformers.PreTrainedConfig)
    }


def _is_noise(name: str) -> bool:
    return any(mark in name for mark in ("drop", "pdrop", "jitter")) and "token" not in name


def _one_layer_of_each_kind(config_class: Any, fields: list[str]) -> dict[str, Any]:
    """Two layers or more, with every kind of layer that the default config has."""
    default = _default(config_class)
    kinds = {
        name: list(dict.fromkeys(getattr(default, name, None) or ()))
        for name in KINDS
        if name in fields
    }
    kinds = {name: found for name, found in kinds.items() if found}
    if not kinds:
        return {}
    layers = max(2, *(len(found) for found in kinds.values()))
    return {name: [found[i % len(found)] for i in range(layers)] for name, found in kinds.items()}
