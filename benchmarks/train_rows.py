"""The data sets of the training benchmarks as token ids: prompts, completions, one tokenizer for
all.

Each data set is a list of (prompt, completion) made from the files of the shared folder beside the
checkout. The tokenizer is a byte-level BPE of 16,000 tokens trained on these texts, so nothing is
downloaded.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tunesmith.train.packing.plan import TrainingData

VOCABULARY = 16_000
STOP = "<|stop|>"
PAD = "<|pad|>"
Pairs = list[tuple[str, str]]


def gsm8k(shared: Path) -> Pairs:
    """Unique questions with worked answers: long completions, nothing shared."""
    lines = (shared / "data/gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["question"] + "\n", row["answer"]) for row in map(json.loads, lines)]


def gsm8k_five_shot(shared: Path) -> Pairs:
    """The same under five fixed worked exemplars."""
    pairs = gsm8k(shared)
    exemplars = "\n\n".join(f"Question: {q}Answer: {a}" for q, a in pairs[:5])
    return [
        (f"{exemplars}\n\nQuestion: {question}Answer: ", answer) for question, answer in pairs[5:]
    ]


def customer_reviews(shared: Path) -> Pairs:
    """One of two words as the answer, all prompts under the same instruction."""
    instruction = (
        "Say whether this review of a product is positive or negative. "
        "Answer with one word.\n\nReview: "
    )
    rows = _csv(shared / "data/reviews/customer_reviews.csv")
    return [(f"{instruction}{row['review']}\n\nSentiment:", f" {row['sentiment']}") for row in rows]


def trec(shared: Path) -> Pairs:
    """Short questions, one word each as the answer."""
    return [(row["question"], f" {row['type']}") for row in _csv(shared / "data/trec/train.csv")]


def banking77(shared: Path) -> Pairs:
    """77 labels listed in every prompt."""
    rows = _csv(shared / "data/banking77/train.csv")
    labels = ", ".join(sorted({row["category"] for row in rows}))
    instruction = (
        f"Choose the intent of the customer's question from this list: {labels}.\n\nQuestion: "
    )
    return [(f"{instruction}{row['text']}\nIntent:", f" {row['category']}") for row in rows]


def dialogsum(shared: Path) -> Pairs:
    """Long dialogues and their summaries."""
    instruction = "Summarise this dialogue in one or two sentences.\n\n"
    lines = (shared / "data/dialogsum/dev.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        (f"{instruction}{row['dialogue']}\n\nSummary:", f" {row['summary']}")
        for row in map(json.loads, lines)
    ]


DATA_SETS: dict[str, Callable[[Path], Pairs]] = {
    "gsm8k": gsm8k,
    "customer_reviews": customer_reviews,
    "trec": trec,
    "banking77": banking77,
    "dialogsum": dialogsum,
    "gsm8k_five_shot": gsm8k_five_shot,
}


def build_tokenizer(shared: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the data sets' own texts, so that no tokenizer is downloaded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[STOP, PAD],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    names = ("gsm8k", "dialogsum", "customer_reviews")
    texts = [text for name in names for pair in DATA_SETS[name](shared) for text in pair]
    texts += [prompt[-120:] for prompt, _ in banking77(shared)[:3000]]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=STOP, pad_token=PAD)


def save_rows(
    path: Path, name: str, shared: Path, tokenizer: PreTrainedTokenizerFast, num_rows: int = 5000
) -> None:
    """Token ids of at most `num_rows` rows drawn at random; prompt and completion are tokenised
    apart, so that their border is fixed.
    """
    pairs = DATA_SETS[name](shared)
    chosen = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))[:num_rows]]
    prompts = tokenizer([prompt for prompt, _ in chosen]).input_ids
    answers = tokenizer([answer + STOP for _, answer in chosen]).input_ids
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    flat = np.fromiter(
        (token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1])
    )
    np.savez(
        path, input_ids=flat, offsets=offsets, num_prompt_tokens=[len(prompt) for prompt in prompts]
    )


def load_rows(path: Path, num_rows: int) -> TrainingData:
    """The first rows of a file of `save_rows`."""
    saved = np.load(path)
    offsets = saved["offsets"][: num_rows + 1]
    prompts = saved["num_prompt_tokens"][:num_rows]
    return TrainingData.from_arrays(
        saved["input_ids"][: offsets[-1]],
        offsets,
        prompts,
        [f"row {i}" for i in range(len(prompts))],
    )


def token_hash(data: TrainingData) -> str:
    """A short fingerprint, by which two measurements are seen to be of the same rows."""
    return hashlib.sha256(data.input_ids.tobytes() + data.offsets.tobytes()).hexdigest()[:12]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
