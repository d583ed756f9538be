"""Text and what is derived from it once: sources, documents, word counts, spans, language weights."""
