"""Every metric against its reference implementation, on random and adversarial strings, and on
cases done by hand.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sklearn import metrics as sk

from tunesmith.errors import DataError, RecipeError
from tunesmith.evaluate.metrics import (
    METRICS,
    MetricResult,
    check_recipe_metrics,
    find_metric,
    multilabel,
    score_predictions,
    semantic,
    tagging,
)
from tunesmith.evaluate.metrics.likelihood import METRICS as LIKELIHOODS
from tunesmith.evaluate.metrics.translation import check_tokenizer
from tunesmith.recipe import metric_options
from tunesmith.records import Example, Prediction

NEED_A_MODEL = {*LIKELIHOODS, semantic.NAME}  # their tests are elsewhere
LABELS = ("bad", "fair", "good")
WORDS = (
    "the",
    "a",
    "cat",
    "on",
    "12",
    "3,000",
    "don't",
    "U.S.",
    "naïve",
    "猫",
    "кот",
    "👍",
    "x\u0301",
    "Ⅳ",
    "-",
    "%",
    "\n",
)
texts = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text(max_size=30)
answers = st.lists(
    st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6
)


def score(
    pairs: Sequence[tuple[str, Sequence[str]]],
    metric: str,
    parser: str = "text",
    choices: tuple[str, ...] = (),
    options: Mapping[str, object] | None = None,
) -> MetricResult:
    """The metric of (answer, references) pairs."""
    examples = [
        Example(str(i), str(i), "", "", r[0], tuple(r), choices) for i, (_, r) in enumerate(pairs)
    ]
    predictions = [Prediction(str(i), text, True, 1) for i, (text, _) in enumerate(pairs)]
    return score_predictions(examples, predictions, [metric], parser, metric_options(options or {}))


def row_scores(pairs: Sequence[tuple[str, Sequence[str]]], metric: str) -> list[float]:
    return score(pairs, metric).scores[metric]


def labelled(seed: int, n: int = 200, unparseable: float = 0.2) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    true = [rng.choice(LABELS) for _ in range(n)]
    predicted = [t if rng.random() < 0.5 else rng.choice(LABELS) for t in true]
    return true, [p if rng.random() > unparseable else "who knows" for p in predicted]


# ---- classification, against scikit-learn


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_f1_equals_scikit_learns_with_the_declared_labels(average: str, seed: int) -> None:
    true, predicted = labelled(seed)
    name = f"{average}_f1"
    ours = score([(p, [t]) for t, p in zip(true, predicted, strict=True)], name, "choice", LABELS)
    assert ours.corpus[name] == pytest.approx(
        sk.f1_score(true, predicted, labels=LABELS, average=average, zero_division=0)
    )


@pytest.mark.parametrize("seed", range(5))
def test_mcc_equals_scikit_learns_where_every_answer_is_a_class(seed: int) -> None:
    true, predicted = labelled(seed, unparseable=0.0)
    ours = score([(p, [t]) for t, p in zip(true, predicted, strict=True)], "mcc", "choice", LABELS)
    assert ours.corpus["mcc"] == pytest.approx(sk.matthews_corrcoef(true, predicted))


def test_mcc_with_an_unparseable_answer_by_hand() -> None:
    # classes a a b b, answers a ? b b; centred indicators give 4*3-6 = 6, sqrt((4*3-5) * (16-8)) =
    # sqrt(56)
    pairs = [("a", ["a"]), ("?", ["a"]), ("b", ["b"]), ("b", ["b"])]
    assert score(pairs, "mcc", "choice", ("a", "b")).corpus["mcc"] == pytest.approx(
        6 / math.sqrt(56)
    )


def test_mcc_of_a_constant_answer_is_0() -> None:
    assert score([("a", ["a"]), ("a", ["b"])], "mcc", "choice", ("a", "b")).corpus["mcc"] == 0.0


def test_an_unparseable_answer_is_wrong_and_no_class_of_its_own() -> None:
    pairs = [("good", ["good"]), ("who knows", ["good"]), ("bad", ["bad"])]
    details = score(pairs, "macro_f1", "choice", ("bad", "good")).details
    assert [row["label"] for row in details["per_class"]] == ["bad", "good"]
    assert details["confusion"] == {"labels": ["bad", "good"], "counts": [[1, 0, 0], [0, 1, 1]]}
    # bad: 1; good: precision 1, recall 1/2, F1 2/3
    assert score(pairs, "macro_f1", "choice", ("bad", "good")).corpus["macro_f1"] == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert score(pairs, "accuracy", "choice", ("bad", "good")).scores["accuracy"] == [1.0, 0.0, 1.0]


def test_a_declared_label_without_a_row_counts_as_0_and_is_said() -> None:
    result = score([("good", ["good"]), ("bad", ["bad"])], "macro_f1", "choice", LABELS)
    assert result.corpus["macro_f1"] == pytest.approx(2 / 3)
    assert result.details["warnings"] == [
        "1 of the labels have no row here and count as F1 0: fair"
    ]


def test_accuracy_reads_answers_as_the_parser_does() -> None:
    assert score([("Good!", ["good"])], "accuracy", "choice", LABELS).scores["accuracy"] == [1.0]
    assert score([("about 5.0", ["5"])], "accuracy", "number").scores["accuracy"] == [1.0]
    assert score([('{"b": 1, "a": 2}', ['{"a": 2, "b": 1}'])], "accuracy", "json").scores[
        "accuracy"
    ] == [1.0]
    assert score([("Good!", ["good"])], "accuracy", "text").scores["accuracy"] == [0.0]


def test_where_several_labels_are_right_the_one_given_is_the_class() -> None:
    pairs = [("good", ["fair", "good"]), ("bad", ["fair", "good"])]
    result = score(pairs, "micro_f1", "choice", LABELS)
    assert result.corpus["micro_f1"] == 0.5
    assert result.details["confusion"]["counts"] == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_classes_of_numbers_are_their_values() -> None:
    result = score([("4 stars", ["4.0"]), ("5", ["4"])], "macro_f1", "number")
    assert result.details["confusion"] == {"labels": ["4"], "counts": [[1, 1]]}


def test_thousands_of_classes_are_refused() -> None:
    with pytest.raises(DataError, match="1001 different right answers are too many classes"):
        score([("x", [str(i)]) for i in range(1001)], "macro_f1")


# ---- SQuAD, by hand


@pytest.mark.parametrize(
    ("answer", "reference", "em", "f1"),
    [
        ("The cat!", "a CAT", 1, 1),
        ("U.S.", "us", 1, 1),
        ("don't", "dont", 1, 1),
        ("twenty-one", "twenty one", 0, 0),  # punctuation is deleted: twentyone
        ("the the cat cat", "cat", 0, 2 * 1 / 3),  # multiset: 1 of 2 tokens
        ("cat cat dog", "cat cat", 0, 2 * 2 / 5),
        ("in Paris, France", "Paris", 0, 2 / 4),
        ("", "", 1, 1),
        ("the", "", 1, 1),
        ("cat", "the", 0, 0),
        ("theatre", "atre", 0, 0),  # an article is a whole word
        ("«oui»", "oui", 0, 0),  # only ASCII punctuation
    ],
)
def test_squad_by_hand(answer: str, reference: str, em: float, f1: float) -> None:
    assert row_scores([(answer, [reference])], "squad_em") == [em]
    assert row_scores([(answer, [reference])], "token_f1") == [pytest.approx(f1)]


def test_squad_takes_the_best_of_several_references() -> None:
    pairs = [("Paris", ["London", "in Paris", "the Paris"])]
    assert row_scores(pairs, "squad_em") == [1.0]
    assert row_scores([("Paris", ["London", "in Paris"])], "token_f1") == [pytest.approx(2 / 3)]


# ---- ROUGE, BLEU, chrF, TER, against their packages


@pytest.mark.parametrize("stemmer", [False, True])
@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
@given(answers)
@settings(deadline=None, max_examples=25)
def test_rouge_equals_rouge_score_with_the_best_reference(
    name: str, stemmer: bool, pairs: list[tuple[str, list[str]]]
) -> None:
    scorer = RougeScorer([name], use_stemmer=stemmer)
    expected = [
        max(scorer.score(r.strip(), text.strip())[name].fmeasure for r in refs)
        for text, refs in pairs
    ]
    found = score(pairs, name, options={"rouge": {"stemmer": stemmer}})
    assert found.scores[name] == pytest.approx(expected)


def test_a_stemmer_counts_words_of_one_stem_as_the_same() -> None:
    """F1 of {cat, sleep} and {cats, sleeping}: 1 by stems, 0 by words."""
    pairs = [("cat sleep", ["cats sleeping"])]
    assert score(pairs, "rouge1", options={"rouge": {"stemmer": True}}).scores["rouge1"] == [1.0]
    assert score(pairs, "rouge1").scores["rouge1"] == [0.0]


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouges_signature_says_whether_there_was_a_stemmer(stemmer: bool) -> None:
    options = {"rouge": {"stemmer": stemmer}}
    found = score([("a", ["a"])], "rougeL", options=options).details["signatures"]["rougeL"]
    assert found == f"ROUGE|stemmer:{'yes' if stemmer else 'no'}|version:{version('rouge-score')}"


def test_rouge_warns_of_text_without_latin_letters() -> None:
    result = score([("кот", ["кот на ковре"]), ("x", ["a cat"])], "rouge1")
    assert result.details["warnings"] == [
        "ROUGE reads only the letters a to z: 1 of 2 references are in others; use chrf"
    ]
    assert score([("x", ["un café"])], "rouge1").details["warnings"] == []


@pytest.mark.parametrize(("name", "reference"), [("bleu", BLEU), ("chrf", CHRF), ("ter", TER)])
@given(answers)
@settings(deadline=None, max_examples=40)
def test_bleu_chrf_and_ter_equal_sacrebleus(
    name: str, reference: Any, pairs: list[tuple[str, list[str]]]
) -> None:
    streams = [[refs[i].strip() if i < len(refs) else None for _, refs in pairs] for i in range(3)]
    used = [stream for stream in streams if any(r is not None for r in stream)]
    expected = reference().corpus_score([text.strip() for text, _ in pairs], used)
    assert score(pairs, name).corpus[name] == pytest.approx(expected.score)


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char", "none"])
@given(answers)
@settings(deadline=None, max_examples=15)
def test_bleu_equals_sacrebleus_with_each_tokenizer(
    tokenize: str, pairs: list[tuple[str, list[str]]]
) -> None:
    streams = [[refs[i].strip() if i < len(refs) else None for _, refs in pairs] for i in range(3)]
    used = [stream for stream in streams if any(r is not None for r in stream)]
    expected = BLEU(tokenize=tokenize).corpus_score([text.strip() for text, _ in pairs], used)
    found = score(pairs, "bleu", options={"bleu": {"tokenize": tokenize}})
    assert found.corpus["bleu"] == pytest.approx(expected.score)
    assert f"tok:{tokenize}|" in found.details["signatures"]["bleu"]


def test_bleu_of_japanese_equals_sacrebleus_with_mecab() -> None:
    pytest.importorskip("MeCab", reason="needs sacrebleu[ja]")
    pytest.importorskip("ipadic", reason="needs sacrebleu[ja]")
    pairs = [("猫はソファで寝ています。", ["猫はソファの上で寝ています。"])]
    expected = BLEU(tokenize="ja-mecab").corpus_score([pairs[0][0]], [pairs[0][1]])
    found = score(pairs, "bleu", options={"bleu": {"tokenize": "ja-mecab"}}).corpus["bleu"]
    assert found == pytest.approx(expected.score)
    assert 0 < found < 100


def test_a_tokenizer_that_is_not_installed_is_an_error_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    with pytest.raises(RecipeError) as caught:
        check_tokenizer(metric_options({"bleu": {"tokenize": "ja-mecab"}}))
    assert str(caught.value) == (
        "bleu: the tokenizer 'ja-mecab' is not installed\nhint: pip install 'sacrebleu[ja]'"
    )
    check_tokenizer(metric_options({"bleu": {"tokenize": "zh"}}))


def test_signatures_stand_in_the_details() -> None:
    signatures = score([("a cat", ["the cat"])], "bleu").details["signatures"]
    assert signatures["bleu"].startswith(
        "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:"
    )
    assert (
        "nrefs:var"
        in score([("a", ["b"]), ("a", ["b", "c"])], "chrf").details["signatures"]["chrf"]
    )


# ---- numbers and JSON


@pytest.mark.parametrize("seed", range(3))
def test_errors_and_correlations_equal_scikit_learns_and_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.integers(1, 6, size=80)
    found = np.clip(wanted + rng.integers(-2, 3, size=80), 1, 5)
    pairs = [(f"{f} stars", [str(w)]) for f, w in zip(found, wanted, strict=True)]
    assert np.mean(score(pairs, "mae").scores["mae"]) == pytest.approx(
        sk.mean_absolute_error(wanted, found)
    )
    assert score(pairs, "rmse").corpus["rmse"] == pytest.approx(
        sk.root_mean_squared_error(wanted, found)
    )
    assert score(pairs, "pearson").corpus["pearson"] == pytest.approx(
        scipy.stats.pearsonr(found, wanted)[0]
    )
    assert score(pairs, "spearman").corpus["spearman"] == pytest.approx(
        scipy.stats.spearmanr(found, wanted)[0]
    )


def test_an_answer_without_a_number_has_the_largest_error_there_could_be() -> None:
    pairs = [("?", ["1"]), ("2", ["2"]), ("?", ["4"]), ("5", ["5"])]
    assert score(pairs, "mae").scores["mae"] == [4.0, 0.0, 3.0, 0.0]
    assert score(pairs, "rmse").corpus["rmse"] == pytest.approx(math.sqrt((16 + 9) / 4))


def test_an_answer_without_a_number_says_nothing_in_a_correlation() -> None:
    pairs = [("?", ["1"]), ("2", ["2"]), ("4", ["4"]), ("?", ["5"])]  # the references' mean is 3
    assert score(pairs, "pearson").corpus["pearson"] == pytest.approx(
        np.corrcoef([3, 2, 4, 3], [1, 2, 4, 5])[0, 1]
    )
    assert score([("?", ["1"]), ("", ["2"])], "spearman").corpus["spearman"] == 0.0


def test_a_reference_that_is_no_number_names_its_example() -> None:
    with pytest.raises(DataError, match=r"example \(0\): the reference 'many' is not a number"):
        score([("3", ["many"])], "mae")


def test_the_final_number_counts_whatever_stands_before() -> None:
    pairs = [
        ("3 + 4 is 7", ["work\n#### 7"]),
        ("7, or 8", ["#### 7"]),
        ("1,000.0", ["$1000"]),
        ("", ["0"]),
    ]
    assert row_scores(pairs, "number") == [1.0, 0.0, 1.0, 0.0]


def test_exact_match_is_letter_by_letter() -> None:
    assert row_scores(
        [(" a b\n", ["a b"]), ("A b", ["a b"]), ("x", ["y", "x"])], "exact_match"
    ) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ('{"a": 1, "b": "x"}', '{"b": " x ", "a": 1.0}', 1),
        ('{"a": 1}', '{"a": 1, "b": 2}', 2 / 3),
        ('{"a": true}', '{"a": 1}', 0),
        ('{"a": "1"}', '{"a": 1}', 0),
        ('{"tags": ["y", "x", "x"]}', '{"tags": ["x", "y"]}', 2 * 2 / 5),
        (
            '{"p": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}',
            '{"p": [{"x": 1, "y": 4}, {"x": 3, "y": 2}]}',
            1 / 2,
        ),
        ("{}", "{}", 1),
        ("{}", '{"a": 1}', 0),
        ('{"a": 1', '{"a": 1}', 0),
        ('```json\n{"a": 1}\n```', '{"a": 1}', 1),
        ('{"a": {"b": null}}', '{"a": {"b": null}}', 1),
    ],
)
def test_json_fields_by_hand(answer: str, reference: str, f1: float) -> None:
    assert score([(answer, [reference])], "json_f1", "json").scores["json_f1"] == [
        pytest.approx(f1)
    ]


@given(
    st.dictionaries(
        st.text(max_size=3), st.integers() | st.lists(st.text(max_size=3), max_size=3), max_size=4
    )
)
@settings(deadline=None, max_examples=50)
def test_json_f1_of_a_value_with_itself_is_1(value: dict[str, Any]) -> None:
    assert row_scores([(json.dumps(value, indent=1), [json.dumps(value)])], "json_f1") == [1.0]


def test_valid_json_is_json_and_nothing_else() -> None:
    pairs = [(text, ["{}"]) for text in ('{"a": 1}', "null", "{'a': 1}", '{"a": 1} ok', "")]
    assert score(pairs, "valid_json", "json").scores["valid_json"] == [1.0, 1.0, 0.0, 0.0, 0.0]


# ---- likelihoods


def test_the_likeliest_choice_whole_per_character_and_per_byte() -> None:
    # totals -4, -6, -7: whole picks 0. Per character -4/1, -6/3, -7/4: 2. Per byte -4/1, -6/9,
    # -7/4: 1
    example = Example("1", "1", "", "", "abcd", ("abcd",), ("a", "日本語", "abcd"))
    prediction = Prediction(
        "1", "", True, 0, (-9.0, -9.0, -7.5), choice_logprobs_without_stop=(-4.0, -6.0, -7.0)
    )
    names = ["choice_acc", "choice_acc_norm", "choice_acc_bytes"]
    assert score_predictions([example], [prediction], names, "choice").scores == {
        **score_predictions([example], [prediction], [], "choice").scores,
        "choice_acc": [0.0],
        "choice_acc_norm": [1.0],
        "choice_acc_bytes": [0.0],
    }


def test_the_likeliest_choice_is_picked_without_the_stop_token() -> None:
    """'sports' is never less likely than what begins with it; its stop token may be."""
    example = Example("1", "1", "", "", "sports", ("sports",), ("sports", "sports/tennis"))
    prediction = Prediction(
        "1", "", True, 0, (-5.0, -3.0), choice_logprobs_without_stop=(-1.0, -2.5)
    )
    assert score_predictions([example], [prediction], ["choice_acc"], "choice").scores[
        "choice_acc"
    ] == [1.0]


def test_a_missing_likelihood_is_said() -> None:
    example = Example("7", "7", "", "", "a", ("a",), ("a", "b"), source="rows.csv:8")
    with pytest.raises(DataError, match=r"rows.csv:8 \(7\): 0 likelihoods for 2 choices"):
        score_predictions([example], [Prediction("7", "a", True, 1)], ["choice_acc"], "choice")


def scored(completion: str, logprob: float, tokens: int) -> tuple[Example, Prediction]:
    return Example("1", "1", "", "", completion), Prediction("1", "", True, 0, (), logprob, tokens)


def test_perplexity_of_the_right_answers_is_token_weighted_and_bits_are_by_their_bytes() -> None:
    # "ä" has 2 bytes: 2 nats over 1 token and 2 bytes, 4 nats over 3 tokens and 3 bytes
    examples, predictions = zip(scored("ä", -2.0, 1), scored("abc", -4.0, 3), strict=True)
    found = score_predictions(examples, predictions, ["perplexity", "bits_per_byte"], "text").corpus
    assert found == pytest.approx(
        {"perplexity": math.exp(6 / 4), "bits_per_byte": 6 / math.log(2) / 5}
    )


def test_perplexity_weighs_tokens_and_bits_are_per_byte() -> None:
    # 2 nats over 1 token and 2 over 3: 4/4, not the mean of 2 and 2/3
    examples, predictions = zip(scored("a", -2.0, 1), scored("b", -2.0, 3), strict=True)
    found = score_predictions(examples, predictions, ["perplexity"], "text").corpus
    assert found["perplexity"] == pytest.approx(math.e)
    # 2 bits over 1 byte and 4 over 2
    bits = (scored("a", -2 * math.log(2), 1), scored("ab", -4 * math.log(2), 1))
    examples, predictions = zip(*bits, strict=True)
    found = score_predictions(examples, predictions, ["bits_per_byte"], "text").corpus
    assert found["bits_per_byte"] == pytest.approx(2.0)


def test_metrics_of_likelihoods_cannot_be_asked_for_where_baselines_have_none() -> None:
    check_recipe_metrics(["accuracy", "rougeL"])
    with pytest.raises(RecipeError, match="perplexity is a metric of likelihoods"):
        check_recipe_metrics(["accuracy", "perplexity"])
    example, prediction = (
        Example("7", "7", "", "", "a", source="rows.csv:8"),
        Prediction("7", "a", True, 1),
    )
    with pytest.raises(DataError, match=r"rows.csv:8 \(7\): no likelihood of the right answer"):
        score_predictions([example], [prediction], ["perplexity"], "text")


# ---- general measures


def test_general_measures_by_hand() -> None:
    examples = [Example(str(i), str(i), "", "", "good", ("good",), LABELS) for i in range(4)]
    answers_given = [("good", True), ("good but dear", True), ("", True), ("what", False)]
    predictions = [
        Prediction(str(i), text, stopped, 1) for i, (text, stopped) in enumerate(answers_given)
    ]
    scores = score_predictions(examples, predictions, [], "choice").scores
    assert scores["valid"] == [1, 1, 0, 0]
    assert scores["stopped"] == [1, 1, 1, 0]
    assert scores["empty"] == [0, 0, 1, 0]
    assert scores["text_after_answer"] == [0, 1, 0, 0]
    assert scores["length_ratio"] == [1.0, 13 / 4, 0.0, 1.0]


def test_accuracy_is_p_valid_times_accuracy_given_valid() -> None:
    true, predicted = labelled(1)
    result = score(
        [(p, [t]) for t, p in zip(true, predicted, strict=True)], "accuracy", "choice", LABELS
    )
    valid, right = np.array(result.scores["valid"]), np.array(result.scores["accuracy"])
    assert right.mean() == pytest.approx(valid.mean() * right[valid == 1].mean())
    assert 0.7 < valid.mean() < 0.9


# ---- the table of metrics


def pairs_for(metric: str, n: int = 12) -> tuple[list[tuple[str, list[str]]], str, tuple[str, ...]]:
    rng = random.Random(0)
    if metric in ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc"):
        true, predicted = labelled(3, n)
        return [(p, [t]) for t, p in zip(true, predicted, strict=True)], "choice", LABELS
    if metric in ("number", "mae", "rmse", "pearson", "spearman"):
        return [(str(rng.randint(1, 9)), [str(rng.randint(1, 9))]) for _ in range(n)], "number", ()
    if metric in ("json_f1", "valid_json"):
        return (
            [(f'{{"a": {rng.randint(1, 2)}}}', ['{"a": 1}']) for _ in range(n - 1)]
            + [("?", ["{}"])],
            "json",
            (),
        )
    if metric in multilabel.METRICS:
        sets = [rng.sample("abc", rng.randint(1, 3)) for _ in range(2 * n)]
        return [("\n".join(sets[i]), ["\n".join(sets[n + i])]) for i in range(n)], "labels", ()
    if metric in tagging.METRICS:
        tags = [rng.choices(["O", "B-X", "I-X", "B-Y"], k=4) for _ in range(2 * n)]
        return [("\n".join(tags[i]), ["\n".join(tags[n + i])]) for i in range(n)], "tags", ()
    words = [[rng.choice("abcdefg") for _ in range(5)] for _ in range(2 * n)]
    return [(" ".join(words[i]), [" ".join(words[n + i])]) for i in range(n)], "text", ()


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in NEED_A_MODEL])
def test_a_weighted_value_is_the_metric_of_the_rows_repeated(metric: str) -> None:
    """The bootstrap's premise: row i with weight 2 is row i standing there twice."""
    pairs, parser, choices = pairs_for(metric)
    rows = score(pairs, metric, parser, choices).rows[metric]
    drawn = [0, 0, 0, 3, 5, 5, 7, 8, 10, 11, 11, 1]
    weights = np.bincount(drawn, minlength=len(pairs)).astype(float)
    ones = np.ones((1, len(pairs)))
    expected = find_metric(metric).value(ones, rows[drawn])
    assert find_metric(metric).value(weights[None], rows) == pytest.approx(expected)
    again = score([pairs[i] for i in drawn], metric, parser, choices)
    if metric in again.corpus:
        assert again.corpus[metric] == pytest.approx(expected[0])
    else:
        assert np.mean(again.scores[metric]) == pytest.approx(expected[0])


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in NEED_A_MODEL])
def test_the_right_answer_is_the_best_there_is(metric: str) -> None:
    pairs, parser, choices = pairs_for(metric)
    kind = find_metric(metric)
    given_rows = score(pairs, metric, parser, choices).rows[metric]
    right = [(references[0], references) for _, references in pairs]
    right_rows = score(right, metric, parser, choices).rows[metric]
    ones = np.ones((1, len(pairs)))
    assert kind.sign * kind.value(ones, right_rows)[0] > kind.sign * kind.value(ones, given_rows)[0]
    assert (kind.row_quality(right_rows) >= kind.row_quality(given_rows)).all()
    assert (kind.row_quality(right_rows) > kind.row_quality(given_rows)).any()


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        score([("a", ["a"])], "acuracy")
    assert str(caught.value) == "unknown metric 'acuracy'\nhint: did you mean 'accuracy'?"


