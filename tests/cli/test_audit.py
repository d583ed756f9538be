"""`audit` and `compare` as a user types them: what they print, what they write, and when they fail."""

import json
import random
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sentencepiece
from typer.testing import CliRunner, Result

from cli import app
from cli.checks import Case, write_junit
from vocabkit.auditing.report import Audit
from vocabkit.vocabulary.vocabulary import Block, read_model

WORDS = {
    "eng_Latn": ("the", "river", "runs", "past", "old", "stone", "houses", "and", "fields"),
    "yor_Latn": ("ọmọ", "náà", "ń", "ka", "ìwé", "nínú", "ilé", "wọn", "lónìí"),
    "rus_Cyrl": ("река", "течёт", "мимо", "старых", "каменных", "домов", "и", "полей"),
}
LINES = 120


def vocabkit(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def rows_of(result: Result) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(result.stdout)["rows"]
    return rows


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Text measured by another run must not be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chance = random.Random(0)
    folder = tmp_path_factory.mktemp("audit") / "corpus"
    folder.mkdir()
    sizes = [chance.randint(2, 12) for _ in range(LINES)]
    for code, words in WORDS.items():
        lines = [" ".join(chance.choices(words, k=size)) for size in sizes]
        (folder / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def train(corpus: Path, folder: Path, codes: list[str], size: int) -> Path:
    """A .model that has seen these languages only; the others are spelled in bytes."""
    texts = [str(corpus / f"{code}.txt") for code in codes]
    sentencepiece.SentencePieceTrainer.train(
        input=texts, model_prefix=str(folder / "-".join(codes)), vocab_size=size, minloglevel=2,
        byte_fallback=True, hard_vocab_limit=False, num_threads=1,
    )  # fmt: skip
    return folder / f"{'-'.join(codes)}.model"


@pytest.fixture(scope="module")
def english(corpus: Path) -> Path:
    return train(corpus, corpus.parent, ["eng_Latn"], 300)


@pytest.fixture(scope="module")
def everyone(corpus: Path) -> Path:
    return train(corpus, corpus.parent, sorted(WORDS), 340)


OPTIONS = ("--workers", 1, "--resamples", 50, "--quiet")


@pytest.fixture(scope="module")
def audited(corpus: Path, english: Path, everyone: Path) -> tuple[Path, Result]:
    folder = corpus.parent / "report"
    arguments = (english, everyone, "--corpus", corpus, "-o", folder, "-f", "json")
    return folder, vocabkit("audit", *arguments, *OPTIONS)


def test_the_worst_language_comes_first_and_the_mean_last(audited: tuple[Path, Result]) -> None:
    rows = rows_of(audited[1])
    names = list(rows[0])[2:]
    assert [row["metric"] for row in rows] == ["premium"] * 3 + [
        "premium.mean",
        "premium.bottom_decile",
    ]
    by_language = {str(row["language"]): row for row in rows[:3]}
    assert set(by_language) == set(WORDS)
    worst = [max(float(str(row[name])) for name in names) for row in rows[:3]]
    assert worst == sorted(worst, reverse=True)
    # Spelled in bytes, a Cyrillic letter is two tokens; a vocabulary that knows the words needs few.
    assert float(str(by_language["rus_Cyrl"][names[0]])) > 5
    assert float(str(by_language["rus_Cyrl"][names[1]])) < 2
    assert by_language["eng_Latn"][names[0]] == 1.0
    mean = sum(float(str(row[names[0]])) for row in rows[:3]) / 3
    assert float(str(rows[3][names[0]])) == pytest.approx(mean)


def test_the_folder_holds_the_audit_its_report_and_how_it_was_made(
    audited: tuple[Path, Result],
) -> None:
    folder, result = audited
    found = {path.name for path in folder.iterdir()}
    assert found == {"audit.json", "audit.parquet", "manifest.json", "report.html"}
    audit = Audit.load(folder)
    premium = {f.name: f.value for f in audit.select(metric="premium", scope="language")}
    assert set(premium) == set(WORDS)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(code in page for code in WORDS)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"]["resamples"] == 50
    assert set(manifest["inputs"]) == {"text", *(item.name for item in audit.tokenizers)}
    assert rows_of(result)[0]["language"] in premium


def test_a_requirement_that_does_not_hold_is_named(corpus: Path, english: Path) -> None:
    folder = corpus.parent / "required"
    limits = ("--require", "premium[rus_Cyrl]<2", "--require", "premium[eng_Latn]<=1")
    arguments = (english, "--corpus", corpus, "-o", folder, "--no-integrity", *limits, *OPTIONS)
    result = vocabkit("audit", *arguments, code=1)
    assert "premium[rus_Cyrl]<2" in result.stderr
    assert "premium[eng_Latn]" not in result.stderr
    # The report that says why is there all the same.
    assert (folder / "report.html").is_file()
    held = ("--force", "--require", "premium[eng_Latn]<=1")
    vocabkit("audit", *arguments[:6], *held, *OPTIONS)


def test_a_requirement_that_cannot_be_read_stops_before_any_work(
    corpus: Path, english: Path, tmp_path: Path
) -> None:
    arguments = (english, "--corpus", corpus, "-o", tmp_path / "out", "--require", "premium is low")
    result = vocabkit("audit", *arguments, code=2)
    assert "premium is low" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_metric_is_an_error_with_a_likely_one(corpus: Path, english: Path, tmp_path: Path) -> None:
    limit = ("--require", "premum.bottom_decile<2", "--no-integrity")
    arguments = (english, "--corpus", corpus, "-o", tmp_path / "out", *limit)
    result = vocabkit("audit", *arguments, *OPTIONS, code=2)
    assert "premium.bottom_decile" in result.stderr


def test_text_of_some_kind_is_needed(english: Path, tmp_path: Path) -> None:
    result = vocabkit("audit", english, "-o", tmp_path / "out", code=2)
    assert "--corpus" in result.stderr


def test_counts_stand_for_text_where_that_is_exact(corpus: Path, everyone: Path, tmp_path: Path) -> None:
    vocabkit("count", corpus, "-o", tmp_path / "counts", "--held-out", 0, "--workers", 1, "-q")
    arguments = (everyone, "-o", tmp_path / "out", "--no-integrity", "-f", "json", *OPTIONS)
    counted = rows_of(vocabkit("audit", *arguments, "--counts", tmp_path / "counts"))
    read = rows_of(vocabkit("audit", *arguments, "--force", "--corpus", corpus, "--aligned", "no"))
    assert [row["metric"] for row in counted] == [row["metric"] for row in read]
    assert {row["metric"] for row in read[:3]} == {"fertility"}
    for ours, theirs in zip(counted, read, strict=True):
        name = list(ours)[2]
        assert ours[name] == pytest.approx(theirs[name])
    asked = ("--counts", tmp_path / "counts", "--languages", "yor", "--force")
    (row, *_) = rows_of(vocabkit("audit", *arguments, *asked))
    assert row["language"] == "yor_Latn"


def test_lines_of_counts_cannot_be_limited(english: Path, corpus: Path, tmp_path: Path) -> None:
    vocabkit("count", corpus, "-o", tmp_path / "counts", "--workers", 1, "-q")
    arguments = (english, "--counts", tmp_path / "counts", "-o", tmp_path / "out", "--limit", 5)
    assert "--corpus" in vocabkit("audit", *arguments, code=2).stderr


def test_what_sharing_costs_needs_counts(corpus: Path, everyone: Path, tmp_path: Path) -> None:
    arguments = (everyone, "--corpus", corpus, "-o", tmp_path / "out", "--sharing")
    assert "--counts" in vocabkit("audit", *arguments, code=2).stderr


@pytest.mark.slow
def test_what_sharing_costs_is_told_by_language(corpus: Path, everyone: Path, tmp_path: Path) -> None:
    vocabkit("count", corpus, "-o", tmp_path / "counts", "--workers", 1, "-q")
    text = ("--corpus", corpus, "--counts", tmp_path / "counts")
    options = ("--no-integrity", "--sharing", *OPTIONS)
    vocabkit("audit", everyone, *text, "-o", tmp_path / "out", *options)
    found = list(Audit.load(tmp_path / "out").select(metric="cost_of_sharing"))
    assert {figure.name for figure in found} == set(WORDS)


def test_the_reference_may_be_another_language_of_the_text(corpus: Path, english: Path, tmp_path: Path) -> None:
    arguments = (
        english,
        "--corpus",
        corpus,
        "-o",
        tmp_path / "out",
        "--no-integrity",
        "-f",
        "json",
    )
    found = rows_of(vocabkit("audit", *arguments, "--reference", "yo", *OPTIONS))
    (row,) = [row for row in found if row["language"] == "yor_Latn"]
    assert list(row.values())[2] == 1.0
    result = vocabkit("audit", *arguments, "--force", "--reference", "kat", *OPTIONS, code=2)
    assert "yor_Latn" in result.stderr


def test_a_panel_narrows_the_text_and_names_what_is_missing(
    corpus: Path, english: Path, tmp_path: Path
) -> None:
    languages = "".join(
        f'[[languages]]\ncode = "{code}"\nname = "{code}"\nfamily = "f"\nbranch = "b"\ngroup = "g"\n'
        'scripts = ["Latn"]\nresource = "low"\ntail = true\n'
        for code in ("eng_Latn", "yor_Latn", "hau_Latn")
    )
    (tmp_path / "panel.toml").write_text(f'name = "p"\n{languages}', encoding="utf-8")
    arguments = (
        english,
        "--corpus",
        corpus,
        "-o",
        tmp_path / "out",
        "--no-integrity",
        "-f",
        "json",
    )
    options = ("--panel", tmp_path / "panel.toml", "--workers", 1, "--resamples", 20)
    result = vocabkit("audit", *arguments, *options)
    assert {row["language"] for row in rows_of(result)} == {"eng_Latn", "yor_Latn", "all"}
    assert "warning: hau_Latn was not measured: no data" in result.stderr
    tail = list(Audit.load(tmp_path / "out").select(metric="premium.mean", scope="tail"))
    assert [(figure.name, figure.n) for figure in tail] == [("tail", 2)]


def test_one_broken_language_does_not_stop_the_others(corpus: Path, english: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "corpus"
    mixed.mkdir()
    for code in ("eng_Latn", "rus_Cyrl"):
        (mixed / f"{code}.txt").write_bytes((corpus / f"{code}.txt").read_bytes())
    (mixed / "yor_Latn.txt.gz").write_bytes(b"no gzip at all")
    (mixed / "hau_Latn.txt").write_bytes(b"")
    arguments = (english, "--corpus", mixed, "-o", tmp_path / "out", "--no-integrity", "-f", "json")
    result = vocabkit("audit", *arguments, "--workers", 1, "--resamples", 20)
    assert {row["language"] for row in rows_of(result)} == {"eng_Latn", "rus_Cyrl", "all"}
    assert "warning: yor_Latn was not measured" in result.stderr
    assert "warning: hau_Latn was not measured: no data" in result.stderr
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "yor_Latn" in page
    assert "hau_Latn" in page
    # What is asked for by name must be there.
    asked = (*arguments, "--force", "--languages", "eng,hau")
    assert "hau_Latn" in vocabkit("audit", *asked, code=2).stderr


def test_a_broken_tokenizer_is_an_error_and_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.model").write_bytes(b"\x00\x01 no model")
    arguments = (tmp_path / "broken.model", "--corpus", corpus, "-o", tmp_path / "out")
    result = vocabkit("audit", *arguments, code=2)
    assert result.stderr.startswith("error: ")
    assert "broken.model" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_pattern_given_in_vain_is_said(corpus: Path, english: Path, tmp_path: Path) -> None:
    arguments = (english, "--corpus", corpus, "-o", tmp_path / "out", "--no-integrity")
    options = ("--workers", 1, "--resamples", 20)
    said = f"warning: {english}: --pattern does nothing"
    assert said in vocabkit("audit", *arguments, *options, "--pattern", "gpt2").stderr
    assert "--pattern" not in vocabkit("audit", *arguments, *options, "--force").stderr
    both = (english, english, "--corpus", corpus, "--pattern", "gpt2")
    assert said in vocabkit("compare", *both, *options).stderr


@pytest.fixture(scope="module")
def blocks(everyone: Path) -> Path:
    """A vocabulary with a block for Yoruba: its last pieces, whatever they are."""
    whole = read_model(everyone.read_bytes(), source=str(everyone))
    listed = [Block("shared", 0, 300), Block("yor_Latn", 300, whole.size)]
    replace(whole, blocks=tuple(listed)).save(everyone.parent / "blocks")
    return everyone.parent / "blocks"


def test_a_route_is_audited_as_its_language_sees_it(corpus: Path, blocks: Path, tmp_path: Path) -> None:
    tokens = {}
    for route in ("yor", "shared"):
        folder = tmp_path / route
        options = ("--no-integrity", "--route", route, *OPTIONS)
        vocabkit("audit", blocks, "--corpus", corpus, "-o", folder, *options)
        audit = Audit.load(folder)
        tokens[route] = {f.name: f.value for f in audit.select(metric="tokens", scope="language")}
        assert route in audit.method["route"]
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["config"]["route"] == route
    # Fewer pieces can only make for more tokens.
    assert all((tokens["yor"][code] or 0) <= (tokens["shared"][code] or 0) for code in WORDS)
    assert tokens["yor"] != tokens["shared"]


def test_show_takes_a_route(corpus: Path, blocks: Path, everyone: Path) -> None:
    line = (corpus / "eng_Latn.txt").read_text(encoding="utf-8").split("\n")[0]
    ids = {}
    for route in ("yor_Latn", "shared"):
        rows = rows_of(vocabkit("show", blocks, line, "--route", route, "-f", "json"))
        ids[route] = [int(str(row["id"])) for row in rows]
    assert max(ids["shared"]) < 300
    whole = rows_of(vocabkit("show", blocks, line, "-f", "json"))
    assert [row["id"] for row in whole] == ids["yor_Latn"]
    assert "no route for 'rus'" in vocabkit("show", blocks, line, "--route", "rus", code=2).stderr
    assert "not a tokenizer folder" in vocabkit("show", everyone, "a", "--route", "yor", code=2).stderr


def test_an_audit_by_a_route_that_is_not_there_is_an_error(
    corpus: Path, english: Path, blocks: Path, tmp_path: Path
) -> None:
    for tokenizer, route in ((blocks, "rus_Cyrl"), (english, "yor_Latn")):
        arguments = (tokenizer, "--corpus", corpus, "-o", tmp_path / "out", "--route", route)
        assert vocabkit("audit", *arguments, *OPTIONS, code=2).stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_compare_names_what_got_worse_and_fails(corpus: Path, english: Path, everyone: Path) -> None:
    result = vocabkit("compare", everyone, english, "--corpus", corpus, "-f", "json", *OPTIONS, code=1)
    rows = rows_of(result)
    assert [row["language"] for row in rows][-1] == "eng_Latn"
    assert rows[0]["verdict"] == "worse"
    assert float(str(rows[0]["low"])) <= float(str(rows[0]["change"])) <= float(str(rows[0]["high"]))
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert {line.split(":")[1].strip() for line in failed} == {"rus_Cyrl", "yor_Latn"}
    assert "95 %" in failed[0]


def test_compare_passes_where_nothing_gets_worse(corpus: Path, everyone: Path) -> None:
    result = vocabkit("compare", everyone, everyone, "--corpus", corpus, "-f", "json", *OPTIONS)
    assert all(row["change"] == 0.0 for row in rows_of(result))
    assert all(row["verdict"] is None for row in rows_of(result))


@pytest.fixture
def torn(corpus: Path, tmp_path: Path) -> Path:
    """The corpus with a language that is not UTF-8, one that is short of lines, and one without text."""
    folder = tmp_path / "torn"
    shutil.copytree(corpus, folder)
    (folder / "mya_Mymr.txt").write_bytes(b"text\n\xff\xfe\n")
    (folder / "hau_Latn.txt").write_text("ruwa\n" * (LINES - 1), encoding="utf-8")
    (folder / "sin_Sinh.txt").write_text("", encoding="utf-8")
    return folder


def test_no_gate_passes_without_the_worst_language(torn: Path, everyone: Path, tmp_path: Path) -> None:
    wide = ("--require", "premium.mean<99", "--quiet", "--no-integrity")
    result = vocabkit("audit", everyone, "--corpus", torn, "-o", tmp_path / "out", *wide, *OPTIONS, code=1)
    assert result.stderr.startswith("failed: ")
    assert "hau_Latn, mya_Mymr, sin_Sinh, not measured" in result.stderr
    result = vocabkit("compare", everyone, everyone, "--corpus", torn, "--quiet", *OPTIONS, code=1)
    failed = [line.split(":")[1].strip() for line in result.stderr.splitlines()]
    assert failed == ["mya_Mymr", "sin_Sinh"]
    whole = ("--languages", "eng,rus,yor")
    vocabkit("compare", everyone, everyone, "--corpus", torn, *whole, *OPTIONS)
    vocabkit("audit", everyone, "--corpus", torn, "-o", tmp_path / "out", "--force", *whole, *wide, *OPTIONS)


def test_lines_are_not_said_to_be_aligned_where_their_numbers_differ(torn: Path, everyone: Path) -> None:
    options = ("--aligned", "yes", *OPTIONS)
    result = vocabkit("compare", everyone, everyone, "--corpus", torn, *options, code=2)
    assert f"hau_Latn: {LINES - 1} lines, not {LINES}" in result.stderr


def test_compare_allows_what_it_is_told_to(corpus: Path, english: Path, everyone: Path) -> None:
    vocabkit("compare", everyone, english, "--corpus", corpus, "--max-regression", "5000%", *OPTIONS)


@pytest.mark.parametrize("text", ["5", "1.5", "2.0", "100", "1e3"])
def test_a_number_above_one_is_asked_about(text: str, corpus: Path, everyone: Path) -> None:
    given = ("compare", everyone, everyone, "--corpus", corpus, "--max-regression", text)
    result = vocabkit(*given, *OPTIONS, code=2)
    assert f"{text}%?" in result.stderr
    hint = result.stderr.splitlines()[-1].removeprefix("hint: ")
    vocabkit(*given[:5], *shlex.split(hint), *OPTIONS)
    # A share in a requirement is the same kind of number.
    limit = ("--require", f"change<{text}")
    result = vocabkit("audit", everyone, "--corpus", corpus, "-o", corpus.parent / "no", *limit, code=2)
    assert f"{text}%?" in result.stderr


@pytest.fixture
def unreadable(tmp_path: Path) -> Path:
    """A corpus of which nothing can be read: whoever begins with the text fails with that."""
    folder = tmp_path / "unreadable"
    folder.mkdir()
    for code in WORDS:
        (folder / f"{code}.txt").write_bytes(b"text\n\xff\xfe\n")
    return folder


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["BROKEN"], "broken.model"),
        (["ENGLISH", "MISSING"], "missing.model"),
        (["ENGLISH", "--require", "premum.mean<2"], "premium.mean"),
        (["ENGLISH", "--require", "fertility[fra_Latn]<2"], "fra_Latn"),
        (["ENGLISH", "--require", "premium.mean[Latin]<2"], "'Latin'"),
        (["ENGLISH", "--require", "fertility[tail]<2"], "'tail'"),
        (["ENGLISH", "--fixed", "other"], "other"),
        (["ENGLISH", "--reference", "kat"], "kat"),
        (["ENGLISH", "--junit", "NOWHERE/junit.xml"], "NOWHERE is no folder"),
    ],
)
def test_what_is_asked_for_is_checked_before_the_text_is_read(
    words: list[str], named: str, unreadable: Path, english: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.model").write_bytes(b"\x00\x01 no model")
    paths = {"ENGLISH": english, "BROKEN": tmp_path / "broken.model", "MISSING": tmp_path / "missing.model"}
    given = [paths.get(word, word) for word in words]
    result = vocabkit("audit", *given, "--corpus", unreadable, "-o", tmp_path / "out", *OPTIONS, code=2)
    assert named in result.stderr
    assert "UTF-8" not in result.stderr
    assert not (tmp_path / "out").exists()
    # With nothing wrong but the text, that is what is said.
    result = vocabkit("audit", english, "--corpus", unreadable, "-o", tmp_path / "out", *OPTIONS, code=2)
    assert "UTF-8" in result.stderr


def test_compare_writes_the_audit_it_is_read_off(
    corpus: Path, english: Path, everyone: Path, tmp_path: Path
) -> None:
    given = ("compare", everyone, english, "--corpus", corpus, *OPTIONS, "-f", "json", "-o", tmp_path / "out")
    rows = {row["language"]: row for row in rows_of(vocabkit(*given, code=1))}
    changes = {f.name: f.value for f in Audit.load(tmp_path / "out").select("change", "language")}
    assert changes == {code: rows[code]["change"] for code in WORDS}
    assert "change" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    worst = next(iter(rows.values()))
    assert f"{worst['change']:+.2%}" in page
    outputs = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["outputs"]
    assert {"comparison.html", "report.html"} <= set(outputs)
    before = (tmp_path / "out" / "audit.parquet").read_bytes()
    assert "--force" in vocabkit(*given, code=2).stderr
    vocabkit(*given, "--force", code=1)
    assert (tmp_path / "out" / "audit.parquet").read_bytes() == before


def count_tokens(model: Path, corpus: Path, code: str) -> int:
    """SentencePiece's own count."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    lines = (corpus / f"{code}.txt").read_text(encoding="utf-8").splitlines()
    return sum(len(processor.encode(line)) for line in lines)


@pytest.mark.parametrize("name", ["", "audit.parquet"])
def test_a_stored_audit_is_a_baseline(
    audited: tuple[Path, Result], name: str, corpus: Path, english: Path, everyone: Path, tmp_path: Path
) -> None:
    stored, (first, _) = audited[0] / name, Audit.load(audited[0]).names
    given = ("compare", first, everyone, "--against", stored, "--corpus", corpus)
    rows = rows_of(vocabkit(*given, "-f", "json", *OPTIONS, "-o", tmp_path / "out"))
    for row in rows:
        code = str(row["language"])
        old, new = (count_tokens(model, corpus, code) for model in (english, everyone))
        assert float(str(row["change"])) == pytest.approx(new / old - 1)
        assert row["low"] is None
    # The page of the new one alone, with its changes; the baseline stays.
    assert len(Audit.load(tmp_path / "out").names) == 1
    assert {f.name for f in Audit.load(tmp_path / "out").select("change")} == set(WORDS)
    worse = ("compare", english, "--against", tmp_path / "out", "--corpus", corpus, *OPTIONS)
    assert "rus_Cyrl" in vocabkit(*worse, code=1).stderr
    assert "exists" in vocabkit(*worse, "-o", audited[0], code=2).stderr
    named = vocabkit("compare", everyone, "--against", stored, "--corpus", corpus, *OPTIONS, code=2)
    assert "holds 2 tokenizers" in named.stderr
    named = vocabkit("compare", "other", everyone, "--against", stored, "--corpus", corpus, code=2)
    assert f"'other'; name one of {first}" in named.stderr


def test_a_baseline_of_another_text_is_refused(
    audited: tuple[Path, Result], corpus: Path, everyone: Path, tmp_path: Path
) -> None:
    first = Audit.load(audited[0]).names[0]
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    text = (other / "yor_Latn.txt").read_text(encoding="utf-8")
    given = ("compare", first, everyone, "--against", audited[0], "--corpus", other, *OPTIONS)
    for changed, unit in ((text.replace("ọ", "o", 1), "bytes"), (text + "ọmọ\n", "lines")):
        (other / "yor_Latn.txt").write_text(changed, encoding="utf-8")
        result = vocabkit(*given, code=2)
        assert result.stderr.startswith("error: yor_Latn: this text has ")
        assert unit in result.stderr
    # A language that is gone cannot have passed; one that nobody asked for is none of the gate's.
    (other / "yor_Latn.txt").unlink()
    assert "yor_Latn: not measured" in vocabkit(*given, code=1).stderr
    vocabkit(*given, "--languages", "eng,rus")
    (other / "hau_Latn.txt").write_text("ruwa\n", encoding="utf-8")
    rows = rows_of(vocabkit(*given, "--languages", "eng,hau", "-f", "json"))
    (new,) = [row for row in rows if row["language"] == "hau_Latn"]
    assert (new["change"], new["verdict"]) == (None, None)
    assert "not in the baseline" in str(new["note"])
    result = vocabkit("compare", everyone, "--against", other, "--corpus", corpus, code=2)
    assert "not an audit" in result.stderr
    assert "TOK-B" in vocabkit("compare", everyone, "--corpus", corpus, code=2).stderr


def test_junit_has_a_case_a_language_and_a_case_a_requirement(
    corpus: Path, english: Path, everyone: Path, tmp_path: Path
) -> None:
    file = tmp_path / "junit.xml"
    vocabkit("compare", everyone, english, "--corpus", corpus, "--junit", file, *OPTIONS, code=1)
    root = ElementTree.parse(file).getroot()
    cases = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    assert set(cases) == set(WORDS)
    assert {name for name, failure in cases.items() if failure is not None} == {"rus_Cyrl", "yor_Latn"}
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    limits = ("--require", "premium[rus_Cyrl]<2", "--require", "fertility<99")
    given = (english, "--corpus", corpus, "-o", tmp_path / "out", "--no-integrity", *limits, *OPTIONS)
    vocabkit("audit", *given, "--junit", file, code=1)
    root = ElementTree.parse(file).getroot()
    failed = {str(case.get("name")): case.find("failure") is not None for case in root.iter("testcase")}
    assert failed == {"premium[rus_Cyrl]<2 (rus_Cyrl)": True} | {
        f"fertility<99 ({code})": False for code in WORDS
    }
    # What is something else stays as it is.
    notes = tmp_path / "notes.txt"
    notes.write_text("mine", encoding="utf-8")
    result = vocabkit("audit", *given, "--force", "--junit", tmp_path, code=2)
    assert "no regular file" in result.stderr
    result = vocabkit("compare", everyone, everyone, "--corpus", corpus, "--junit", notes, code=2)
    assert "no JUnit file" in result.stderr
    assert notes.read_text(encoding="utf-8") == "mine"


def test_junit_holds_any_name(tmp_path: Path) -> None:
    evil = 'a<b>&"\x00\x1b[2J\ud800\ufffe'
    write_junit(tmp_path / "j.xml", "s", [Case(evil, evil, False, evil), Case("é", "ü", True, "")])
    first, second = ElementTree.parse(tmp_path / "j.xml").getroot().iter("testcase")
    assert first.get("name") == 'a<b>&"\\x00\\x1b[2J\\ud800\\ufffe'
    assert (second.get("classname"), second.find("failure")) == ("é", None)


def test_github_reads_commands_and_a_summary(
    corpus: Path, english: Path, everyone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    given = ("compare", everyone, english, "--corpus", corpus, "-f", "github", *OPTIONS)
    result = vocabkit(*given, code=1)
    lines = result.stdout.splitlines()
    assert [line.split("::")[1] for line in lines] == ["error title=vocabkit compare"] * 2
    # A per cent sign is escaped, as GitHub's commands want it: it decodes to what a terminal says.
    said = [line.split("::", 2)[2] for line in lines]
    assert all("%" not in line.replace("%25", "") for line in said)
    plain = vocabkit(*given[:5], *OPTIONS, code=1).stderr.splitlines()
    assert [f"failed: {line.replace('%25', '%')}" for line in said] == plain
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n## vocabkit compare")
    assert "| language | change |" in text
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert "✅ nothing failed" in vocabkit(*given[:2], everyone, *given[3:]).stdout
