"""Rows that stand there twice, nearly twice, or on both sides of a split."""
