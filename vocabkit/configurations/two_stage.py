"""Configuration (d): a shared vocabulary, then a block of new tokens for each tail language.

The shared pieces keep ids and scores. Each block is a conditional fit on one language's counts
(`fitting.blocks`); a piece that two languages want goes to the one with the larger weighted expected count, and
the other is filled up again. Scores are on one scale: log(expected count under the base fit's weights ÷ the
base's total).
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.configurations.settings import TrainerTable, TwoStageConfig
from vocabkit.configurations.shared import Fit, fit_shared, read_rows, select_languages
from vocabkit.core.arrays import BoolArray, Float32Array, Int64Array
from vocabkit.core.errors import ConfigError, CountsError, FitError, TokenizerError
from vocabkit.core.folders import Clock, read_manifest
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.normalization import RULES, Normalizer
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import FittedBlock, count_usage, fit_block, usable_pieces
from vocabkit.fitting.compilation import Workers, open_workers
from vocabkit.fitting.lexicon import Lexicon, build_lexicon
from vocabkit.fitting.substrings import Substrings, find_substrings
from vocabkit.fitting.unigram import Frozen, UnigramOptions, warm_kernels
from vocabkit.vocabulary.adapters import BackendTokenizer, SentencePieceTokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import SHARED, SPACE, Block, Kind, Roles, Spacing, Vocabulary

# --- The base --------------------------------------------------------------------------------------
# Any unigram vocabulary, and what is known of the fit it came from. New scores must be on the scale of the
# base's, log(count ÷ total). A base fitted on these counts tells total and language weights; of any other the
# total is estimated for each language from its own pieces. On a language's own scale its new pieces would cost
# 4 to 27 % more tokens.

_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class BlockBase:
    """A vocabulary whose ids and scores stay.

    `rule` normalises the counts. `weights` are of its fit where that was made from the counts of this
    fingerprint, `counts`; both are empty for a base from elsewhere.
    """

    vocabulary: Vocabulary
    rule: str
    weights: Mapping[str, float]
    counts: str = ""
    warnings: tuple[str, ...] = ()

    def known_weights(self, counts: str) -> Mapping[str, float]:
        """Return the weights where the base was fitted on counts of this fingerprint, none otherwise.

        The total of such a base is of all the languages that it was fitted on.
        """
        return self.weights if self.counts == counts else {}

    def find_totals(
        self, usage: Mapping[str, Int64Array], languages: Sequence[str], counts: str
    ) -> dict[str, float]:
        """Return the total that raw counts of each language are to be divided by.

        `usage` is how often each counted language uses each piece. With weights w and t tokens a language, the
        total of a fit on the same counts is Σ w·t, and Σ w·t ÷ w of a language's raw counts.
        """
        if weights := self.known_weights(counts):
            whole = sum(weight * float(usage[code].sum()) for code, weight in weights.items())
            return {code: whole / weights[code] for code in languages}
        return {code: _estimate_total(self.vocabulary, usage[code]) for code in languages}

    def freeze_pieces(self) -> Frozen:
        """Return the pieces as frozen ones, of total 1: each language's own takes its place."""
        known, normal = self.vocabulary, self.vocabulary.ids_of(Kind.NORMAL)
        return Frozen([known.pieces[k] for k in normal], known.scores[normal].tolist(), 1.0)


def _estimate_total(vocabulary: Vocabulary, used: Int64Array) -> float:
    """Return the total on whose scale a language's counts agree with the base's scores.

    A piece that only this language uses has p = count ÷ total, so count ÷ p is the total; for a piece that
    others use as well it is less. Taken is the value that nine tenths of the language's tokens lie below, of
    pieces met five times or more. Raises `TokenizerError` where there are none.
    """
    normal = np.array(vocabulary.ids_of(Kind.NORMAL), np.int64)
    ids = normal[used[normal] >= _ENOUGH]
    if not len(ids):
        what = "the base uses none of its pieces five times on this language's text"
        raise TokenizerError(what, "count more text of the language")
    ratio = used[ids] / np.exp(vocabulary.scores[ids].astype(np.float64))
    order = np.argsort(ratio, kind="stable")
    reached = np.cumsum(used[ids][order])
    return float(ratio[order][np.searchsorted(reached, 0.9 * reached[-1])])


