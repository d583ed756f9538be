"""The whole of it on tiny real tokenizers; what each figure means is tested where it is computed."""

import io
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import sentencepiece
import tokenizers

from vocabkit.auditing.auditing import run_audit
from vocabkit.auditing.comparison import _compare_tokenizers, run_comparison
from vocabkit.auditing.encoding import name_tokenizers
from vocabkit.auditing.figures import Figure
from vocabkit.auditing.parallel_text import AuditText, _text_from_lines, text_from_counts
from vocabkit.auditing.report import Audit
from vocabkit.auditing.requirements import METRICS, parse_requirement
from vocabkit.core.errors import ConfigError, OutputError, TokenizerError
from vocabkit.core.records import read_manifest
from vocabkit.corpus.word_counts import WordCounts

WORDS = {
    "eng_Latn": ["the", "dog", "sat", "on", "a", "mat", "and", "then", "saw", "the", "cat"],
    "hin_Deva": ["कुत्ता", "चटाई", "पर", "बैठा", "और", "फिर", "बिल्ली", "को", "देखा", "एक", "अंत"],
    "yor_Latn": ["ajá", "náà", "jókòó", "lórí", "ẹní", "ó", "sì", "rí", "ológbò", "kan", "nílé"],
    "tha_Thai": ["สุนัข", "นั่ง", "บน", "เสื่อ", "และ", "แมว", "จบ", "เรื่อง", "ตอน", "ของ", "ที่"],
}
LINES = {
    code: [" ".join(words[(row * 3 + k) % len(words)] for k in range(2 + row % 7)) for row in range(30)]
    for code, words in WORDS.items()
}


@cache
def train(fallback: bool, size: int = 360) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for code in ("eng_Latn", "hin_Deva", "yor_Latn") for line in LINES[code]]),
        model_writer=model,
        vocab_size=size if fallback else 90,
        byte_fallback=fallback,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "fallback.model").write_bytes(train(True))
    (folder / "plain.model").write_bytes(train(False))
    return folder / "fallback.model", folder / "plain.model"


@pytest.fixture(scope="module")
def text() -> AuditText:
    return _text_from_lines(LINES, aligned="yes")


@pytest.fixture(scope="module")
def audit(paths: tuple[Path, Path], text: AuditText) -> Audit:
    return run_audit(paths, text, resamples=50)


def one(audit: Audit, metric: str, name: str, tokenizer: str = "fallback") -> Figure:
    (found,) = audit.select(metric=metric, name=name, tokenizer=tokenizer)
    return found


def test_premium_from_two_encode_calls(audit: Audit, paths: tuple[Path, Path]) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=paths[0].read_bytes())
    totals = {code: sum(len(processor.encode(line)) for line in lines) for code, lines in LINES.items()}
    for code in LINES:
        assert one(audit, "premium", code).value == pytest.approx(totals[code] / totals["eng_Latn"])
        assert one(audit, "tokens", code).value == totals[code]
        assert one(audit, "premium", code).n == 30
        sizes = [sum(len(line.encode()) for line in LINES[c]) for c in (code, "eng_Latn")]
        assert one(audit, "byte_premium", code).value == pytest.approx(sizes[0] / sizes[1])
    mean = one(audit, "premium.mean", "all")
    assert mean.value == pytest.approx(sum(totals.values()) / 4 / totals["eng_Latn"])
    assert mean.low is not None
    worst = one(audit, "premium.bottom_decile", "all")
    assert worst.value == max(one(audit, "premium", code).value or 0 for code in LINES)


def test_a_tokenizer_that_loses_a_language_is_not_the_best_at_it(audit: Audit) -> None:
    thai = one(audit, "premium", "tha_Thai", "plain")
    assert thai.value is None
    assert "lost" in (thai.note or "")
    assert one(audit, "languages_lost", "all", "plain").value == 1
    assert one(audit, "premium.mean", "all", "plain").n == 3
    outcomes = replace(audit, required=(parse_requirement("premium.max<99"),)).outcomes
    assert {item.figure.tokenizer for item in outcomes if item.met} == {"fallback"}
    assert {item.figure.tokenizer for item in outcomes if not item.met} == {"plain"}
    regressed = _compare_tokenizers(audit, "fallback", "plain").regressions
    assert "tha_Thai" in {change.language for change in regressed}


