"""Rows made from the old ones without a donor: copies, random rows, sums over spellings, and a head's biases.

Overlap copies the old token nearest in writing. Zero, normal, the mean and normals shaped like the trained rows
need numbers alone: they are baselines, except the mean, which every other method falls back to for a token it
can say nothing of. The others follow how the old tokenizer spells a new token. A surface is a token's bytes
with the space before a word, so `Ġthe`, `▁the` and WordPiece's `the` are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.core.text import piece_script
from vocabkit.extension.rows import (
    Context,
    Mixture,
    RowPlan,
    Rows,
    find_root,
    list_new,
    list_used,
    make_mixture,
    measure_covariance,
    measure_moments,
    parse_method,
)
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# --- Overlap ---------------------------------------------------------------------------------------


def list_surfaces(tokenizer: Tokenizer, size: int | None = None) -> list[bytes | None]:
    """The bytes of each id below `size`; None for one that stands for no text."""
    size = tokenizer.size if size is None else size
    known = min(size, tokenizer.size)
    return [*map(tokenizer.token_bytes, range(known)), *[None] * (size - known)]


def index_surfaces(
    surfaces: Sequence[bytes | None], kinds: Sequence[Kind], allowed: BoolArray | None = None
) -> dict[bytes, int]:
    """Surface → id. An ordinary token goes before the byte token of the same byte, else the lower id."""
    found: dict[bytes, int] = {}
    spare: dict[bytes, int] = {}
    for index, surface in enumerate(surfaces):
        if not surface or (allowed is not None and not allowed[index]):
            continue
        table = spare if index < len(kinds) and kinds[index] is Kind.BYTE else found
        table.setdefault(surface, index)
    return {**spare, **found}


def match_surfaces(first: Sequence[bytes | None], second: Mapping[bytes, int]) -> tuple[Int64Array, Int64Array]:
    """The ids of `first` whose surface the other vocabulary has, and the ids it has there."""
    pairs = [(index, second[text]) for index, text in enumerate(first) if text is not None and text in second]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def mix_overlap(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = the row of the old token nearest in writing: a copy, of one old row.

    In this order: the same bytes (a lone byte's token among them), the same but for case, for the space
    before it, or for both, and the longest old token that it starts with. Overlap is copied by most methods
    (FOCUS, Dobler and de Melo 2023; OFA, Liu et al. 2023); the later steps are for tokens without any.
    """
    tokenizer = context.old_tokenizer
    old = index_surfaces(list_surfaces(tokenizer, plan.old_size), tokenizer.kinds, plan.old_used)
    # The first of those that are the same without case, and without the space before them.
    loose = [{_loosen(text, spaced): i for text, i in reversed(old.items())} for spaced in (True, False)]
    longest = max(map(len, old), default=0)
    found = (_find_nearest(plan.tokens[index], old, loose, longest) for index in list_new(plan))
    return make_mixture(([], []) if one is None else ([one], [1.0]) for one in found)


def _loosen(surface: bytes, spaced: bool) -> bytes:
    lowered = surface.decode(errors="surrogateescape").casefold()
    left = lowered if spaced else lowered.removeprefix(" ")
    return left.encode(errors="surrogateescape")


def _find_nearest(
    surface: bytes | None, old: Mapping[bytes, int], loose: Sequence[Mapping[bytes, int]], longest: int
) -> int | None:
    if not surface:
        return None
    bare = surface[1:] if surface.startswith(b" ") else b" " + surface
    spaced, bared = loose
    tries = ((old, surface), (spaced, _loosen(surface, True)), (old, bare), (bared, _loosen(surface, False)))
    starts = ((old, surface[:stop]) for stop in range(min(len(surface), longest), 0, -1))
    found = chain(tries, (start for start in starts if start[1].strip()))
    return next((table[text] for table, text in found if text in table), None)


# --- Random rows -----------------------------------------------------------------------------------

_BLOCK = 8_192


