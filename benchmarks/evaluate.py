"""Choice likelihoods, tunesmith beside lm-evaluation-harness: the same model, rows, prompts and 77 choices.

    pip install lm-eval
    python benchmarks/evaluate.py --model HuggingFaceTB/SmolLM2-135M --rows 100

The task is banking77 as a local multiple-choice task of the harness; both get the same loaded model in float32. The
prompt lists the labels as a classification prompt does (`--plain`: it does not, for models with a short context). A
measurement is the time from texts to log-likelihoods: of the harness its `loglikelihood` (tokenising included, reading
the task and bootstrapping not), with each of `--peer-batch-size`, of which the fastest is kept; of tunesmith tokenising
and `choice_logprobs`. Both are measured in turn `--repeats` times and the fastest kept. The result says whether every
row's pick is the same and how far the log-likelihoods are apart, before it says how fast.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tunesmith.evaluate.choices import choice_logprobs
from tunesmith.model import load_model, load_tokenizer

PLAIN = "A customer writes to a bank. Name the topic of the message.\nMessage: {text}\nTopic:"
LISTED = "A customer writes to a bank. Name the topic of the message, one of: {labels}.\nMessage: {text}\nTopic:"
Likelihoods = list[list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder or hub id")
    parser.add_argument(
        "--data", default="../shared/data/banking77/test.csv", help="csv with the columns text,category"
    )
    parser.add_argument("--rows", type=int, default=100, help="this many rows, spread over the file")
    parser.add_argument("--plain", action="store_true", help="a prompt without the list of labels")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--peer-batch-size", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    docs, choices = read_task(Path(args.data), args.rows)
    template = (PLAIN if args.plain else LISTED).replace("{labels}", ", ".join(choices))
    tokenizer, model = load_tokenizer(args.model), load_model(args.model)
    ours, peers, seconds, peer_seconds = [], [], [], {}
    for _ in range(args.repeats):
        ours, elapsed = tunesmith(model, tokenizer, template, docs, choices, args.batch_tokens)
        seconds.append(elapsed)
        for size in args.peer_batch_size:
            peers, elapsed = harness(model, tokenizer, template, docs, choices, size)
            peer_seconds[size] = min(elapsed, peer_seconds.get(size, elapsed))
    result = {
        "model": args.model,
        "prompt": "plain" if args.plain else "labels listed",
        "choices": len(choices),
        **agreement(ours, peers),
        "tunesmith_rows_per_second": len(docs) / min(seconds),
        "harness_rows_per_second": len(docs) / min(peer_seconds.values()),
        "ratio": min(peer_seconds.values()) / min(seconds),
        "harness_seconds_by_batch_size": peer_seconds,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {model.device}",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lm_eval")},
    }
    print(json.dumps(result, indent=2) if args.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def read_task(path: Path, n: int) -> tuple[list[dict[str, Any]], list[str]]:
    """n rows of the file as documents {text, label}, and all labels as words."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    choices = sorted({row["category"].replace("_", " ") for row in rows})
    step = max(1, len(rows) // n)
    chosen = rows[::step][:n]
    return [
        {"text": row["text"].strip(), "label": choices.index(row["category"].replace("_", " "))} for row in chosen
    ], choices


def tunesmith(
    model: Any, tokenizer: Any, template: str, docs: list[dict[str, Any]], choices: list[str], batch_tokens: int
) -> tuple[Likelihoods, float]:
    started = time.perf_counter()
    texts = [template.replace("{text}", doc["text"]) for doc in docs]
    prompts = tokenizer(texts).input_ids
    first = tokenizer([f"{texts[0]} {choice}" for choice in choices]).input_ids
    wanted = [[ids[len(prompts[0]) :] for ids in first]] * len(docs)  # as `tunesmith evaluate`: each choice once
    likelihoods = choice_logprobs(model, prompts, wanted, batch_tokens=batch_tokens)
    return likelihoods, time.perf_counter() - started


def harness(
    model: Any, tokenizer: Any, template: str, docs: list[dict[str, Any]], choices: list[str], batch_size: int
) -> tuple[Likelihoods, float]:
    """The log-likelihoods of lm-evaluation-harness, by row, and the seconds spent in its `loglikelihood`."""
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
        output = simple_evaluate(model=peer, tasks=[task], num_fewshot=0, bootstrap_iters=0, log_samples=True)
    samples = sorted(output["samples"]["banking77_local"], key=lambda sample: sample["doc_id"])
    return [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples], peer.seconds


def agreement(ours: Likelihoods, peers: Likelihoods) -> dict[str, Any]:
    same = sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(ours, peers, strict=True))
    apart = max(abs(x - y) for a, b in zip(ours, peers, strict=True) for x, y in zip(a, b, strict=True))
    return {"rows": len(ours), "same_picks": same, "largest_difference_in_nats": apart}


if __name__ == "__main__":
    main()
