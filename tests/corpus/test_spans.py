import itertools
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import unicodedata2
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from vocabkit.core.errors import ConfigError, CountsError
from vocabkit.core.text import script_of
from vocabkit.corpus.normalization import (
    RULES,
    _combining_sequences,
    active_characters,
    charsmap_for,
    compile_charsmap,
    decompile,
    load_normalizer,
)
from vocabkit.corpus.spans import (
    _build_spans,
    _span_starts,
    count_mismatches,
    derive_spans,
    piece_ends,
)
from vocabkit.corpus.word_counts import DELIMITERS, WordCounts

ALPHABET = "abẹo\u0323\u0301\u200c\u200dｶﾞカー用字1२9,.▁ัำก \tﬁКи한ᄒ\u1161\u00a0´"


def spans_of(text: str, rule: str = "nmt_nfkc", digits: str = "sentencepiece") -> Counter[str]:
    words = WordCounts.from_texts({"x": [text]}).languages["x"].train
    table, *_ = _build_spans(words, load_normalizer(rule), digits)
    return Counter(dict(zip(table.strings(), table.count.tolist(), strict=True)))


def script_for_pieces(character: str) -> str:
    script = script_of(character)
    return "Hani" if script in ("Hira", "Kana") or character == "ー" else script


def naive_spans(text: str, digits: str) -> Counter[str]:
    """The rules, one character at a time, over the whole normalised line."""
    processor = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc", escape_whitespaces=True)
    found: Counter[str] = Counter()
    span, script, run = "", "", 0

    def digit(character: str) -> bool:
        return str(unicodedata2.category(character)) == "Nd"

    for character in processor.normalize(text):
        current = script_for_pieces(character)
        after_mark = bool(span) and script_of(span[-1]) == "Zinh"
        if current == "Zinh":
            current = script
        cut = character == "▁" or bool(script and current != script and not after_mark)
        if digits == "single":
            cut = cut or digit(character) or (bool(span) and digit(span[-1]))
        elif digits == "groups" and span not in ("", "▁"):
            cut = cut or digit(character) != digit(span[-1]) or (digit(character) and run % 3 == 0)
        if cut and span:
            found[span] += 1
            span, run = "", 0
        span += character
        script = "" if character == "▁" else current
        run = run + 1 if digit(character) else 0
    if span:
        found[span] += 1
    return found


def is_allowed(piece: str) -> bool:
    """SentencePiece's own check of a piece by itself: a leading mark goes with any script."""
    before = ""
    for character in piece.removeprefix("▁"):
        script = script_for_pieces(character)
        if script == "Zinh":
            script = before
        if before and script != before:
            return False
        before = script
    return True


@given(st.lists(st.text(alphabet="aя.\u0301\u064b\u0323用", min_size=1, max_size=9), min_size=1, max_size=4))
def test_piece_ends_are_where_a_piece_stops_being_allowed(rows: list[str]) -> None:
    rows = ["▁" + row if len(row) % 2 else row for row in rows]
    flat = "".join(rows)
    text = np.array([ord(c) for c in flat], dtype=np.uint32)
    offsets = np.cumsum([0, *map(len, rows)])
    # piece_ends is for rows that span_starts made: cut them first.
    starts = [*np.flatnonzero(_span_starts(text, offsets, "sentencepiece")).tolist(), len(flat)]
    ends = piece_ends(text, np.array(starts, dtype=np.int64))
    for row_start, row_end in itertools.pairwise(starts):
        for place in range(row_start, row_end):
            allowed = [e for e in range(place + 1, row_end + 1) if is_allowed(flat[place:e])]
            assert ends[place] == max(allowed)
            assert len(allowed) == ends[place] - place


@given(st.text(alphabet=ALPHABET, max_size=25), st.sampled_from(["sentencepiece", "single", "groups"]))
def test_spans_of_words_equal_spans_of_the_line(text: str, digits: str) -> None:
    assert spans_of(text, "nmt_nfkc", digits) == naive_spans(text, digits)


