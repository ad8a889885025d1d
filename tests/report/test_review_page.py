"""The review page in a browser: the keys vote, and the file is right."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from support import example

from tunesmith.evaluate.preference import AnswerPair, PairSample
from tunesmith.evaluate.review import Review, Vote, make_review, read_votes
from tunesmith.report.review_page import review_page
from tunesmith.rundir import write_json

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def review() -> Review:
    shown = tuple(AnswerPair(f"e{i}", f"c{i}", f"a {i}", f"b {i}") for i in range(4))
    return make_review("base", "tuned", PairSample(shown, 4, 0), random.Random(0))


def page_of(review: Review) -> str:
    return review_page(review, {f"e{i}": example(i, "<script>Ask</script>") for i in range(4)})


def dumped(folder: Path, page: str) -> str:
    """The page's DOM after its scripts have run."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=2000"]  # what the page awaits has come
    command += [f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def with_script(page: str, script: str) -> str:
    """The page as a person's browser has it, and a script in the place of the person."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    return page.replace("</body>", f"<script>{script}</script></body>")


PRESS = """
const press = (key, more) => document.dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, ...more }));
"""
SAVE = """
URL.createObjectURL = (blob) => { blob.text().then((text) => {
  document.documentElement.dataset.saved = text; }); return "blob:x"; };
HTMLAnchorElement.prototype.click = function () {
  document.documentElement.dataset.name = this.download; };
document.getElementById("save").click();
"""


def test_the_page_s_own_script_runs_under_its_policy(review: Review, tmp_path: Path) -> None:
    dom = dumped(tmp_path, page_of(review))
    # the script alone sets these
    assert dom.count('aria-pressed="false"') == 3
    assert dom.count('<article class="pair"') == 4
    assert len(re.findall(r'<article class="pair"[^>]* hidden', dom)) == 3


def test_a_foreign_script_does_not_run_under_the_page_s_policy(
    review: Review, tmp_path: Path
) -> None:
    foreign = "<script>document.documentElement.dataset.ran = 'yes'</script></body>"
    assert "data-ran" not in dumped(tmp_path, page_of(review).replace("</body>", foreign))


def test_keys_vote_and_move_on_and_the_file_holds_the_votes(review: Review, tmp_path: Path) -> None:
    script = (
        PRESS
        + """
    press("1"); press("ArrowRight"); press("0"); press("b"); press("2");
    press("3"); press("1", { ctrlKey: true }); press("1", { repeat: true });
    document.getElementById("rater").value = "  Ann/Ä ";
    """
    )
    dom = dumped(tmp_path, with_script(page_of(review), script + SAVE))
    assert "3 of 4 voted" in dom
    saved = unescape(re.findall(r'data-saved="([^"]*)"', dom)[0])
    path = tmp_path / "votes.json"
    write_json(path, json.loads(saved))
    votes = read_votes(path)
    assert (votes.review, votes.rater) == (review.id, "Ann/Ä")
    # the third pair was a tie, then after going back answer 2
    chosen = ["left", "right", "right"]
    assert list(votes.votes) == [
        Vote(pair.id, choice)  # type: ignore[arg-type]
        for pair, choice in zip(review.pairs, chosen, strict=False)
    ]
    assert f'data-name="votes-{review.id}-Ann-Ä.json"' in dom


def test_nothing_is_saved_without_a_name(review: Review, tmp_path: Path) -> None:
    dom = dumped(tmp_path, with_script(page_of(review), PRESS + 'press("1");' + SAVE))
    assert "Enter your name first" in dom
    assert "data-saved" not in dom
