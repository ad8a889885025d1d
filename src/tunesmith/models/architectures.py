"""Which architectures that transformers lists as causal language models cannot be trained as one,
and why.

docs/architectures.md has what became of every one of them, made by tools/architecture_table.py.
"""

from __future__ import annotations

from transformers import PreTrainedConfig

UNSUITED = (TypeError, ValueError, AttributeError, IndexError, KeyError, RuntimeError)
"""How a model's code shows, when it is tried, that it does not take what it is given: positions, a
mask, a cache, token ids alone."""

ENCODERS = {
    "bert",
    "bert-generation",
    "big_bird",
    "camembert",
    "data2vec-text",
    "electra",
    "ernie",
    "megatron-bert",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
DECODERS = {
    "bart",
    "bigbird_pegasus",
    "blenderbot",
    "blenderbot-small",
    "marian",
    "mbart",
    "musicgen",
    "musicgen_melody",
    "mvp",
    "pegasus",
    "plbart",
    "prophetnet",
    "trocr",
    "whisper",
}
DRAFTS = "a draft model: it reads the states of the model it drafts for"
PIECE = (
    "transformers loads its text model alone, and a text model that is saved alone cannot be "
    "loaded again"
)
REASONS = {
    "cpmant": "not causal: a prediction depends on later tokens",
    "gemma4_assistant": DRAFTS,
    "gemma4_unified_assistant": DRAFTS,
    "git": "it describes images: transformers computes no loss for it without one",
    "emu3": PIECE,
    "mllama": PIECE,
    "reformer": "its hashed attention lets a prediction depend on later tokens, and its rows must "
    "fill whole chunks",
    "xlm": "not causal: every token sees the whole text",
    "xlnet": "not causal: every token sees the whole text",
}
"""By model type, each seen to be so with a tiny model."""


def why_refused(config: PreTrainedConfig) -> str:
    """Why a model of this config cannot be trained and asked as a causal language model, or an
    empty string.
    """
    if getattr(config, "is_encoder_decoder", False) or config.model_type in DECODERS:
        return "an encoder-decoder, whose decoder reads an encoder's states"
    if config.model_type in ENCODERS and not getattr(config, "is_decoder", False):
        return (
            "an encoder: every token sees the whole text (config.json does not say "
            "is_decoder: true)"
        )
    return REASONS.get(config.model_type, "")
