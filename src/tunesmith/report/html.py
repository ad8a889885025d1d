"""report.html: one file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunesmith.report import format as fmt
from tunesmith.report import tables
from tunesmith.report.cases import choose_cases, common_start
from tunesmith.report.content import TUNED, Report
from tunesmith.report.plots import PALETTE, Plot


def render_html(report: Report, plots: Sequence[Plot]) -> str:
    """The page; every text of the report is escaped, only our own plots go in as markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
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


def _context(report: Report, plots: Sequence[Plot]) -> dict[str, Any]:
    cases = choose_cases(report)
    tuned = report.system(TUNED)
    details = tuned.details if tuned else {}
    matrix = tables.confusion_matrix(details)
    return {
        "report": report,
        "verdict_class": verdict_class(report.verdict_kind),
        "figures": _key_figures(report),
        "plots": {plot.name: plot for plot in plots},
        "comparison_table": tables.comparison_table(report),
        "auxiliary_table": tables.auxiliary_table(report),
        "wording_tables": tables.wording_tables(report),
        "difference_table": tables.difference_table(report),
        "judged_table": tables.judged_table(report),
        "forgetting_table": tables.forgetting_table(report),
        "training_table": tables.facts_table("Training", report.training_facts),
        "class_table": tables.class_table(details),
        "matrix": matrix if matrix and len(matrix.labels) <= tables.MAX_MATRIX else None,
        "mistakes_table": tables.mistakes_table(matrix)
        if matrix and len(matrix.labels) > tables.MAX_MATRIX
        else None,
        "cases": cases,
        "prompt_start": common_start([case.prompt for case in (*cases.fixed, *cases.broken)])
        if cases
        else "",
        "ledger_table": tables.ledger_table(report.data),
        "versions_table": tables.facts_table("Package", report.versions),
        "recipe_yaml": recipe_yaml(report.recipe),
        "number": fmt.number,
    }


def verdict_class(kind: str) -> str:
    """The colour of the verdict: good, bad or open."""
    plain = kind.lower().replace("_", " ").replace("-", " ")
    return {"better": "good", "not better": "bad", "worse": "bad"}.get(plain, "open")


def recipe_yaml(recipe: Mapping[str, Any]) -> str:
    return (
        yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100)
        if recipe
        else ""
    )


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
            figures.append((fmt.system_name(name), fmt.number(value.mean), fmt.interval(value.ci)))
    figures.append(("Difference", fmt.signed(c.difference), fmt.interval(c.ci, plus=True)))
    figures.append(
        ("Won / tied / lost", f"{c.wins:,} / {c.ties:,} / {c.losses:,}", f"p {_with_sign(c.p)}")
    )
    return figures


def _with_sign(p: float) -> str:
    text = fmt.p_value(p)
    return text if text.startswith("<") else f"= {text}"


def inline_svg(plot: Plot) -> Markup:
    """The plot's <svg> for an HTML page: page colours, ids of its own, no declaration, no namespace
    addresses.
    """
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(
        r"<style.*?</style>\s*", "", svg, flags=re.DOTALL
    )  # it would hold for the page; ours says the same
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{plot.name}-", svg)
    svg = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg
    )
    for name, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)  # noqa: S704 - matplotlib's own markup, in which it escapes all text
