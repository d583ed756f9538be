"""The verbs, one after the other, from folder to folder, as a user types them."""

import base64
import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from cli import app
from vocabkit.auditing.report import Audit
from vocabkit.core.folders import find_user_cache

ROOT = Path(__file__).resolve().parents[2]
SYLLABLES = {
    "eng_Latn": ["the", "re", "so", "lu", "tion", "work", "er", "ing"],
    "yor_Latn": ["ẹ̀", "kọ́", "ilé", "àá", "rọ̀", "gbo", "ṣe", "wa"],
    "arb_Arab": ["ال", "كت", "اب", "مد", "رس", "ة", "في", "بي"],
}


def vocabkit(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def rows_of(result: Result) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(result.stdout)["rows"]
    return rows


def write_corpus(folder: Path, seed: int = 0) -> Path:
    """A corpus of three languages with words of one to three syllables: enough to fit hundreds."""
    chance = random.Random(seed)
    folder.mkdir()
    for code, syllables in SYLLABLES.items():
        lines = []
        for _ in range(300):
            words = ["".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(8)]
            lines.append(" ".join(words))
        (folder / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("cli") / "corpus")


@pytest.fixture(scope="module")
def counts(corpus: Path) -> Path:
    folder = corpus.parent / "counts"
    vocabkit("count", corpus, "-o", folder, "--workers", 1)
    return folder


def fit(counts: Path, folder: Path, *words: object) -> Result:
    size = "vocabulary.size=300"
    return vocabkit("fit", "shared-250k", "--counts", counts, "-o", folder, "--set", size, *words)


@pytest.fixture(scope="module")
def tokenizer(counts: Path) -> Path:
    folder = counts.parent / "tok"
    fit(counts, folder)
    return folder


def test_count_reports_what_is_in_the_files(corpus: Path, tmp_path: Path) -> None:
    result = vocabkit("count", corpus, "-o", tmp_path / "counts", "--held-out", 0, "-f", "json", "--workers", 1)
    found = {str(row["language"]): row for row in rows_of(result)}
    assert sorted(found) == sorted(SYLLABLES)
    for code, row in found.items():
        text = (corpus / f"{code}.txt").read_text(encoding="utf-8")
        assert row["documents"] == 300
        assert row["words"] == len(text.split())
        assert row["held_out_documents"] == 0


def test_count_refuses_to_replace_unless_forced(corpus: Path, counts: Path) -> None:
    result = vocabkit("count", corpus, "-o", counts, code=2)
    assert result.stderr.startswith("error: ")
    assert "--force" in result.stderr
    vocabkit("count", corpus, "-o", counts, "--force", "--workers", 1)


def test_count_dry_run_reads_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    result = vocabkit("count", corpus, "-o", tmp_path / "counts", "--dry-run", "-f", "json")
    assert [row["language"] for row in rows_of(result)] == sorted(SYLLABLES)
    assert list(tmp_path.iterdir()) == []


def test_count_narrows_to_languages(corpus: Path, tmp_path: Path) -> None:
    words = ("count", corpus, "-o", tmp_path / "c", "--languages", "yo,eng", "--dry-run")
    result = vocabkit(*words, "-f", "json")
    assert [row["language"] for row in rows_of(result)] == ["eng_Latn", "yor_Latn"]


def test_count_stops_for_a_language_without_data(corpus: Path, tmp_path: Path) -> None:
    result = vocabkit("count", corpus, "-o", tmp_path / "c", "--languages", "ibo_Latn", code=2)
    assert "ibo_Latn" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--language", "yor"),
        ("--from-frequencies", "list.tsv"),
        ("--from-frequencies", "list.tsv", "--language", "yor", "--field", "word"),
    ],
)
def test_count_says_what_belongs_together(words: tuple[str, ...], tmp_path: Path) -> None:
    result = vocabkit("count", *words, "-o", tmp_path / "c", code=2)
    assert "--from-frequencies" in result.stderr or "a list of words" in result.stderr


# --- One way to say how text is read ---------------------------------------------------------------


