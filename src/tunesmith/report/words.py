"""Plain words for what a report measures, with the term in brackets, and what the terms mean."""

from __future__ import annotations

from tunesmith.report.content import Report
from tunesmith.report.format import in_sentence, metric_name, percent
from tunesmith.report.tables import Table, TableRow

PLAIN = {
    "accuracy": "Right answers",
    "macro_f1": "Right answers, every class counting alike",
    "weighted_f1": "Right answers, classes counting by their rows",
    "micro_f1": "Right answers",
    "mcc": "Agreement with the right classes",
    "exact_match": "Answers that are right word for word",
    "squad_em": "Answers that are right word for word",
    "number": "Right numbers",
    "valid_json": "Answers that are well-formed",
    "json_f1": "Fields with the right value",
    "token_f1": "Words shared with the right answer",
    "rouge1": "Words shared with the right text",
    "rouge2": "Word pairs shared with the right text",
    "rougeL": "Words in order shared with the right text",
    "rougeLsum": "Words in order shared with the right text",
    "bleu": "Closeness to the right translation",
    "chrf": "Closeness to the right translation",
    "ter": "Edits away from the right translation",
    "mae": "Average distance from the right number",
    "rmse": "Distance from the right number, large ones weighing more",
    "exact_set": "Rows with exactly the right labels",
    "jaccard": "Labels shared with the right ones",
    "task_mean": "Average over the tasks",
    "bits_per_byte": "How surprised it is by ordinary text",
}
"""By metric; others are shown by their term alone."""

TERMS = {
    "Base model": "the model before it was trained on these rows",
    "Base model, few-shot": "the base model with a few solved examples before each question",
    "Likeliest label": "of the possible answers the one that the model finds most likely; nothing "
    "that it wrote has to be read",
    "Linear model (TF-IDF)": "counts words and adds up weights: it trains in seconds and costs "
    "next to nothing to run",
    "Test rows": "rows that were set aside before training and opened for this report",
    "[0.71, 0.83]": "the interval in which the true value lies in {confidence} of such tests",
    "p": "how often luck alone gives a difference as large as this one, 0 to 1",
    "Holm's p": "the same, where several questions were asked of the same rows",
    "Won / tied / lost": "test rows on which the tuned model is better, as good, and worse",
    "Detectable": "the smallest difference that so many rows can show; smaller ones go unnoticed",
    "Unreadable": "an answer that is none of those asked for: no label, no number, no valid JSON",
    "Validation rows": "rows that chose the checkpoint and the opponents, so that the test rows "
    "did not",
}


def plain_name(metric: str) -> str:
    """`Right answers (accuracy)`; the term alone where there are no plainer words."""
    title = metric_name(metric)
    return f"{PLAIN[metric]} ({in_sentence(title)})" if metric in PLAIN else title


def terms_table(report: Report) -> Table:
    """What the words of the report mean."""
    level = percent(report.confidence)
    rows = tuple(
        TableRow(term, (meaning.format(confidence=level),)) for term, meaning in TERMS.items()
    )
    return Table(("Term", "Meaning"), rows)
