"""From a table, or another tool's configuration, to a recipe: what `tunesmith init` proposes."""
