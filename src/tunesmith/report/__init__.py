"""What a run found: report.html, report.md, report.json, the plots, the model card and the table on
the terminal.
"""

from tunesmith.report.console import show
from tunesmith.report.content import CurvePoint, ForgettingRow, Report, to_json
from tunesmith.report.write import write_report

__all__ = ["CurvePoint", "ForgettingRow", "Report", "show", "to_json", "write_report"]
