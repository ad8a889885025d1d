"""Labelled rows in, a fine-tuned model out, and a number that says whether it got better: all of it in one file.

    python examples/sft_loop.py --csv reviews.csv --text review --label sentiment --model MODEL --output OUT

Read it from top to bottom. tunesmith does the same for any task and any size, and with more care at each step; nothing
of tunesmith is used here. Tensor names end in their shape: B examples, T tokens, V entries of the vocabulary.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from sklearn.model_selection import train_test_split
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup, logging

# It ends at a word's end, and the answer begins with a space, because that is where tokenizers cut.
PROMPT = "Label the text as one of: {names}.\n\nText: {text}\nLabel:"
IGNORE = -100  # the label of a token that is not trained
STEP_SIZE = 16  # examples of one optimiser step
MICRO_BATCH = 8  # examples that are in memory at once; has no influence on the result
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Example:
    answer: str
    prompt_ids: list[int]
    input_ids: list[int]  # prompt, answer, stop token
    labels: list[int]  # of the same length: IGNORE for the prompt, then the ids themselves


# 1. Rows
def read_rows(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    """(text, label) of each row in a shuffled order; a text that comes twice could be in training and in test: once."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not {text, label} <= set(reader.fieldnames or ()):
            raise SystemExit(f"{path}: no columns {text!r} and {label!r}, only {reader.fieldnames}")
        cells = [((row[text] or "").strip(), (row[label] or "").strip()) for row in reader]
    rows = list({row[0]: row for row in cells if all(row)}.values())
    print(f"{len(cells)} rows read, {len(cells) - len(rows)} left out (an empty cell, or a text that comes again)")
    random.Random(0).shuffle(rows)
    return rows


# 2. Tokens and labels
def encode(tokenizer: Any, prompt: str, answer: str) -> Example:
    """Only the answer and the stop token are trained: to learn the prompt as well is to learn to write reviews."""
    # Some tokenizers begin a text with BOS, some do not; the model should see what it saw in pretraining.
    bos = tokenizer.bos_token if tokenizer("x").input_ids[0] == tokenizer.bos_token_id else ""
    prompt = f"{bos}{prompt}"
    prompt_ids = tokenizer(prompt, add_special_tokens=False).input_ids
    # In one piece, as prompt and answer apart could give ids that the model never meets in a whole text.
    input_ids = tokenizer(f"{prompt} {answer}{tokenizer.eos_token}", add_special_tokens=False).input_ids
    n = len(prompt_ids)
    if input_ids[:n] != prompt_ids or input_ids[-1] != tokenizer.eos_token_id:
        raise SystemExit(f"the tokens of the prompt do not begin those of prompt + answer: {prompt!r} {answer!r}")
    return Example(answer, prompt_ids, input_ids, [IGNORE] * n + input_ids[n:])


def num_trained(examples: list[Example]) -> int:
    return sum(len(example.input_ids) - len(example.prompt_ids) for example in examples)


# 3. The loss
def pad(rows: list[list[int]], value: int, side: str) -> torch.Tensor:
    rows_T = [torch.tensor(row) for row in rows]
    return pad_sequence(rows_T, batch_first=True, padding_value=value, padding_side=side).to(DEVICE)


def pieces(examples: list[Example], size: int) -> Iterator[list[Example]]:
    return (examples[i : i + size] for i in range(0, len(examples), size))