def read_base(path: str | Path) -> BlockBase:
    """Read a base: a folder of ours, a .model, a GGUF, or a unigram tokenizer.json with or without its folder.

    Raises `ConfigError` and `TokenizerError`.
    """
    source = Path(path)
    counts, weights = "", {}
    if source.is_dir() and (source / "tokenizer.model").is_file():
        vocabulary = Vocabulary.load(source)
        counts = str(read_manifest(source).get("inputs", {}).get("counts", ""))
        weights = _read_weights(source / "languages.tsv") if counts else {}
    elif source.exists():
        opened = open_tokenizer(source, "gpt2")  # whatever the pattern, BPE is refused
        if isinstance(opened, SentencePieceTokenizer):
            vocabulary = opened.vocabulary
        elif isinstance(opened, BackendTokenizer) and opened.model_type == "Unigram":
            vocabulary = _read_pieces(opened)
        else:
            raise _refuse(f"{source}: {opened.style} BPE or WordPiece")
    else:
        raise ConfigError(f"base = {str(path)!r}: no such folder or file", "name a fitted folder")
    return _describe_base(vocabulary, str(source), weights, counts)


# Steps of a tokenizer.json that do what SentencePiece does beside the charsmap: words are all that is encoded.
_WORD_STEPS = ("Strip", "Prepend", "WhitespaceSplit", "Metaspace")
_SPACES = {"Regex": " {2,}"}
# Equal scores are told apart by the last bit, otherwise in float32 than in float64.
_TIES = 0.001


def _read_pieces(opened: BackendTokenizer) -> Vocabulary:
    """Return a unigram tokenizer.json as pieces with scores, under its ids.

    Raises `TokenizerError` where it does more than SentencePiece, which is tried on every piece's text too.
    """
    names, scores = opened.list_pieces()
    steps = [*opened.list_steps("normalizer"), *opened.list_steps("pre_tokenizer")]
    charsmap = b""
    for step in steps:
        if step["type"] == "Precompiled" and not charsmap:
            charsmap = base64.b64decode(step["precompiled_charsmap"])
        elif step["type"] not in _WORD_STEPS and step.get("pattern") != _SPACES:
            raise _refuse(f"{opened.name}: its step {step['type']}")
    place = {name: index for index, name in enumerate(names)}
    unknown = opened.kinds.index(Kind.UNKNOWN) if Kind.UNKNOWN in opened.kinds else None
    if len(place) != len(names) or unknown is None:
        what = "a piece or id without a name of its own" if unknown is not None else "no unknown piece"
        raise _refuse(f"{opened.name}: {what}")
    begin, pad, end, mask = map(place.get, ("<s>", "<pad>", "</s>", "<mask>"))
    found = Vocabulary(
        pieces=tuple(names),
        scores=np.array(scores, np.float32),
        kinds=tuple(opened.kinds),
        blocks=(Block(SHARED, 0, len(names)),),
        model="unigram",
        normalizer=Normalizer("precompiled" if charsmap else "identity", charsmap),
        roles=Roles(begin, pad, end, unknown, mask),
        spacing=Spacing(dummy_prefix=not opened.word_prefix),
    )
    words = [name.replace(SPACE, "") for name, k in zip(names, found.kinds, strict=True) if k is Kind.NORMAL]
    words = [word for word in words if word]
    pairs = zip(
        opened.encode_batch(words), SentencePieceTokenizer("pieces", found).encode_batch(words), strict=True
    )
    other = [word for word, (one, two) in zip(words, pairs, strict=True) if one.tolist() != two.tolist()]
    if len(other) > _TIES * len(words):
        raise _refuse(f"{opened.name}: it cuts {other[0]!r} otherwise than its pieces' scores, and so")
    return found


def _describe_base(vocabulary: Vocabulary, source: str, weights: Mapping[str, float], counts: str) -> BlockBase:
    """Return a vocabulary as a base. Raises `TokenizerError` for one that is not unigram."""
    if vocabulary.model != "unigram":
        raise _refuse(f"{source}: a {vocabulary.model} model")
    name = vocabulary.normalizer.name
    if name in RULES:
        return BlockBase(vocabulary, name, weights, counts)
    rule = "nmt_nfkc" if vocabulary.normalizer.charsmap else "identity"
    note = f"{source}: its normaliser {name!r} is not one of ours; counts are read by {rule}"
    return BlockBase(vocabulary, rule, weights, counts, (note,))


