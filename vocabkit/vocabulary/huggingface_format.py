"""`tokenizer.json` and `tokenizer_config.json`: for `tokenizers` and AutoTokenizer, ids as the .model's.

Exact by construction in normalisation (`charsmap_pipeline`), spaces, bytes and unknowns. What can
still differ:

- two segmentations of equal score: SentencePiece adds float32 from the start of the text,
  `tokenizers` float64 from the start of the word, and the last bit decides (3 of 79,880 lines);
- bpe where two pairs make the same piece side by side: SentencePiece takes the left one,
  `tokenizers` the pair with the better rank (not met in 79,880 lines);
- specials typed in the text: an added token here, as users of AutoTokenizer expect, and plain text
  in the .model (set `encode_special_tokens` on the backend for plain text).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.charsmap_pipeline import build_steps
from vocabkit.vocabulary.merges import derive_merges
from vocabkit.vocabulary.reserved_text import split_pattern, unmatchable_score, written_name
from vocabkit.vocabulary.vocabulary import SPACE, Kind, Vocabulary


def write_tokenizer(vocabulary: Vocabulary, folder: str | Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into a folder that exists.

    Raises TokenizerError where the format cannot hold the vocabulary exactly.
    """
    target = Path(folder)
    text = build_backend(vocabulary).to_str(pretty=False)
    (target / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    config = json.dumps(_configuration(vocabulary), ensure_ascii=False, indent=2)
    (target / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")


def build_backend(vocabulary: Vocabulary) -> Tokenizer:
    """The vocabulary as a `tokenizers.Tokenizer`. Raises TokenizerError as `write_tokenizer` does."""
    spacing = vocabulary.spacing
    if spacing.as_suffix or not spacing.escape:
        switch = "treat_whitespace_as_suffix" if spacing.as_suffix else "escape_whitespaces = false"
        raise TokenizerError(
            f"tokenizer.json cannot hold a vocabulary with {switch}", hint="use tokenizer.model"
        )
    matchable = _matchable(vocabulary)
    backend = Tokenizer(_unigram(vocabulary) if vocabulary.model == "unigram" else _bpe(vocabulary))
    alphabet = {char for piece in matchable for char in piece}
    steps = build_steps(vocabulary.normalizer.charsmap, spacing.remove_extra, alphabet)
    if spacing.dummy_prefix and SPACE in vocabulary.normalizer.apply_charsmap([SPACE]):
        # Metaspace adds no prefix to a text that begins with a typed U+2581; SentencePiece does.
        steps.append(normalizers.Prepend(SPACE))
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = _pre_tokenizer(vocabulary)
    decoding: list[Any] = [decoders.Replace(SPACE, " ")]
    if vocabulary.byte_fallback:
        decoding.append(decoders.ByteFallback())
    decoding.append(decoders.Fuse())
    if spacing.dummy_prefix:
        decoding.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(decoding)
    template = _template(vocabulary)
    if template is not None:
        backend.post_processor = template
    for index, (piece, kind) in enumerate(zip(vocabulary.pieces, vocabulary.kinds, strict=True)):
        if kind in (Kind.CONTROL, Kind.UNKNOWN):
            mask = index == vocabulary.roles.mask
            backend.add_special_tokens(
                [AddedToken(piece, lstrip=mask, normalized=False, special=True)]
            )
        elif kind is Kind.USER:
            backend.add_tokens([AddedToken(piece, normalized=False, special=False)])
    return backend


def _matchable(vocabulary: Vocabulary) -> list[str]:
    return [
        piece
        for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)
        if kind in (Kind.NORMAL, Kind.USER)
    ]


def _unigram(vocabulary: Vocabulary) -> models.Model:
    low = unmatchable_score(vocabulary)
    entries = [
        (written_name(piece, kind), score if kind in (Kind.NORMAL, Kind.USER) else low)
        for piece, score, kind in zip(
            vocabulary.pieces, vocabulary.scores.tolist(), vocabulary.kinds, strict=True
        )
    ]
    return models.Unigram(entries, vocabulary.roles.unknown, vocabulary.byte_fallback)


def _bpe(vocabulary: Vocabulary) -> models.Model:
    unknown = vocabulary.roles.unknown
    names = map(written_name, vocabulary.pieces, vocabulary.kinds)
    return models.BPE(
        vocab={name: index for index, name in enumerate(names)},
        merges=derive_merges(vocabulary),
        unk_token=None if unknown is None else vocabulary.pieces[unknown],
        fuse_unk=True,
        byte_fallback=vocabulary.byte_fallback,
    )


def _pre_tokenizer(vocabulary: Vocabulary) -> pre_tokenizers.PreTokenizer:
    # Pieces with a space inside (split_by_whitespace off) are matched only if words are not split.
    crossing = any(SPACE in piece[1:] for piece in _matchable(vocabulary))
    scheme = "always" if vocabulary.spacing.dummy_prefix else "never"
    words = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=not crossing)
    # A bpe name cannot be matched: there are no merges that would make it.
    names = split_pattern(vocabulary) if vocabulary.model == "unigram" else None
    if names is None:
        return words
    split = pre_tokenizers.Split(Regex(names), behavior="isolated")
    return pre_tokenizers.Sequence([words, split])


def _template(vocabulary: Vocabulary) -> processors.TemplateProcessing | None:
    begin, end = vocabulary.roles.begin, vocabulary.roles.end
    if begin is None or end is None:
        return None
    first, last = vocabulary.pieces[begin], vocabulary.pieces[end]
    return processors.TemplateProcessing(
        single=[first, "$A", last],
        pair=[first, "$A", last, last, "$B", last],
        special_tokens=[(first, begin), (last, end)],
    )


def _configuration(vocabulary: Vocabulary) -> dict[str, Any]:
    roles = vocabulary.roles
    names = {
        "bos_token": roles.begin,
        "eos_token": roles.end,
        "unk_token": roles.unknown,
        "pad_token": roles.pad,
        "cls_token": roles.begin,
        "sep_token": roles.end,
        "mask_token": roles.mask,
    }
    tokens: dict[str, Any] = {
        name: vocabulary.pieces[index] for name, index in names.items() if index is not None
    }
    if roles.mask is not None:
        tokens["mask_token"] = {
            "__type": "AddedToken",
            "content": vocabulary.pieces[roles.mask],
            "lstrip": True,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
    own = set(names.values())
    extra = [
        piece
        for index, (piece, kind) in enumerate(zip(vocabulary.pieces, vocabulary.kinds, strict=True))
        if kind is Kind.CONTROL and index not in own
    ]
    if extra:
        tokens["additional_special_tokens"] = extra
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **tokens,
    }
