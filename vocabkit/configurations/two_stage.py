"""Configuration (d): a shared vocabulary, then a block of new tokens for each tail language.

The shared pieces keep ids and scores. Each block is a conditional fit on one language's counts
(`fitting.blocks`) and begins with the letters that the language needs and the base lacks; a piece that two
languages want goes to the one with the larger weighted expected count, and the other is filled up again.
Scores are on one scale: log(expected count under the base fit's weights ÷ the base's total).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from vocabkit.configurations.settings import TrainerTable, TwoStageConfig
from vocabkit.configurations.shared import (
    KEEP,
    Fit,
    fit_shared,
    list_cut,
    read_rows,
    select_languages,
    warn_of_cut,
)
from vocabkit.core.arrays import BoolArray, Float32Array, Int64Array
from vocabkit.core.errors import ConfigError, CountsError, FitError, TokenizerError
from vocabkit.core.folders import Clock
from vocabkit.core.languages import load_panel, resolve_codes
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.records import read_manifest
from vocabkit.corpus.compilation import Workers, open_workers
from vocabkit.corpus.normalization import RULES, Normalizer, load_normalizer
from vocabkit.corpus.spans import SpanTable, derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import FittedBlock, count_usage, fit_block, usable_pieces
from vocabkit.fitting.lexicon import (
    RESERVED,
    TWICE,
    CutCharacter,
    Lexicon,
    build_lexicon,
    count_characters,
    find_cut,
)
from vocabkit.fitting.substrings import Substrings, find_substrings
from vocabkit.fitting.unigram import Frozen, UnigramOptions, warm_kernels
from vocabkit.vocabulary.adapters import BackendTokenizer, SentencePieceTokenizer
from vocabkit.vocabulary.byte_level import read_unigram
from vocabkit.vocabulary.neighbours import parse_json
from vocabkit.vocabulary.tokenizers import find_file, open_tokenizer
from vocabkit.vocabulary.vocabulary import (
    SHARED,
    SPACE,
    TEXT,
    Block,
    Kind,
    Vocabulary,
    is_shared_letter,
)

# --- The base --------------------------------------------------------------------------------------
# Any unigram vocabulary, and what is known of the fit it came from. New scores must be on the scale of the
# base's, log(count ÷ total). A base fitted on these counts tells total and language weights; of any other the
# total is estimated for each language from its own pieces. On a language's own scale its new pieces would cost
# 4 to 27 % more tokens.

_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class BlockBase:
    """A vocabulary whose ids and scores stay.

    `rule` normalises the counts as the base does text: one of ours by name, or its own. `weights` are of its
    fit where that was made from the counts of this fingerprint, `counts`; both are empty for a base from
    elsewhere.
    """

    vocabulary: Vocabulary
    rule: str | Normalizer
    weights: Mapping[str, float]
    counts: str = ""

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
        total of a fit on the same counts is Σ w·t, and Σ w·t ÷ w of a language's raw counts; a language that
        the base was not fitted on weighs 1, as it would by nature.
        """
        if weights := self.known_weights(counts):
            whole = sum(weight * float(usage[code].sum()) for code, weight in weights.items())
            return {code: whole / weights.get(code, 1.0) for code in languages}
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
    """Read a base from a folder, a .model, a GGUF or a unigram tokenizer.json.

    Raises `ConfigError` and `TokenizerError`.
    """
    source = Path(path)
    counts, weights = "", {}
    if source.is_dir() and all((source / name).is_file() for name in ("vocabulary.parquet", "tokenizer.model")):
        vocabulary = Vocabulary.load(source)
        counts = str(read_manifest(source).get("inputs", {}).get("counts", ""))
        weights = _read_weights(source / "languages.tsv") if counts else {}
    elif source.exists():
        opened = open_tokenizer(source, "gpt2")  # whatever the pattern, what is not unigram is refused
        if isinstance(opened, SentencePieceTokenizer):
            vocabulary = opened.vocabulary
        elif isinstance(opened, BackendTokenizer) and opened.model_type == "Unigram":
            file = find_file(source)
            vocabulary = _check_pieces(opened, read_unigram(parse_json(file)[1], str(file)))
        else:
            kind = opened.model_type if isinstance(opened, BackendTokenizer) else "BPE"
            raise _refuse(f"{source}: a {kind} vocabulary", str(source) if kind == "BPE" else "")
    else:
        raise ConfigError(f"base = {str(path)!r}: no such folder or file", "name a fitted folder")
    return _describe_base(vocabulary, str(source), weights, counts)


