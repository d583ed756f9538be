"""What can be wrong with prepared data, a run or a model, in words for the user."""

from __future__ import annotations

from vocabkit.core.errors import VocabkitError

__all__ = ["PretrainingError"]


class PretrainingError(VocabkitError):
    """Prepared data, a checkpoint or a run cannot be used as asked."""
