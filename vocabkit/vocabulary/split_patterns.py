"""The patterns byte-level tokenizers split text with, by name, and which known vocabulary has which.

tiktoken's rank files do not carry their pattern and GGUF files only its name. A vocabulary not listed
here needs `--pattern`; nothing is guessed from a file's name or from its size alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ENDING = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _words(letters: str, digits: str, others: str) -> str:
    word = rf"[^\r\n\p{{L}}\p{{N}}]?{letters}+"
    symbols = rf" ?[^\s{others}]+[\r\n]*"
    return f"{_CONTRACTION}|{word}|{digits}|{symbols}|{_ENDING}"


def _cased_words(contraction: str, digits: str) -> str:
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    start = r"[^\r\n\p{L}\p{N}]?"
    words = f"{start}{upper}*{lower}+{contraction}|{start}{upper}+{lower}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_ENDING}"


# Name → the patterns, applied one after another, each to the pieces the one before left.
PATTERNS: Mapping[str, tuple[str, ...]] = {
    "gpt2": (_GPT2,),
    "cl100k": (_words(r"\p{L}", r"\p{N}{1,3}", r"\p{L}\p{N}"),),
    "qwen2": (_words(r"\p{L}", r"\p{N}", r"\p{L}\p{N}"),),
    "qwen3.5": (_words(r"[\p{L}\p{M}]", r"\p{N}", r"\p{L}\p{M}\p{N}"),),
    "o200k": (_cased_words(f"{_CONTRACTION}?", r"\p{N}{1,3}"),),
    "tekken": (_cased_words("", r"\p{N}"),),
    "digits-gpt2": (r"\p{N}", _GPT2),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9]{3}"),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        r"[一-龥\u3040-ゟ゠-ヿ]+",
        r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
        + _ENDING,
    ),
}

# What GGUF files call a pattern → its name here.
GGUF_NAMES: Mapping[str, str] = {
    **dict.fromkeys(
        ("gpt-2", "phi-2", "mpt", "olmo", "jais", "modern-bert", "roberta-bpe"), "gpt2"
    ),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "dbrx", "smaug-bpe", "glm4"), "cl100k"),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), "qwen2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "exaone"), "digits-gpt2"),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), "deepseek-v3"),
    **dict.fromkeys(("gpt-4o", "llama4"), "o200k"),
    "qwen35": "qwen3.5",
    "tekken": "tekken",
    "falcon": "falcon",
}

# Digests of `fingerprint_ranks` of published rank files, and the number of their ranks.
_KNOWN = {
    "7ea07dc7d7c7532d": "gpt2",  # 50,256: GPT-2, r50k
    "533977b3cf371bcb": "gpt2",  # 50,280: p50k
    "0895afe17e9e53a2": "gpt2",  # 50,256: multilingual Whisper
    "5b8fe178b85f7004": "cl100k",  # 100,256
    "8e181e8b92089bdd": "cl100k",  # 128,000: Llama 3
    "5907a59d5093a092": "o200k",  # 199,998
    "61ef9fda3248165b": "o200k",  # 200,000: Llama 4
    "13fb68009beabb8f": "qwen2",  # 151,643: Qwen 1 to 3
    "523591779155bfa5": "qwen3.5",  # 248,044: Qwen 3.5 and 3.6
}


def fingerprint_ranks(ranks: Mapping[bytes, int]) -> str:
    """A digest (BLAKE2b, 64 bits, hex) of tokens and ranks, whatever their order in the file."""
    digest = hashlib.blake2b(digest_size=8)
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        digest.update(rank.to_bytes(4, "little") + len(token).to_bytes(4, "little") + token)
    return digest.hexdigest()


def find_pattern(ranks: Mapping[bytes, int]) -> str | None:
    """The name of the pattern that a published vocabulary goes with; None for any other."""
    return _KNOWN.get(fingerprint_ranks(ranks))