# Equal scores are told apart by the last bit, otherwise in float32 than in float64.
_TIES = 0.001


def _check_pieces(opened: BackendTokenizer, found: Vocabulary) -> Vocabulary:
    """Return `found`, read from a tokenizer.json, once every piece's text is cut by it as the file cuts it."""
    words = [
        name.replace(SPACE, "") for name, k in zip(found.pieces, found.kinds, strict=True) if k is Kind.NORMAL
    ]
    words = [word for word in words if word]
    ours = SentencePieceTokenizer("pieces", found).encode_batch(words)
    pairs = zip(words, opened.encode_batch(words), ours, strict=True)
    other = [word for word, one, two in pairs if one.tolist() != two.tolist()]
    if len(other) > _TIES * len(words):
        raise _refuse(f"{opened.name}: it cuts {other[0]!r} otherwise than its pieces' scores, and so")
    return found


def _describe_base(vocabulary: Vocabulary, source: str, weights: Mapping[str, float], counts: str) -> BlockBase:
    """Return a vocabulary as a base. Raises `TokenizerError` for one that is not unigram."""
    if vocabulary.model != "unigram":
        raise _refuse(f"{source}: a {vocabulary.model} vocabulary", source)
    return BlockBase(vocabulary, _find_rule(vocabulary.normalizer), weights, counts)


def _find_rule(normalizer: Normalizer) -> str | Normalizer:
    """Return how counts are normalised as a base's text is: by name, or by a charsmap that only the base has.

    A name is not enough: another's `nfkc` is another charsmap, and one that folds case must not make its base
    lack the capitals that it never sees.
    """
    if not normalizer.charsmap:
        return "identity"
    # GGUF and tokenizer.json hold a charsmap without its name; it is mostly nmt_nfkc's.
    for name in {normalizer.name, "nmt_nfkc"} & set(RULES):
        if load_normalizer(name).charsmap == normalizer.charsmap:
            return name
    return replace(normalizer, name="charsmap")


def _refuse(what: str, bpe: str = "") -> TokenizerError:
    """Return the error of a base that is not unigram; `bpe` is where one of BPE is."""
    hint = "name a unigram vocabulary, as `vocabkit fit shared-250k` makes one, or leave --base out"
    if bpe:
        hint = f"more merges for it: vocabkit fit continued-bpe --base {quote(bpe)}"
    return TokenizerError(f"{what} cannot be the base of unigram blocks", hint)


def _read_weights(path: Path) -> dict[str, float]:
    try:
        return {str(row["language"]): float(str(row["weight"])) for row in read_rows(path)}
    except (KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"{path}: not the table of a fit: {error}", "fit the base again") from error


def mark_characters(pieces: Iterable[str]) -> BoolArray:
    """Return, by code point, the characters among pieces."""
    marked = np.zeros(0x110000, np.bool_)
    marked[[ord(piece) for piece in pieces if len(piece) == 1]] = True
    return marked


def choose_options(trainer: TrainerTable) -> UnigramOptions:
    """Return how blocks are fitted.

    One pass is made before pieces below half an occurrence go: with two, a fourth of the pieces that help
    held-out text are gone (of Sinhala's 29,812 pieces 22,264 are left, and 1.6 % more tokens).
    """
    return UnigramOptions(sparse=False, first_iterations=1, **trainer.steps)


# --- Letters ---------------------------------------------------------------------------------------
# What a block begins with: the characters that its language needs (`lexicon.find_cut`) and no piece of the base
# writes. Bytes do not count as writing one: a Lao letter is three of them, and no piece could hold it. A letter
# that several languages need is in one block, and in every view where it would be unknown without.
#
# Also taken is what is met twice and makes up one character in ten million: of Sorani's two million, 0.99999
# leave out the digit ٩ and the bracket ﴿. Of however much text, that is at most a hundred characters more.

