"""The panels of `tunesmith --help`: every command in the order in which a newcomer needs it."""

from __future__ import annotations

from collections.abc import Mapping

import typer
from typer.core import TyperGroup

PANELS: Mapping[str, tuple[str, ...]] = {
    "Start": ("demo", "init", "run", "resume"),
    "Look before training": ("prepare", "preview", "plan", "check", "limit", "templates", "schema"),
    "Train and judge": (
        *("train", "evaluate", "report", "watch", "score", "compare", "curve", "tune"),
        *("review", "judge", "verify", "reproduce"),
    ),
    "Use the model": ("predict", "chat", "serve", "export", "runs"),
}
"""Each panel's commands. A command that stands in none comes last, in a panel "Others"."""

_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
_ORDER = {name: place for place, name in enumerate(_PANEL_OF)}


class InOrder(TyperGroup):
    """A group whose commands are listed in the order of PANELS."""

    def list_commands(self, ctx: object) -> list[str]:
        """All names; those in no panel keep their order, at the end."""
        return sorted(self.commands, key=lambda name: _ORDER.get(name, len(_ORDER)))


def into_panels(app: typer.Typer) -> None:
    """Put each command of `app` into its panel; called when all of them are there."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        command.rich_help_panel = _PANEL_OF.get(name, "Others")
    for group in app.registered_groups:
        group.rich_help_panel = _PANEL_OF.get(group.name or "", "Others")
