"""The built-in rows: enough of them, balanced, consistent, and each one written for itself."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import tunesmith

ASSETS = Path(tunesmith.__file__).parent / "assets"
with (ASSETS / "reviews.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def test_there_are_at_least_600_balanced_reviews_with_the_promised_columns() -> None:
    assert len(ROWS) >= 600
    assert list(ROWS[0]) == ["id", "review", "sentiment", "stars", "product", "title"]
    counts = Counter(row["sentiment"] for row in ROWS)
    assert set(counts) == {"positive", "negative"}
    assert max(counts.values()) / len(ROWS) <= 0.55
    assert len({row["id"] for row in ROWS}) == len(ROWS)


def test_no_two_reviews_share_a_run_of_six_words() -> None:
    seen: dict[tuple[str, ...], str] = {}
    for row in ROWS:
        words = re.findall(r"[a-z0-9']+", row["review"].lower())
        for run in {tuple(words[i : i + 6]) for i in range(len(words) - 5)}:
            assert run not in seen, f"{row['id']} and {seen[run]}: {' '.join(run)}"
            seen[run] = row["id"]


def test_stars_agree_with_the_sentiment() -> None:
    for row in ROWS:
        allowed = {"3", "4", "5"} if row["sentiment"] == "positive" else {"1", "2", "3"}
        assert row["stars"] in allowed, row["id"]


def test_the_assets_are_at_most_12_megabytes() -> None:
    assert sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file()) <= 12_000_000
