"""Rows to labels: reading, templates, splits, tokens."""