def test_traps_of_the_field() -> None:
    assert spans_of("iPhone用 3kg") == Counter(["▁iPhone", "用", "▁3", "kg"])
    assert spans_of("می\u200cخواهم") == Counter(["▁می", "▁خواهم"])
    assert spans_of("می\u200cخواهم", "nfc") == Counter(["▁می\u200cخواهم"])
    assert list(spans_of("ทำ")) == ["▁ท\u0e4dา"]
    assert list(spans_of("ทำ", "nfc")) == ["▁ทำ"]
    assert spans_of("a\tb▁c") == Counter(["▁a", "▁b", "▁c"])
    assert spans_of("a▁b", "identity") == Counter(["▁a", "▁b"])
    assert spans_of("$25. 9", digits="single") == Counter(["▁$", "2", "5", ".", "▁", "9"])
    assert spans_of("x12345 12345", digits="groups") == Counter(["▁x", "123", "45", "▁123", "45"])


def test_a_mark_between_two_scripts_does_not_end_a_span() -> None:
    assert list(spans_of("كتاباً.", "nfc")) == ["▁كتاباً."]
    assert spans_of("كتاب.", "nfc") == Counter(["▁كتاب", "."])


def test_yoruba_typed_two_ways_is_one_span_under_nfc_and_two_under_nmt_nfkc() -> None:
    text = "o\u0323\u0301 o\u0301\u0323"
    assert len(spans_of(text, "nfc")) == 1
    assert len(spans_of(text, "nmt_nfkc")) == 2


def test_span_tables_are_the_same_for_any_order_of_words() -> None:
    words = ["用iPhone", "b", "a,b", "kg3", "iPhone用"]
    tables = []
    for order in (words, words[::-1]):
        counts = WordCounts.from_texts({"x": [" ".join(order)]})
        tables.append(_build_spans(counts.languages["x"].train, load_normalizer("nfkc"))[0])
    for name in ("text", "offsets", "count", "documents", "key"):
        assert np.array_equal(getattr(tables[0], name), getattr(tables[1], name))
    weights = zip(tables[0].strings(), tables[0].count.tolist(), strict=True)
    assert sorted("".join(text * n for text, n in weights)) == sorted("▁用iPhone▁b▁a,b▁kg3▁iPhone用")


def test_an_empty_table_and_words_that_normalise_to_nothing() -> None:
    assert spans_of("") == Counter()
    assert spans_of("\u0001 a") == Counter(["▁a"])


def test_cut_runs_continue() -> None:
    text = "字" * 1_000 + "用" * 10
    assert spans_of(text) == Counter(["▁" + "字" * 1_000, "用" * 10])


@given(st.text(alphabet=ALPHABET, max_size=12), st.sampled_from(RULES))
def test_a_word_without_active_characters_is_its_own_normal_form(word: str, rule: str) -> None:
    normalizer = load_normalizer(rule)
    if not any(active_characters(normalizer)[ord(c)] for c in word):
        assert normalizer.normalize(word) == word
        assert normalizer.apply_charsmap([word]) == [word]


def test_every_delimiter_is_a_space_under_every_rule() -> None:
    for rule in RULES:
        normalizer = load_normalizer(rule)
        assert {normalizer.normalize(c) for c in DELIMITERS} == {" "}
        assert set(normalizer.apply_charsmap(DELIMITERS)) == {" "}


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_the_charsmap_is_the_normal_form_on_every_single_character(form: str) -> None:
    normalizer = load_normalizer(form.lower())
    characters = [chr(c) for c in range(0x30000) if not 0xD800 <= c < 0xE000 and chr(c) not in DELIMITERS]
    assert normalizer.apply_charsmap(characters) == [unicodedata2.normalize(form, c) for c in characters]
    decomposed = [unicodedata2.normalize("NFD", c) for c in characters]
    assert normalizer.apply_charsmap(decomposed) == [unicodedata2.normalize(form, d) for d in decomposed]


def test_sequences_met_in_the_text_join_the_charsmap() -> None:
    # a circumflex above, dot below twice, horn: more marks than any composed character has
    words = ["a\u0302\u0323\u0331x", "o\u0301\u0328\u0323"]
    counts = WordCounts.from_texts({"vie_Latn": [" ".join(words)]})
    spans = derive_spans(counts, "nfc")
    assert spans.normalizer.apply_charsmap(words) == [unicodedata2.normalize("NFC", w) for w in words]
    assert set(count_mismatches(spans).values()) <= {0}
    assert list(_combining_sequences("ae\u0301\u0323b")) == ["e\u0301\u0323"]
    assert charsmap_for(load_normalizer("nfc"), []) == load_normalizer("nfc")


