"""Vocabularies: pieces with scores, the formats they are written to, and the tokenizers that read them."""
