"""A blind review from page to report."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from judged_run import judged_run, write_answers
from support import example
from typer.testing import CliRunner

from tunesmith import cli, stages
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError, InputError
from tunesmith.evaluate.preference import AnswerPair, PairSample
from tunesmith.evaluate.review import BlindPair, Review, make_review
from tunesmith.records import Example, Turn
from tunesmith.report.review_page import review_page
from tunesmith.run_files import read_record
from tunesmith.rundir import RunDir, read_json, write_json
from tunesmith.seal import read_seal

N = 12
EVIL = (
    '</pre></article><script>alert(1)</script><img src=x onerror="alert(1)"> --> \u202e <!-- &lt;'
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    examples = [example(i, prompt="Ask ", completion=f"right {i}") for i in range(N)]
    return judged_run(
        tmp_path / "run",
        examples,
        {
            "base": [f"base {i}" for i in range(N)],
            "base_few_shot": [f"shots {i}" for i in range(N)],
            # the first two say what the few-shot base says
            "tuned": [f"shots {i}" if i < 2 else f"tuned {i}" for i in range(N)],
        },
    )


def review_of(run: RunDir, k: int = 50, against: str | None = None) -> Review:
    page = stages.review.create_review(run, k, against)
    return read_record(page.parent / "key.json", Review)


def vote_file(folder: Path, review: Review, rater: str, /, *choices: str, **changes: Any) -> Path:
    """Votes on the first pairs, as the page saves them; `tuned` and `other` choose a system."""
    votes = []
    for pair, choice in zip(review.pairs, choices, strict=False):
        wanted = {"tuned": "b", "other": "a"}.get(choice)
        side = choice if wanted is None else "left" if pair.left == wanted else "right"
        votes.append({"pair": pair.id, "choice": side})
    path = folder / f"votes-{rater[:20]}.json"
    write_json(path, {"review": review.id, "rater": rater, "votes": votes} | changes)
    return path


# ---- the page


def test_the_page_shows_k_pairs_of_different_answers_and_no_system(run: RunDir) -> None:
    page = stages.review.create_review(run, 5)
    text = page.read_text(encoding="utf-8")
    assert text.count('<article class="pair"') == 5
    # the answers of this test name their systems; the page around them must not
    around = re.sub("(shots|tuned) [0-9]+", "", text).lower()
    assert not re.findall("few.?shot|tuned|base(?!-uri)", around)
    key = read_record(page.parent / "key.json", Review)
    assert (key.a, key.b, key.rows, key.same) == ("base_few_shot", "tuned", N, 2)
    assert not {pair.answers.example_id for pair in key.pairs} & {"e0", "e1"}


def test_sides_and_ids_do_not_follow_from_the_recipe(run: RunDir) -> None:
    first, second = review_of(run), review_of(run)
    assert first.id != second.id
    assert {pair.id for pair in first.pairs}.isdisjoint(pair.id for pair in second.pairs)
    assert {p.answers for p in first.pairs} == {p.answers for p in second.pairs}


def test_each_system_is_about_as_often_on_the_left() -> None:
    shown = tuple(AnswerPair(f"e{i}", f"c{i}", "x", "y") for i in range(400))
    review = make_review("base", "tuned", PairSample(shown, 400, 0), random.Random(1))
    sides = Counter(pair.left for pair in review.pairs)
    assert 160 < sides["a"] < 240
    assert [pair.answers for pair in review.pairs] != list(shown)
    assert len({pair.id for pair in review.pairs}) == 400


def test_a_pair_is_shown_by_its_key() -> None:
    answers = AnswerPair("e", "c", "of a", "of b")
    assert BlindPair("1", "a", answers).sides == ("of a", "of b")
    assert BlindPair("1", "b", answers).sides == ("of b", "of a")
    votes = [
        BlindPair("1", left, answers).vote(c) for left in "ab" for c in ("left", "right", "tie")
    ]  # type: ignore[arg-type]
    assert votes == [0.0, 1.0, 0.5, 1.0, 0.0, 0.5]


class Seen(HTMLParser):
    """Every tag and attribute of a page, and the text of what it marks as text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self._in_pre = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag == "pre":
            self._in_pre = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_pre = self._in_pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_pre:
            self.texts[-1] += data


