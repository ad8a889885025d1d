"""The records that flow through tunesmith, one type per arrow. No logic, no torch.

Row --template--> Example --split--> Example --tokenize--> TokenizedExample --plan--> batches
    Example --generate--> Prediction --score--> Evaluation x 2 --compare--> Comparison
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IGNORE_INDEX = -100
"""The label of a position that is not trained (Hugging Face's convention)."""

SPLITS = ("train", "validation", "test")
Split = Literal["train", "validation", "test"]


Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """What is wrong with rows or a template, found before anything is trained.

    `name` is one of data/lint/names.py, and what `data.allow` takes. `rows` are a few that show it
    (`file:line`), `hint` is what to do about it, `template` is set where one template is meant.
    """

    name: str
    severity: Severity
    message: str
    rows: tuple[str, ...] = ()
    hint: str = ""
    template: str = ""

    @property
    def text(self) -> str:
        """All of it in one line."""
        what = f"{self.name}: {self.message}"
        return f"{what}; {self.hint}" if self.hint else what


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled row as read: `source` is `file:line` (or `file:record` where a format has no
    lines).
    """

    id: str
    values: Mapping[str, Any]
    source: str


class Turn(NamedTuple):
    """One message of a conversation. `keys` is JSON of the other keys that a chat template may read
    (name, tool_calls, tool_call_id, reasoning_content ...), sorted by key; empty where there are
    none.
    """

    role: str
    content: str
    keys: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt and its completion.

    `prompt` is the text of the last turn before the answer, as a rule the user's (`asked_by`);
    `history` holds the turns before it, the system turn included, and is empty for a template's
    examples. `prompt_keys` and `answer_keys` are those messages' other keys, as in Turn, and
    `tools` is a JSON list. `references` are all answers that count as right, the completion first.
    `choices` is empty for free text. Examples of one `group` are never on two sides of a split.
    `task` is that of its source in a mixture of several tasks.
    """

    id: str
    row_id: str
    template: str
    prompt: str
    completion: str
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    history: tuple[Turn, ...] = ()
    group: str = ""
    split: str = "train"
    source: str = ""
    asked_by: str = "user"
    prompt_keys: str = ""
    answer_keys: str = ""
    tools: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class Unserved:
    """Why the chat template cannot write a conversation."""

    detail: str


@dataclass(frozen=True, slots=True)
class Written:
    """What the template makes of an example; `answer` follows `prompt` and ends with the stop
    token.

    `remarks` say what it changed, in words that fit many rows.
    """

    prompt: str
    answer: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """Token ids and labels of one example; same length, not shifted (the loss shifts, once).

    `labels[i]` is `input_ids[i]` where position i is trained, else IGNORE_INDEX. The first
    `num_prompt_tokens` labels are IGNORE_INDEX; the last trained label is a stop token. `remarks`
    say what the chat template changed in the texts.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    num_prompt_tokens: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to one example's prompt.

    `text` is the answer without special tokens; `stopped` is False when the token budget ended it.
    `choice_logprobs[i]` is log p(choice i + stop token | prompt) in nats; empty when not scored.
    `choice_logprobs_without_stop[i]` is log p(choice i | prompt), as other harnesses rank choices.
    `reference_logprob` is the same of the completion, `reference_tokens` its tokens with the stop
    token; 0 tokens when not scored. `token_ids` are the answer's as they were generated, without
    the stop token: the same text can be written in other tokens. Empty where no model wrote it.
    """

    example_id: str
    text: str
    stopped: bool
    num_tokens: int
    choice_logprobs: tuple[float, ...] = ()
    reference_logprob: float = 0.0
    reference_tokens: int = 0
    token_ids: tuple[int, ...] = ()
    choice_logprobs_without_stop: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean that is never shown without its n and interval (`ci` is (low, high), 95 % unless
    said). Where no interval would hold, `ci` is (nan, nan) and `note` says why.
    """

    mean: float
    n: int
    se: float
    ci: tuple[float, float]
    note: str = ""


class ClassScores(TypedDict):
    """Precision, recall and F1 of one class, and its n rows."""

    label: str
    precision: float
    recall: float
    f1: float
    n: int


class Confusion(TypedDict):
    """`counts[i][j]`: rows of class i answered as class j; the last column could not be read."""

    labels: list[str]
    counts: list[list[int]]


class ClassReport(TypedDict):
    """What a metric by class adds to an evaluation's details."""

    per_class: list[ClassScores]
    confusion: Confusion


class EvaluationDetails(TypedDict, total=False):
    """What an evaluation says beside its estimates, as report.json shows it.

    `given_valid` are the metrics over the answers in the right format alone; `signatures` are
    sacrebleu's. `per_class` and `confusion` are there for metrics by class.
    """

    parser: str
    warnings: list[str]
    per_class: list[ClassScores]
    confusion: Confusion
    signatures: dict[str, str]
    given_valid: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One system (base, base_few_shot, tuned, majority ...) on one split.

    `scores[metric][i]` belongs to `example_ids[i]`; `estimates[metric]` is its summary. Corpus
    metrics (macro_f1, bleu ...) have an estimate and no per-example score. `rows[metric]` is
    rows_ND, one row for each example, from which the metric is computed on any resample of the
    examples; it is not written to reports. `tasks` are those that a mixture's evaluation is made
    of, by name.
    """

    system: str
    split: str
    example_ids: Sequence[str]
    clusters: Sequence[str]
    predictions: Sequence[Prediction]
    scores: Mapping[str, Sequence[float]]
    estimates: Mapping[str, Estimate]
    details: EvaluationDetails = field(default_factory=EvaluationDetails)
    rows: Mapping[str, npt.NDArray[np.float64]] = field(
        default_factory=dict, repr=False, compare=False
    )
    tasks: Mapping[str, TaskEvaluation] = field(default_factory=dict, repr=False, compare=False)


class TaskEvaluation(NamedTuple):
    """One task of a mixture: its primary metric, and a system on its rows."""

    metric: str
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Comparison:
    """`b` minus `a` on one metric, paired by example. `wins`: examples where b scores higher than
    a. Where no interval would hold, `ci` is (nan, nan) and `note` says why.

    `smallest_detectable` is nan where these rows cannot show any gain. With several trainings
    (`runs`) of b, everything is about their mean, and `se_runs` is the part of the standard error
    that more test rows would not take away.
    """

    a: str
    b: str
    metric: str
    difference: float
    se: float
    se_clustered: float
    ci: tuple[float, float]
    p: float
    wins: int
    ties: int
    losses: int
    n: int
    clusters: int
    smallest_detectable: float
    test: str = ""
    note: str = ""
    runs: int = 1
    se_runs: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """One task of a mixture: each system's estimate of its primary metric, and the tuned model
    against the best of the systems that a verdict compares with (`kind`, as in evaluate.verdict).

    `p_holm` is adjusted for all tasks of the report.
    """

    task: str
    held_out: bool
    metric: str
    n: int
    estimates: Mapping[str, Estimate]
    comparison: Comparison
    p_holm: float
    kind: str


@dataclass(frozen=True, slots=True)
class OverTasks:
    """The mean over the tasks that have a place in it (`left_out` have none): `means` by system,
    and the tuned model against the best of them.

    `these` is the comparison over these tasks, `others` the same difference with the tasks as a
    sample of tasks.
    """

    held_out: bool
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    means: Mapping[str, Estimate]
    these: Comparison
    others: Comparison

    @property
    def comparison(self) -> Comparison:
        """The one that answers the question: of trained tasks, is it better on these; of held-out
        ones, is it better on tasks that it never saw?
        """
        return self.others if self.held_out else self.these


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What a mixture's report says of its tasks. A mean is None where no task has a place in it."""

    verdicts: tuple[TaskVerdict, ...]
    trained: OverTasks | None
    held_out: OverTasks | None


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """One held-out text or task of `evaluation.panel`, before and after training.

    `difference` is after minus before, `ci` its paired interval; `detectable` is the smallest
    change that `n` rows show with 80 % power, None where it cannot be told. Where no interval would
    hold, `ci` is (nan, nan) and `note` says why. `p` is that of the paired test.
    """

    name: str
    metric: str
    before: float
    after: float
    difference: float
    ci: tuple[float, float]
    detectable: float | None
    n: int = 0
    note: str = ""
    p: float | None = None


Answer = Literal["yes", "no", "cannot tell", "not measured"]
QuestionName = Literal["task", "cheaper", "kept"]


@dataclass(frozen=True, slots=True)
class Question:
    """One of the three questions and its answer.

    `gain` is what the answer rests on, in the metric's own unit and positive where the tuned model
    is better, with its interval `ci`; `margin` is the gain that counts or, for "kept", the loss
    that would be too much. `before` and `after` are the levels of `against` (a system, a text or a
    task) and of the tuned model. All are nan where nothing was measured.
    """

    name: QuestionName
    title: str
    answer: Answer
    sentence: str
    metric: str = ""
    against: str = ""
    gain: float = nan
    ci: tuple[float, float] = (nan, nan)
    margin: float = nan
    before: float = nan
    after: float = nan


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A system of which many answers could not be read.

    `share`, from 0 to 1, could not be read. `ranked` is the tuned model against it (where it is the
    tuned model itself, against the base) by the likeliest label, which needs no reading, with the
    two `levels`; None where the labels' likelihoods are not known.
    """

    system: str
    share: float
    ranked: Comparison | None = None
    levels: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class TwinScores:
    """`rows_with_twin` of the `rows` test rows have a near-twin in training.

    `without` is the verdict's comparison on the others alone, `levels` the reference system's and
    the tuned model's value there; None where no row has a twin, or too few are without one.
    """

    rows: int
    rows_with_twin: int
    sentence: str
    without: Comparison | None = None
    levels: tuple[float, float] | None = None
