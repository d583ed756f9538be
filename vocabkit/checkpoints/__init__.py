"""Checkpoints on disk: tensors, vocabulary rows and receipts."""