def test_charsmaps_compile_and_decompile() -> None:
    rules = {"a": "b", "cd": "", "ｶﾞ": "ガ", "x": "x"}
    assert decompile(compile_charsmap(rules)) == {"a": "b", "cd": "", "ｶﾞ": "ガ"}
    assert compile_charsmap({"x": "x"}) == b""
    with pytest.raises(ConfigError, match="expected one of nmt_nfkc"):
        load_normalizer("nfd")


def test_spans_are_cached_beside_the_counts_and_a_damaged_cache_is_made_again(
    tmp_path: Path,
) -> None:
    counts = WordCounts.from_texts({"eng_Latn": ["a b", "b c"], "yor_Latn": [string.ascii_letters]})
    counts.save(tmp_path)
    loaded = WordCounts.load(tmp_path)
    first = derive_spans(loaded)
    files = sorted(tmp_path.glob("spans/*/*.npz"))
    assert [f.name for f in files] == ["eng_Latn.npz", "yor_Latn.npz"]
    files[0].write_bytes(files[0].read_bytes()[:100])
    second = derive_spans(loaded, workers=1)
    for code in ("eng_Latn", "yor_Latn"):
        assert second.languages[code].strings() == first.languages[code].strings()
    assert loaded.fingerprint == counts.fingerprint
    with pytest.raises(CountsError, match="zul_Latn: not in the counts"):
        derive_spans(loaded, languages=["zul_Latn"])
    with pytest.raises(ConfigError, match=r"vocabulary\.digits"):
        derive_spans(loaded, digits="none")


# --- User-defined symbols --------------------------------------------------------------------------

SYMBOLS = ("<sep>", "@", "ab", "abc", "Ⅳ")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*SYMBOLS, "a", "b", "c", "1", " ", "用", "＠", "\u200b", "<s"]), max_size=9))
def test_symbols_are_cut_out_where_sentencepiece_finds_them(parts: list[str]) -> None:
    text = "".join(parts)
    words = WordCounts.from_texts({"x": [text]}).languages["x"].train
    table, _, met = _build_spans(words, load_normalizer("nmt_nfkc"), "sentencepiece", SYMBOLS)
    found = Counter(dict(zip(table.strings(), table.count.tolist(), strict=True)))
    # BPE without merges shows the text as SentencePiece splits it: symbols whole, all else by character.
    model = sentencepiece_model_pb2.ModelProto()
    model.pieces.add(piece="<unk>", score=0.0, type=2)
    for symbol in SYMBOLS:
        model.pieces.add(piece=symbol, score=0.0, type=4)
    model.trainer_spec.model_type = 2
    model.normalizer_spec.precompiled_charsmap = load_normalizer("nmt_nfkc").charsmap
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    pieces = processor.encode(text, out_type=str)
    assert met == {symbol: pieces.count(symbol) for symbol in SYMBOLS}
    rest = Counter(char for piece in pieces if piece not in SYMBOLS for char in piece)
    assert Counter(char for span, count in found.items() for char in span * count) == rest
    assert not [span for span in found for symbol in SYMBOLS if symbol in span]


def test_white_space_symbols_are_counted_and_cached(tmp_path: Path) -> None:
    texts = {"eng_Latn": ["a\tb\nc\n", "<sep>d <sep>"], "yor_Latn": ["e"]}
    WordCounts.from_texts(texts).save(tmp_path / "counts")
    counts = WordCounts.load(tmp_path / "counts")
    for _ in range(2):  # derived, then read from the cache
        spans = derive_spans(counts, symbols=("\n", "\t", "<sep>"))
        none = {"\n": 0, "\t": 0, "<sep>": 0}
        assert spans.symbols == {"eng_Latn": {"\n": 2, "\t": 1, "<sep>": 2}, "yor_Latn": none}
        assert sorted(spans.languages["eng_Latn"].strings()) == ["d", "▁", "▁a", "▁b", "▁c"]
    plain = derive_spans(counts).languages["eng_Latn"].strings()
    assert sorted(plain) == sorted(["▁a", "▁b", "▁c", "▁<", "sep", ">", "d"])


@given(st.text(alphabet="0123456789a, ", max_size=20))
def test_no_span_under_groups_holds_more_than_three_digits(text: str) -> None:
    spans = spans_of(text, digits="groups")
    assert max((sum(char.isdigit() for char in span) for span in spans), default=0) <= 3
