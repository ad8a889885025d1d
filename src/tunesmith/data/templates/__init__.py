"""From a row to prompts and answers."""
