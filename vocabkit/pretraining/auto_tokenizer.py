"""The tokenizer.json that AutoTokenizer needs, for a tokenizer that came without one.

A lone .model is opened by transformers without complaint, and cuts text in another way. What is written here
gives the same ids as the .model, or is not written. torch is not needed.
"""

from __future__ import annotations

from pathlib import Path

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.huggingface_format import write_tokenizer
from vocabkit.vocabulary.tokenizers import SentencePieceTokenizer, open_tokenizer

__all__ = ["complete_tokenizer"]


def complete_tokenizer(source: Path, folder: Path) -> str | None:
    """Write tokenizer.json and its configuration into `folder` where `source` has neither.

    Returns why AutoTokenizer will not cut text as these files do, None where it will.
    """
    if (source / "tokenizer.json").is_file() or (source / "tokenizer_config.json").is_file():
        return None
    opened = open_tokenizer(source)
    if not isinstance(opened, SentencePieceTokenizer):
        return "there is no tokenizer.json, and no tokenizer_config.json to name a class"
    try:
        write_tokenizer(opened.vocabulary, folder)
    except TokenizerError as error:
        return error.message
    return None
