"""The sizes of a model under the keys of a .gguf file, by the gguf package's own methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import PreTrainedConfig

from tunesmith.models.gguf_architectures import ARCHITECTURES, setting

if TYPE_CHECKING:
    from gguf import GGUFWriter

CONTEXT = 2048
"""Of a model without a longest context: BLOOM was trained on so many tokens."""
SECTIONS = (11, 11, 10)
"""Qwen 3.5's rotation, of which pictures turn three parts each by a position of its own."""


def head_dim(config: PreTrainedConfig) -> int:
    """Numbers in one attention head's query; 0 without attention."""
    found = getattr(config, "head_dim", None)
    heads = getattr(config, "num_attention_heads", 0)
    return int(found or (config.hidden_size // heads if heads else 0))


def rope_theta(config: PreTrainedConfig) -> float | None:
    """The rotary base, of several that of full attention; None for a model without rotation."""
    keys = ("rope_parameters.rope_theta", "rope_parameters.full_attention.rope_theta")
    found = [value for key in keys if isinstance(value := setting(config, key), float | int)]
    return float(found[0]) if found else None


def rope_dimensions(config: PreTrainedConfig) -> int:
    """How many numbers of a head are rotated."""
    part = setting(config, "rope_parameters.partial_rotary_factor")
    return int(head_dim(config) * (part if isinstance(part, float | int) else 1))


def norm_epsilon(config: PreTrainedConfig) -> float:
    """What is added to a variance."""
    return float(getattr(config, ARCHITECTURES[config.model_type].epsilon))


def feed_forward_length(config: PreTrainedConfig) -> int:
    """Numbers inside a feed-forward layer, four times the hidden ones where the config does not
    say; 0 without one.
    """
    if config.model_type == "mamba":
        return 0
    keys = ("intermediate_size", "ffn_hidden_size")
    found = next((value for key in keys if (value := getattr(config, key, None))), None)
    if found and getattr(config, "block_auto_adjust_ff_dim", False):  # as Lfm2MLP makes it
        step, factor = config.block_multiple_of, config.block_ffn_dim_multiplier
        found = int(2 * found / 3)
        found = found if factor is None else -(int(factor * found) // -step) * step
    return int(found or 4 * config.hidden_size)


def heads_of_keys(config: PreTrainedConfig) -> int | Sequence[int]:
    """Of each layer where some have convolutions instead of attention, which is how a file says
    which ones.
    """
    if getattr(config, "multi_query", False):
        return 1
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    if config.model_type == "lfm2":
        return [heads if kind == "full_attention" else 0 for kind in config.layer_types]
    return heads


def add_sizes(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """Put everything into the file that is not a tensor and not of the tokenizer."""
    writer.add_context_length(getattr(config, "max_position_embeddings", None) or CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(feed_forward_length(config))
    writer.add_vocab_size(config.vocab_size)
    is_rms = ARCHITECTURES[config.model_type].is_rms
    (writer.add_layer_norm_rms_eps if is_rms else writer.add_layer_norm_eps)(norm_epsilon(config))
    if head_dim(config):
        _add_attention(writer, config)
    else:
        writer.add_head_count(0)
    _add_experts(writer, config)
    _add_recurrence(writer, config)


def _add_attention(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(heads_of_keys(config))
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    theta = rope_theta(config)
    if theta is not None:
        writer.add_rope_freq_base(theta)
        writer.add_rope_dimension_count(rope_dimensions(config))
    window = getattr(config, "sliding_window", None)
    if window or config.model_type == "phi3":  # llama.cpp gives Phi-3 one unless it is told of none
        writer.add_sliding_window(window or 0)
    for key, add in (
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ("original_max_position_embeddings", writer.add_rope_scaling_orig_ctx_len),
    ):
        value = getattr(config, key, None)
        if value is not None:
            add(value)


def _add_experts(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    import gguf  # noqa: PLC0415 - an extra, whose presence was checked

    if config.model_type == "minimax_m2":  # in which there is no other feed-forward layer
        writer.add_expert_feed_forward_length(config.intermediate_size)
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    for key, add in (
        ("num_experts", writer.add_expert_count),
        ("num_experts_per_tok", writer.add_expert_used_count),
        ("moe_intermediate_size", writer.add_expert_feed_forward_length),
        ("shared_expert_intermediate_size", writer.add_expert_shared_feed_forward_length),
    ):
        value = getattr(config, key, None)
        if value is not None:
            add(value)


def _add_recurrence(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """What a model has that remembers otherwise than by attention, in some or in all layers."""
    kind = config.model_type
    if kind == "lfm2":
        writer.add_shortconv_l_cache(config.conv_L_cache)
    if kind == "mamba":
        writer.add_ssm_conv_kernel(config.conv_kernel)
        writer.add_ssm_inner_size(config.intermediate_size)
        writer.add_ssm_state_size(config.state_size)
        writer.add_ssm_time_step_rank(config.time_step_rank)
    if kind.startswith("qwen3_5"):
        types = config.layer_types
        full = types.index("full_attention") if "full_attention" in types else len(types)
        writer.add_full_attention_interval(full + 1)
        writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
        writer.add_ssm_state_size(config.linear_key_head_dim)
        writer.add_ssm_group_count(config.linear_num_key_heads)
        writer.add_ssm_time_step_rank(config.linear_num_value_heads)
        writer.add_ssm_inner_size(config.linear_value_head_dim * config.linear_num_value_heads)
        found = setting(config, "rope_parameters.mrope_section")
        writer.add_rope_dimension_sections([*(found if isinstance(found, list) else SECTIONS), 0])