_RARE = 1e-7


def find_lacking(base: Vocabulary, tables: Mapping[str, SpanTable]) -> dict[str, list[CutCharacter]]:
    """Return, by language, the characters of span tables that no piece of the base writes."""
    written = mark_characters(base.pieces[k] for k in base.ids_of(*TEXT))
    return {code: find_cut(code, count_characters(tables[code]), written) for code in tables}


def choose_letters(base: Vocabulary, lacking: Iterable[CutCharacter]) -> dict[str, int]:
    """Return the letters that a block may begin with, and how often the language has each.

    Left out is a character whose name the base gives to a control or an unused piece: no piece stands twice.
    """
    met = (row for row in lacking if row.needed or (row.count >= TWICE and row.share >= _RARE))
    free = (row for row in met if row.character not in RESERVED and base.id_of(row.character) is None)
    return {row.character: row.count for row in free}


def check_letters(size: int, letters: Mapping[str, int], setting: str) -> None:
    """Raise `FitError` where blocks of this size cannot hold so many letters by language."""
    over = {code: number for code, number in letters.items() if number > size}
    if over:
        names = ", ".join(f"{code} {number:_}" for code, number in over.items())
        what = f"{setting} = {size:_} cannot hold the letters that the base lacks: {names}"
        least = f"{max(over.values()):_}"
        enough = f"{setting}={least}" if setting != "sizes" else f"{setting}=[{least}]"
        raise FitError(what, f"--set {enough}  # or a base fitted with {KEEP}")


def _settle_letters(
    needed: Mapping[str, Mapping[str, int]], totals: Mapping[str, float]
) -> dict[str, set[str]]:
    """Return, by language, the letters its block begins with: each goes to the largest weighted count."""
    best: dict[str, tuple[float, str]] = {}
    for code, letters in needed.items():
        for letter, count in letters.items():
            if count / totals[code] > best.get(letter, (-1.0, ""))[0]:
                best[letter] = (count / totals[code], code)
    own: dict[str, set[str]] = {code: set() for code in needed}
    for letter, (_, code) in best.items():
        own[code].add(letter)
    return own


# --- The fit ---------------------------------------------------------------------------------------

DEFAULT_PANEL = "panels/panel-40"