def nll_sum(model: Any, examples: list[Example]) -> torch.Tensor:
    """Sum of -log p over the trained tokens, in nats."""
    # Padding stands on the right, where a causal model's earlier positions cannot see it, and its labels are IGNORE:
    # any id will do. To pad with the stop token and then mask "the padding" makes models that never stop.
    ids_BT = pad([example.input_ids for example in examples], value=0, side="right")
    labels_BT = pad([example.labels for example in examples], value=IGNORE, side="right")
    logits_BTV = model(ids_BT).logits[:, :-1].float()  # position t predicts token t + 1: the only shift there is
    return cross_entropy(logits_BTV.flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum")


@torch.no_grad()
def mean_loss(model: Any, examples: list[Example]) -> float:
    model.eval()
    return sum(nll_sum(model, part).item() for part in pieces(examples, MICRO_BATCH)) / num_trained(examples)


# 4. Training
def train(model: Any, training: list[Example], validation: list[Example], epochs: int, learning_rate: float) -> None:
    """Leaves the model in the state with the lowest validation loss; that may be the state it came in."""
    steps = epochs * math.ceil(len(training) / STEP_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=steps // 20, num_training_steps=steps)
    best_loss, best_state = mean_loss(model, validation), copy.deepcopy(model.state_dict())
    print(f"base     validation loss {best_loss:.4f}")
    for epoch in range(1, epochs + 1):
        model.train()
        for step_examples in pieces(random.Random(epoch).sample(training, len(training)), STEP_SIZE):
            # Divided by the tokens of the whole step, not of each micro-batch: every token weighs the same.
            for part in pieces(step_examples, MICRO_BATCH):
                (nll_sum(model, part) / num_trained(step_examples)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        loss = mean_loss(model, validation)
        print(f"epoch {epoch}  validation loss {loss:.4f}")
        if loss < best_loss:
            best_loss, best_state = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)


# 5. Evaluation
@torch.no_grad()
def answers(model: Any, tokenizer: Any, examples: list[Example], names: list[str], budget: int) -> list[str]:
    """The label that each greedy answer begins with ("" for none), read alike for the base and the tuned model."""
    model.eval()
    found, longest_first = [], sorted(names, key=len, reverse=True)  # "not sure" begins with "not"
    for part in pieces(examples, MICRO_BATCH):
        # Here padding stands on the left, so that all answers begin in one column, and a mask hides it.
        ids_BT = pad([example.prompt_ids for example in part], value=tokenizer.eos_token_id, side="left")
        mask_BT = pad([[1] * len(example.prompt_ids) for example in part], value=0, side="left")
        stop = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
        out_BT = model.generate(ids_BT, attention_mask=mask_BT, max_new_tokens=budget, do_sample=False, **stop)
        texts = tokenizer.batch_decode(out_BT[:, ids_BT.shape[1] :], skip_special_tokens=True)
        found += [next((name for name in longest_first if text.strip().startswith(name)), "") for text in texts]
    return found


def accuracy(system: str, right: list[bool]) -> str:
    """With n and its 95 % Wilson interval, without which a score says little."""
    low, high = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    return f"{system:<9}{sum(right) / len(right):6.1%}  [{low:.1%}, {high:.1%}]  n={len(right)}"


def paired(base: list[bool], tuned: list[bool]) -> str:
    """Both answered the same rows, so only rows on which they differ count: exact McNemar is a sign test on these."""
    differences = [b - a for a, b in zip(base, tuned, strict=True)]
    won, lost = differences.count(1), differences.count(-1)
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    mean, half = statistics.mean(differences), 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"tuned - base {mean:+.1%}  [{mean - half:+.1%}, {mean + half:+.1%}]  {won} won, {lost} lost, p={p:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("csv", "text", "label", "model", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--limit", type=int, help="use that many rows only")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="1e-3 suits 1 M parameters, 2e-5 100 M")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).to(DEVICE)
    rows = read_rows(Path(args.csv), args.text, args.label)[: args.limit]
    names = sorted({label for _, label in rows})
    examples = [encode(tokenizer, PROMPT.format(names=", ".join(names), text=text), label) for text, label in rows]
    budget = max(len(example.input_ids) - len(example.prompt_ids) for example in examples)
    # A row that does not fit is left out whole: a text that is cut can lose what its label stands for.
    fitting = [e for e in examples if len(e.prompt_ids) + budget <= model.config.max_position_embeddings]
    print(f"{len(fitting)} examples, {len(examples) - len(fitting)} left out (longer than the model can read)")
    training, rest = train_test_split(fitting, test_size=0.2, stratify=[e.answer for e in fitting], random_state=0)
    validation, test = train_test_split(rest, test_size=0.5, stratify=[e.answer for e in rest], random_state=0)

    base = answers(model, tokenizer, test, names, budget)
    train(model, training, validation, args.epochs, args.learning_rate)
    tuned = answers(model, tokenizer, test, names, budget)
    systems = {"majority": [statistics.mode(e.answer for e in training)] * len(test), "base": base, "tuned": tuned}
    right = {name: [a == e.answer for a, e in zip(given, test, strict=True)] for name, given in systems.items()}
    print("\n".join(accuracy(name, given) for name, given in right.items()))
    print(paired(right["base"], right["tuned"]))
    model.generation_config.eos_token_id = tokenizer.eos_token_id  # so that the saved model stops by itself
    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
