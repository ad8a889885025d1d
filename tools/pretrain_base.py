"""Pretrain the built-in base model: corpus -> tokenizer -> tokens -> model -> card figures.

    python tools/pretrain_base.py --corpus DIR --wordnet /usr/share/wordnet --work build/base \
        --output src/tunesmith/assets/base

DIR holds `NAME.txt.xz` files (see SOURCES below). The run can be stopped and started again: every
stage keeps its result in --work, and training goes on from its last checkpoint.

The model is a plain Llama that continues text. Muon (torch.optim.Muon) trains the matrices, AdamW
the embeddings and norms; the learning rate is constant, then falls linearly to zero over the last
--decay share.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB_SIZE = 4096
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
CHUNK_CHARS = 2000
HELD_OUT_EVERY = 100  # one document in a hundred is never trained on
# name -> how many characters are read, from the start of the file (the novels are sorted newest
# first)
SOURCES = {
    "standardebooks": 8_000_000,
    "us_presidents_speeches": 3_000_000,
    "grimm_tales": 1_000_000,
    "novels": 66_000_000,
}


def documents(corpus: Path, wordnet: Path) -> Iterator[str]:
    """Book text in chunks that end at a paragraph, then one document for each WordNet synset."""
    for name, limit in SOURCES.items():
        with lzma.open(corpus / f"{name}.txt.xz", "rt", encoding="utf-8") as file:
            text = file.read(limit)
        if name == "grimm_tales":  # the only file with hard line ends
            text = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
        yield from chunks(text)
    for part in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"data.{part}").read_text("utf-8").splitlines():
            if not line.startswith("  ") and "|" in line:
                yield synset_text(line)


def chunks(text: str) -> Iterator[str]:
    chunk = ""
    for paragraph in re.split(r"\n\s*\n", text):
        chunk += paragraph.strip() + "\n\n"
        if len(chunk) >= CHUNK_CHARS:
            yield chunk.strip()
            chunk = ""
    if chunk.strip():
        yield chunk.strip()


def synset_text(line: str) -> str:
    """One line of a WordNet data file as a short dictionary entry (wndb(5WN) gives the format)."""
    fields, gloss = line.split("|", 1)
    columns = fields.split()
    words = [columns[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(int(columns[3], 16))]
    return f"{', '.join(words)}: {gloss.strip()}"


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def is_held_out(text: str) -> bool:
    return zlib.crc32(text.encode()) % HELD_OUT_EVERY == 0


def prepare(corpus: Path, wordnet: Path, work: Path) -> PreTrainedTokenizerFast:
    """Tokenizer in work/tokenizer, train tokens in work/train.npy, held-out text in
    work/held_out.json.
    """
    if (work / "train.npy").exists():
        return PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    texts = list(documents(corpus, wordnet))
    train = [text for text in texts if not is_held_out(text)]
    tokenizer = train_tokenizer(train[::4] + train[-60_000:])
    tokenizer.save_pretrained(work / "tokenizer")
    order = np.random.default_rng(0).permutation(len(train))
    eos = tokenizer.eos_token_id
    ids: list[np.ndarray] = []
    for start in range(0, len(order), 1000):
        batch = tokenizer([train[i] for i in order[start : start + 1000]]).input_ids
        ids += [np.array([*row, eos], dtype=np.uint16) for row in batch]
    (work / "held_out.json").write_text(json.dumps([text for text in texts if is_held_out(text)]))
    (work / "train.txt").write_text("\n".join(train))
    np.save(work / "train.npy", np.concatenate(ids))
    return tokenizer


def build_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=256,
            intermediate_size=640,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def learning_rate_factor(done: float, decay: float) -> float:
    """Warm-up over the first 1 %, constant, then linear to zero over the last `decay` share of the
    tokens.
    """
    return min(1.0, done / 0.01, max(0.0, (1.0 - done) / decay))


def train(model: LlamaForCausalLM, tokens: np.ndarray, work: Path, args: argparse.Namespace) -> int:
    """Train until args.tokens tokens have been seen; return that number."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.05, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    peaks = [0.01, 3e-3]
    checkpoint, seen, started = work / "checkpoint.pt", 0, time.time()
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        seen = state["seen"]
    forward = torch.compile(model) if args.compile else model
    resumed, step, log = seen, 0, work / "log.jsonl"
    while seen < args.tokens:
        length = 1024 if seen > 0.9 * args.tokens else 512
        size = args.batch_tokens // length * length
        start = seen % (len(tokens) - size)
        batch_BT = torch.from_numpy(tokens[start : start + size].astype(np.int64)).view(-1, length)
        factor = learning_rate_factor(seen / args.tokens + 1e-4, args.decay)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = forward(input_ids=batch_BT, labels=batch_BT, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen, step = seen + size, step + 1
        if step % 20 == 0:
            rate = (seen - resumed) / (time.time() - started)
            line = {
                "tokens": seen,
                "loss": round(loss.item(), 4),
                "lr_factor": factor,
                "tokens_per_s": round(rate),
            }
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if step % 200 == 0 or seen >= args.tokens:
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "seen": seen,
            }
            torch.save(state, work / "checkpoint.tmp")
            (work / "checkpoint.tmp").replace(checkpoint)
    return seen