def test_means_are_also_over_what_every_tokenizer_has(audit: Audit, paths: tuple[Path, Path]) -> None:
    # The one without Thai would look better by its own mean: Thai is the dearest for the other.
    for path, tokenizer in zip(paths, ("fallback", "plain"), strict=True):
        processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        tokens = {c: sum(len(processor.encode(line)) for line in LINES[c]) for c in LINES if c != "tha_Thai"}
        found = one(audit, "premium.mean_common", "all", tokenizer)
        assert found.value == pytest.approx(sum(tokens.values()) / 3 / tokens["eng_Latn"])
        assert found.n == 3
    rows = {str(row["metric"]): row for row in audit.to_rows() if row["language"] == "all"}
    assert rows["premium.mean"]["languages"] == {"fallback": "4 of 4", "plain": "3 of 4"}
    assert rows["premium.mean_common"]["languages"] == {"fallback": "3 of 4", "plain": "3 of 4"}
    marked = {str(row["metric"]): row for row in audit.to_rows(marked=True) if row["language"] == "all"}
    assert str(marked["premium.mean"]["plain"]).endswith(" (3 of 4)")
    (thai,) = [row for row in audit.to_rows(marked=True) if row["language"] == "tha_Thai"]
    assert thai["plain"] == "lost"


def test_sentences_are_cut_as_the_tokenizer_itself_cuts_them(audit: Audit, paths: tuple[Path, Path]) -> None:
    assert {one.language for one in audit.sentences} == set(LINES)
    assert len(audit.sentences) == 5 * len(LINES)
    for path, tokenizer in zip(paths, ("fallback", "plain"), strict=True):
        processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        for one in audit.sentences:
            assert one.text == LINES[one.language][one.line - 1]
            shown = list[str | tuple[int, ...]]()
            for piece, index in zip(
                processor.encode(one.text, out_type=str), processor.encode(one.text), strict=True
            ):
                whole = piece.replace("▁", " ")
                if processor.is_unknown(index):
                    shown.append(())
                elif processor.is_byte(index):
                    # A byte of ASCII is a character.
                    value = int(piece[3:5], 16)
                    shown.append(chr(value) if value < 128 else (value,))
                else:
                    shown.append(whole)
            assert list(one.pieces[tokenizer]) == shown
    # The same lines in every language where lines are aligned.
    lines = {code: [one.line for one in audit.sentences if one.language == code] for code in LINES}
    assert len(set(map(tuple, lines.values()))) == 1


def test_sentences_and_languages_are_read_back(audit: Audit, tmp_path: Path) -> None:
    audit.save(tmp_path / "report")
    found = Audit.load(tmp_path / "report")
    assert found == audit
    assert {one.code: one.name for one in found.languages}["hin_Deva"] == "Hindi"
    # An audit of an earlier version holds neither.
    path = tmp_path / "report" / "audit.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    del told["languages"], told["sentences"]
    path.write_text(json.dumps(told), encoding="utf-8")
    assert Audit.load(tmp_path / "report") == replace(audit, languages=(), sentences=())


def test_counted_words_are_no_sentences(paths: tuple[Path, Path]) -> None:
    found = run_audit(paths[:1], text_from_counts(WordCounts.from_texts(LINES)), integrity=False, resamples=2)
    assert found.sentences == ()
    assert found.languages


def test_changes_are_between_all_tokenizers(paths: tuple[Path, Path], text: AuditText) -> None:
    third = paths[0].parent / "third.model"
    third.write_bytes(paths[0].read_bytes())
    found = run_audit((*paths, third), text, integrity=False, resamples=20)
    for figure in found.select("change.plain", "language", tokenizer="third"):
        totals = []
        for path in (paths[1], third):
            processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
            totals.append(sum(len(processor.encode(line)) for line in LINES[figure.name]))
        if figure.name == "tha_Thai":
            assert figure.value is None
        else:
            assert figure.value == pytest.approx(totals[1] / totals[0] - 1)
            assert figure.low is not None
    assert [f.metric for f in found.figures if f.metric.startswith("change.")] == ["change.plain"] * len(LINES)


def test_every_metric_is_known_before_it_is_measured(paths: tuple[Path, Path], text: AuditText) -> None:
    found = run_audit(paths, text, counts=WordCounts.from_texts(LINES), resamples=20)
    measured = {figure.metric for figure in found.figures}
    # Only with --sharing, and only where a piece cannot be told.
    assert METRICS - measured == {"fertility_alone", "cost_of_sharing", "pieces_unattributed"}
    assert measured <= METRICS


