"""What a run found: the page, report.md, report.json, the plots, the model card, the terminal."""
