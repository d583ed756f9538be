"""The one exception of this stage: a checkpoint that cannot be read, extended or checked as asked."""

from vocabkit.core.errors import VocabkitError

__all__ = ["CheckpointError"]


class CheckpointError(VocabkitError):
    """A checkpoint is damaged, ambiguous, or does not fit the request."""