def count_unknown(processor: sentencepiece.SentencePieceProcessor, lines: list[str]) -> Counter[str]:
    """The characters under unknown pieces, as SentencePiece itself gives them."""
    lost: Counter[str] = Counter()
    for line in lines:
        pairs = zip(processor.encode(line, out_type=str), processor.encode(line), strict=True)
        lost.update("".join(piece for piece, i in pairs if processor.is_unknown(i)).replace("▁", ""))
    return lost


def test_lost_characters_are_named_by_language(
    audit: Audit, paths: tuple[Path, Path], text: AuditText, tmp_path: Path
) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=paths[1].read_bytes())
    lost = {code: count_unknown(processor, lines) for code, lines in LINES.items()}
    found = {f.check.partition(": ")[2]: f for f in audit.findings if f.check.startswith("lost characters")}
    assert set(found) == {code for code in LINES if lost[code]} == {"tha_Thai"}
    thai = found["tha_Thai"]
    assert (thai.tokenizer, thai.severity, thai.count) == ("plain", "failure", len(lost["tha_Thai"]))
    assert thai.total == len(set("".join(LINES["tha_Thai"])) - {" "})
    for character, count in lost["tha_Thai"].most_common(3):
        assert f"U+{ord(character):04X} {count:,}×" in thai.note
    assert len(thai.examples) == 10
    assert f"and {len(lost['tha_Thai']) - 10} more" in thai.note
    # On the terminal, in the page, and in audit.json.
    (said,) = [line for line in audit.list_doubts() if "loses characters" in line]
    assert said.startswith("plain loses characters of tha_Thai: ")
    audit.save(tmp_path)
    assert "lost characters: tha_Thai" in (tmp_path / "audit.json").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"U+{ord(lost['tha_Thai'].most_common(1)[0][0]):04X}" in page


def test_lost_characters_of_counted_words_and_of_a_tokenizer_json(tmp_path: Path) -> None:
    # Counted words weigh what they are lost in; tokenizers' own offsets say the same of a line.
    lines = {"yor_Latn": ["ẹ́ bá ẹ", "bá ẹ́", "bá ñ"], "eng_Latn": ["ba bab", "ab ba"]}
    pieces = [
        ("<unk>", 0.0),
        ("▁", -1.0),
        ("b", -2.0),
        ("a", -2.5),
        ("á", -3.0),
        ("▁b", -2.2),
        ("\u0301", -9.0),
    ]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    spaces = tokenizers.normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
    backend.normalizer = tokenizers.normalizers.Sequence([spaces, tokenizers.normalizers.Strip()])
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    backend.save(str(tmp_path / "tokenizer.json"))
    expected = Counter({"ẹ": 3, "ñ": 1})
    for given in (
        _text_from_lines(lines, aligned="no"),
        text_from_counts(WordCounts.from_texts({code: 7 * rows for code, rows in lines.items()})),
    ):
        times = 1 if given.weights is None else 7
        found = run_audit([tmp_path / "tokenizer.json"], given, integrity=False, resamples=0)
        (yoruba,) = [f for f in found.findings if f.check.startswith("lost characters")]
        assert yoruba.check == "lost characters: yor_Latn"
        for character, count in expected.items():
            assert f"U+{ord(character):04X} {times * count}×" in yoruba.note
        assert yoruba.count == 2


def test_a_word_lost_for_one_character_names_that_one(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "play": 1, "##ing": 2, "a": 3, "##a": 4, "p": 5, "l": 6, "y": 7}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "tokenizer.json"))
    text = _text_from_lines({"eng_Latn": ["playing plaé a", "é"]}, aligned="no")
    found = run_audit([tmp_path / "tokenizer.json"], text, integrity=False, resamples=0)
    (finding,) = [f for f in found.findings if f.check.startswith("lost characters")]
    assert finding.count == 1
    assert "U+00E9 2×" in finding.note


