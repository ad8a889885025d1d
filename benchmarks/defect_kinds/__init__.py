"""What is injected into a small job by `benchmarks/defects.py`, a file for each kind of wrong."""
