"""How many pieces each language gets, and what they are worth to it."""
