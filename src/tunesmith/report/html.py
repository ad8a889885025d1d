"""report.html: one file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunesmith.inert import inert
from tunesmith.report import format as fmt
from tunesmith.report.content import Report, verdict_class
from tunesmith.report.plots import PALETTE, Plot
from tunesmith.report.sections import sections_of

ANSWER_MARKS = {
    "yes": ("good", "\N{CHECK MARK}"),
    "no": ("bad", "\N{MULTIPLICATION X}"),
    "cannot tell": ("open", "?"),
    "not measured": ("none", "\N{EN DASH}"),
}
"""The class and the icon of an answer, which is never shown by colour alone."""


def render_html(report: Report, plots: Sequence[Plot]) -> str:
    """The whole page. Every text of the report is escaped; only our own plots go in as markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "inline_svg": inline_svg,
        "metric_name": fmt.metric_name,
        "system_name": fmt.system_name,
    }
    template = environment.get_template("report.html.j2")
    return template.render(_context(report, plots))


def _inert(value: object) -> object:
    """What is printed on the page; our own markup has been made already."""
    return inert(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _context(report: Report, plots: Sequence[Plot]) -> dict[str, object]:
    return {
        "report": report,
        "verdict_class": verdict_class(report.verdict_kind),
        "answer_marks": ANSWER_MARKS,
        "figures": _key_figures(report),
        "sections": sections_of(report),
        "plots": {plot.name: plot for plot in plots},
        "number": fmt.number,
    }


def _key_figures(report: Report) -> list[tuple[str, str, str]]:
    """What the verdict rests on, as (label, value, beside it)."""
    c = report.comparison
    if c is None:
        return []
    figures = []
    for name in (c.b, c.a):
        found = report.system(name)
        if found and c.metric in found.estimates:
            value = found.estimates[c.metric]
            figures.append(
                (
                    fmt.system_name(name),
                    fmt.number(value.mean),
                    fmt.interval(value.ci, note=value.note),
                )
            )
    figures.append(
        ("Difference", fmt.signed(c.difference), fmt.interval(c.ci, plus=True, note=c.note))
    )
    figures.append(
        ("Won / tied / lost", f"{c.wins:,} / {c.ties:,} / {c.losses:,}", f"p {_with_sign(c.p)}")
    )
    return figures


def _with_sign(p: float) -> str:
    text = fmt.p_value(p)
    return text if text.startswith("<") else f"= {text}"


def inline_svg(plot: Plot) -> Markup:
    """The plot's <svg> element for an HTML page, in the page's colours.

    Ids get the plot's name as a prefix, because the page holds several plots. The XML declaration
    and the namespaces, which HTML does not need, go.
    """
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # matplotlib's style sheet would apply to the whole page; ours says the same
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{plot.name}-", svg)
    svg = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg
    )
    for name, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)  # noqa: S704 - matplotlib's own markup, in which it escapes all text
