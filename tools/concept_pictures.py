"""Draw the pictures of docs/concepts: what is trained, why a sealed test, what an interval says.

python tools/concept_pictures.py docs/images

Nothing in them is made up: the tokens are those of a row of the built-in reviews, and the other
pictures are simulations with a fixed seed, judged by tunesmith's own intervals and verdicts. Each
has a background of its own, so that it can be read on a dark page.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from tunesmith.data.preview import Token
from tunesmith.evaluate.intervals import tango_interval
from tunesmith.evaluate.verdict import verdict
from tunesmith.recipe import build_recipe
from tunesmith.records import Comparison
from tunesmith.report.plots import PALETTE, STYLE, WIDTH

REVIEWS = Path(__file__).parents[1] / "src" / "tunesmith" / "assets" / "reviews.csv"
TRUE_ACCURACY, TEST_SIZES, MOST_MODELS = 0.8, (50, 200, 1000), 50
TRUE_GAIN, ROWS, SEED = 0.05, 400, 6
"""With this seed exactly one of the twenty intervals misses; on average one in twenty does."""
MARGIN = 0.01


def pictures() -> dict[str, str]:
    """Each picture's name and its SVG."""
    return {
        "what_is_trained": what_is_trained(),
        "best_of_many": best_of_many(),
        "twenty_intervals": twenty_intervals(),
        "three_answers": three_answers(),
    }


@contextmanager
def drawing(height: float) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes of `height` inches in the report's style, and where their SVG is written."""
    svg = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc changes nothing
        matplotlib.rcParams.update(STYLE)
        figure = Figure((1.3 * WIDTH, height), layout="constrained", facecolor=PALETTE["paper"])
        axes = figure.subplots()
        yield axes, svg
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator")))


# ---- what is trained


def what_is_trained() -> str:
    """A row's tokens: grey are the prompt's, coloured the answer's and the stop token."""
    tokens = row_tokens()
    fills = {"prompt": "line", "answer": "accent", "stop token": "ink"}
    with drawing(2.3) as (axes, svg):
        x, y, width = 0.0, 0.0, 62.0
        for token in tokens:
            text = token.text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
            text = text.replace(" ", "\N{MIDDLE DOT}")
            if x + len(text) + 0.8 > width:
                x, y = 0.0, y - 1.6
            kind = kind_of(token)
            box = Rectangle((x, y), len(text) + 0.5, 1.2, color=PALETTE[fills[kind]], linewidth=0)
            axes.add_patch(box)
            colour = PALETTE["ink" if kind == "prompt" else "paper"]
            middle = (x + (len(text) + 0.5) / 2, y + 0.55)
            axes.text(*middle, text, color=colour, ha="center", va="center", family="monospace")
            x += len(text) + 0.8
        axes.set(xlim=(-0.5, width), ylim=(y - 0.4, 1.6))
        axes.axis("off")
        trained = {"prompt": "not trained", "answer": "trained", "stop token": "trained"}
        axes.legend(
            [Patch(color=PALETTE[fill]) for fill in fills.values()],
            [f"{kind}: {trained[kind]}" for kind in fills],
            loc="lower center", bbox_to_anchor=(0.5, -0.3), ncols=3,
        )  # fmt: skip
    return svg.getvalue()


def kind_of(token: Token) -> str:
    """The part of a row that a token belongs to."""
    if not token.trained:
        return "prompt"
    return "stop token" if token.special else "answer"


def row_tokens() -> tuple[Token, ...]:
    """The tokens of a review from the middle of the built-in table, for the built-in model."""
    from tunesmith.cli_templates import preview_recipe  # noqa: PLC0415 - torch, for this picture alone

    columns = {"text": "review", "label": "sentiment"}
    data = {"source": str(REVIEWS), "task": "classify", "columns": columns}
    return preview_recipe(build_recipe({"data": data})[0], 1).rows[0].tokens


# ---- why a sealed test


def best_of_many() -> str:
    """The score of the best of k equally good models on the test rows that chose it."""
    with drawing(2.9) as (axes, svg):
        models = np.arange(1, MOST_MODELS + 1)
        for rows, style in zip(TEST_SIZES, (":", "--", "-"), strict=True):
            label = f"chosen on {rows:,} test rows"
            axes.plot(
                models, 100 * scores_of_best(rows), style, color=PALETTE["accent"], label=label
            )
        axes.axhline(
            100 * TRUE_ACCURACY, color=PALETTE["ink"], linewidth=1, label="what they can do"
        )
        axes.set(xlabel="models tried", ylabel="accuracy shown, %", xlim=(1, MOST_MODELS))
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return svg.getvalue()