@torch.no_grad()
def bits_per_byte(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> float:
    """Mean over documents' bytes of -log2 p(text, EOS | BOS); a document is read in windows of 1024
    tokens.
    """
    nats, size = 0.0, 0
    for text in texts:
        ids = [*tokenizer(text).input_ids, tokenizer.eos_token_id][:1024]
        ids_BT = torch.tensor([ids])
        nats += model(input_ids=ids_BT, labels=ids_BT).loss.item() * (len(ids) - 1)
        size += len(tokenizer.decode(ids[1:], skip_special_tokens=True).encode())
    return nats / math.log(2) / size


def character_model_bits_per_byte(train: bytes, test: bytes, order: int = 5) -> float:
    """Interpolated Witten-Bell model of bytes: p_k = (c + t * p_(k-1)) / (n + t) for contexts of 0
    to `order` bytes (Witten and Bell 1991, method C); n = context count, t = its distinct
    successors.
    """
    probability = np.full(len(test) - order, 1 / 256)
    for k in range(order + 1):
        keys, counts = np.unique(windows(train, k + 1), return_counts=True)
        contexts, first = np.unique(keys >> np.uint64(8), return_index=True)
        distinct = np.diff(np.append(first, len(keys)))
        totals = np.add.reduceat(counts, first)
        test_keys = windows(test, k + 1)[order - k :]
        count = lookup(keys, counts, test_keys)
        total = lookup(contexts, totals, test_keys >> np.uint64(8))
        types = lookup(contexts, distinct, test_keys >> np.uint64(8))
        seen = total > 0
        blended = (count + types * probability) / np.maximum(total + types, 1)
        probability = np.where(seen, blended, probability)
    return float(-np.log2(probability).mean())


def windows(data: bytes, size: int) -> np.ndarray:
    """Every run of `size` bytes as one integer, first byte highest."""
    values = np.frombuffer(data, dtype=np.uint8).astype(np.uint64)
    out = np.zeros(len(values) - size + 1, dtype=np.uint64)
    for i in range(size):
        out = (out << np.uint64(8)) | values[i : len(values) - size + 1 + i]
    return out


def lookup(keys: np.ndarray, values: np.ndarray, queries: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[at] == queries, values[at], 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=18_500_000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--decay", type=float, default=0.3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = prepare(args.corpus, args.wordnet, args.work)
    model = build_model()
    tokens = np.load(args.work / "train.npy", mmap_mode="r")
    seen = train(model, tokens, args.work, args)

    model.eval().to(torch.bfloat16).save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    reloaded = LlamaForCausalLM.from_pretrained(args.output, dtype=torch.float32).eval()
    held_out = json.loads((args.work / "held_out.json").read_text())[::4]
    test = "\n".join(held_out).encode()
    figures = {
        "tokens_seen": seen,
        "train_tokens": len(tokens),
        "parameters": sum(p.numel() for p in reloaded.parameters()),
        "held_out_bytes": len(test),
        "bits_per_byte": bits_per_byte(reloaded, tokenizer, held_out),
        "order_5_character_model_bits_per_byte": character_model_bits_per_byte(
            (args.work / "train.txt").read_bytes(), test
        ),
    }
    (args.work / "figures.json").write_text(json.dumps(figures, indent=2))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
