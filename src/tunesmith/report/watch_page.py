"""The page that `tunesmith watch` shows as long as a run has no report yet."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.report.page import page_environment, spelled_out
from tunesmith.report.plots import Plot
from tunesmith.report.tables import Table

RELOADED = 5
"""Seconds until the page asks for itself again."""


@dataclass(frozen=True)
class Growing:
    """How far a run is: `stages` are (name, state, what there is to say of it), where a state is
    done, at work, waiting, or not done where nobody is at work.
    """

    name: str
    at_work: bool
    stages: Sequence[tuple[str, str, str]]
    plots: Sequence[Plot] = ()
    ledger: Table | None = None


def render_growing(growing: Growing) -> str:
    """The page; every text on it is escaped, and plots are pictures, in which nothing can act."""
    template = page_environment(finalize=spelled_out).get_template("watch.html.j2")
    pictures = [
        (plot, f"data:image/svg+xml;base64,{base64.b64encode(plot.svg.encode()).decode()}")
        for plot in growing.plots
    ]
    return template.render(growing=growing, pictures=pictures, reloaded=RELOADED)
