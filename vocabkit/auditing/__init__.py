"""What a tokenizer does to a language, measured."""