def _refuse(what: str) -> TokenizerError:
    hint = "extend BPE with `vocabkit fit continued-bpe --base tokenizer.json`"
    return TokenizerError(f"{what} cannot be the base of unigram blocks", hint)


def _read_weights(path: Path) -> dict[str, float]:
    try:
        return {str(row["language"]): float(str(row["weight"])) for row in read_rows(path)}
    except (KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"{path}: not the table of a fit: {error}", "fit the base again") from error


def find_covered(frozen: Frozen) -> BoolArray:
    """Return, by code point, the characters that are pieces of a base."""
    covered = np.zeros(0x110000, np.bool_)
    covered[[ord(piece) for piece in frozen.pieces if len(piece) == 1]] = True
    return covered


def choose_options(trainer: TrainerTable) -> UnigramOptions:
    """Return how blocks are fitted.

    One pass is made before pieces below half an occurrence go: with two, a fourth of the pieces that help
    held-out text are gone (of Sinhala's 29,812 pieces 22,264 are left, and 1.6 % more tokens).
    """
    return UnigramOptions(sparse=False, first_iterations=1, **trainer.steps)


# --- The fit ---------------------------------------------------------------------------------------

DEFAULT_PANEL = "panels/panel-40"


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
    config: TwoStageConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    base: BlockBase | None = None,
) -> Fit[Vocabulary]:
    """Add a block for each tail language to a base: the one given, that of the configuration, or a first fit.

    Raises `FitError` naming the languages that cannot fill their blocks and how many pieces they can, unless
    `tail.allow_fewer`; `CountsError` for a language that was not counted; and as `read_base` and `fit_shared`.
    """
    report = progress or Silent()
    tail = _choose_tail(counts, config)
    if base is None:
        base = _fit_base(counts, config, progress, workers)
    clock, fingerprint = Clock(), counts.fingerprint
    codes = sorted({*select_languages(counts, config.languages), *tail})
    read, digits = sorted({*codes, *base.known_weights(fingerprint)}), config.vocabulary.digits
    spans = derive_spans(counts, base.rule, digits, languages=read, workers=workers, progress=progress)
    tables, options = spans.languages, choose_options(config.trainer)
    before = count_usage(base.vocabulary, tables, progress=progress)
    totals = base.find_totals(before, tail, fingerprint)
    clock.lap("base")
    frozen = usable_pieces(base.freeze_pieces())
    covered = find_covered(frozen)
    longest, table = config.vocabulary.max_piece_length, config.tail
    growing: dict[str, _Growing] = {}
    with open_workers(config.trainer.threads or None) as pool:
        warm_kernels(pool, report)
        report.start("fitting blocks", len(tail), "languages")
        for code in tail:
            lexicon = build_lexicon({code: tables[code]}, covered, pool)
            found = find_substrings(lexicon, pool, longest=longest, floor=table.min_count)
            held = replace(frozen, total=totals[code])
            block = fit_block(lexicon, found, table.size, pool, held, floors=table.floors, options=options)
            growing[code] = _Growing(lexicon, found, totals[code], block)
            report.advance(1)
        report.finish()
        _settle(growing, pool, frozen, config, report)
    clock.lap("blocks")
    short = _name_short(growing, config)
    vocabulary = _assemble(base.vocabulary, growing)
    usage = count_usage(vocabulary, {code: tables[code] for code in codes}, progress=progress)
    rows = tuple(_list_rows(counts, codes, base, vocabulary, growing, config))
    clock.lap("report")
    warnings = list(base.warnings)
    if short:
        warnings.append(f"blocks smaller than asked, for want of text: {short}")
    warnings += _warn_of_interference(rows, tail)
    blocks = _list_blocks(vocabulary, growing, config)
    seconds, told = clock.seconds, tuple(warnings)
    return Fit(vocabulary, config, rows, usage, told, seconds, fingerprint, {"blocks": blocks})


def _choose_tail(counts: WordCounts, config: TwoStageConfig) -> tuple[str, ...]:
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
        what = f"{', '.join(missing)}: a tail language, but not in the counts ({counts.folder or 'in memory'})"
        raise CountsError(what, 'count text of it, or name others: --set tail.languages=["yor_Latn"]')
    return tuple(dict.fromkeys(codes))


