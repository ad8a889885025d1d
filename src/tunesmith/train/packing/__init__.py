"""The step plan, and rows in one line without padding."""
