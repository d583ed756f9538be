"""How the old tokenizer spells each new token, and rows made from the tokens it takes.

A token that starts a word is spelled as one that does, any other as the middle of a word. What is spelled
is compared with the token's bytes, since a tokenizer may put a space first, fold case or compose letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from vocabkit.extension.context import Context, list_new
from vocabkit.extension.mixtures import Mixture, make_mixture
from vocabkit.extension.overlap import index_surfaces, list_surfaces
from vocabkit.extension.plan_types import FloatArray, RowPlan
from vocabkit.vocabulary.tokenizers import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# Put before a token that starts no word, where the tokenizer puts a space before whatever comes first.
_ANCHORS = (".", "\n", "1", "。")
_NO_TEXT = (Kind.UNKNOWN, Kind.CONTROL, Kind.UNUSED)
Spelling = tuple[int, ...]


def spell_tokens(
    tokens: Sequence[bytes | None], tokenizer: Tokenizer, size: int | None = None
) -> list[Spelling]:
    """Return the old ids that stand for each token; none where the tokenizer cannot write it.

    In this order: its own encoding, if that has the same bytes; the same after a character that is then
    taken off; the longest tokens from the left; its own encoding though the bytes differ (case, composed
    letters); and the longest from the left with byte tokens. `size` cuts ids beyond the matrix.
    """
    found: list[Spelling] = [()] * len(tokens)
    texts = {place: text for place, text in enumerate(map(_decode, tokens)) if text}
    surfaces = list_surfaces(tokenizer, size)
    plain = _encode(tokenizer, {place: _ask(text, tokenizer) for place, text in texts.items()})
    open_places = set(range(len(tokens))) - {i for i, token in enumerate(tokens) if not token}

    def accept(candidates: Mapping[int, Spelling], exact: bool = True) -> None:
        for place in sorted(open_places & candidates.keys()):
            ids = candidates[place]
            if ids and _is_text(ids, tokenizer, surfaces):
                if exact and b"".join(surfaces[one] or b"" for one in ids) != tokens[place]:
                    continue
                found[place] = ids
                open_places.discard(place)

    accept(plain)
    for anchor in _ANCHORS:
        left = {place: anchor + texts[place] for place in open_places & texts.keys()}
        head = _encode(tokenizer, {0: anchor})[0]
        accept(
            {
                place: ids[len(head) :]
                for place, ids in _encode(tokenizer, left).items()
                if ids[: len(head)] == head
            }
        )
    kinds = tokenizer.kinds
    allowed = np.array(
        [i < len(kinds) and kinds[i] in (Kind.NORMAL, Kind.USER) for i in range(len(surfaces))]
    )
    accept(_match_all(tokens, open_places, index_surfaces(surfaces, kinds, allowed)))
    accept(plain, exact=False)
    accept(_match_all(tokens, open_places, index_surfaces(surfaces, kinds)))
    return found


def mix_subwords(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = mean of E_i for i in s(t), the old spelling of t (FVT, Gee et al. 2022).

    Without text or donor the best of all rules for tokens that the old tokenizer can spell.
    """
    return _mix(plan, context, lambda n: np.full(n, 1 / n))


def mix_positional(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = Σ w_i E_i, i = 1…n in the order of s(t): w ∝ exp(2i) for inputs, exp(−2i) for heads.

    AdaptiVocab (Nakash et al. 2025): an input should read like the end of the word, since what follows
    comes after it; a head should predict its beginning. Tied rows are weighted as inputs.
    """
    rate = context.option("rate", 2.0) * (-1 if context.role == "output" else 1)

    def weigh(n: int) -> FloatArray:
        steps = rate * np.arange(n)
        powers = np.exp(steps - steps.max())
        return np.asarray(powers / powers.sum(), np.float32)

    return _mix(plan, context, weigh)


def mix_first(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = E of the first token of s(t): for a head, the row that already predicts in that place."""
    return _mix(plan, context, lambda n: np.eye(1, n)[0])


def mix_last(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = E of the last token of s(t): for inputs, the row that already stands before what follows."""
    return _mix(plan, context, lambda n: np.eye(1, n, n - 1)[0])


def spell_new(plan: RowPlan, context: Context) -> list[Spelling]:
    """The old spelling of every token whose row is to be made, in the order of their ids."""
    tokens = [plan.tokens[index] for index in list_new(plan)]
    return spell_tokens(tokens, context.old_tokenizer, plan.old_size)


def _mix(
    plan: RowPlan, context: Context, weigh: Callable[[int], np.typing.NDArray[np.floating]]
) -> Mixture:
    return make_mixture(_weigh_all(spell_new(plan, context), weigh))


def _weigh_all(
    spellings: Iterable[Spelling], weigh: Callable[[int], np.typing.NDArray[np.floating]]
) -> Iterable[tuple[Sequence[int], np.typing.NDArray[np.floating]]]:
    for ids in spellings:
        weights = weigh(len(ids)) if ids else np.zeros(0)
        kept = np.flatnonzero(weights)
        yield [ids[place] for place in kept], weights[kept]


def _decode(token: bytes | None) -> str:
    """The token as text; nothing for one that is part of a character."""
    try:
        return (token or b"").decode()
    except UnicodeDecodeError:
        return ""


def _ask(text: str, tokenizer: Tokenizer) -> str:
    """What to encode: where a space is put first anyway, not a second one."""
    return text.removeprefix(" ") if tokenizer.word_prefix == "" else text


def _encode(tokenizer: Tokenizer, texts: Mapping[int, str]) -> dict[int, Spelling]:
    ids, lengths = tokenizer.encode_flat(list(texts.values()))
    stops = [0, *np.cumsum(lengths).tolist()]
    flat = ids.tolist()
    spans = pairwise(stops)
    return {place: tuple(flat[a:b]) for place, (a, b) in zip(texts, spans, strict=True)}


def _is_text(ids: Spelling, tokenizer: Tokenizer, surfaces: Sequence[bytes | None]) -> bool:
    return all(one < len(surfaces) and tokenizer.kinds[one] not in _NO_TEXT for one in ids)


def _match_all(
    tokens: Sequence[bytes | None], places: Iterable[int], table: Mapping[bytes, int]
) -> dict[int, Spelling]:
    longest = max(map(len, table), default=0)
    return {place: _match_longest(tokens[place] or b"", table, longest) for place in places}


def _match_longest(token: bytes, table: Mapping[bytes, int], longest: int) -> Spelling:
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
