"""The stages of a run, each a function on a run folder."""
