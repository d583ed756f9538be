"""What a vocabulary holds: pieces by script and kind, their lengths, and what the corpus makes of them.

Script under-allocation is a script's share of the pieces over its share of the corpus; below 0.5 it is flagged.
Both shares are of what has a script: digits, punctuation, bytes and special tokens are in neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.audit.figures import Figure
from vocabkit.audit.token_scripts import attribute_token, group_of
from vocabkit.core.scripts import COMMON, INHERITED, UNKNOWN
from vocabkit.vocabulary.tokenizers import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

Int64Array = npt.NDArray[np.int64]
UNDER = 0.5
"""Below this share of its share a script is under-allocated."""
ORDERS = (2.5, 3.0)
"""Rényi orders: 2.5 in Zouhar et al. 2023, 3 the default of their program."""
_EMITTED = (Kind.NORMAL, Kind.USER, Kind.BYTE)
_NO_SCRIPT = (COMMON, INHERITED, UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """Every id of a vocabulary sorted by script and kind.

    `scripts` and `groups` count the pieces attributed to one; `kinds` counts all ids: the kinds of
    `token_scripts` for pieces of text, else the kind of id. `unattributed` are the partial tokens without a
    script, by reason. `emitted` bool[size] marks the ids that text can be encoded to (unknown aside); `bytes`
    and `characters` int64 are the lengths of the pieces of text, characters of those that are whole UTF-8.
    """

    size: int
    scripts: Mapping[str, int]
    groups: Mapping[str, int]
    kinds: Mapping[str, int]
    unattributed: Mapping[str, int]
    emitted: npt.NDArray[np.bool_]
    bytes: Int64Array
    characters: Int64Array


def describe_vocabulary(tokenizer: Tokenizer) -> Composition:
    """Sort every id of a tokenizer by script and kind."""
    scripts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    unattributed: Counter[str] = Counter()
    sizes, characters = [], []
    for index, kind in enumerate(tokenizer.kinds):
        if kind not in (Kind.NORMAL, Kind.USER):
            kinds[kind.value] += 1
            continue
        data = tokenizer.token_bytes(index) or b""
        found = attribute_token(data)
        kinds[found.kind] += 1
        sizes.append(len(data))
        if found.kind != "partial":
            characters.append(len(data.decode("utf-8")))
        if found.script is not None:
            scripts[found.script] += 1
        elif found.reason is not None:
            unattributed[found.reason] += 1
    return Composition(
        tokenizer.size,
        dict(sorted(scripts.items())),
        _pool_groups(scripts),
        dict(sorted(kinds.items())),
        dict(sorted(unattributed.items())),
        np.array([kind in _EMITTED for kind in tokenizer.kinds], dtype=np.bool_),
        np.array(sizes, dtype=np.int64),
        np.array(characters, dtype=np.int64),
    )


def measure_composition(tokenizer: str, composition: Composition, *, width: int) -> list[Figure]:
    """Return the figures of a vocabulary that need no corpus; `width` is that of an embedding row."""
    size, scripted = composition.size, sum(composition.scripts.values())
    figures = []
    for table in (composition.scripts, composition.groups):
        for name, count in table.items():
            figures.append(_count(tokenizer, name, "pieces", count, scripted))
            share = _ratio(count, scripted)
            figures.append(_share(tokenizer, name, "vocabulary_share", share, scripted))
    for name, count in composition.kinds.items():
        figures.append(_count(tokenizer, name, "pieces_of_kind", count, size))
    for name, count in composition.unattributed.items():
        figures.append(_count(tokenizer, name, "pieces_unattributed", count, size))
    figures.append(_count(tokenizer, "all", "vocabulary_size", size, size))
    pieces = len(composition.bytes)
    for name in ("mixed", "partial"):
        share = _ratio(composition.kinds.get(name, 0), pieces)
        figures.append(_share(tokenizer, "all", f"{name}_pieces", share, pieces))
    for metric, unit, values in (
        ("piece_bytes", "bytes a piece", composition.bytes),
        ("piece_characters", "characters a piece", composition.characters),
    ):
        for how, value in (
            ("mean", float(values.mean()) if len(values) else None),
            ("median", float(np.median(values)) if len(values) else None),
            ("max", float(values.max()) if len(values) else None),
        ):
            figures.append(
                Figure(
                    tokenizer, "vocabulary", "all", f"{metric}.{how}", value, unit, f"{how} of pieces",
                    n=len(values),
                )
            )  # fmt: skip
    figures.append(
        Figure(
            tokenizer, "vocabulary", "all", "embedding_parameters", float(size * width), "parameters",
            "ids × width", n=size, note=f"width {width}; twice as many when the output is not tied",
        )
    )  # fmt: skip
    return figures


def compare_shares(
    tokenizer: str,
    composition: Composition,
    characters: Mapping[str, int],
    words: Mapping[str, int],
) -> list[Figure]:
    """Return each script's and group's share of the vocabulary over its share of the corpus.

    `characters` and `words` are the corpus by ISO 15924 code; codes without a script are left out.
    """
    figures = []
    for unit, corpus in (("characters", characters), ("words", words)):
        by_script = {name: count for name, count in corpus.items() if name not in _NO_SCRIPT}
        pairs = (
            (composition.scripts, by_script),
            (composition.groups, _pool_groups(by_script)),
        )
        for pieces, text in pairs:
            total_pieces, total_text = sum(pieces.values()), sum(text.values())
            for name in sorted(pieces.keys() | text.keys()):
                mine, seen = pieces.get(name, 0), text.get(name, 0)
                share = _ratio(seen, total_text)
                figures.append(_share(tokenizer, name, f"corpus_share_{unit}", share, total_text))
                have = _ratio(mine, total_pieces)
                value = have / share if have is not None and share else None
                figures.append(
                    Figure(
                        tokenizer, "vocabulary", name, f"allocation_{unit}", value, "ratio",
                        f"share of pieces ÷ share of corpus {unit}", n=seen,
                        note=_judge(value, share),
                    )
                )  # fmt: skip
    return figures


def measure_usage(
    tokenizer: str,
    composition: Composition,
    counts: Iterable[tuple[npt.NDArray[np.int32], Int64Array]],
) -> list[Figure]:
    """Return ids unused on the corpus and Rényi efficiency, from (ids, occurrences) of each language."""
    used = np.zeros(composition.size, dtype=np.int64)
    for ids, occurrences in counts:
        np.add.at(used, ids, occurrences)
    total = int(used.sum())
    emitted = int(composition.emitted.sum())
    unused = int((composition.emitted & (used == 0)).sum())
    note = f"of {total} tokens of this corpus: a larger one leaves fewer unused"
    figures = [
        Figure(
            tokenizer, "vocabulary", "all", "unused_ids", _ratio(unused, emitted) if total else None,
            "share", "share of the ids that text can be encoded to", n=emitted, note=note,
        )
    ]  # fmt: skip
    for order in ORDERS:
        for suffix, against, phrase in (
            ("", emitted, "ids that text can be encoded to"),
            (".observed", int((used > 0).sum()), "ids seen"),
        ):
            figures.append(
                Figure(
                    tokenizer, "vocabulary", "all", f"renyi_{order:g}{suffix}",
                    measure_renyi(used, order, against), "0–1",
                    f"Rényi entropy of all languages' tokens ÷ log₂ of the {phrase}", n=against,
                    note="reported, not ranked: vocabularies of other sizes do not compare",
                )
            )  # fmt: skip
    return figures


def measure_renyi(counts: Int64Array, order: float, vocabulary: int) -> float | None:
    """Return Rényi efficiency, log₂(Σpᵃ) ÷ (1 − a) ÷ log₂V (Zouhar et al. 2023); None without spread.

    With V the ids seen it is what tokenization-scorer returns by default.
    """
    seen = np.sort(counts[counts > 0])
    if not len(seen) or vocabulary < 2:
        return None
    shares = seen / float(seen.sum())
    entropy = float(np.log2(np.sum(shares**order))) / (1.0 - order)
    return entropy / float(np.log2(vocabulary))


def _pool_groups(scripts: Mapping[str, int]) -> dict[str, int]:
    pooled: Counter[str] = Counter()
    for script, count in scripts.items():
        pooled[group_of(script)] += count
    return dict(sorted(pooled.items()))


def _judge(value: float | None, corpus_share: float | None) -> str | None:
    if value is None:
        return None if corpus_share else "not in this corpus"
    return f"under-allocated: below {UNDER:g}" if value < UNDER else None


def _ratio(count: int, total: int) -> float | None:
    return count / total if total else None


def _count(tokenizer: str, name: str, metric: str, count: int, total: int) -> Figure:
    return Figure(tokenizer, "vocabulary", name, metric, float(count), "pieces", "count", n=total)


def _share(tokenizer: str, name: str, metric: str, value: float | None, total: int) -> Figure:
    return Figure(tokenizer, "vocabulary", name, metric, value, "share", "share of sums", n=total)
