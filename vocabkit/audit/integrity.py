"""Whether text comes back from its tokens as it went in, by language, and what the tokenizer does to it before.

Round trips, normalisation, canonical forms, digits, typed special tokens and white space. All of it is
about what is kept; what it costs is `metrics`'s, and which pieces are of no use `reachability`'s.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from vocabkit.audit.canonical_forms import measure_forms
from vocabkit.audit.digit_grouping import check_digits
from vocabkit.audit.figures import Figure, Finding, Severity
from vocabkit.audit.round_trips import Codec, Lost, cut_difference
from vocabkit.core.errors import TokenizerError
from vocabkit.core.render import show_token
from vocabkit.vocabulary.tokenizers import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

EXAMPLES = 10
METRICS = (
    "roundtrip_failures",
    "lines_normalized",
    "nfd_differs",
    "nfd_cost",
    "mark_order_differs",
)
_ALTERED = "come back neither as they went in nor as normalised"
# White space, and the invisible characters that Persian, Hindi and emoji are spelt with.
_FIDELITY = (
    " a", "a ", "a  b", "a\tb", "a\nb", "a\r\nb", "a\n\nb", "a\u00a0b", "a\u3000b", "\ufeffa",
    "a\ufeffb", "a\u200cb", "a\u200db", "a\u00adb",
)  # fmt: skip
_SPECIAL = (
    "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<bos>", "<eos>", "[CLS]", "[SEP]", "[MASK]", "[UNK]",
    "<|endoftext|>", "<|im_start|>", "<|begin_of_text|>", "<|eot_id|>", "<0x41>", "<unused0>",
)  # fmt: skip


def check_integrity(
    tokenizer: Tokenizer, lines: Mapping[str, Sequence[str]], *, seed: int = 0, limit: int = 200
) -> tuple[list[Finding], list[Figure]]:
    """Return the findings about the tokenizer, and the figures of each language of `lines`.

    All lines are normalised; up to `limit` of a language, drawn by `seed`, are encoded and decoded. A line
    comes back when its bytes do, or those of the line as normalised. A language that the tokenizer
    refuses has null figures with the reason.
    """
    codec = Codec(tokenizer)
    findings: list[Finding] = []
    figures: list[Figure] = []
    # The examples shown are the first: one of each language before a second of any.
    first: list[tuple[bytes, bytes]] = []
    rest: list[tuple[bytes, bytes]] = []
    total = specials = users = 0
    for language, texts in lines.items():
        sample = _draw(texts, limit, f"{seed}:{language}")
        try:
            own, found, counts = _check_language(tokenizer, codec, language, texts, sample)
        except TokenizerError as error:
            figures += [
                _figure(tokenizer, language, metric, None, 0, error.message) for metric in METRICS
            ]
            continue
        figures += own
        first += found.pairs[:1]
        rest += found.pairs[1:]
        total += found.total
        specials += counts[0]
        users += counts[1]
    lost = first + rest
    findings.append(
        _report(tokenizer, "round trip", _grade(len(lost), total), Lost(lost, total), _ALTERED)
    )
    findings += [
        _count(
            tokenizer,
            "special tokens from text",
            "failure",
            specials,
            total,
            "lines, and typed special tokens, that were encoded to a control token; total: lines",
            extra=_count_specials(tokenizer),
        ),
        _count(
            tokenizer,
            "added tokens in text",
            "note",
            users,
            total,
            "lines with a token that is matched before all others, such as markup; total: lines",
        ),
        _check_probes(tokenizer, codec, "white space", _FIDELITY),
        _check_probes(tokenizer, codec, "typed special tokens", _SPECIAL),
        _check_characters(tokenizer, codec, lines),
    ]
    digits, shares = check_digits(tokenizer)
    return findings + digits, figures + shares


def _check_language(
    tokenizer: Tokenizer, codec: Codec, language: str, texts: Sequence[str], sample: Sequence[str]
) -> tuple[list[Figure], Lost, tuple[int, ...]]:
    lost, batch = codec.find_lost(sample)
    changed = sum(tokenizer.normalize(text) is not None for text in texts)
    counts = tuple(
        sum(not ids.isdisjoint(line) for line in batch) for ids in (codec.control, codec.user)
    )
    figures = [
        _figure(tokenizer, language, "roundtrip_failures", len(lost.pairs), len(sample), None),
        _figure(tokenizer, language, "lines_normalized", changed, len(texts), None),
        *measure_forms(tokenizer, language, sample),
    ]
    return figures, lost, counts


def _draw(texts: Sequence[str], limit: int, seed: str) -> list[str]:
    if len(texts) <= limit:
        return list(texts)
    places = sorted(random.Random(seed).sample(range(len(texts)), limit))
    return [texts[place] for place in places]


def _check_probes(tokenizer: Tokenizer, codec: Codec, check: str, probes: Sequence[str]) -> Finding:
    """Round trips of fixed texts; what the normaliser alone changes is a note and listed too."""
    lost, _ = codec.find_lost(probes)
    changed = [
        (text.encode(), known.encode())
        for text in probes
        if (known := tokenizer.normalize(text)) is not None
    ]
    gone = {data for data, _ in lost.pairs}
    pairs = lost.pairs + [pair for pair in changed if pair[0] not in gone]
    severity: Severity = "warning" if lost.pairs else "note"
    note = f"{len(lost.pairs)} changed for good, {len(pairs) - len(lost.pairs)} by the normaliser alone"
    return _report(tokenizer, check, severity, Lost(pairs, len(probes)), note)


def _check_characters(
    tokenizer: Tokenizer, codec: Codec, lines: Mapping[str, Sequence[str]]
) -> Finding:
    """Every character of all the lines, alone between two letters."""
    seen = {character for texts in lines.values() for text in texts for character in text}
    texts = [
        f"a{character}a" for character in sorted(seen) if not 0xD800 <= ord(character) < 0xE000
    ]
    try:
        lost, _ = codec.find_lost(texts)
    except TokenizerError as error:
        return Finding(tokenizer.name, "characters", "failure", None, len(texts), error.message)
    inside = [(data[1:-1], back) for data, back in lost.pairs]
    severity = _grade(len(inside), len(texts))
    return _report(
        tokenizer,
        "characters",
        severity,
        Lost(inside, len(texts)),
        f"distinct characters: {_ALTERED}",
    )


def _count_specials(tokenizer: Tokenizer) -> int:
    ids, _ = tokenizer.encode_flat(_SPECIAL)
    return sum(tokenizer.kinds[index] is Kind.CONTROL for index in ids.tolist())


def _grade(count: int, total: int) -> Severity:
    """A warning up to one in a hundred, as for unknown characters; beyond, figures are of other text."""
    if not count:
        return "fine"
    return "failure" if count > total / 100 else "warning"


def _report(tokenizer: Tokenizer, check: str, severity: Severity, lost: Lost, note: str) -> Finding:
    examples = [
        f"{show_token(cut_difference(data, back))} → {show_token(cut_difference(back, data))}"
        for data, back in lost.pairs[:EXAMPLES]
    ]
    return Finding(
        tokenizer=tokenizer.name,
        check=check,
        severity=severity if lost.pairs else "fine",
        count=len(lost.pairs),
        total=lost.total,
        note=note,
        examples=tuple(examples),
    )


def _count(
    tokenizer: Tokenizer,
    check: str,
    severity: Severity,
    count: int,
    total: int,
    note: str,
    extra: int = 0,
) -> Finding:
    number = count + extra
    return Finding(
        tokenizer.name,
        check,
        severity if number else "fine",
        number,
        total,
        note,
    )


def _figure(
    tokenizer: Tokenizer, language: str, metric: str, count: int | None, n: int, note: str | None
) -> Figure:
    return Figure(
        tokenizer=tokenizer.name,
        scope="language",
        name=language,
        metric=metric,
        value=None if count is None or not n else count / n,
        unit="share of lines",
        aggregation="share",
        n=n,
        note=note,
    )