def test_every_figure_says_what_it_is(audit: Audit) -> None:
    assert {item.name for item in audit.tokenizers} == {"fallback", "plain"}
    for figure in audit.figures:
        assert figure.tokenizer in ("fallback", "plain")
        assert figure.aggregation
        assert figure.unit
        if figure.low is not None and figure.high is not None:
            assert figure.value is not None
            assert figure.low <= figure.high
        if figure.value is None:
            assert figure.note or figure.n == 0, figure
    keys = [(f.tokenizer, f.scope, f.name, f.metric) for f in audit.figures]
    assert len(keys) == len(set(keys))
    metrics = {figure.metric for figure in audit.figures}
    assert {
        "fertility", "premium", "premium_median", "premium_fixed", "byte_premium", "words_whole",
        "words_continued", "unknown_characters", "byte_fallback", "character_coverage", "grapheme_splits",
        "code_switching", "premium.bottom_decile", "premium.gini", "fertility.median", "allocation_characters",
        "allocation_words", "unused_ids", "renyi_2.5", "embedding_parameters", "change", "roundtrip_failures",
    } <= metrics  # fmt: skip
    # Thai is in no panel: its row says so, and the rows of a kind of group hold every language once.
    assert {f.name for f in audit.select(scope="tail")} == {"tail", "other", "not in the panel"}
    sizes = {f.name: f.n for f in audit.select("languages_lost", "tail", tokenizer="plain")}
    assert sum(size or 0 for size in sizes.values()) == len(LINES)
    assert audit.findings
    assert {finding.tokenizer for finding in audit.findings} == {"fallback", "plain"}


def test_saved_and_loaded_it_is_the_same(audit: Audit, tmp_path: Path) -> None:
    audit.save(tmp_path)
    assert Audit.load(tmp_path) == audit


def test_from_paths_to_a_folder(paths: tuple[Path, Path], tmp_path: Path) -> None:
    for code in ("eng_Latn", "yor_Latn"):
        lines = "\n".join(LINES[code])
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / "corpus" / f"{code}.txt").write_text(lines + "\n", encoding="utf-8")
    found = run_audit(
        list(map(str, paths)), tmp_path / "corpus", tmp_path / "out", aligned="yes", resamples=20,
        require=["premium[yor_Latn]<0.1", "premium[eng_Latn]<=1"], integrity=False,
    )  # fmt: skip
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["audit.json", "audit.parquet", "manifest.json", "report.html"]
    assert Audit.load(tmp_path / "out") == found
    config = read_manifest(tmp_path / "out")["config"]
    assert (config["aligned"], config["resamples"], config["panel"]) == ("yes", 20, "panel-40")
    rows = found.to_rows()
    assert [row["metric"] for row in rows][-2:] == ["premium.mean", "premium.bottom_decile"]
    assert {row["language"] for row in rows[:-2]} == {"eng_Latn", "yor_Latn"}
    assert rows[-1]["fallback"] == one(found, "premium.bottom_decile", "all").value
    assert {outcome.figure.tokenizer for outcome in found.failed} == {"fallback", "plain"}
    with pytest.raises(OutputError, match="not empty"):
        run_audit(paths, tmp_path / "corpus", tmp_path / "out")


def test_a_comparison_from_paths(paths: tuple[Path, Path], text: AuditText) -> None:
    found = run_comparison(*paths, text, max_regression="150%", resamples=20)
    assert (found.before, found.after, found.max_regression) == ("fallback", "plain", 1.5)
    assert [row["language"] for row in found.to_rows()] == [c.language for c in found.changes]
    assert len(found.list_regressions()) == len(found.regressions)


def test_a_comparison_has_a_page_and_a_chart(paths: tuple[Path, Path], text: AuditText, tmp_path: Path) -> None:
    hostile = tmp_path / "<i>new"
    hostile.mkdir()
    (hostile / "<b>.model").write_bytes(train(True, 310))
    found = run_comparison(
        paths[0], hostile / "<b>.model", text, tmp_path / "out", max_regression="1%", resamples=20
    )
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert page.index("Fails: " if found.regressions else "Holds: ") < page.index("<main")
    assert 'href="report.html"' in page
    (chart,) = found.charts().values()
    (series,) = chart.series
    assert list(chart.ids) == [change.language for change in found.changes]
    assert list(series.values) == [change.value for change in found.changes]
    assert [bool(gap) for gap in series.gaps] == [change.value is None for change in found.changes]
    assert list(chart.marks) == [0.01]
    # A limit far beyond every change is not drawn: the bars would be dots.
    far = replace(found, max_regression=100.0)
    assert not far.charts()["change"].marks


def test_nothing_depends_on_workers_or_on_running_again(
    audit: Audit, paths: tuple[Path, Path], text: AuditText
) -> None:
    again = run_audit(paths, text, resamples=50)
    assert again == audit


