"""The review page keeps the votes of an evening that was interrupted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from support import example

from tunesmith.evaluate.preference import AnswerPair, PairSample
from tunesmith.evaluate.review import make_review
from tunesmith.report.review_page import review_page


def test_a_reload_loses_no_vote(open_page: Any, tmp_path: Path) -> None:
    shown = tuple(AnswerPair(f"e{i}", f"c{i}", f"a {i}", f"b {i}") for i in range(4))
    review = make_review("base", "tuned", PairSample(shown, 4, 0), random.Random(0))
    file = tmp_path / "page.html"
    examples = {f"e{i}": example(i, "Ask") for i in range(4)}
    file.write_text(review_page(review, examples), encoding="utf-8")
    page = open_page(file)
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.reload()
    assert "2 of 4 voted" in page.inner_text("body")
    assert page.complaints == []
    page.context.close()
    another = open_page(file)  # of somebody else
    assert "0 of 4 voted" in another.inner_text("body")
    another.context.close()
