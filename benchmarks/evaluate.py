"""Choice likelihoods, tunesmith beside lm-evaluation-harness: the same model, rows, prompts and 77
choices.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/evaluate.py --model HuggingFaceTB/SmolLM2-135M --rows 100

The task is banking77 as a local multiple-choice task of the harness; both get the same loaded model
in float32. The prompt lists the labels as a classification prompt does (`--plain`: it does not, for
models with a short context). A measurement is the time from texts to log-likelihoods: of the
harness its `loglikelihood` (tokenising included, reading the task and bootstrapping not), of
tunesmith tokenising and `choice_logprobs`. Both are measured in turn `--repeats` times and the
fastest kept. The harness runs every row 77 times, so its seconds a row do not depend on how many
there are: `--peer-rows` of the rows, spread over them, are enough for it, at the batch size of
`--peer-batch-size` that is fastest on `--trial-rows`. The result says whether every row's pick is
the same and how far the log-likelihoods are apart, before it says how fast.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from tunesmith.evaluate.forward import common_prefix
from tunesmith.evaluate.likelihood import build_tree, choice_logprobs
from tunesmith.models.load import load_model, load_tokenizer

PLAIN = "A customer writes to a bank. Name the topic of the message.\nMessage: {text}\nTopic:"
LISTED = (
    "A customer writes to a bank. Name the topic of the message, one of: {labels}.\n"
    "Message: {text}\nTopic:"
)
Likelihoods = list[list[float]]
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a model folder or hub id")
    parser.add_argument(
        "--data",
        default="../shared/data/banking77/test.csv",
        help="csv with the columns text,category",
    )
    parser.add_argument(
        "--rows", type=int, default=100, help="this many rows, spread over the file"
    )
    parser.add_argument("--plain", action="store_true", help="a prompt without the list of labels")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--peer-rows", type=int, default=24)
    parser.add_argument("--peer-batch-size", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--trial-rows", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    docs, choices = read_task(Path(args.data), args.rows)
    peer_rows = spread(range(len(docs)), args.peer_rows)
    peer_docs = [docs[row] for row in peer_rows]
    template = (PLAIN if args.plain else LISTED).replace("{labels}", ", ".join(choices))
    tokenizer, model = load_tokenizer(args.model), load_model(args.model)
    trial = spread(peer_docs, args.trial_rows)
    trials = {
        size: harness(model, tokenizer, template, trial, choices, size)[1]
        for size in args.peer_batch_size
    }
    batch_size = min(trials, key=lambda size: trials[size])
    seconds, peer_seconds = [], []
    for _ in range(args.repeats):
        ours, elapsed = tunesmith(model, tokenizer, template, docs, choices, args.batch_tokens)
        seconds.append(elapsed)
        peers, elapsed = harness(model, tokenizer, template, peer_docs, choices, batch_size)
        peer_seconds.append(elapsed)
    speed, peer_speed = len(docs) / min(seconds), len(peer_docs) / min(peer_seconds)
    result = {
        "model": args.model,
        "prompt": "plain" if args.plain else "labels listed",
        "choices": len(choices),
        "rows": len(docs),
        **agreement([ours[row] for row in peer_rows], peers),
        "tokens_per_row": tokens_per_row(tokenizer, template, docs, choices),
        "tunesmith_rows_per_second": speed,
        "harness_rows_per_second": peer_speed,
        "ratio": speed / peer_speed,
        "tunesmith_seconds": seconds,
        "harness_seconds": peer_seconds,
        "harness_batch_size": batch_size,
        "harness_trial_seconds_by_batch_size": trials,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{model.device}",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lm_eval")},
    }
    print(
        json.dumps(result, indent=2)
        if args.json
        else "\n".join(f"{key}: {value}" for key, value in result.items())
    )


def read_task(path: Path, n: int) -> tuple[list[dict[str, Any]], list[str]]:
    """n rows of the file as documents {text, label}, and all labels as words."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    choices = sorted({row["category"].replace("_", " ") for row in rows})
    docs = [
        {"text": row["text"].strip(), "label": choices.index(row["category"].replace("_", " "))}
        for row in spread(rows, n)
    ]
    return docs, choices


def spread(items: Sequence[T], n: int) -> list[T]:
    """At most n of the items, spread over them."""
    step = max(1, len(items) // n)
    return list(items[::step][:n])


def tunesmith(
    model: Any,
    tokenizer: Any,
    template: str,
    docs: list[dict[str, Any]],
    choices: list[str],
    batch_tokens: int,
) -> tuple[Likelihoods, float]:
    started = time.perf_counter()
    prompts, wanted = encoded(tokenizer, template, docs, choices)
    likelihoods = choice_logprobs(model, prompts, [wanted] * len(docs), batch_tokens=batch_tokens)
    return likelihoods, time.perf_counter() - started


def encoded(
    tokenizer: Any, template: str, docs: list[dict[str, Any]], choices: list[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the prompts and, as `tunesmith evaluate` has them, of each choice once."""
    texts = [template.replace("{text}", doc["text"]) for doc in docs]
    prompts = tokenizer(texts).input_ids
    first = tokenizer([f"{texts[0]} {choice}" for choice in choices]).input_ids
    return prompts, [ids[len(prompts[0]) :] for ids in first]


def tokens_per_row(
    tokenizer: Any, template: str, docs: list[dict[str, Any]], choices: list[str]
) -> dict[str, float]:
    """Tokens read for one row: what the ratio of the speeds can be where both read as many a
    second.
    """
    prompts, wanted = encoded(tokenizer, template, docs, choices)
    shared, total = common_prefix(prompts), sum(map(len, prompts))
    tree = len(build_tree(wanted).tokens)
    ours = (shared + total - len(docs) * shared) / len(docs) + tree
    theirs = (total * len(choices)) / len(docs) + sum(
        len(ids) - 1 for ids in wanted
    )  # the last one is only asked for
    return {
        "tunesmith": round(ours, 1),
        "harness": round(theirs, 1),
        "ratio": round(theirs / ours, 1),
    }


def harness(
    model: Any,
    tokenizer: Any,
    template: str,
    docs: list[dict[str, Any]],
    choices: list[str],
    batch_size: int,
) -> tuple[Likelihoods, float]:
    """The log-likelihoods of lm-evaluation-harness, by row, and the seconds spent in its
    `loglikelihood`.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    class Timed(HFLM):
        seconds = 0.0

        def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = super().loglikelihood(*args, **kwargs)
            self.seconds += time.perf_counter() - started
            return result

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    peer = Timed(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "docs.jsonl"
        file.write_text("\n".join(json.dumps(doc) for doc in docs), encoding="utf-8")
        task = {
            "task": "banking77_local",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": folder},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": template.replace("{text}", "{{text}}"),
            "doc_to_choice": choices,
            "doc_to_target": "label",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        output = simple_evaluate(
            model=peer, tasks=[task], num_fewshot=0, bootstrap_iters=0, log_samples=True
        )
    samples = sorted(output["samples"]["banking77_local"], key=lambda sample: sample["doc_id"])
    return [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples], peer.seconds


def agreement(ours: Likelihoods, peers: Likelihoods) -> dict[str, Any]:
    same = sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(ours, peers, strict=True))
    apart = max(
        abs(x - y) for a, b in zip(ours, peers, strict=True) for x, y in zip(a, b, strict=True)
    )
    return {"compared_rows": len(ours), "same_picks": same, "largest_difference_in_nats": apart}


if __name__ == "__main__":
    main()