def make_zero(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    """e = 0. In a head a zero row's logit is 0, which wins wherever all old logits are negative."""
    return Rows(np.zeros((len(list_new(plan)), rows.shape[1]), np.float32), "zero")


def make_normal(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    """e ~ N(0, s² I), s = `std` (0.02, what most models start training from).

    An s far above the old rows' breaks a model: N(0, 1) took all probability from the old tokens of one
    whose rows have a deviation of 0.1 (Hewitt 2021, "Initializing new word embeddings", says why).
    """
    std = _check_scale("std", context.option("std", 0.02))
    size = (len(list_new(plan)), rows.shape[1])
    values = context.generator().standard_normal(size, np.float32) * np.float32(std)
    return Rows(values, "normal", None, context.seed, f"standard deviation {std:g}")


def make_mean(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    """e = μ, the mean of the trained rows (Hewitt 2021).

    In a head, m rows at μ change what the model says of old tokens by a Kullback–Leibler divergence of at
    most log(1 + m/n), n being the number of rows averaged: exp is convex.
    """
    used = list_used(plan.old_used, rows)
    mean = measure_moments(rows, used)[0].astype(np.float32)
    values = np.repeat(mean[None], len(list_new(plan)), axis=0)
    return Rows(values, "mean", note=f"mean of {len(used):,} rows")


def make_diagonal(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    """e ~ N(μ, diag σ²) column by column, σ times `scale` (1): what WECHSEL and FOCUS fall back to."""
    scale = _check_scale("scale", context.option("scale", 1.0))
    used = list_used(plan.old_used, rows)
    mean, std = measure_moments(rows, used)
    drawn = context.generator().standard_normal((len(list_new(plan)), rows.shape[1]), np.float32)
    drawn *= (std * scale).astype(np.float32)
    drawn += mean.astype(np.float32)
    return Rows(drawn, "diagonal", None, context.seed, f"moments of {len(used):,} rows")


def make_multivariate(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    """e = μ + a L z with L Lᵀ = Σ + εI, z ~ N(0, I); a = `scale` (1) (Hewitt 2021).

    a = 1 is the distribution of the old rows. `resize_token_embeddings` of transformers has a = 10^-4.5,
    which is the mean; that is why the scale is said here.
    """
    scale = _check_scale("scale", context.option("scale", 1.0))
    used = list_used(plan.old_used, rows)
    mean = measure_moments(rows, used)[0]
    root = (find_root(measure_covariance(rows, used, mean)) * scale).astype(np.float32)
    generator, offset = context.generator(), mean.astype(np.float32)
    values = np.empty((len(list_new(plan)), rows.shape[1]), np.float32)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        block[:] = generator.standard_normal(block.shape, np.float32) @ root.T + offset
    note = f"scale {scale:g}, covariance of {len(used):,} rows"
    return Rows(values, "multivariate", None, context.seed, note)


def _check_scale(name: str, value: float) -> float:
    if not 0 <= value < np.inf:
        raise ConfigError(f"{name}={value:g}: must be a number, 0 or more", f"write {name}=1, or leave it out")
    return value


# --- Spellings -------------------------------------------------------------------------------------
# A token that starts a word is spelled as one that does, any other as the middle of a word. What is spelled
# is compared with the token's bytes, since a tokenizer may put a space first, fold case or compose letters.

# Put before a token that starts no word, where the tokenizer puts a space before whatever comes first.
_ANCHORS = (".", "\n", "1", "。")
_NO_TEXT = (Kind.UNKNOWN, Kind.CONTROL, Kind.UNUSED)
_Spelling = tuple[int, ...]


def _spell_tokens(
    tokens: Sequence[bytes | None], tokenizer: Tokenizer, size: int | None = None
) -> list[_Spelling]:
    """Return the old ids that stand for each token; none where the tokenizer cannot write it.

    In this order: its own encoding, if that has the same bytes; the same after a character that is then
    taken off; the longest tokens from the left; its own encoding though the bytes differ (case, composed
    letters); and the longest from the left with byte tokens. `size` cuts ids beyond the matrix.
    """
    found: list[_Spelling] = [()] * len(tokens)
    texts = {position: text for position, text in enumerate(map(_decode, tokens)) if text}
    surfaces = list_surfaces(tokenizer, size)
    # Where a space is put first anyway, not a second one.
    put_first = " " if tokenizer.word_prefix == "" else ""
    plain = _encode(tokenizer, {position: text.removeprefix(put_first) for position, text in texts.items()})
    open_places = set(range(len(tokens))) - {i for i, token in enumerate(tokens) if not token}

    def accept(candidates: Mapping[int, _Spelling], exact: bool = True) -> None:
        for position in sorted(open_places & candidates.keys()):
            ids = candidates[position]
            if ids and all(i < len(surfaces) and tokenizer.kinds[i] not in _NO_TEXT for i in ids):
                if exact and b"".join(surfaces[one] or b"" for one in ids) != tokens[position]:
                    continue
                found[position] = ids
                open_places.discard(position)

    accept(plain)
    for anchor in _ANCHORS:
        left = {position: anchor + texts[position] for position in open_places & texts.keys()}
        head = _encode(tokenizer, {0: anchor})[0]
        spelled = _encode(tokenizer, left).items()
        accept({position: ids[len(head) :] for position, ids in spelled if ids[: len(head)] == head})
    kinds = tokenizer.kinds
    allowed = np.array([i < len(kinds) and kinds[i] in (Kind.NORMAL, Kind.USER) for i in range(len(surfaces))])
    accept(_match_all(tokens, open_places, index_surfaces(surfaces, kinds, allowed)))
    accept(plain, exact=False)
    accept(_match_all(tokens, open_places, index_surfaces(surfaces, kinds)))
    return found


def mix_subwords(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = mean of E_i for i in s(t), the old spelling of t (FVT, Gee et al. 2022).

    Without text or donor the best of all rules for tokens that the old tokenizer can spell. With `norm=median`
    an input row is made as long as the median trained row of its script (`_measure_scripts`), as NVIDIA's steps
    for extending a tokenizer have it: a mean of n rows is shorter than they are. A head's rows stay.
    """
    mixture = _mix(plan, context, lambda n: np.full(n, 1 / n))
    if context.choice("norm", ("median",)) is None or context.role == "output":
        return mixture
    return _stretch(mixture, plan, rows, context)


def _stretch(mixture: Mixture, plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """The mixture with weights that give each row the median length of its script's trained rows."""
    medians, all_rows = _measure_scripts(plan, rows, context)
    made: list[tuple[Int64Array, Float32Array]] = []
    for index, (ids, weights) in zip(list_new(plan).tolist(), mixture.to_list(), strict=True):
        length = float(np.linalg.norm(weights.astype(np.float64) @ rows[ids].astype(np.float64)))
        wanted = medians.get(_find_script(plan.tokens[index]) or "", all_rows)
        made.append((ids, np.asarray(weights * (wanted / length if length else 1.0), np.float32)))
    return make_mixture(made)


def _measure_scripts(plan: RowPlan, rows: Float32Array, context: Context) -> tuple[dict[str, float], float]:
    """The median length of the trained rows of each script, and of all: for a script without a row."""
    used = list_used(plan.old_used, rows)
    lengths = np.sqrt(np.square(rows[used], dtype=np.float64).sum(axis=1))
    surfaces, kinds = list_surfaces(context.old_tokenizer, plan.old_size), context.old_tokenizer.kinds
    found: dict[str, list[float]] = {}
    for index, length in zip(used.tolist(), lengths.tolist(), strict=True):
        script = _find_script(surfaces[index])
        if script is not None and kinds[index] is not Kind.BYTE:  # <0x61> is no Latin letter
            found.setdefault(script, []).append(length)
    return {script: float(np.median(some)) for script, some in found.items()}, float(np.median(lengths))


def _find_script(token: bytes | None) -> str | None:
    """The script that a token is written in; None for one without letters, or for part of a character."""
    text = _decode(token)
    return piece_script(text) if text else None


def mix_positional(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = Σ w_i E_i, i = 1…n in the order of s(t): w ∝ exp(2i) for inputs, exp(−2i) for heads.

    AdaptiVocab (Nakash et al. 2025): an input should read like the end of the word, since what follows
    comes after it; a head should predict its beginning. Tied rows are weighted as inputs.
    """
    rate = context.option("rate", 2.0) * (-1 if context.role == "output" else 1)

    def weigh(n: int) -> Float32Array:
        steps = rate * np.arange(n)
        powers = np.exp(steps - steps.max())
        return np.asarray(powers / powers.sum(), np.float32)

    return _mix(plan, context, weigh)


def mix_first(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = E of the first token of s(t): for a head, the row that already predicts in that place."""
    return _mix(plan, context, lambda n: np.eye(1, n)[0])


def mix_last(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = E of the last token of s(t): for inputs, the row that already stands before what follows."""
    return _mix(plan, context, lambda n: np.eye(1, n, n - 1)[0])


def _spell_new(plan: RowPlan, context: Context) -> list[_Spelling]:
    """The old spelling of every token whose row is to be made, in the order of their ids."""
    tokens = [plan.tokens[index] for index in list_new(plan)]
    return _spell_tokens(tokens, context.old_tokenizer, plan.old_size)


def _mix(plan: RowPlan, context: Context, weigh: Callable[[int], np.typing.NDArray[np.floating]]) -> Mixture:
    spelled = _spell_new(plan, context)
    pairs = [(np.array(ids, np.int64), weigh(len(ids)) if ids else np.zeros(0)) for ids in spelled]
    return make_mixture((ids[weights != 0], weights[weights != 0]) for ids, weights in pairs)


def _decode(token: bytes | None) -> str:
    """The token as text; nothing for one that is part of a character."""
    try:
        return (token or b"").decode()
    except UnicodeDecodeError:
        return ""


def _encode(tokenizer: Tokenizer, texts: Mapping[int, str]) -> dict[int, _Spelling]:
    ids, lengths = tokenizer.encode_flat(list(texts.values()))
    flat, spans = ids.tolist(), pairwise([0, *np.cumsum(lengths).tolist()])
    return {position: tuple(flat[a:b]) for position, (a, b) in zip(texts, spans, strict=True)}


def _match_all(
    tokens: Sequence[bytes | None], positions: Iterable[int], table: Mapping[bytes, int]
) -> dict[int, _Spelling]:
    longest = max(map(len, table), default=0)
    return {position: _match_longest(tokens[position] or b"", table, longest) for position in positions}


def _match_longest(token: bytes, table: Mapping[bytes, int], longest: int) -> _Spelling:
    """The longest token of the table, then the longest of the rest; none when it does not come out even."""
    ids: list[int] = []
    start = 0
    while start < len(token):
        for stop in range(min(len(token), start + longest), start, -1):
            one = table.get(token[start:stop])
            if one is not None:
                ids.append(one)
                start = stop
                break
        else:
            return ()
    return tuple(ids)


# --- Biases ----------------------------------------------------------------------------------------
# `resize_token_embeddings` leaves them at 0 in tied masked-language heads. Biases of rare tokens are mostly
# below 0, and a new token at 0 is then predicted too often.

BIAS_METHODS = ("mean", "zero", "minimum", "quantile", "first", "first-shared", "log-prior")
"""The rules `initialize_bias` knows; the first is the default."""


def initialize_bias(
    method: str, plan: RowPlan, bias: npt.NDArray[np.floating], context: Context
) -> Float32Array:
    """Return one value for every row to be made, float32[n_new], in the order of the ids.

    `mean`, `minimum` and `quantile` (`quantile`, 0.05) are of the trained tokens' biases; `first` is that of
    the first token of the old spelling, or the mean; `first-shared` is the same less log(m + 1), m being how
    many new tokens have that first token, so that copies of its row have its probability together and not
    each; `log-prior` fits b = α log(count + 1) + β to the old tokens' counts in the context's text and reads
    the new tokens' off their own. Raises ConfigError for an unknown rule, and for `log-prior` without text.
    """
    method, options = check_bias_method(method)
    context = replace(context, options={**context.options, **options})
    new, old = list_new(plan), np.asarray(bias, np.float64).reshape(-1)
    used = old[list_used(plan.old_used, old[:, None] + (old[:, None] == 0))]
    if method == "zero":
        return np.zeros(len(new), np.float32)
    if method in ("mean", "minimum", "quantile"):
        share = min(max(context.option("quantile", 0.05), 0), 1)
        value = {"mean": used.mean(), "minimum": used.min(), "quantile": np.quantile(used, share)}[method]
        return np.full(len(new), value, np.float32)
    if method in ("first", "first-shared"):
        heads = [ids[0] if ids else -1 for ids in _spell_new(plan, context)]
        shared = Counter(heads if method == "first-shared" else ())
        values = [used.mean() if head < 0 else old[head] - np.log(shared[head] + 1) for head in heads]
        return np.array(values, np.float32).reshape(len(new))
    return _follow_counts(plan, old, context)


def check_bias_method(method: str) -> tuple[str, dict[str, float | str]]:
    """The rule and its options. Raises ConfigError for an unknown one."""
    name, options = parse_method(method)
    if name not in BIAS_METHODS:
        raise ConfigError(f"no rule for biases is called {name!r}", f"one of {', '.join(BIAS_METHODS)}")
    wrong = sorted(options.keys() - ({"quantile"} if name == "quantile" else set()))
    if wrong:
        raise ConfigError(f"{name} has no option {wrong[0]!r}", "only quantile has one: quantile:quantile=0.1")
    return name, options


def _follow_counts(plan: RowPlan, old: Float64Array, context: Context) -> Float32Array:
    """The line through the old biases over the logarithm of their counts, at the new tokens' counts."""
    if not context.lines or context.new_tokenizer is None:
        raise ConfigError("log-prior needs text and the new tokenizer", "name text with --text")
    texts = list(context.lines)
    before = np.bincount(context.old_tokenizer.encode_flat(texts)[0], minlength=len(old))
    after = np.bincount(context.new_tokenizer.encode_flat(texts)[0], minlength=plan.new_size)
    used = plan.old_used[: len(old)] & (before[: len(old)] > 0)
    if used.sum() < 2 or np.ptp(before[: len(old)][used]) == 0:
        return np.full(len(list_new(plan)), old[plan.old_used].mean(), np.float32)
    slope, start = np.polyfit(np.log(before[: len(old)][used] + 1), old[used], 1)
    return np.asarray(slope * np.log(after[list_new(plan)] + 1) + start, np.float32)
