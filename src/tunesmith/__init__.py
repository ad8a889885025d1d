"""tunesmith: labelled rows in, an instruct model that is shown to be better out."""

__version__ = "0.1.0"
