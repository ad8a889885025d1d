"""Models and tokenizers as Hugging Face folders: loaded, checked, saved."""
