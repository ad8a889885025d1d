"""Which metrics fit which answers, found on the right answers alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tunesmith.errors import DataError
from tunesmith.evaluate.fitness import SAMPLE, check_fitness, find_misfit, sampled
from tunesmith.evaluate.metrics import METRICS, Metric, find_metric, per_example, semantic, table
from tunesmith.evaluate.metrics.likelihood import METRICS as LIKELIHOODS
from tunesmith.recipe import metric_options
from tunesmith.records import Example

NEED_A_MODEL = {*LIKELIHOODS, semantic.NAME}  # test_semantic.py has the latter

TEXTS = {
    "English": ["The cat sleeps on the sofa.", "The train left at eight.", "It rains a lot."],
    "German": ["Die Katze schläft auf dem Sofa.", "Der Zug fährt um acht.", "Es ist still hier."],
    "Russian": ["Кошка спит на диване.", "Google вырос на 5 процентов.", "Поезд уходит в 8."],
    "Arabic": ["القط نائم على الأريكة", "ذهب الولد إلى المدرسة صباحا", "الطقس جميل جدا اليوم"],
    "Hindi": ["बिल्ली सोफे पर सो रही है।", "लड़का सुबह स्कूल गया।", "आज मौसम बहुत अच्छा है।"],
    "Korean": ["고양이가 소파 위에서 잔다.", "소년은 아침에 학교에 갔다.", "오늘 날씨가 좋다."],
    "Thai": ["แมวนอนหลับอยู่บนโซฟา", "เด็กชายไปโรงเรียนตอนเช้า", "วันนี้อากาศดีมาก"],
    "Japanese": ["猫はソファで寝ています。", "男の子は学校に行きました。", "今日は天気がいい。"],
    "Chinese": ["猫在沙发上睡觉。", "男孩早上去了学校。", "今天天气很好。"],
    "Chinese with numbers": ["2023年收入增长了5%。", "2022年下降了3%。", "2021年没有收入。"],
    "emoji": ["👍 🙂", "😂 😂 😂", "❤️ 👍"],
}  # fmt: skip
SPACED = {"English", "German", "Russian", "Arabic", "Hindi", "Korean"}
ROUGE_READS = {"English", "German"}


def examples(
    texts: Sequence[str], choices: tuple[str, ...] = (), others: tuple[str, ...] = ()
) -> list[Example]:
    return [
        Example(f"{i}", f"{i}", "", "", text, (text, *others), choices, source=f"rows.csv:{i + 2}")
        for i, text in enumerate(texts)
    ]


def fits(metric: str, texts: Sequence[str], **options: str) -> bool:
    found = find_misfit(metric, examples(texts), "text", metric_options({"bleu": options}))
    return found is None or found.fits


@pytest.mark.parametrize("language", TEXTS)
def test_each_metric_is_let_through_for_the_scripts_that_it_reads(language: str) -> None:
    texts = TEXTS[language]
    assert {name: fits(name, texts) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")} == (
        dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), language in ROUGE_READS)
    )
    assert fits("bleu", texts) == (language in SPACED)
    words = language in SPACED or language == "emoji"
    assert {name: fits(name, texts) for name in ("token_f1", "ter")} == {
        "token_f1": words,
        "ter": words,
    }
    assert fits("chrf", texts)
    assert fits("exact_match", texts)


@pytest.mark.parametrize(
    ("language", "tokenizers"),
    [("Chinese", ["zh", "char"]), ("Japanese", ["char"]), ("Thai", ["char"])],
)
def test_bleu_fits_with_the_tokenizer_of_the_script(language: str, tokenizers: list[str]) -> None:
    for tokenize in tokenizers:
        assert fits("bleu", TEXTS[language], tokenize=tokenize)
    assert not fits("bleu", TEXTS[language], tokenize="intl")


def test_the_error_names_the_row_what_it_scored_and_a_metric_that_fits() -> None:
    rows = examples(TEXTS["Chinese"])
    with pytest.raises(DataError) as caught:
        check_fitness(rows, ["rougeL"], [], "text")
    assert str(caught.value) == (
        "rougeL takes the right answer for wrong in 3 of 3 rows: the right answer of rows.csv:2, "
        "'猫在沙发上睡觉。', scores 0, and 1 is perfect\n"
        "hint: use chrf: evaluation.metrics=[chrf] in a recipe, --metric chrf for `tunesmith score`"
    )
    with pytest.raises(DataError, match=r"hint: set evaluation.metric_options.bleu.tokenize=zh"):
        check_fitness(rows, ["bleu"], [], "text")
    with pytest.raises(DataError, match=r"hint: set evaluation.metric_options.bleu.tokenize=char"):
        check_fitness(examples(TEXTS["Thai"]), ["bleu"], [], "text")
    assert (
        check_fitness(rows, ["bleu"], [], "text", metric_options({"bleu": {"tokenize": "zh"}}))
        == []
    )


def test_digits_that_are_all_that_is_read_are_no_answer() -> None:
    found = find_misfit("rougeL", examples(TEXTS["Chinese with numbers"]), "text")
    assert found is not None
    assert "reads none of the letters in 3 of 3 rows: for rows.csv:2" in str(found)


def test_a_metric_that_only_is_shown_is_noted_and_stops_nothing() -> None:
    notes = check_fitness(
        examples(TEXTS["Chinese"]), ["chrf"], ["rougeL", "rouge1", "chrf"], "text"
    )
    assert notes == [
        "rougeL, rouge1 takes the right answer for wrong in 3 of 3 rows: the right answer of "
        "rows.csv:2, '猫在沙发上睡觉。', scores 0, and 1 is perfect"
    ]


def test_some_answers_that_a_metric_cannot_read_are_noted_with_their_share() -> None:
    texts = [*(f"sentence number {i} is here" for i in range(9)), "👍"]
    assert check_fitness(examples(texts), ["rougeL"], [], "text") == [
        "rougeL takes the right answer for wrong in 1 of 10 rows: the right answer of "
        "rows.csv:11, '👍', scores 0, and 1 is perfect"
    ]
    assert check_fitness(examples(texts[:9]), ["rougeL"], [], "text") == []


def test_a_metric_that_takes_any_answer_for_right_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a reader took the digits after a decimal comma for the number."""
    blind = Metric("Blind", per_example(lambda a: [1.0] * len(a.texts)), parsers=("number",))
    monkeypatch.setitem(METRICS, "number", blind)
    with pytest.raises(DataError) as caught:
        check_fitness(examples(["1,5", "2,5", "3,5"]), ["number"], [], "number")
    assert str(caught.value) == (
        "number takes the right answer of another row for right in 3 of 3 rows: for rows.csv:2, "
        "where '1,5' is right, '2,5' scores 1, and 1 is perfect\n"
        "hint: use exact_match: evaluation.metrics=[exact_match] in a recipe, "
        "--metric exact_match for `tunesmith score`"
    )


