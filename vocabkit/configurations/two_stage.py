"""Configuration (d): a shared vocabulary, then a block of new tokens for each tail language.

The shared pieces keep ids and scores. Each block is a conditional fit on one language's counts
(`fitting.blocks`); a piece that two languages want goes to the one with the larger weighted expected count, and
the other is filled up again. Scores are on one scale: log(expected count under the base fit's weights ÷ the
base's total).
"""

from __future__ import annotations

import csv
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vocabkit.configurations.settings import TrainerTable, TwoStageConfig
from vocabkit.configurations.shared import select_languages, write_rows
from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.config import dump_toml
from vocabkit.core.errors import ConfigError, CountsError, FitError, TokenizerError
from vocabkit.core.folders import read_manifest
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.normalization import RULES
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import FittedBlock, count_usage, fit_block, usable_pieces
from vocabkit.fitting.compilation import Workers, open_workers
from vocabkit.fitting.lexicon import Lexicon, build_lexicon
from vocabkit.fitting.substrings import Substrings, find_substrings
from vocabkit.fitting.unigram import Frozen, UnigramOptions, warm_kernels
from vocabkit.vocabulary.adapters import SentencePieceTokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Block, Kind, Vocabulary, write_model

# --- Block report ----------------------------------------------------------------------------------
# What blocks do: who got how many pieces, and what union and routed encoding cost each language.
#
# Measured on words, which is exact: no piece crosses white space. Held-out words where the counts have them.


