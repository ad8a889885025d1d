"""How an answer is found in a model's text: a choice, a number, JSON."""
