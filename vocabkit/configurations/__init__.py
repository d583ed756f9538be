"""The ways vocabkit fits a tokenizer, each from word counts and one configuration table."""
