"""Whether a model can be trained as a causal language model at all, tried out on eight tokens."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from tunesmith.errors import ModelError
from tunesmith.models.architectures import UNSUITED
from tunesmith.train.loss import input_embeddings

TOLERANCE = 1e-3  # relative to the largest logit
HALF_TOLERANCE = 0.05  # the same for weights in bfloat16 or float16
TOKENS, KNOWN = 8, 5


@torch.no_grad()
def check_is_causal(model: PreTrainedModel) -> None:
    """ModelError for a model that cannot be run on token ids alone, or that looks ahead.

    A model whose predictions depend on later tokens would learn to read its labels: its training
    loss goes to zero, and it can write nothing. So the logits of the first KNOWN tokens are
    compared with and without the tokens after them.
    """
    name = f"{type(model).__name__} ({model.config.model_type})"
    ids_1T = torch.arange(3, 3 + TOKENS, device=next(model.parameters()).device)[None]
    was_training = model.training
    model.eval()
    try:
        whole_TV, known_TV = (
            model(input_ids=ids, use_cache=False).logits[0, :KNOWN].float()
            for ids in (ids_1T, ids_1T[:, :KNOWN])
        )
    except UNSUITED as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{name} cannot be run on token ids alone: {reason}") from error
    finally:
        model.train(was_training)
    dtype = input_embeddings(model).weight.dtype
    tolerance = TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE
    if (whole_TV - known_TV).abs().max() > tolerance * whole_TV.abs().max():
        raise ModelError(
            f"{name} is not causal: what it predicts after {KNOWN} tokens depends on "
            "the tokens after them",
            hint="use a model that was trained to predict the next token from those before it",
        )