def _fit_base(counts: WordCounts, config: TwoStageConfig, progress: Progress | None, workers: int) -> BlockBase:
    if config.base:
        return read_base(config.base)
    first = fit_shared(counts, config, progress, workers=workers)
    weights = {str(row["language"]): float(str(row["weight"])) for row in first.rows}
    return _describe_base(first.vocabulary, "shared", weights, first.counts)


def _settle(
    growing: Mapping[str, _Growing], workers: Workers, frozen: Frozen, config: TwoStageConfig, report: Progress
) -> None:
    """Give every contested piece to one language, and fill the others up with pieces that no one has."""
    wanted = {code: lost for code, lost in _find_losses(growing).items() if lost}
    report.start("settling contested pieces", len(wanted), "languages")
    for code, lost in wanted.items():
        item, block = growing[code], growing[code].block
        kept = [k for k, piece in enumerate(block.pieces) if piece not in lost]
        item.lost = len(lost)
        pieces = tuple(block.pieces[k] for k in kept)
        item.block = replace(block, pieces=pieces, scores=block.scores[kept], count=block.count[kept])
    for code, lost in wanted.items():
        item, block = growing[code], growing[code].block
        report.advance(1)
        # A block that its text could not fill has nothing left to be filled up from.
        if len(block.pieces) + len(lost) < config.tail.size:
            continue
        others = {p for other, o in growing.items() if other != code for p in o.block.pieces}
        held = Frozen([*frozen.pieces, *block.pieces], [*frozen.scores, *block.scores.tolist()], item.total)
        last, _ = block.tiers[-1]
        floors, options = tuple(n for n in config.tail.floors if n <= last), choose_options(config.trainer)
        more = fit_block(
            item.lexicon, item.substrings, len(lost), workers, held,
            floors=floors, options=options, deny=others | lost,
        )  # fmt: skip
        both = (np.concatenate((block.scores, more.scores)), np.concatenate((block.count, more.count)))
        item.block = FittedBlock((*block.pieces, *more.pieces), *both, block.tiers)
    report.finish()


def _find_losses(growing: Mapping[str, _Growing]) -> dict[str, set[str]]:
    """Return, by language, the pieces it must leave to another: larger weighted count first, then order."""
    best: dict[str, tuple[float, str]] = {}
    losses: dict[str, set[str]] = {code: set() for code in growing}
    for code, item in growing.items():
        for piece, count in zip(item.block.pieces, item.block.count.tolist(), strict=True):
            # On the base's scale: a raw count divided by the total is weight × count ÷ the base's total.
            claim = count / item.total
            most, holder = best.get(piece, (-1.0, ""))
            if claim <= most:
                losses[code].add(piece)
                continue
            if holder:
                losses[holder].add(piece)
            best[piece] = (claim, code)
    return losses


def _name_short(growing: Mapping[str, _Growing], config: TwoStageConfig) -> str:
    """Return the languages whose blocks are smaller than asked. Raises `FitError` unless that is allowed."""
    sizes = {code: len(item.block.pieces) for code, item in growing.items()}
    short = ", ".join(f"{c} {size:_}" for c, size in sizes.items() if size < config.tail.size)
    if short and not config.tail.allow_fewer:
        what = f"tail.size = {config.tail.size:_} is more than the text supports in: {short}"
        raise FitError(what, "--set tail.allow_fewer=true, a smaller tail.size, or count more text")
    return short


def _assemble(base: Vocabulary, growing: Mapping[str, _Growing]) -> Vocabulary:
    """Append the blocks in order, by falling score within each; every new score is made distinct."""
    taken = set(base.scores.tolist())
    found = base
    for code, item in growing.items():
        order = np.lexsort((np.arange(len(item.block.pieces)), -item.block.scores))
        values = make_distinct(item.block.scores[order], taken)
        found = found.append_block(code, [item.block.pieces[k] for k in order.tolist()], values)
    return found


def make_distinct(scores: Float32Array, taken: set[float]) -> Float32Array:
    """Return falling scores, each the next lower one where that is taken; they are taken then."""
    values = scores.astype(np.float32)
    below = np.float32(np.inf)
    for k in range(len(values)):
        # Falling order: each starts below the one before it, so many equal scores cost no more than few.
        value = min(values[k], np.nextafter(below, np.float32(-np.inf)))
        while float(value) in taken:
            value = np.nextafter(value, np.float32(-np.inf))
        values[k] = below = value
        taken.add(float(value))
    return values