REFERENCE = "eng_Latn"


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block: pieces asked for and got, (evidence floor, pieces) by tier, and those left to others.

    `total` is what the language's raw counts are divided by to be on the base's scale.
    """

    language: str
    asked: int
    pieces: int
    tiers: tuple[tuple[int, int], ...]
    contested: int
    total: float
    data_limited: bool


@dataclass(frozen=True, slots=True)
class Interference:
    """Tokens of one language's words: with the base, with all blocks, and with its own block alone.

    `routed` is None for a language without a block (it is the base then). `english_routed` is English under
    this language's route, what text in the wrong language costs; `mixed` is its ratio to the base on text
    of half the tokens from each language, words alternating (code-switched). `split` is the text measured.
    """

    language: str
    split: str
    base: int
    union: int
    routed: int | None
    english_routed: float | None
    mixed: float | None


def _measure_interference(
    counts: WordCounts,
    codes: Sequence[str],
    base: Vocabulary,
    vocabulary: Vocabulary,
    tail: Sequence[str],
) -> tuple[Interference, ...]:
    """Return a row for each counted language; ratios are to the base."""
    plain, union = _open(base), _open(vocabulary)
    english = _count(counts, REFERENCE, plain) if REFERENCE in counts.languages else None
    rows = []
    for code in codes:
        split, before = _count(counts, code, plain)
        _, after = _count(counts, code, union)
        own = abroad = mixed = None
        if code in tail:
            routed = _open(_cut_to(vocabulary, base.size, code))
            own = _count(counts, code, routed)[1]
            if english is not None and english[1] and before:
                abroad = _count(counts, REFERENCE, routed)[1] / english[1]
                mixed = (own / before + abroad) / 2
        rows.append(Interference(code, split, before, after, own, abroad, mixed))
    return tuple(rows)


def _cut_to(vocabulary: Vocabulary, shared: int, code: str) -> Vocabulary:
    """Return the shared pieces and one block: as many tokens as the routed vocabulary, a third of its size."""
    block = next((item for item in vocabulary.blocks if item.name == code), None)
    first, stop = (block.start, block.stop) if block else (shared, shared)
    size = shared + stop - first
    return Vocabulary(
        (*vocabulary.pieces[:shared], *vocabulary.pieces[first:stop]),
        np.concatenate((vocabulary.scores[:shared], vocabulary.scores[first:stop])),
        (*vocabulary.kinds[:shared], *vocabulary.kinds[first:stop]),
        (Block("shared", 0, size),),
        vocabulary.model,
        vocabulary.normalizer,
        vocabulary.roles,
        vocabulary.spacing,
    )


def _open(vocabulary: Vocabulary) -> SentencePieceTokenizer:
    return SentencePieceTokenizer("blocks", vocabulary, write_model(vocabulary))


def _count(counts: WordCounts, code: str, tokenizer: SentencePieceTokenizer) -> tuple[str, int]:
    language = counts.languages[code]
    split = "held_out" if len(language.held_out) else "train"
    table = language.split(split)
    _, lengths = tokenizer.encode_flat(list(table.words))
    return split, int(lengths @ table.count)


# --- Stage base ------------------------------------------------------------------------------------
# The base of a two-stage vocabulary: any unigram vocabulary, and what is known of the fit it came from.
#
# Reads tokenizer folders and .model files. New scores must be on the scale of the base's, log(count ÷ total).
# A
# base fitted on these counts tells total and language weights; of any other the total is estimated for each
# language from its own pieces. On a language's own scale its new pieces would cost 4 to 27 % more tokens.


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
        return {code: _estimate_total(self.vocabulary, usage[code]) for code in languages}


def _estimate_total(vocabulary: Vocabulary, used: Int64Array) -> float:
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


# --- Two stage -------------------------------------------------------------------------------------


DEFAULT_PANEL = "panels/panel-40"


@dataclass(frozen=True, slots=True)
class TwoStage:
    """The vocabulary with its blocks, and what each language got.

    `usage` is of the whole vocabulary (union encoding), by language. `interference` compares union and routed
    encoding with the base.
    """

    vocabulary: Vocabulary
    config: TwoStageConfig
    base: Base
    blocks: tuple[BlockRow, ...]
    interference: tuple[Interference, ...]
    usage: Mapping[str, Int64Array]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.vocabulary.size

    def language_rows(self) -> list[dict[str, object]]:
        """Return one row a language: what union and routed encoding cost beside the base, and its block."""
        got = {row.language: row for row in self.blocks}
        rows: list[dict[str, object]] = []
        for row in self.interference:
            block = got.get(row.language)
            rows.append(
                {
                    "language": row.language,
                    "weight": self.base.weights.get(row.language, 1.0),
                    "asked": block.asked if block else None,
                    "new_pieces": block.pieces if block else None,
                    "split": row.split,
                    "base_tokens": row.base,
                    "union_tokens": row.union,
                    "routed_tokens": row.routed,
                    "change": row.union / row.base - 1 if row.base else None,
                    "english_routed": row.english_routed,
                    "mixed_routed": row.mixed,
                    "note": "data-limited" if block and block.data_limited else "",
                }
            )
        return rows

    def save(self, folder: Path) -> None:
        """Write the vocabulary's files, languages.tsv, blocks.tsv and config.toml into an empty folder."""
        self.vocabulary.save(folder, usage=self.usage)
        write_rows(self.language_rows(), folder / "languages.tsv")
        start = {block.name: block.start for block in self.vocabulary.blocks}
        rows = [
            {
                "language": row.language,
                "start": start.get(row.language),
                "pieces": row.pieces,
                "asked": row.asked,
                "tiers": " ".join(f">={floor}:{pieces}" for floor, pieces in row.tiers),
                "contested": row.contested,
                "total": row.total,
                "data_limited": row.data_limited,
            }
            for row in self.blocks
        ]
        write_rows(rows, folder / "blocks.tsv")
        (folder / "config.toml").write_text(dump_toml(self.config), encoding="utf-8", newline="\n")


@dataclass(slots=True, eq=False)
class _Growing:
    """One language's block while it is being settled."""

    lexicon: Lexicon
    substrings: Substrings
    total: float
    block: FittedBlock
    lost: int = 0