@pytest.mark.slow
def test_nothing_depends_on_processes(audit: Audit, paths: tuple[Path, Path], text: AuditText) -> None:
    again = run_audit(paths, text, resamples=50, workers=2)
    assert again == audit


def test_text_that_is_not_aligned_has_no_premium(paths: tuple[Path, Path]) -> None:
    loose = _text_from_lines({"eng_Latn": LINES["eng_Latn"], "hin_Deva": LINES["hin_Deva"][:7]})
    found = run_audit(paths[:1], loose, resamples=20, integrity=False)
    assert one(found, "premium", "hin_Deva").value is None
    assert one(found, "premium", "hin_Deva").note == loose.alignment.note
    assert one(found, "fertility", "hin_Deva").low is not None
    assert not list(found.select(metric="premium.mean"))
    assert one(found, "fertility.mean", "all").n == 2
    assert not found.findings


def test_counted_words_give_the_tokens_of_the_text(paths: tuple[Path, Path]) -> None:
    counts = WordCounts.from_texts(LINES)
    found = run_audit(paths[:1], counts=counts, integrity=False)
    processor = sentencepiece.SentencePieceProcessor(model_proto=paths[0].read_bytes())
    for code, lines in LINES.items():
        assert one(found, "tokens", code).value == sum(len(processor.encode(line)) for line in lines)
        assert one(found, "fertility", code).low is None
        assert one(found, "resource_size", code).value == counts.totals[code].characters


def test_counted_words_are_refused_where_words_do_not_tell(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(LINES["eng_Latn"], trainer)
    backend.save(str(tmp_path / "crossing.json"))
    counted = text_from_counts(WordCounts.from_texts(LINES))
    with pytest.raises(TokenizerError, match="counted words do not tell") as caught:
        run_audit([tmp_path / "crossing.json"], counted)
    assert "--corpus" in (caught.value.hint or "")


def test_one_failing_language_is_said_and_the_others_measured(
    paths: tuple[Path, Path], text: AuditText
) -> None:
    partly = replace(text, failures={"xho_Latn": "cannot be read"})
    found = run_audit(paths[:1], partly, resamples=10, integrity=False)
    assert found.failures == {"xho_Latn": "cannot be read"}
    assert one(found, "premium", "yor_Latn").value is not None


def test_a_changed_file_at_the_same_path_is_read_anew(tmp_path: Path, text: AuditText) -> None:
    path = tmp_path / "t.model"
    sizes = []
    for fallback in (True, False):
        path.write_bytes(train(fallback))
        found = run_audit([path], text, resamples=10, integrity=False)
        sizes.append(one(found, "tokens", "tha_Thai", "t").value)
    assert sizes[0] != sizes[1]


def test_bad_arguments(paths: tuple[Path, Path], text: AuditText, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer"):
        run_audit([], text)
    with pytest.raises(ConfigError, match="no text"):
        run_audit(paths)
    with pytest.raises(ConfigError, match="needs counts"):
        run_audit(paths, text, sharing=True)
    with pytest.raises(ConfigError, match="none of those audited: fallback"):
        run_audit(paths[:1], text, fixed="other")
    (tmp_path / "bad.model").write_bytes(b"\x00\x01\x02")
    with pytest.raises(TokenizerError, match=r"bad\.model"):
        run_audit([tmp_path / "bad.model"], text)


def test_names_are_short_and_distinct(tmp_path: Path) -> None:
    for name in (
        "a/tokenizer.model",
        "b/tokenizer.model",
        "b/x/tokenizer.json",
        "c/x/tokenizer.json",
        "gpt2.tiktoken",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert name_tokenizers([tmp_path / "a", tmp_path / "b", tmp_path / "gpt2.tiktoken"]) == (
        "a",
        "b",
        "gpt2",
    )
    assert name_tokenizers([tmp_path / "a" / "tokenizer.model"]) == ("a",)
    (tmp_path / "gpt3" / "data").mkdir(parents=True)
    assert name_tokenizers([tmp_path / "gpt3" / "data"]) == ("gpt3/data",)
    assert name_tokenizers([tmp_path / "b" / "x", tmp_path / "c" / "x"]) == ("b/x", "c/x")
    assert name_tokenizers([tmp_path / "a", tmp_path / "a"]) == ("a", "a (2)")