def test_the_same_number_written_in_two_ways_is_one_answer() -> None:
    assert find_misfit("number", examples(["5", "5.0", "5"]), "number") is None
    assert (
        find_misfit("json_f1", examples(['{"a": 1, "b": 2}', '{"b": 2, "a": 1}']), "json") is None
    )


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "micro_f1", "weighted_f1"])
def test_labels_are_tried_row_by_row_so_that_a_class_may_be_missing(name: str) -> None:
    rows = examples(["yes", "no", "yes"], ("yes", "no", "perhaps"))
    assert find_misfit(name, rows, "choice") is None
    same = examples(["a!", "a?"], ("a!!", "a??"))  # neither is one of its choices
    found = find_misfit(name, same, "choice")
    assert found is not None


@pytest.mark.parametrize("name", [name for name in METRICS if name not in NEED_A_MODEL])
def test_every_metric_fits_answers_that_it_is_made_for(name: str) -> None:
    texts = {
        "number": ["-7", "3", "4.5", "12"],  # in order, as rows often are
        "json": ['{"a": 1}', '{"a": [2, "x"]}', "[3]"],
        "choice": ["yes", "no", "perhaps"],
        "text": TEXTS["English"],
        "labels": ["joy\nanger", "fear", "none", "joy, or not"],
        "tags": ["Ada B-PER\nleft O", "in O\nCork B-LOC", "it O\nrains O"],
    }
    for parser in METRICS[name].parsers:
        rows = examples(texts[parser], tuple(texts[parser]) if parser == "choice" else ())
        assert find_misfit(name, rows, parser) is None, parser


def test_each_of_several_right_answers_is_tried() -> None:
    rows = examples(["a cat", "the dog"], others=("👍",))
    found = find_misfit("rougeL", rows, "text")
    assert found is not None
    assert (found.failed, found.tried, found.answer) == (2, 4, "👍")
    assert found.fits


def test_a_reference_that_cannot_be_read_is_named() -> None:
    with pytest.raises(DataError, match=r"rows.csv:3 \(1\): the reference 'none' is not a number"):
        check_fitness(examples(["3", "none"]), ["number"], [], "number")


def test_what_an_installed_metric_calls_perfect_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Metric("Words", per_example(lambda a: [float(len(t.split())) for t in a.texts]))
    monkeypatch.setattr(table, "_load", lambda name: other)
    monkeypatch.setattr(table, "_installed", lambda: {"words": None})
    assert find_metric("words") is other
    assert find_misfit("words", examples(TEXTS["English"]), "text") is None


def test_the_sample_is_small_always_the_same_and_smaller_of_long_answers() -> None:
    short, long = examples([f"a{i}" for i in range(1000)]), examples(["word " * 400] * 1000)
    assert len(sampled(short)) == SAMPLE
    assert sampled(short) == sampled(short)
    assert [e.id for e in sampled(short)] == sorted((e.id for e in sampled(short)), key=int)
    assert len(sampled(long)) == 20
    assert sampled(short[:3]) == short[:3]
    assert sampled([]) == []
    assert check_fitness([], ["rougeL"], [], "text") == []