@pytest.fixture(scope="module")
def records(corpus: Path) -> Path:
    """Yoruba of the corpus as records of another field, in a file that names no language."""
    lines = (corpus / "yor_Latn.txt").read_text(encoding="utf-8").splitlines()
    path = corpus.parent / "crawl.jsonl"
    said = (json.dumps({"id": number, "body": line}) for number, line in enumerate(lines))
    path.write_text("\n".join(said) + "\n", encoding="utf-8")
    return path


READERS = {
    "count": "count {text} -o {out} --workers 1",
    "prepare": "prepare {text} --tokenizer {tok} -o {out} --workers 1 --length 64",
    "audit": "audit {tok} --corpus {text} -o {out} --workers 1 --resamples 0 --no-integrity",
    "compare": "compare {tok} {tok} --corpus {text} --workers 1 --resamples 0",
    "fit": "fit shared-250k --corpus {text} -o {out} --set vocabulary.size=200",
}


@pytest.mark.parametrize("verb", READERS)
def test_every_reader_takes_a_file_of_a_language_and_a_field(
    verb: str, corpus: Path, records: Path, tokenizer: Path, tmp_path: Path
) -> None:
    def run(text: Path, out: str, *more: str, code: int = 0) -> Result:
        places = {"text": text, "tok": tokenizer, "out": tmp_path / out}
        words = [word.format_map(places) for word in READERS[verb].split()]
        return vocabkit(*words, "-f", "json", *more, code=code)

    told = rows_of(run(corpus / "yor_Latn.txt", "named"))
    assert {row["language"] for row in told if "language" in row} <= {"yor_Latn", "all"}
    said = rows_of(run(records, "said", "--language", "Yoruba", "--field", "body"))
    for row in (*told, *said):
        row.pop("repairs", None)
    assert said == told
    assert "--language" in run(records, "none", code=2).stderr
    near = run(records, "none", "--language", "yor", "--field", "bdy", code=2).stderr
    assert "did you mean body?" in near
    assert near.endswith("hint: --field body\n")
    both = run(records, "none", "--language", "yor", "--languages", "yor", code=2) if verb != "fit" else None
    assert both is None or "hint: --language yor" in both.stderr
    assert not (tmp_path / "none").exists()