def fit_two_stage(
    counts: WordCounts,
    base: Base,
    tail: Sequence[str],
    config: TwoStageConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
) -> TwoStage:
    """Add a block for each tail language to a base.

    Raises `FitError` naming the languages that cannot fill their blocks and how many pieces they can, unless
    `tail.allow_fewer`; `CountsError` for a language that was not counted.
    """
    report = progress or Silent()
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    rule, digits = base.rule, config.vocabulary.digits
    codes = sorted({*select_languages(counts, config.shared), *tail})
    # The base's total is of all the languages that it was fitted on.
    known = base.weights if base.counts == counts.fingerprint else {}
    tables = derive_spans(
        counts,
        rule,
        digits,
        languages=sorted({*codes, *known}),
        workers=workers,
        progress=progress,
    ).languages
    before = count_usage(base.vocabulary, tables, progress=progress)
    totals = base.find_totals(before, tail, counts.fingerprint)
    seconds["base"] = time.perf_counter() - start
    frozen = usable_pieces(freeze_pieces(base.vocabulary))
    covered = np.zeros(0x110000, np.bool_)
    covered[[ord(piece) for piece in frozen.pieces if len(piece) == 1]] = True
    start = time.perf_counter()
    growing: dict[str, _Growing] = {}
    with open_workers(config.trainer.threads or None) as pool:
        warm_kernels(pool, report)
        report.start("fitting blocks", len(tail), "languages")
        for code in tail:
            lexicon = build_lexicon({code: tables[code]}, covered, pool)
            found = find_substrings(
                lexicon,
                pool,
                longest=config.vocabulary.max_piece_length,
                floor=config.tail.min_count,
            )
            held = replace(frozen, total=totals[code])
            block = _fit(lexicon, found, config.tail.size, pool, held, config, ())
            growing[code] = _Growing(lexicon, found, totals[code], block)
            report.advance(1)
        report.finish()
        _settle(growing, pool, frozen, config, report)
    seconds["blocks"] = time.perf_counter() - start
    rows = tuple(_describe(code, item, config) for code, item in growing.items())
    _check_sizes(rows, config)
    start = time.perf_counter()
    vocabulary = _assemble(base.vocabulary, growing)
    after = count_usage(vocabulary, {code: tables[code] for code in codes}, progress=progress)
    interference = _measure_interference(counts, codes, base.vocabulary, vocabulary, tail)
    seconds["report"] = time.perf_counter() - start
    warnings = [*base.warnings, *_warn(rows, interference, tail)]
    return TwoStage(vocabulary, config, base, rows, interference, after, tuple(warnings), seconds)


def _fit(
    lexicon: Lexicon,
    substrings: Substrings,
    size: int,
    workers: Workers,
    frozen: Frozen,
    config: TwoStageConfig,
    deny: Collection[str],
    *,
    floors: tuple[int, ...] | None = None,
) -> FittedBlock:
    return fit_block(
        lexicon,
        substrings,
        size,
        workers,
        frozen,
        floors=floors or config.tail.floors,
        options=choose_options(config.trainer),
        deny=deny,
    )


def _settle(
    growing: Mapping[str, _Growing],
    workers: Workers,
    frozen: Frozen,
    config: TwoStageConfig,
    report: Progress,
) -> None:
    """Give every contested piece to one language, and fill the others up with pieces that no one has."""
    wanted = {code: lost for code, lost in _find_losses(growing).items() if lost}
    report.start("settling contested pieces", len(wanted), "languages")
    for code, lost in wanted.items():
        _drop(growing[code], lost)
    for code, lost in wanted.items():
        item = growing[code]
        report.advance(1)
        # A block that its text could not fill has nothing left to be filled up from.
        if len(item.block.pieces) + len(lost) < config.tail.size:
            continue
        others = {p for other, o in growing.items() if other != code for p in o.block.pieces}
        held = Frozen(
            [*frozen.pieces, *item.block.pieces],
            [*frozen.scores, *item.block.scores.tolist()],
            item.total,
        )
        last, _ = item.block.tiers[-1]
        floors = tuple(floor for floor in config.tail.floors if floor <= last)
        deny = others | lost
        layout = (item.lexicon, item.substrings, len(lost))
        more = _fit(*layout, workers, held, config, deny, floors=floors)
        item.block = _join(item.block, more)
    report.finish()


def _find_losses(growing: Mapping[str, _Growing]) -> dict[str, set[str]]:
    """Return, by language, the pieces it must leave to another: larger weighted count first, then order."""
    best: dict[str, tuple[float, str]] = {}
    losses: dict[str, set[str]] = {code: set() for code in growing}
    for code, item in growing.items():
        for piece, count in zip(item.block.pieces, item.block.count.tolist(), strict=True):
            # On the base's scale: a raw count divided by the total is weight × count ÷ the base's total.
            claim = count / item.total
            held = best.get(piece)
            if held is None:
                best[piece] = (claim, code)
            elif claim > held[0]:
                losses[held[1]].add(piece)
                best[piece] = (claim, code)
            else:
                losses[code].add(piece)
    return losses


