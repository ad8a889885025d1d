"""Answers on disk: evaluation/SYSTEM/SPLIT.parquet, from which everything else can be computed
again.
"""

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
    """One row for each example, prompt and reference beside the answer, for a reader without
    tunesmith.
    """
    records = [
        {
            "example_id": example.id,
            "prompt": example.prompt,
            "reference": example.completion,
            "text": prediction.text,
            "stopped": prediction.stopped,
            "num_tokens": prediction.num_tokens,
            "choice_logprobs": list(prediction.choice_logprobs),
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


def read_predictions(run: RunDir, system: str, split: str) -> tuple[list[Prediction], float]:
    """The predictions in the examples' order, and the seconds they took."""
    records = pq.read_table(run.predictions(system, split)).to_pylist()
    predictions = [
        Prediction(
            r["example_id"],
            r["text"],
            r["stopped"],
            r["num_tokens"],
            tuple(r["choice_logprobs"] or ()),
            r.get("reference_logprob", 0.0),
            r.get("reference_tokens", 0),
        )
        for r in records
    ]
    return predictions, float(records[0]["seconds"])
