"""Answers on disk, evaluation/SYSTEM/SPLIT.parquet: all else can be computed from them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.errors import DataError
from tunesmith.records import Example, Prediction
from tunesmith.rundir import RunDir, appearing


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
    with appearing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(records), temporary)


def read_predictions(run: RunDir, system: str, split: str) -> list[Prediction]:
    """The predictions in the order of the examples; DataError where the file is damaged."""
    path = run.predictions(system, split)
    try:
        return [_prediction(record) for record in pq.read_table(path).to_pylist()]
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise DataError(
            f"{path}: not readable as answers: {what}",
            hint=f"`tunesmith evaluate {run.path}` writes them again, which is a further use of "
            "the test split",
        ) from error


def _prediction(record: Mapping[str, Any]) -> Prediction:
    return Prediction(
        record["example_id"],
        record["text"],
        record["stopped"],
        record["num_tokens"],
        tuple(record["choice_logprobs"] or ()),
        record.get("reference_logprob", 0.0),
        record.get("reference_tokens", 0),
        tuple(record.get("token_ids") or ()),
        tuple(record.get("choice_logprobs_without_stop") or ()),
    )
