"""The page of a blind comparison: one file that needs no network and sends nothing anywhere.

Rows and answers go in as escaped text. The browser is told to run and to apply nothing but the
page's own script and style, by their hashes, so that nothing in a text can run even if it could
pose as markup. Neither the systems nor their sides are in the page.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from tunesmith.evaluate.review import Review
from tunesmith.records import Example
from tunesmith.report.page import FOLDER, csp_hash, page_environment


def review_page(review: Review, examples: Mapping[str, Example]) -> str:
    """The whole page; `examples` by id."""
    script, style = (
        (FOLDER / name).read_text(encoding="utf-8") for name in ("review.js", "review.css")
    )
    pairs = [
        (pair.id, _turns(examples[pair.answers.example_id]), pair.sides) for pair in review.pairs
    ]
    return (
        page_environment()
        .get_template("review.html.j2")
        .render(
            review=review.id,
            pairs=pairs,
            policy="; ".join(
                [
                    "default-src 'none'",
                    f"script-src '{csp_hash(script)}'",
                    f"style-src '{csp_hash(style)}'",
                    "base-uri 'none'",
                    "form-action 'none'",
                ]
            ),
            script=Markup(script),  # noqa: S704 - our own file
            style=Markup(style),  # noqa: S704 - our own file
        )
    )


def _turns(example: Example) -> list[tuple[str, str]]:
    """What was asked, as (role, text); a lone prompt needs no role."""
    if not example.history:
        return [("", example.prompt)]
    turns = [(turn.role, turn.content) for turn in example.history]
    return [*turns, (example.asked_by, example.prompt)]
