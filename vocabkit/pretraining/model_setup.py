"""The model a run begins with: drawn from a seed, or read from a checkpoint that `extend` or others wrote."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vocabkit.core.errors import ConfigError, TokenizerError
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.importing import load_model, read_checkpoint
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.model_config import ModelConfig
from vocabkit.pretraining.plan import check_fit
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.special_tokens import find_tokenizer_files
from vocabkit.vocabulary.tokenizers import Tokenizer, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

__all__ = ["build_model", "check_new_ids", "describe_model"]

_ALIKE = 0.01
"""Share of pieces that may differ between two formats of one tokenizer; another one differs in most."""


def describe_model(
    config: RunConfig, corpus: PreparedCorpus, checkpoint: Path | None
) -> ModelConfig:
    """The shape of a new run's model: `[model]`'s, or the checkpoint's.

    Raises ConfigError where both or neither say it, PretrainingError where it does not fit the prepared data.
    """
    if checkpoint is None:
        if config.model is None:
            raise ConfigError(
                "no [model] and no checkpoint: nothing says what to train",
                "add a [model] table, or pass --checkpoint DIR",
            )
        shape = config.model.shape(
            config.model.vocabulary or corpus.vocabulary, corpus.special, corpus.length
        )
    else:
        if config.model is not None:
            raise ConfigError(
                f"[model] and the checkpoint {checkpoint} both say what to train",
                "leave [model] out, or pass no --checkpoint",
            )
        shape, _ = read_checkpoint(checkpoint)
    check_fit(shape, corpus)
    if checkpoint is not None:
        _check_tokenizer(checkpoint, corpus)
    return shape


def build_model(shape: ModelConfig, seed: int | None, checkpoint: Path | None) -> Model:
    """The model in fp32 on the CPU: a checkpoint's weights, or drawn; with no seed, whatever memory holds."""
    return Model(shape, seed=seed) if checkpoint is None else load_model(checkpoint)


def check_new_ids(new_rows: Tensor, corpus: PreparedCorpus) -> None:
    """Raise PretrainingError when data knows none of the ids that an extension added."""
    if len(new_rows) and int(new_rows.min()) >= corpus.vocabulary:
        raise PretrainingError(
            f"{corpus.folder}: data of {corpus.vocabulary:,} ids, and the first id that the extension added "
            f"is {int(new_rows.min()):,}: it was prepared with the tokenizer of before",
            "prepare the corpus with the extended checkpoint's tokenizer",
        )


def _check_tokenizer(checkpoint: Path, corpus: PreparedCorpus) -> None:
    """Raise PretrainingError when the checkpoint holds a tokenizer that gives pieces other ids than the data's.

    One tokenizer may come in files of two formats: where they differ, pieces are compared.
    """
    try:
        if find_tokenizer_files(checkpoint).fingerprint == corpus.tokenizer_fingerprint:
            return
        held, used = open_tokenizer(checkpoint), open_tokenizer(corpus.tokenizer_folder)
    except TokenizerError:
        return  # a checkpoint need not hold a tokenizer
    different = _find_different(held, used)
    if different is not None:
        raise PretrainingError(
            f"{corpus.folder} was prepared with another tokenizer than {checkpoint} holds: id {different} is "
            f"{used.token_bytes(different)!r} in the one, {held.token_bytes(different)!r} in the other",
            f"vocabkit prepare CORPUS --tokenizer {checkpoint} -o DIR",
        )


def _find_different(held: Tokenizer, used: Tokenizer) -> int | None:
    """The first id of pieces that are not the same, when there are too many of them; None otherwise."""
    both = range(min(held.size, used.size))
    text = [index for index in both if held.kinds[index] is Kind.NORMAL is used.kinds[index]]
    other = [index for index in text if held.token_bytes(index) != used.token_bytes(index)]
    return other[0] if len(other) > _ALIKE * len(text) else None