@dataclass(slots=True, eq=False)
class _Growing:
    """One language's block while it is being settled. `borrowed` are letters that it needs of other blocks."""

    lexicon: Lexicon
    substrings: Substrings
    total: float
    block: FittedBlock
    borrowed: FittedBlock
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
    `tail.allow_fewer`, and those whose letters alone are more than their blocks hold; `CountsError` for a
    language that was not counted; and as `read_base` and `fit_shared`.
    """
    report = progress or Silent()
    tail = choose_tail(counts.languages, config, f"in the counts ({counts.folder or 'in memory'})")
    if base is None:
        base = _fit_base(counts, config, progress, workers)
    clock, fingerprint = Clock(), counts.fingerprint
    codes = sorted({*select_languages(counts, config.languages), *tail})
    read, digits = sorted({*codes, *base.known_weights(fingerprint)}), config.vocabulary.digits
    symbols = base.vocabulary.symbols
    spans = derive_spans(
        counts, base.rule, digits, languages=read, symbols=symbols, workers=workers, progress=progress
    )
    tables, options = spans.languages, choose_options(config.trainer)
    before = count_usage(base.vocabulary, tables, symbols=spans.symbols, progress=progress)
    totals = base.find_totals(before, tail, fingerprint)
    clock.lap("base")
    known, settings = base.vocabulary, config.tail
    frozen = usable_pieces(base.freeze_pieces())
    lacking = find_lacking(known, {code: tables[code] for code in codes})
    allowed = {code: [r for r in lacking[code] if r.character not in config.vocabulary.deny] for code in tail}
    needed = {code: choose_letters(known, allowed[code]) for code in tail}
    own = _settle_letters(needed, totals)
    check_letters(settings.size, {code: len(letters) for code, letters in own.items()}, "tail.size")
    taken = {known.pieces[k] for k in range(known.size) if known.kinds[k] is not Kind.NORMAL}
    deny = {*config.vocabulary.deny, *taken}
    growing: dict[str, _Growing] = {}
    with open_workers(config.trainer.threads or None) as pool:
        warm_kernels(pool, report)
        report.start("fitting blocks", len(tail), "languages")
        for code in tail:
            covered = mark_characters([*frozen.pieces, *needed[code]])
            lexicon = build_lexicon({code: tables[code]}, covered, pool)
            longest = config.vocabulary.max_piece_length
            found = find_substrings(lexicon, pool, longest=longest, floor=settings.min_count)
            borrowed = needed[code].keys() - own[code]
            block = fit_block(
                lexicon, found, settings.size + len(borrowed), pool, replace(frozen, total=totals[code]),
                floors=settings.floors, options=options, deny=deny,
            )  # fmt: skip
            growing[code] = _Growing(lexicon, found, totals[code], *_part(block, borrowed))
            report.advance(1)
        report.finish()
        _settle(growing, pool, frozen, deny, config, report)
    clock.lap("blocks")
    short = _name_short(growing, config)
    vocabulary = _assemble(known, growing)
    shown = {code: tables[code] for code in codes}
    usage = count_usage(vocabulary, shown, symbols=spans.symbols, progress=progress)
    held = {letter: code for code, letters in own.items() for letter in letters}
    cut = {code: [row for row in rows if row.character not in held] for code, rows in lacking.items()}
    rows = tuple(_list_rows(counts, codes, base, vocabulary, growing, cut, config))
    clock.lap("report")
    warnings = []
    if short:
        warnings.append(f"blocks smaller than asked, for want of text: {short}")
    lost = [row for code in codes for row in cut[code]]
    advice = f"give them a block with tail.languages, or fit the base with {KEEP}"
    warnings += warn_of_cut(lost, advice, known.byte_fallback)
    warnings += _warn_of_interference(rows, tail)
    letters = [row for code in tail for row in lacking[code] if row.character in needed[code]]
    held_by = [{"block": held[row.character]} for row in letters]
    listed = [row | block for row, block in zip(list_cut(letters), held_by, strict=True)]
    listings = {
        "blocks": _list_blocks(vocabulary, growing, config),
        "letters": listed,
        "cut_characters": list_cut(lost),
    }
    return Fit(vocabulary, config, rows, usage, tuple(warnings), clock.seconds, fingerprint, listings)


def _part(block: FittedBlock, borrowed: Collection[str]) -> tuple[FittedBlock, FittedBlock]:
    """Return a block without some of its pieces, and these."""
    places = range(len(block.pieces))
    ours = [k for k in places if block.pieces[k] not in borrowed]
    theirs = [k for k in places if block.pieces[k] in borrowed]
    return block.take(ours), block.take(theirs)


def choose_tail(languages: Iterable[str], config: TwoStageConfig, where: str) -> tuple[str, ...]:
    """Return the languages that get a block: those named, in that order, or the panel's tail, in its order.

    Raises `CountsError` for one that is not among the `languages`, which are `where` the message says.
    """
    counted = sorted(languages)
    if config.tail.languages:
        codes = resolve_codes(config.tail.languages, counted)
    else:
        codes = list(load_panel(config.languages.panel or DEFAULT_PANEL).tail)
    missing = [code for code in codes if code not in counted]
    if missing:
        what = f"{', '.join(missing)}: a tail language, but not {where}"
        raise CountsError(what, "--set tail.languages=yor,ibo  # names others; or count text of it")
    return tuple(dict.fromkeys(codes))


def _fit_base(counts: WordCounts, config: TwoStageConfig, progress: Progress | None, workers: int) -> BlockBase:
    if config.base:
        found = read_base(config.base)
        wanted, held = config.vocabulary.symbols, found.vocabulary.symbols
        if set(wanted) - set(held):
            what = f"vocabulary.symbols = {list(wanted)!r}: the base has {list(held)!r}, and stays as it is"
            raise ConfigError(what, "leave vocabulary.symbols out, or fit a base with them first")
        return found
    first = fit_shared(counts, config, progress, workers=workers)
    weights = {str(row["language"]): float(str(row["weight"])) for row in first.rows}
    return _describe_base(first.vocabulary, "shared", weights, first.counts)


def _settle(
    growing: Mapping[str, _Growing], workers: Workers, frozen: Frozen, deny: Collection[str],
    config: TwoStageConfig, report: Progress,
) -> None:  # fmt: skip
    """Give every contested piece to one language, and fill the others up with pieces that no one has."""
    wanted = {code: lost for code, lost in _find_losses(growing).items() if lost}
    report.start("settling contested pieces", len(wanted), "languages")
    for code, lost in wanted.items():
        item = growing[code]
        item.lost = len(lost)
        item.block, _ = _part(item.block, lost)
    for code, lost in wanted.items():
        item, block = growing[code], growing[code].block
        report.advance(1)
        # A block that its text could not fill has nothing left to be filled up from.
        if len(block.pieces) + len(lost) < config.tail.size:
            continue
        others = {p for other, o in growing.items() if other != code for p in o.block.pieces}
        added = (block, item.borrowed)
        held = Frozen(
            [*frozen.pieces, *(piece for part in added for piece in part.pieces)],
            [*frozen.scores, *(score for part in added for score in part.scores.tolist())],
            item.total,
        )
        last, _ = block.tiers[-1]
        floors, options = tuple(n for n in config.tail.floors if n <= last), choose_options(config.trainer)
        more = fit_block(
            item.lexicon, item.substrings, len(lost), workers, held,
            floors=floors, options=options, deny={*deny, *others, *lost},
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
        raise FitError(what, "--set tail.allow_fewer=true  # or a smaller tail.size, or count more text")
    return short


def _assemble(base: Vocabulary, growing: Mapping[str, _Growing]) -> Vocabulary:
    """Append the blocks in order, letters first and by falling score; every new score is made distinct."""
    taken = set(base.scores.tolist())
    found = base
    for code, item in growing.items():
        longer = np.array([len(piece) > 1 for piece in item.block.pieces], np.bool_)
        order = np.lexsort((np.arange(len(longer)), -item.block.scores, longer))
        values = item.block.scores[order].astype(np.float32)
        letters = len(item.block.letters)
        parts = (make_distinct(values[:letters], taken), make_distinct(values[letters:], taken))
        values = np.concatenate(parts)
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
    cut: Mapping[str, Sequence[CutCharacter]],
    config: TwoStageConfig,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each language: tokens with the base, with all blocks, and with its own block alone.

    `letters` are those that its block begins with, `cut_share` of its characters have no piece in any block.
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
            "letters": None if item is None else len(item.block.letters),
            "cut_share": sum(row.share for row in cut[code]),
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
    """Return the shared pieces, one block and all letters: the routed vocabulary's tokens, a third of it."""
    part = {name: getattr(vocabulary, name)[:shared] for name in ("pieces", "scores", "kinds")}
    found = replace(vocabulary, **part, blocks=(Block(SHARED, 0, shared),))
    # In one go: every change of a vocabulary is checked whole, a third of a second at 300,000 pieces.
    added = [block for block in vocabulary.blocks if block.start >= shared]
    ids = [(block.name, k) for block in added for k in range(block.start, block.stop)]
    own = [k for name, k in ids if name == code or is_shared_letter(vocabulary, k)]
    return found.append_block(code, [vocabulary.pieces[k] for k in own], vocabulary.scores[own])


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

    `letters` are what a block begins with, `tiers` (evidence floor, pieces) of the rest, `contested` the pieces
    left to others; `total` is what the language's raw counts are divided by to be on the base's scale.
    """
    start = {block.name: block.start for block in vocabulary.blocks}
    return [
        {
            "language": code,
            "start": start.get(code),
            "pieces": len(item.block.pieces),
            "letters": len(item.block.letters),
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