# --- The tables ------------------------------------------------------------------------------------
# Who got how many pieces, and what union and routed encoding cost each language. Measured on words, which is
# exact: no piece crosses white space. Held-out words where the counts have them.

REFERENCE = "eng_Latn"


def _list_rows(
    counts: WordCounts,
    codes: Sequence[str],
    base: BlockBase,
    vocabulary: Vocabulary,
    growing: Mapping[str, _Growing],
    config: TwoStageConfig,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each language: tokens with the base, with all blocks, and with its own block alone.

    `routed_tokens` is None for a language without a block (it is the base then). `english_routed` is English
    under this language's route, what text in the wrong language costs; `mixed_routed` is its ratio to the base
    on text of half the tokens from each language, words alternating (code-switched). `split` is the text
    measured.
    """
    plain, union = (SentencePieceTokenizer("blocks", known) for known in (base.vocabulary, vocabulary))
    english = _count(counts, REFERENCE, plain)[1] if REFERENCE in counts.languages else 0
    for code in codes:
        split, before = _count(counts, code, plain)
        after = _count(counts, code, union)[1]
        item = growing.get(code)
        own = abroad = mixed = None
        if item is not None:
            routed = SentencePieceTokenizer("blocks", _cut_to(vocabulary, base.vocabulary.size, code))
            own = _count(counts, code, routed)[1]
            if english and before:
                abroad = _count(counts, REFERENCE, routed)[1] / english
                mixed = (own / before + abroad) / 2
        pieces = None if item is None else len(item.block.pieces)
        limited = pieces is not None and pieces < config.tail.size
        yield {
            "language": code,
            "weight": base.weights.get(code, 1.0),
            "asked": None if item is None else config.tail.size,
            "new_pieces": pieces,
            "split": split,
            "base_tokens": before,
            "union_tokens": after,
            "routed_tokens": own,
            "change": after / before - 1 if before else None,
            "english_routed": abroad,
            "mixed_routed": mixed,
            "note": "data-limited" if limited else "",
        }


def _cut_to(vocabulary: Vocabulary, shared: int, code: str) -> Vocabulary:
    """Return the shared pieces and one block: as many tokens as the routed vocabulary, a third of its size."""
    part = {name: getattr(vocabulary, name)[:shared] for name in ("pieces", "scores", "kinds")}
    found = replace(vocabulary, **part, blocks=(Block(SHARED, 0, shared),))
    for block in vocabulary.blocks:
        if block.name == code:
            own = slice(block.start, block.stop)
            found = found.append_block(code, vocabulary.pieces[own], vocabulary.scores[own])
    return found


def _count(counts: WordCounts, code: str, tokenizer: SentencePieceTokenizer) -> tuple[str, int]:
    """Return the split measured, and its tokens."""
    language = counts.languages[code]
    split = "held_out" if len(language.held_out) else "train"
    table = language.split(split)
    _, lengths = tokenizer.encode_flat(list(table.words))
    return split, int(lengths @ table.count)


def _list_blocks(
    vocabulary: Vocabulary, growing: Mapping[str, _Growing], config: TwoStageConfig
) -> list[dict[str, object]]:
    """Return the rows of blocks.tsv.

    `tiers` are (evidence floor, pieces), `contested` the pieces left to others; `total` is what the language's
    raw counts are divided by to be on the base's scale.
    """
    start = {block.name: block.start for block in vocabulary.blocks}
    return [
        {
            "language": code,
            "start": start.get(code),
            "pieces": len(item.block.pieces),
            "asked": config.tail.size,
            "tiers": " ".join(f">={floor}:{pieces}" for floor, pieces in item.block.tiers),
            "contested": item.lost,
            "total": item.total,
            "data_limited": len(item.block.pieces) < config.tail.size,
        }
        for code, item in growing.items()
    ]


def _warn_of_interference(rows: Collection[Mapping[str, Any]], tail: Collection[str]) -> Iterator[str]:
    others = [row for row in rows if row["language"] not in tail]
    worse = [row for row in others if row["union_tokens"] > 1.001 * row["base_tokens"]]
    if worse:
        names = ", ".join(f"{row['language']} {row['change']:+.1%}" for row in worse)
        yield f"languages that other languages' blocks make longer by over 0.1 %: {names}"
