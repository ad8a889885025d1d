"""Baselines without a language model for sets of labels and for tagged words."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence

from tunesmith.data.templates.label_cells import read_set, write_set
from tunesmith.data.templates.tag_cells import OUTSIDE, read_tagged, write_tagged
from tunesmith.records import Example


def linear_sets(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """One logistic regression for each label (scikit-learn's OneVsRestClassifier) on the features
    of the linear baseline; each label whose probability is above a half.

    Raises ValueError where there is no label, or no word in any prompt.
    """
    # scikit-learn takes a second to import, and only this baseline needs it
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.multiclass import OneVsRestClassifier  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import MultiLabelBinarizer  # noqa: PLC0415

    sets = [read_set(example.completion) for example in train]
    binarizer = MultiLabelBinarizer()
    wanted_NK = binarizer.fit_transform(sets)
    if not len(binarizer.classes_):
        raise ValueError("no label in any row")
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=1000)),
    )
    with warnings.catch_warnings():
        # a label that all rows have is given to all, which is what it should be
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        model.fit([example.prompt for example in train], wanted_NK)
    found_NK = model.predict([example.prompt for example in test])
    return [write_set(labels) for labels in binarizer.inverse_transform(found_NK)]


def commonest_tags(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Each word's commonest tag in the training rows, the first seen of equals; O for new words."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for word, tag in read_tagged(example.completion):
            counts[word][tag] += 1
    best = {word: max(tags, key=lambda tag: tags[tag]) for word, tags in counts.items()}
    answers = []
    for example in test:
        words = [word for word, _ in read_tagged(example.completion)]
        answers.append(write_tagged(words, [best.get(word, OUTSIDE) for word in words]))
    return answers