def evil_page() -> str:
    asked = Example(
        "e", "r", "t", EVIL, "x", history=(Turn("system", EVIL), Turn(EVIL, "an odd role"))
    )
    answers = AnswerPair("e", "c", EVIL, "")
    return review_page(
        Review("0a", "base", "tuned", "", (BlindPair("1f", "a", answers),), 1, 0), {"e": asked}
    )


def test_a_row_s_markup_is_shown_and_never_is_markup() -> None:
    seen = Seen()
    seen.feed(evil_page())
    assert (seen.tags["script"], seen.tags["img"], seen.tags["article"]) == (1, 0, 1)
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert [text.strip("\n") for text in seen.texts] == [EVIL, "an odd role", EVIL, EVIL]


def test_the_page_may_run_its_own_script_alone_and_load_nothing() -> None:
    page = evil_page()
    policy = page.partition('Content-Security-Policy" content="')[2].partition('">')[0]
    assert "default-src &#39;none&#39;" in policy
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy
    for word in ("http://", "https://", "src=", "@import", "url(", "fetch(", "XMLHttpRequest"):
        assert word not in page.replace("<img src=x onerror", "").replace("&lt;img src=x", "")


def test_each_page_is_a_use_of_the_test_split(run: RunDir) -> None:
    review = review_of(run, 3)
    uses = read_seal(run).uses
    assert [use.purpose for use in uses] == [f"3 rows shown to people (review {review.id})"]
    review_of(run, 3)
    assert len(read_seal(run).uses) == 2


def test_the_other_system_can_be_named(run: RunDir) -> None:
    assert review_of(run, against="base").a == "base"
    with pytest.raises(DataError, match="did you mean 'base'"):
        review_of(run, against="bas")
    with pytest.raises(DataError, match="no answers of 'tuned'"):
        review_of(run, against="tuned")
    assert len(read_seal(run).uses) == 1


def test_a_run_without_answers_cannot_be_reviewed(run: RunDir) -> None:
    run.evaluated.unlink()
    with pytest.raises(DataError, match="not evaluated yet"):
        review_of(run)


# ---- votes


def test_votes_of_two_people_come_to_a_section_of_the_report(run: RunDir, tmp_path: Path) -> None:
    review = review_of(run)
    assert len(review.pairs) == 10
    files = [
        vote_file(tmp_path, review, "Ann", *["tuned"] * 7, "tie", "other", "other"),
        vote_file(tmp_path, review, "Ben", *["tuned"] * 6, "tie"),
    ]
    stages.review.add_votes(run, files)
    found = stages.report.report(run)["preferences"]
    assert len(found) == 1
    count, agreed = found[0]["count"], found[0]["agreement"]
    # the seventh pair: one for tuned, one tie
    assert (count["wins"], count["ties"], count["losses"]) == (7, 1, 2)
    assert count["win_rate"]["mean"] == pytest.approx((6 + 0.75 + 0.5) / 10)
    assert count["p"] == pytest.approx(2 * (1 + 9 + 36) / 2**9)  # 7 of 9
    assert (agreed["agreed"], agreed["common"]) == (pytest.approx(6 / 7), 7)
    assert found[0]["judge"] == "2 people"
    for page in (run.report_html, run.report_md):
        text = page.read_text(encoding="utf-8")
        assert "Which answer is preferred" in text
        assert "7 / 1 / 2" in text
        assert "2 people judged 10 of the 10 test rows" in text
        assert "The test split was opened once" in text


