"""From a conversation to the prompt as it is served and the answer as the template writes it."""
