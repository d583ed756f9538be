"""The configuration of (c), and of `vocabkit allocate`: what is allocated how."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vocabkit.allocation.settings import AllocationTable
from vocabkit.configurations.settings import VocabularyTables


class ProportionalConfig(VocabularyTables):
    """Configuration (c): what is allocated how, beside the tables of every SentencePiece-like vocabulary.

    `languages` weighs the counts where pieces are attributed and scores estimated; the sizes are
    `allocation`'s. `iterations` are the passes of EM that put the union on one scale.
    """

    configuration: Literal["proportional"] = "proportional"
    allocation: AllocationTable = AllocationTable()
    iterations: int = Field(default=3, ge=1, le=20)

    @model_validator(mode="after")
    def _check_unigram(self) -> Self:
        if self.vocabulary.model != "unigram" or self.trainer.engine != "vocabkit":
            raise ValueError("proportional needs a unigram model and engine = 'vocabkit'")
        if self.vocabulary.keep or self.vocabulary.deny:
            raise ValueError("vocabulary.keep and deny are not known to proportional")
        return self
