"""`parity`: a shared vocabulary whose language weights make the costliest languages cheapest.

A fixed point: fit, encode a development set of aligned lines, give more weight to languages that cost more
tokens than the mean, fit again. Cost is tokens for the same sentences, compared with the fit the search starts
from, and never with this tokenizer's own English: a search over that ratio made English 21 % worse and left the
tail where it was. Kept is the fit whose bottom decile costs least among those in which no language lost more
than allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vocabkit.auditing.parallel_text import read_audit_text
from vocabkit.configurations.settings import ParityConfig
from vocabkit.configurations.shared import Fit, complete_fit, fit_weighted, prepare
from vocabkit.core.errors import ConfigError, CorpusError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.weighting import LanguageWeights, weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.adapters import SentencePieceTokenizer
from vocabkit.vocabulary.vocabulary import Vocabulary

_NEAR = 0.97


def fit_parity(
    counts: WordCounts,
    config: ParityConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    development: Mapping[str, Sequence[str]] | None = None,
) -> Fit[Vocabulary]:
    """Search the weights on aligned development lines and return the best fit; the path to it is a table.

    `development` lines are by language, those of `parity.development` unless given. Languages without any keep
    the share they start with. Raises as `fit_shared`, `ConfigError` without development text, and
    `CorpusError` where its lines are not aligned or are of fewer than two fitted languages.
    """
    report = progress or Silent()
    lines = _read_development(config, progress) if development is None else development
    ready = prepare(counts, config, progress, workers=workers)
    codes = [row.language for row in ready.weights.rows]
    texts = {code: lines[code] for code in codes if code in lines}
    _check_aligned(texts)
    masses = {code: float(getattr(m, config.languages.unit)) for code, m in ready.masses.items()}
    weights = ready.weights
    first: dict[str, float] = {}
    best, path = np.inf, []
    for number in range(config.parity.rounds + 1):
        report.start(f"fit {number + 1} of {config.parity.rounds + 1}")
        report.finish()
        vocabulary, details = fit_weighted(ready, weights, progress)
        costs = _measure_costs(vocabulary, texts)
        first = first or costs
        row, decile, loss = _describe(number, costs, first, weights)
        path.append(row)
        # The first round loses nothing, so that one is always kept.
        if loss <= config.parity.max_loss and decile < best:
            best, chosen, paid = decile, (weights, vocabulary, details), costs
            kept = row
        weights = _reweigh(masses, weights, costs, first, config)
    ready.clock.lap("search")
    kept["kept"] = True
    fit = complete_fit(ready, *chosen, progress)
    absent = ", ".join(sorted(set(codes) - set(texts)))
    note = f"no development text, so left at their first share: {absent}"
    return replace(
        fit,
        rows=tuple({**row, "tokens_per_line": paid.get(str(row["language"]))} for row in fit.rows),
        warnings=(*(fit.warnings or ()), *([note] if absent else [])),
        tables={"path": path},
        details={},
    )


def _read_development(config: ParityConfig, progress: Progress | None) -> Mapping[str, Sequence[str]]:
    if not config.parity.development:
        raise ConfigError(
            "parity needs a development corpus of aligned lines",
            "--set parity.development=DIR; lines used here cannot test the result",
        )
    corpus = open_corpus(config.parity.development)
    limit = config.parity.lines or None
    text = read_audit_text(corpus, limit=limit, aligned="yes", progress=progress)
    return {code: text.languages[code] for code in text.aligned_languages}


def _check_aligned(texts: Mapping[str, Sequence[str]]) -> None:
    sizes = {code: len(lines) for code, lines in texts.items()}
    if len(sizes) < 2:
        raise CorpusError(
            f"development text is needed in two of the fitted languages or more, found {len(sizes)}",
            "--set parity.development=DIR, a folder of aligned files such as eng_Latn.txt",
        )
    if len(set(sizes.values())) > 1:
        common = max(set(sizes.values()), key=list(sizes.values()).count)
        wrong = ", ".join(f"{c} {n:_}" for c, n in sorted(sizes.items()) if n != common)
        raise CorpusError(
            f"development lines are not aligned: most languages have {common:_}, but {wrong}",
            "name a folder in which line i means the same in every file",
        )
    if not next(iter(sizes.values())):
        raise ConfigError("the development text is empty", "--set parity.development=DIR")


def _measure_costs(vocabulary: Vocabulary, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return tokens a line by language."""
    tokenizer = SentencePieceTokenizer("parity", vocabulary)
    return {
        code: float(tokenizer.encode_flat(list(lines))[1].sum()) / len(lines) for code, lines in texts.items()
    }


def _describe(
    number: int, costs: Mapping[str, float], first: Mapping[str, float], weights: LanguageWeights
) -> tuple[dict[str, object], float, float]:
    """Return the row of one fit in path.tsv, its bottom decile's cost, and its worst loss.

    Costs are tokens a line, averaged over the languages that are meant; `worst_loss` is the largest rise of one
    language's cost against the first fit, and `loser` which.
    """
    ranked = sorted(costs, key=lambda code: (-costs[code], code))
    tail = ranked[: -(-len(ranked) // 10)]
    losses = {code: costs[code] / first[code] - 1.0 for code in costs}
    loser = max(sorted(losses), key=losses.__getitem__)
    decile = float(np.mean([costs[code] for code in tail]))
    row: dict[str, object] = {
        "number": number,
        "mean": float(np.mean(list(costs.values()))),
        "bottom_decile": decile,
        "worst": costs[ranked[0]],
        "worst_language": ranked[0],
        "worst_loss": losses[loser],
        "loser": loser,
        "highest_weight": max(row.weight for row in weights.rows),
        "kept": False,
    }
    return row, decile, losses[loser]


def _reweigh(
    masses: Mapping[str, float],
    weights: LanguageWeights,
    costs: Mapping[str, float],
    first: Mapping[str, float],
    config: ParityConfig,
) -> LanguageWeights:
    """Move shares towards costly languages, and back towards those that have lost too much."""
    mean = float(np.mean(list(costs.values())))
    table = config.parity
    quota = {}
    for row in weights.rows:
        share = row.target_share
        if row.language in costs:
            cost = costs[row.language]
            share *= (cost / mean) ** table.step
            over = cost / (first[row.language] * (1.0 + table.max_loss))
            if over > _NEAR:
                # Near the allowed loss the push back is stronger than any pull. With the 8th power of
                # over ÷ 0.98 Chinese came to rest at 6 % where 5 % were allowed.
                share *= (over / _NEAR) ** 16
        quota[row.language] = share
    return weigh_languages(masses, "quota", quota=quota, limit=config.languages.allow_oversampling)
