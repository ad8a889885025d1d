"""The systems that a report compares, in the order in which it shows them.

To add one, enter it here and write its answers: `baselines.py` for a system without a model,
`pipeline.evaluate` for one with a model. Nothing heavy is imported here, because the command line
and every part of a report read the names.
"""

from __future__ import annotations

from dataclasses import dataclass

BASE = "base"
BASE_FEW_SHOT = "base_few_shot"
LIKELIEST = {BASE: "base_likeliest", BASE_FEW_SHOT: "base_few_shot_likeliest"}
"""The systems that take the likeliest of a row's choices, by the one whose likelihoods they are. A
base model may know the right label and not know how to write it."""
LINEAR = "tfidf_linear"
"""The linear baseline. It is never the reference system; it has a question of the headline for
itself: it is far cheaper than a model and knows nothing but the training rows."""
TUNED = "tuned"
"""The model that the verdict is about."""


@dataclass(frozen=True)
class System:
    """One system: its name in files and JSON, its title in reports.

    With `reference` it is one of those of which the best is the verdict's reference system.
    """

    name: str
    title: str
    reference: bool = False


_ALL = (
    System(BASE, "Base model", reference=True),
    System(BASE_FEW_SHOT, "Base model, few-shot", reference=True),
    System(LIKELIEST[BASE], "Base model, likeliest label", reference=True),
    System(LIKELIEST[BASE_FEW_SHOT], "Base model, few-shot, likeliest label", reference=True),
    System("majority", "Most frequent answer", reference=True),
    System("constant", "Best constant answer", reference=True),
    System("copy", "Copy of the input", reference=True),
    System(LINEAR, "Linear model (TF-IDF)"),
    System(TUNED, "Tuned model"),
)
SYSTEMS: dict[str, System] = {system.name: system for system in _ALL}