def test_a_report_without_votes_has_no_such_section(run: RunDir) -> None:
    review_of(run)
    assert stages.report.report(run)["preferences"] == []
    assert "is preferred" not in run.report_md.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"review": "ffffffff"}, "votes on review 'ffffffff'"),
        ({"review": "../../x"}, "votes on review '../../x'"),
        ({"rater": "  "}, "is no name"),
        ({"rater": "x" * 101}, "is no name"),
        ({"votes": []}, "no votes in it"),
        ({"votes": [{"pair": "00", "choice": "left"}]}, "pair '00' is not one of review"),
        ({"votes": [{"pair": "00", "choice": "up"}]}, "votes.0.choice"),
        ({"votes": 3}, "votes: Input should be"),
    ],
)
def test_a_file_that_is_not_of_this_review_is_refused(
    run: RunDir, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    review = review_of(run)
    good = vote_file(tmp_path, review, "Good", "left")
    bad = vote_file(tmp_path, review, "Bad", "left", **changes)
    with pytest.raises(DataError) as error:
        stages.review.add_votes(run, [good, bad])
    assert message in str(error.value)
    assert str(bad) in str(error.value)
    assert "hint: " in str(error.value)
    assert stages.review.stored_votes(run, review.id) == []


def test_what_is_no_file_of_votes_is_refused(run: RunDir, tmp_path: Path) -> None:
    review_of(run)
    for name, content in (("a", b"not json"), ("b", b"\xff\xfe"), ("c", b"[]"), ("d", b'"x"')):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match="give the file that the review page saves"):
            stages.review.add_votes(run, [path])
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(DataError, match="give the file that the review page saves"):
            stages.review.add_votes(run, [path])


def test_a_pair_is_voted_on_once_and_so_is_a_review_by_each_person(
    run: RunDir, tmp_path: Path
) -> None:
    review = review_of(run)
    pair = {"pair": review.pairs[0].id, "choice": "left"}
    twice = vote_file(tmp_path, review, "Ann", votes=[pair, pair])
    with pytest.raises(DataError, match="voted on twice"):
        stages.review.add_votes(run, [twice])
    ann = vote_file(tmp_path, review, "Ann", "left")
    again = vote_file(tmp_path, review, " ann", "right")
    with pytest.raises(DataError, match="already in"):
        stages.review.add_votes(run, [ann, again])
    stages.review.add_votes(run, [ann])
    with pytest.raises(DataError, match="already in"):
        stages.review.add_votes(run, [again])
    assert [votes.rater for votes in stages.review.stored_votes(run, review.id)] == ["Ann"]


def test_a_rater_s_name_reaches_no_path_and_no_markup(run: RunDir, tmp_path: Path) -> None:
    review = review_of(run)
    votes = vote_file(tmp_path, review, "x", "tuned", rater="../../<script>alert(1)</script>")
    stages.review.add_votes(run, [votes])
    assert len(list(run.review_votes(review.id).iterdir())) == 1
    stages.report.report(run)
    assert "<script>alert" not in run.report_html.read_text(encoding="utf-8")


def test_votes_on_answers_that_have_changed_are_left_out(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review = review_of(run)
    stages.review.add_votes(run, [vote_file(tmp_path, review, "Ann", "tuned")])
    write_answers(run, "tuned", read_examples(run.examples("test")), ["new"] * N)
    assert stages.report.report(run)["preferences"] == []
    assert f"review {review.id} is left out of the report" in capsys.readouterr().err


# ---- the command


def test_the_command_writes_the_page_and_takes_the_votes_in(run: RunDir, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["review", str(run.path), "--pairs", "4"])
    assert done.exit_code == 0
    page = Path(done.stdout.strip().splitlines()[-1])
    review = read_record(page.parent / "key.json", Review)
    files = [vote_file(tmp_path, review, name, "tuned", "tie") for name in ("Ann", "Ben")]
    args = ["review", str(run.path)]
    for file in files:
        args += ["--votes", str(file)]
    done = CliRunner().invoke(cli.app, [*args, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == read_json(run.report_json)["preferences"]
    assert json.loads(done.stdout)[0]["judge"] == "2 people"
    both = CliRunner().invoke(cli.app, [*args, "--against", "base"])
    assert isinstance(both.exception, InputError)


def test_the_page_s_own_format_is_what_is_read() -> None:
    script = (Path(cli.__file__).parent / "report" / "review.js").read_text(encoding="utf-8")
    assert "JSON.stringify({ review, rater: name, votes: found }" in script

    for choice in ("left", "right", "tie"):
        assert f'data-choice="{choice}"' in evil_page()