def scores_of_best(rows: int, repeats: int = 4000) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean score of the best of 1, 2 ... MOST_MODELS models, each right on TRUE_ACCURACY of all
    possible rows and independent of the others.
    """
    rng = np.random.default_rng(SEED)
    scores = rng.binomial(rows, TRUE_ACCURACY, size=(repeats, MOST_MODELS)) / rows
    mean: np.ndarray[Any, np.dtype[np.float64]] = np.maximum.accumulate(scores, 1).mean(0)
    return mean


# ---- what an interval says


def twenty_intervals() -> str:
    """The intervals of twenty tests of one model, whose true gain is known."""
    with drawing(3.2) as (axes, svg):
        for place, (gain, low, high) in enumerate(twenty_tests()):
            misses = not low <= TRUE_GAIN <= high
            colour = PALETTE["ink" if misses else "accent"]
            axes.plot((100 * low, 100 * high), (place, place), color=colour, linewidth=2)
            axes.plot(100 * gain, place, "o", color=colour, markersize=5)
            if misses:
                axes.annotate("misses", (100 * high, place), (6, 0), textcoords="offset points",
                              va="center")  # fmt: skip
        axes.axvline(100 * TRUE_GAIN, color=PALETTE["muted"], linestyle="--", linewidth=1)
        axes.set(yticks=[], xlabel="gain in points (the dashed line is the true gain)")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
    return svg.getvalue()


def twenty_tests() -> list[tuple[float, float, float]]:
    """The gain of each and its 95 % interval: of ROWS test rows, the tuned model alone is right on
    12.5 % and the base alone on 7.5 % in the long run.
    """
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(20):
        tuned, base, _ = rng.multinomial(ROWS, [0.1 + TRUE_GAIN / 2, 0.1 - TRUE_GAIN / 2, 0.8])
        low, high = tango_interval(int(base), int(tuned), ROWS)
        found.append(((tuned - base) / ROWS, low, high))
    return found


CASES = {
    "clearly above zero": (0.06, 0.02, 0.10, 0.004),
    "above zero, by little or by much": (0.10, 0.005, 0.20, 0.04),
    "few rows": (0.04, -0.06, 0.14, 0.44),
    "zero, few rows": (0.0, -0.10, 0.10, 1.0),
    "zero, many rows": (0.0, -0.008, 0.008, 1.0),
    "worse": (-0.05, -0.08, -0.02, 0.001),
}
"""Gain, the ends of its interval, and p."""


def three_answers() -> str:
    """Intervals as a report shows them, each with the answer that it gives."""
    with drawing(2.6) as (axes, svg):
        for place, (name, (gain, low, high, _)) in enumerate(CASES.items()):
            axes.plot((100 * low, 100 * high), (place, place), color=PALETTE["accent"], linewidth=2)
            axes.plot(100 * gain, place, "o", color=PALETTE["accent"], markersize=5)
            axes.text(22, place, answer_to(name), va="center", fontweight="bold")
        axes.set_yticks(range(len(CASES)), list(CASES))
        axes.set(ylim=(len(CASES) - 0.5, -0.9), xlim=(-11, 32), xlabel="gain in points")
        axes.set_xticks((-10, 0, 10, 20))
        axes.axvline(0, color=PALETTE["ink"], linewidth=1)
        axes.axvline(100 * MARGIN, color=PALETTE["muted"], linestyle="--", linewidth=1)
        axes.text(100 * MARGIN + 0.4, -0.7, "margin", color=PALETTE["muted"])
        axes.spines["left"].set_visible(False)
    return svg.getvalue()


def answer_to(name: str) -> str:
    """What the verdict says to one of CASES."""
    gain, low, high, p = CASES[name]
    compared = Comparison(
        a="base", b="tuned", metric="accuracy", difference=gain, se=(high - low) / 4,
        se_clustered=(high - low) / 4, ci=(low, high), p=p, wins=20, ties=60, losses=20, n=100,
        clusters=100, smallest_detectable=0.05,
    )  # fmt: skip
    return verdict(compared, margin=MARGIN).kind


if __name__ == "__main__":
    for picture, drawn in pictures().items():
        # matplotlib ends lines of paths with a blank
        text = "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
        Path(sys.argv[1], f"{picture}.svg").write_text(text, encoding="utf-8")
