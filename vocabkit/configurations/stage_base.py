"""The base of a two-stage vocabulary: any unigram vocabulary, and what is known of the fit it came from.

Reads tokenizer folders and .model files. New scores must be on the scale of the base's, log(count ÷ total). A
base fitted on these counts tells total and language weights; of any other the total is estimated for each
language from its own pieces. On a language's own scale its new pieces would cost 4 to 27 % more tokens.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vocabkit.configurations.settings import TrainerTable
from vocabkit.core.errors import ConfigError, TokenizerError
from vocabkit.core.provenance import read_manifest
from vocabkit.corpus.normalization import RULES
from vocabkit.fitting.results import Frozen, UnigramOptions
from vocabkit.fitting.sorting import Int64Array
from vocabkit.vocabulary.tokenizers import SentencePieceTokenizer, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class Base:
    """A vocabulary whose ids and scores stay.

    `rule` normalises the counts. `weights` are of its fit where that was made from the counts of this
    fingerprint, `counts`; both are empty for a base from elsewhere.
    """

    vocabulary: Vocabulary
    source: str
    rule: str
    weights: Mapping[str, float]
    counts: str = ""
    warnings: tuple[str, ...] = ()

    def find_totals(
        self, usage: Mapping[str, Int64Array], languages: Sequence[str], counts: str
    ) -> dict[str, float]:
        """Return the total that raw counts of each language are to be divided by.

        `usage` is how often each counted language uses each piece. With weights w and t tokens a language, the
        total of a fit on the same counts is Σ w·t, and Σ w·t ÷ w of a language's raw counts.
        """
        if self.counts == counts and self.weights:
            whole = sum(self.weights[code] * float(usage[code].sum()) for code in self.weights)
            return {code: whole / self.weights[code] for code in languages}
        return {code: estimate_total(self.vocabulary, usage[code]) for code in languages}


def estimate_total(vocabulary: Vocabulary, used: Int64Array) -> float:
    """Return the total on whose scale a language's counts agree with the base's scores.

    A piece that only this language uses has p = count ÷ total, so count ÷ p is the total; for a piece that
    others use as well it is less. Taken is the value that nine tenths of the language's tokens lie below, of
    pieces met five times or more. Raises `TokenizerError` where there are none.
    """
    normal = np.array([kind is Kind.NORMAL for kind in vocabulary.kinds])
    ids = np.flatnonzero(normal & (used >= _ENOUGH))
    if not len(ids):
        raise TokenizerError(
            "the base uses none of its pieces five times on this language's text",
            "count more text of the language",
        )
    ratio = used[ids] / np.exp(vocabulary.scores[ids].astype(np.float64))
    order = np.argsort(ratio, kind="stable")
    reached = np.cumsum(used[ids][order])
    return float(ratio[order][np.searchsorted(reached, 0.9 * reached[-1])])


def read_base(path: str | Path) -> Base:
    """Read a base from a folder, a .model or a GGUF. Raises `ConfigError` and `TokenizerError`."""
    source = Path(path)
    if source.is_dir():
        vocabulary = Vocabulary.load(source)
        counts = _read_counts(source)
        weights = _read_weights(source / "languages.tsv") if counts else {}
    elif source.is_file():
        opened = open_tokenizer(source)
        if not isinstance(opened, SentencePieceTokenizer):
            raise TokenizerError(
                f"{source}: {opened.style} BPE or WordPiece cannot be the base of unigram blocks",
                "extend BPE with `vocabkit fit continued-bpe --base tokenizer.json`",
            )
        vocabulary, weights, counts = opened.vocabulary, {}, ""
    else:
        raise ConfigError(f"base = {str(path)!r}: no such folder or file", "name a fitted folder")
    return describe_base(vocabulary, str(source), weights, counts)


def describe_base(
    vocabulary: Vocabulary, source: str, weights: Mapping[str, float], counts: str
) -> Base:
    """Return a vocabulary as a base. Raises `TokenizerError` for one that is not unigram."""
    if vocabulary.model != "unigram":
        raise TokenizerError(
            f"{source}: a {vocabulary.model} model cannot be the base of unigram blocks",
            "extend BPE with `vocabkit fit continued-bpe --base tokenizer.json`",
        )
    name = vocabulary.normalizer.name
    if name in RULES:
        return Base(vocabulary, source, name, weights, counts)
    rule = "nmt_nfkc" if vocabulary.normalizer.charsmap else "identity"
    note = f"{source}: its normaliser {name!r} is not one of ours; counts are read by {rule}"
    return Base(vocabulary, source, rule, weights, counts, (note,))


def _read_counts(folder: Path) -> str:
    """Return the fingerprint of the counts a folder was fitted from, empty where it does not tell."""
    if not (folder / "manifest.json").is_file():
        return ""
    return str(read_manifest(folder).get("inputs", {}).get("counts", ""))


def _read_weights(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            return {row["language"]: float(row["weight"]) for row in rows}
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise TokenizerError(
            f"{path}: not the table of a fit: {error}", "fit the base again"
        ) from error


def choose_options(trainer: TrainerTable) -> UnigramOptions:
    """Return how blocks are fitted.

    One pass is made before pieces below half an occurrence go: with two, a fourth of the pieces that help
    held-out text are gone (of Sinhala's 29,812 pieces 22,264 are left, and 1.6 % more tokens).
    """
    return UnigramOptions(
        sparse=False,
        first_iterations=1,
        shrink=trainer.shrink,
        iterations=trainer.iterations,
        power=trainer.power,
        memory=trainer.memory or None,
    )


def freeze_pieces(vocabulary: Vocabulary) -> Frozen:
    """Return the pieces of a base as frozen ones, of total 1: each language's own takes its place."""
    normal = [i for i, kind in enumerate(vocabulary.kinds) if kind is Kind.NORMAL]
    return Frozen([vocabulary.pieces[i] for i in normal], vocabulary.scores[normal].tolist(), 1.0)