def test_a_fit_counts_first_and_finds_its_counts_again(corpus: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "text", tmp_path / "tok"
    text.mkdir()
    (text / "yor_Latn.txt").write_bytes((corpus / "yor_Latn.txt").read_bytes())
    words = ("fit", "shared-250k", "--corpus", text, "-o", out, "--set", "vocabulary.size=200")

    def same_as_counted() -> bool:
        vocabkit("count", text, "-o", tmp_path / "counts", "--workers", 1, "--force")
        vocabkit(
            "fit", "shared-250k", "--counts", tmp_path / "counts", "-o", tmp_path / "b", *words[-2:], "--force"
        )
        return (tmp_path / "b" / "tokenizer.model").read_bytes() == (out / "tokenizer.model").read_bytes()

    # A fit that fails leaves its counts, and says so.
    lines = vocabkit(*words[:-1], "vocabulary.size=90_000", code=2).stderr.splitlines()
    assert lines[-3].startswith(f"counted text into {out}-counts")
    assert (lines[-2][:7], out.exists()) == ("error: ", False)
    assert "they are of the same files" in vocabkit(*words).stderr
    shutil.rmtree(out)
    shutil.rmtree(f"{out}-counts")
    assert f"counted text into {out}-counts" in vocabkit(*words).stderr
    assert same_as_counted()
    assert "they are of the same files" in vocabkit(*words, "--force").stderr
    (text / "eng_Latn.txt").write_bytes((corpus / "eng_Latn.txt").read_bytes())
    assert "added" in vocabkit(*words, "--force").stderr
    assert same_as_counted()
    (text / "yor_Latn.txt").write_text("ilé ọmọ\n" * 90 + "àwọn ènìyàn\n" * 40, encoding="utf-8")
    (out / "tokenizer.model").rename(tmp_path / "kept")
    refused = vocabkit(*words[:5], tmp_path / "tok", *words[-2:], code=2)
    assert "exists" in refused.stderr
    assert "yor_Latn.txt has changed" in vocabkit(*words, "--force").stderr
    assert same_as_counted()


def test_a_fit_looks_at_all_else_before_it_counts(corpus: Path, tmp_path: Path) -> None:
    for wrong in (
        ("fit", "shared-250k", "--languages", "ibo"),
        ("fit", "two-stage-250k-12x50k"),
        ("fit", "shared-250k", "--set", "vocabulary.sise=3"),
        ("fit", "continued-bpe", "--base", tmp_path / "absent"),
        ("fit", "parity-250k", "--dev", tmp_path / "absent"),
        ("fit", "shared-250k", "--counts", corpus),
    ):
        vocabkit(*wrong, "--corpus", corpus, "-o", tmp_path / "tok", code=2)
        assert list(tmp_path.iterdir()) == [], wrong
    result = vocabkit(
        "fit", "shared-250k", "--counts", corpus, "--language", "yor", "-o", tmp_path / "t", code=2
    )
    assert "--language says how --corpus is read" in result.stderr


def test_a_frequency_list_becomes_counts(tmp_path: Path) -> None:
    listed = tmp_path / "list.tsv"
    listed.write_text("ilé\t40\nọjọ́\t25\n", encoding="utf-8")
    words = ("--from-frequencies", listed, "--language", "yo", "--held-out", 0)
    result = vocabkit("count", *words, "-o", tmp_path / "counts", "-f", "json")
    (row,) = rows_of(result)
    assert (row["language"], row["words"]) == ("yor_Latn", 65)


@pytest.mark.skipif(os.name == "nt", reason="the shell's words")
@pytest.mark.parametrize(
    ("closed", "words", "code"),
    [
        (">&-", "presets list", 0),
        ("2>&-", "presets list", 0),
        ("2>&-", "count nothing", 2),
        ("<&-", "show t", 2),
    ],
)
def test_a_stream_that_is_closed_is_no_bug_of_ours(closed: str, words: str, code: int, tmp_path: Path) -> None:
    script = f"exec {sys.executable} -m vocabkit {words} {closed}"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=paths, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_password_in_an_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    said = vocabkit("count", "http://user:SECRET@127.0.0.1:1/yor.txt", "-o", tmp_path / "counts", code=2).stderr
    assert "a password" in said
    assert "SECRET" not in said
    assert not list(tmp_path.iterdir())


def test_merge_adds_up(corpus: Path, counts: Path, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other", seed=1)
    vocabkit("count", other, "-o", tmp_path / "counts", "--workers", 1)
    merged = rows_of(vocabkit("merge", counts, tmp_path / "counts", "-o", tmp_path / "both", "-f", "json"))
    apart: Counter[str] = Counter()
    for folder in (counts, tmp_path / "counts"):
        from vocabkit.corpus.word_counts import WordCounts

        apart += Counter({c: t.words for c, t in WordCounts.load(folder).totals.items()})
    assert {row["language"]: row["words"] for row in merged} == dict(apart)


def test_fit_writes_a_folder_that_repeats_itself(counts: Path, tokenizer: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.model", "tokenizer.json", "config.toml", "manifest.json"):
        assert (tokenizer / name).is_file()
    again = tmp_path / "again"
    vocabkit("fit", tokenizer / "config.toml", "--counts", counts, "-o", again)
    for name in ("tokenizer.model", "tokenizer.json", "config.toml"):
        assert (again / name).read_bytes() == (tokenizer / name).read_bytes()


def test_fit_prints_the_same_rows_in_every_format(counts: Path, tmp_path: Path) -> None:
    as_json = rows_of(fit(counts, tmp_path / "a", "-f", "json"))
    assert [row["language"] for row in as_json] == sorted(SYLLABLES)
    as_csv = list(csv.DictReader(io.StringIO(fit(counts, tmp_path / "b", "-f", "csv").stdout)))
    assert [row["language"] for row in as_csv] == sorted(SYLLABLES)
    assert [float(row["weight"]) for row in as_csv] == [row["weight"] for row in as_json]
    assert list(as_csv[0]) == list(as_json[0])


def test_fit_options_stand_above_settings(counts: Path, tmp_path: Path) -> None:
    include = 'languages.include=["eng_Latn"]'
    result = fit(counts, tmp_path / "a", "--set", include, "--languages", "yor,arb", "-f", "json")
    assert [row["language"] for row in rows_of(result)] == ["arb_Arab", "yor_Latn"]


def test_a_misspelt_setting_is_named(counts: Path, tmp_path: Path) -> None:
    words = ("--counts", counts, "-o", tmp_path / "a", "--set", "vocabulary.sise=300")
    result = vocabkit("fit", "shared-250k", *words, code=2)
    assert "vocabulary.sise" in result.stderr
    assert "did you mean vocabulary.size" in result.stderr
    assert not (tmp_path / "a").exists()


def test_a_misspelt_preset_is_named(counts: Path, tmp_path: Path) -> None:
    result = vocabkit("fit", "shard-250k", "--counts", counts, "-o", tmp_path / "a", code=2)
    assert "did you mean shared-250k" in result.stderr


def test_yaml_is_refused(counts: Path, tmp_path: Path) -> None:
    path = tmp_path / "fit.yaml"
    path.write_text("vocabulary:\n  size: 300\n", encoding="utf-8")
    result = vocabkit("fit", path, "--counts", counts, "-o", tmp_path / "a", code=2)
    assert "TOML" in result.stderr


def test_show_gives_the_pieces_back(tokenizer: Path) -> None:
    text = "the solution ẹ̀kọ́"
    rows = rows_of(vocabkit("show", tokenizer, text, "-f", "json"))
    joined = b"".join(bytes.fromhex(str(row["bytes"])) for row in rows)
    assert joined.decode().strip() == text


def test_show_reads_standard_input(tokenizer: Path) -> None:
    given = rows_of(vocabkit("show", tokenizer, "the work", "-f", "json"))
    result = CliRunner().invoke(app, ["show", str(tokenizer), "-", "-f", "json"], input="the work")
    assert rows_of(result) == given


@pytest.fixture(scope="module")
def small(counts: Path) -> Path:
    """A tokenizer of another kind and size: byte-level merges."""
    folder = counts.parent / "small"
    vocabkit("fit", "byte-bpe", "--counts", counts, "-o", folder, "--set", "vocabulary.size=280")
    return folder


TEXT = "the work, ẹ̀kọ́ ilé 日本 resolution"


def test_show_of_several_has_the_rows_of_each(tokenizer: Path, small: Path) -> None:
    rows = rows_of(vocabkit("show", tokenizer, small, TEXT, "-f", "json"))
    names = [*dict.fromkeys(str(row["tokenizer"]) for row in rows)]
    assert len(names) == 2
    for name, folder in zip(names, (tokenizer, small), strict=True):
        own = [{key: row[key] for key in row if key != "tokenizer"} for row in rows if row["tokenizer"] == name]
        assert own == rows_of(vocabkit("show", folder, TEXT, "-f", "json"))
    piped = CliRunner().invoke(app, ["show", str(tokenizer), str(small), "-f", "json"], input=f"{TEXT}\n")
    assert rows_of(piped) == rows
    alone = CliRunner().invoke(app, ["show", str(small), "-f", "json"], input=f"{TEXT}\n")
    assert len(rows_of(alone)) == sum(row["tokenizer"] == names[1] for row in rows)


def test_show_puts_the_same_text_on_a_line(tokenizer: Path, small: Path) -> None:
    text = "the resolution work er ing " * 5
    printed = vocabkit("show", tokenizer, small, text).stdout.splitlines()
    width = (100 - 3) // 2
    columns = [[line[:width].rstrip() for line in printed], [line[width + 3 :].rstrip() for line in printed]]
    for column, folder in zip(columns, (tokenizer, small), strict=True):
        rows = rows_of(vocabkit("show", folder, text, "-f", "json"))
        assert column[1].startswith(f"{len(rows)} tokens")
        assert "".join(column[2:]) == "".join(f"{row['piece']}│" for row in rows)
    letters = [["".join(filter(str.isalpha, line)) for line in column[2:]] for column in columns]
    assert letters[0] == letters[1]
    assert len(letters[0]) > 3


@pytest.mark.parametrize("refused", [False, True])
def test_show_has_colours_on_a_terminal_that_wants_them(tokenizer: Path, small: Path, refused: bool) -> None:
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1" if refused else "", "COLUMNS": "100"}
    words = [sys.executable, "-m", "cli", "show", str(tokenizer), str(small), "the work"]
    with subprocess.Popen(
        words, stdout=follower, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
    ) as process:
        os.close(follower)
        found = b""
        with contextlib.suppress(OSError):  # what Linux says when the other side is closed
            while part := os.read(leader, 1 << 16):
                found += part
        assert process.wait() == 0
    os.close(leader)
    assert (b"\x1b[" in found) != refused
    assert ("│" in found.decode()) == refused
    plain = re.sub(r"\x1b\[[\d;]*m|│", "", found.decode())
    assert len(re.findall(r"the", plain)) == 2


@pytest.mark.parametrize("words", [(), ("{tok}",), ("{tok}", "-"), ("{tok}", "{tok}")])
def test_show_without_a_text_says_how_to_give_one(words: tuple[str, ...], tokenizer: Path) -> None:
    given = [word.format(tok=tokenizer) for word in words]
    result = CliRunner().invoke(app, ["show", *given], input="")
    assert result.exit_code == 2
    assert "no t" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("hint: vocabkit show ")


def test_show_of_nothing_is_no_token(tokenizer: Path, small: Path) -> None:
    assert vocabkit("show", tokenizer, small, "").stdout.count("0 tokens") == 2
    lost = CliRunner().invoke(app, ["show", str(small), "-"], input=b"a\xff")
    assert (lost.exit_code, lost.stderr.count("error: ")) == (2, 1)


def test_show_isolates_and_escapes(tokenizer: Path) -> None:
    result = vocabkit("show", tokenizer, "الكتاب")
    assert "\u2068" in result.stdout
    for line in result.stdout.splitlines():
        assert not any(character < " " for character in line)


def test_diff_names_what_changed(counts: Path, tokenizer: Path, tmp_path: Path) -> None:
    assert rows_of(vocabkit("diff", tokenizer, tokenizer, "-f", "json")) == []
    other = tmp_path / "other"
    fit(counts, other, "--set", "vocabulary.size=280")
    rows = rows_of(vocabkit("diff", tokenizer, other, "--pieces", "-f", "json"))
    change = Counter(str(row["change"]) for row in rows)
    assert change["removed"] - change["added"] == 20
    by_script = rows_of(vocabkit("diff", tokenizer, other, "-f", "json"))
    for name in ("added", "removed", "moved"):
        assert sum(int(str(row[name])) for row in by_script) == change[name]


def test_diff_of_no_tokenizer_is_a_mistake(tmp_path: Path) -> None:
    result = vocabkit("diff", tmp_path, tmp_path, code=2)
    assert str(tmp_path) in result.stderr


def test_presets_are_listed_shown_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [row["name"] for row in rows_of(vocabkit("presets", "list", "-f", "json"))]
    assert "fit/shared-250k" in names
    shown = vocabkit("presets", "show", "shared-250k").stdout
    vocabkit("presets", "copy", "fit/shared-250k")
    assert (tmp_path / "shared-250k.toml").read_text(encoding="utf-8") == shown
    assert "--force" in vocabkit("presets", "copy", "shared-250k", code=2).stderr
    vocabkit("presets", "copy", "shared-250k", "--force")


@pytest.mark.slow
def test_the_demo_runs_and_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A cache of its own, but for the trainer's kernels, which take half a minute to compile.
    kernels = os.environ.get("NUMBA_CACHE_DIR") or str(find_user_cache("kernels"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", kernels)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = vocabkit("demo", "-o", tmp_path / "demo", "-f", "json")
    rows = rows_of(result)
    assert len(rows) == 40
    paid = [float(str(row["shared"])) for row in rows]
    assert paid == sorted(paid, reverse=True)
    assert "not the quality" in result.stderr
    # Said line by line: an end of line within one is shown as `\\n`, as all that commands a terminal is.
    assert "\\n" not in result.stderr
    assert any(line.startswith("next: vocabkit show") for line in result.stderr.splitlines())
    audit = Audit.load(tmp_path / "demo" / "audit")
    premiums = {f.name: f.value for f in audit.select(metric="premium", tokenizer="balanced")}
    assert {str(row["language"]): row["balanced premium"] for row in rows} == premiums
    assert premiums["eng_Latn"] == 1.0
    worst = max((cost, code) for code, cost in premiums.items() if cost is not None)[1]
    assert f"balanced: {worst}" in result.stderr
    assert "report.html" in result.stderr
    assert (tmp_path / "demo" / "audit" / "report.html").is_file()
    assert "--force" in vocabkit("demo", "-o", tmp_path / "demo", code=2).stderr


def write_ranks(path: Path) -> Path:
    tokens = [bytes([value]) for value in range(256)] + [b"th", b"the", b" the"]
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    return path


def test_a_pattern_is_taken_where_its_hint_appears(tmp_path: Path) -> None:
    path = write_ranks(tmp_path / "own.tiktoken")
    said = vocabkit("show", path, "the the", code=2).stderr
    assert "hint: --pattern NAME" in said
    for pattern, count in (("gpt2", 2), (r"\s+|\S+", 3), (r".", 5)):
        result = vocabkit("show", path, "x the", "--pattern", pattern, "-f", "json")
        assert len(rows_of(result)) == count
    assert "drops what it does not match" in vocabkit("show", path, "the the", "--pattern", r"\w+").stderr
    assert "no regular expression" in vocabkit("show", path, "a", "--pattern", "(a", code=2).stderr
    assert "no pattern 'gtp2'" in vocabkit("show", path, "a", "--pattern", "gtp2", code=2).stderr
    # What is no .model has no pieces to compare, whatever its pattern.
    assert "has no .model" in vocabkit("diff", path, path, code=2).stderr


def test_extend_takes_a_pattern_for_the_old_tokenizer(tmp_path: Path) -> None:
    path = write_ranks(tmp_path / "own.tiktoken")
    save_file({"wte.weight": np.zeros((259, 8), np.float32)}, tmp_path / "model.safetensors")
    model = tmp_path / "model.safetensors"
    words = ("extend", model, path, "-o", tmp_path / "out", "--old-tokenizer", path, "--dry-run")
    assert "--pattern NAME" in vocabkit(*words, code=2).stderr
    vocabkit(*words, "--pattern", "gpt2", "--tensor", "wte.weight=input")


def test_dropout_is_off_and_said(counts: Path, corpus: Path, tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(dropout=0.5))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    text = [line for path in sorted(corpus.iterdir()) for line in path.read_text("utf-8").splitlines()]
    backend.train_from_iterator(text, trainer)
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    content = json.loads(path.read_text("utf-8"))
    content["model"]["dropout"] = 0.5
    path.write_text(json.dumps(content), encoding="utf-8")
    warning = "BPE dropout of 0.5 is turned off"
    results = [vocabkit("show", path, text[0], "-f", "json") for _ in range(3)]
    assert len({result.stdout for result in results}) == 1
    assert warning in results[0].stderr
    out: tuple[object, ...] = (
        "--corpus",
        corpus,
        "-o",
        tmp_path / "report",
        "--no-integrity",
        "--resamples",
        5,
        "--workers",
        1,
    )
    assert warning in vocabkit("audit", path, *out).stderr
    assert warning in vocabkit("compare", path, path, *out[:2], *out[5:]).stderr
    out = ("-o", tmp_path / "shards", "--length", 32, "--workers", 1)
    assert warning in vocabkit("prepare", corpus, "--tokenizer", path, *out).stderr
    out = ("--counts", counts, "-o", tmp_path / "more", "--set", "tokens.new=5")
    assert warning in vocabkit("fit", "continued-bpe", "--base", path, *out).stderr
    written = json.loads((tmp_path / "more" / "tokenizer.json").read_text("utf-8"))
    assert written["model"]["dropout"] is None