def test_an_unknown_parser_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'choice'"):
        score([("a", ["a"])], "accuracy", "choices")


def test_predictions_in_another_order_are_refused() -> None:
    examples = [Example(str(i), str(i), "", "", "x") for i in range(2)]
    predictions = [Prediction(str(i), "x", True, 1) for i in (1, 0)]
    with pytest.raises(
        DataError, match="the prediction for '1' stands where example '0' is expected"
    ):
        score_predictions(examples, predictions, ["exact_match"], "text")
    with pytest.raises(DataError, match="1 predictions for 2 examples"):
        score_predictions(examples, predictions[:1], ["exact_match"], "text")
    with pytest.raises(DataError, match="no examples"):
        score_predictions([], [], ["exact_match"], "text")


def test_answering_with_every_label_is_right_nowhere() -> None:
    examples = [
        Example(f"{i}", f"{i}", "", "", label, (label,), ("positive", "negative"))
        for i, label in enumerate(["positive", "negative"])
    ]
    hedges = [Prediction(f"{i}", "positive or negative?", True, 4) for i in range(2)]
    found = score_predictions(examples, hedges, ["accuracy"], "choice")
    assert found.scores["accuracy"] == [0, 0]
    assert found.scores["valid"] == [0, 0]


def test_numbers_in_references_are_read_like_those_in_answers() -> None:
    pairs = [("1.234,56", "1234.56"), ("9 500,00", "9,500"), ("1/2", "0.5"), ("50 %", "50")]
    examples = [Example(f"{i}", f"{i}", "", "", r, (r,)) for i, (r, _) in enumerate(pairs)]
    answers = [Prediction(f"{i}", text, True, 1) for i, (_, text) in enumerate(pairs)]
    found = score_predictions(examples, answers, ["number", "mae"], "number")
    assert found.scores["number"] == [1, 1, 1, 1]
    assert found.scores["mae"] == [0, 0, 0, 0]


def test_a_reference_that_is_no_one_number_names_its_place() -> None:
    example = Example("7", "7", "", "", "5-10", ("5-10",), source="rows.csv:3")
    with pytest.raises(DataError, match=r"rows.csv:3 \(7\): the reference '5-10' is not a number"):
        score_predictions([example], [Prediction("7", "5", True, 1)], ["number"], "number")


def test_fields_of_json_between_words_are_scored_but_the_answer_is_not_valid_json() -> None:
    example = Example("7", "7", "", "", '{"a": 1}', ('{"a": 1}',))
    answer = Prediction("7", 'Here it is: {"a": 1}', True, 1)
    found = score_predictions([example], [answer], ["json_f1", "valid_json"], "json")
    assert (found.scores["json_f1"], found.scores["valid_json"]) == ([1], [0])
    assert found.scores["valid"] == [1]