def _drop(item: _Growing, lost: Collection[str]) -> None:
    gone = set(lost)
    kept = [k for k, piece in enumerate(item.block.pieces) if piece not in gone]
    item.lost += len(item.block.pieces) - len(kept)
    item.block = FittedBlock(
        tuple(item.block.pieces[k] for k in kept),
        item.block.scores[kept],
        item.block.count[kept],
        item.block.tiers,
    )


def _join(first: FittedBlock, second: FittedBlock) -> FittedBlock:
    return FittedBlock(
        (*first.pieces, *second.pieces),
        np.concatenate((first.scores, second.scores)),
        np.concatenate((first.count, second.count)),
        first.tiers,
    )


def _assemble(base: Vocabulary, growing: Mapping[str, _Growing]) -> Vocabulary:
    """Append the blocks in order, by falling score within each; every new score is made distinct."""
    taken = set(base.scores.tolist())
    pieces = list(base.pieces)
    parts: list[Float32Array] = [base.scores]
    blocks = list(base.blocks)
    for code, item in growing.items():
        order = np.lexsort((np.arange(len(item.block.pieces)), -item.block.scores))
        values = item.block.scores[order].astype(np.float32)
        below = np.float32(np.inf)
        for k in range(len(values)):
            # Falling order: each starts below the one before it, so many equal scores cost no more than few.
            value = min(values[k], np.nextafter(below, np.float32(-np.inf)))
            while float(value) in taken:
                value = np.nextafter(value, np.float32(-np.inf))
            values[k] = below = value
            taken.add(float(value))
        if len(order):
            blocks.append(Block(code, len(pieces), len(pieces) + len(order)))
            pieces += [item.block.pieces[k] for k in order.tolist()]
            parts.append(values)
    kinds = (*base.kinds, *[Kind.NORMAL] * (len(pieces) - base.size))
    return Vocabulary(
        tuple(pieces),
        np.concatenate(parts),
        kinds,
        tuple(blocks),
        "unigram",
        base.normalizer,
        base.roles,
        base.spacing,
    )


def _describe(code: str, item: _Growing, config: TwoStageConfig) -> BlockRow:
    return BlockRow(
        language=code,
        asked=config.tail.size,
        pieces=len(item.block.pieces),
        tiers=item.block.tiers,
        contested=item.lost,
        total=item.total,
        data_limited=len(item.block.pieces) < config.tail.size,
    )


def _check_sizes(rows: Collection[BlockRow], config: TwoStageConfig) -> None:
    short = [row for row in rows if row.data_limited]
    if short and not config.tail.allow_fewer:
        can = ", ".join(f"{row.language} {row.pieces:_}" for row in short)
        raise FitError(
            f"tail.size = {config.tail.size:_} is more than the text supports in: {can}",
            "--set tail.allow_fewer=true, a smaller tail.size, or count more text",
        )


def _warn(
    rows: Collection[BlockRow], interference: Collection[Interference], tail: Collection[str]
) -> list[str]:
    found = []
    short = [row for row in rows if row.data_limited]
    if short:
        names = ", ".join(f"{row.language} {row.pieces:_}" for row in short)
        found.append(f"blocks smaller than asked, for want of text: {names}")
    worse = [
        row for row in interference if row.language not in tail and row.union > 1.001 * row.base
    ]
    if worse:
        names = ", ".join(f"{row.language} {row.union / row.base - 1:+.1%}" for row in worse)
        found.append(f"languages that other languages' blocks make longer by over 0.1 %: {names}")
    return found


def choose_tail(counts: WordCounts, config: TwoStageConfig) -> tuple[str, ...]:
    """Return the languages that get a block: those named, in that order, or the panel's tail, in its order.

    Raises `CountsError` for one that was not counted.
    """
    counted = sorted(counts.languages)
    if config.tail.languages:
        codes = [resolve_code(text, counted) for text in config.tail.languages]
    else:
        codes = list(load_panel(config.languages.panel or DEFAULT_PANEL).tail)
    missing = [code for code in codes if code not in counted]
    if missing:
        raise CountsError(
            f"{', '.join(missing)}: a tail language, but not in the counts "
            f"({counts.folder or 'in memory'})",
            'count text of it, or name others: --set tail.languages=["yor_Latn"]',
        )
    return tuple(dict.fromkeys(codes))
