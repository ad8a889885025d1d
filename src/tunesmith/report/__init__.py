"""report.html, report.md, report.json and the model card."""
