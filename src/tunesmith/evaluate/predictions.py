"""Answers on disk, evaluation/SYSTEM/SPLIT.parquet: all else can be computed from them again."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.records import Example, Prediction
from tunesmith.rundir import RunDir


def write_predictions(
    run: RunDir,
    system: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seconds: float = 0.0,
) -> None:
    """One row for each example; prompt and reference are for readers without tunesmith, as are the
    `seconds` that all answers took together.
    """
    records = [
        {
            "example_id": example.id,
            "prompt": example.prompt,
            "reference": example.completion,
            "text": prediction.text,
            "stopped": prediction.stopped,
            "num_tokens": prediction.num_tokens,
            "token_ids": list(prediction.token_ids),
            "choice_logprobs": list(prediction.choice_logprobs),
            "choice_logprobs_without_stop": list(prediction.choice_logprobs_without_stop),
            "reference_logprob": prediction.reference_logprob,
            "reference_tokens": prediction.reference_tokens,
            "seconds": seconds,
        }
        for example, prediction in zip(examples, predictions, strict=True)
    ]
    path = run.predictions(system, examples[0].split)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(records), temporary)
    temporary.replace(path)


def read_predictions(run: RunDir, system: str, split: str) -> list[Prediction]:
    """The predictions in the order of the examples."""
    records = pq.read_table(run.predictions(system, split)).to_pylist()
    return [
        Prediction(
            r["example_id"],
            r["text"],
            r["stopped"],
            r["num_tokens"],
            tuple(r["choice_logprobs"] or ()),
            r.get("reference_logprob", 0.0),
            r.get("reference_tokens", 0),
            tuple(r.get("token_ids") or ()),
            tuple(r.get("choice_logprobs_without_stop") or ()),
        )
        for r in records
    ]
