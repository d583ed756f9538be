"""vocabkit: multilingual tokeniser and vocabulary engineering, from word counts to a pretraining run."""

from __future__ import annotations

__version__ = "0.1.0"
