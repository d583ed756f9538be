"""Which files hold which language: folders, TOML files, codes, and what is refused or passed over."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from vocabkit.core.errors import ConfigError, CorpusError, MissingExtra, VocabkitError
from vocabkit.core.languages import Language, Panel
from vocabkit.core.remote import Found
from vocabkit.corpus.sources import SUFFIXES, Corpus, _make_source, open_corpus


def fill(root: Path, *names: str, data: bytes = b"x\n") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def panel_of(*codes: str) -> Panel:
    rows = (Language(c, c, "", "", "other", (c.split("_")[1],), "low", False) for c in codes)
    return Panel("test", tuple(rows))


def names_of(corpus: Corpus) -> dict[str, list[str]]:
    return {code: [Path(s.path).name for s in group] for code, group in corpus.sources.items()}


def test_folder_of_files_and_subfolders(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "yor_Latn.txt",
        "yor_Latn.jsonl.zst",
        "ibo/b.txt.gz",
        "ibo/a.parquet",
        "ibo/deep/c.txt",
    )
    fill(tmp_path, "xyz_Cyrl.TXT", "am.parquet")
    corpus = open_corpus(tmp_path)
    assert names_of(corpus) == {
        "amh_Ethi": ["am.parquet"],
        "ibo_Latn": ["a.parquet", "b.txt.gz", "c.txt"],
        "xyz_Cyrl": ["xyz_Cyrl.TXT"],
        "yor_Latn": ["yor_Latn.jsonl.zst", "yor_Latn.txt"],
    }
    assert corpus.languages == ("amh_Ethi", "ibo_Latn", "xyz_Cyrl", "yor_Latn")
    assert all(s.language == code for code, group in corpus.sources.items() for s in group)
    assert (corpus.document, corpus.field, corpus.name) == ("line", "text", tmp_path.name)
    assert corpus.size == 7 * 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kind_and_compression_by_suffix(suffix: str) -> None:
    source = _make_source(Found(f"some.where/yor_Latn{suffix}", 7, ""))
    assert source is not None
    kind = "parquet" if "parquet" in suffix else "jsonl" if "jsonl" in suffix else "text"
    packed = "gzip" if suffix.endswith("gz") else "zstd" if suffix.endswith("zst") else "none"
    assert (source.kind, source.compression, source.size) == (kind, packed, 7)


@pytest.mark.parametrize("name", ["yo", "yor", "yor_Latn", "YO"])
def test_every_form_of_a_code(tmp_path: Path, name: str) -> None:
    assert open_corpus(fill(tmp_path, f"{name}.txt")).languages == ("yor_Latn",)
    assert open_corpus(tmp_path, languages=[name]).languages == ("yor_Latn",)


def test_forms_of_one_code_are_one_language(tmp_path: Path) -> None:
    fill(tmp_path, "yo.txt", "yor_Latn.parquet", "yor/part.jsonl")
    assert names_of(open_corpus(tmp_path)) == {"yor_Latn": ["yo.txt", "part.jsonl", "yor_Latn.parquet"]}


def test_what_is_not_data_is_listed(tmp_path: Path) -> None:
    others = ["README.md", "README.txt", "notes.tsv", ".hidden.txt", "manifest.json", "yor/LICENSE"]
    fill(tmp_path, "yor/a.txt", "docs/guide.md", *others)
    corpus = open_corpus(tmp_path)
    assert names_of(corpus) == {"yor_Latn": ["a.txt"]}
    listed = "\n".join(corpus.ignored)
    assert all(str(tmp_path / name) in listed for name in [*others, "docs/guide.md"])
    assert "hidden" in listed
    assert "not a data file" in listed


def test_nothing_recognised_says_what_was_found(tmp_path: Path) -> None:
    fill(tmp_path, "yor_Latn.csv", "notes.md")
    with pytest.raises(CorpusError) as caught:
        open_corpus(tmp_path)
    assert "notes.md, yor_Latn.csv" in caught.value.message
    assert ".jsonl.zst" in (caught.value.hint or "")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match="it holds nothing"):
        open_corpus(empty)


def test_unknown_and_ambiguous_names(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"unknown language 'yora'; candidates: .*yor_Latn"):
        open_corpus(fill(tmp_path / "a", "yora.txt", "ibo.txt"))
    both = fill(tmp_path / "b", "srp_Cyrl.txt", "srp_Latn.txt")
    with pytest.raises(VocabkitError, match="'sr' is ambiguous: srp_Cyrl, srp_Latn"):
        open_corpus(both, languages=["sr"])
    with pytest.raises(CorpusError, match="'sr' is ambiguous"):
        open_corpus(fill(tmp_path / "c", "sr.txt"), panel=panel_of("srp_Cyrl", "srp_Latn"))


def test_short_names_mean_what_is_there_or_in_the_panel(tmp_path: Path) -> None:
    fill(tmp_path, "tur_Latn.txt")
    assert open_corpus(tmp_path, languages=["tr"]).languages == ("tur_Latn",)
    fill(tmp_path, "sr.txt")
    assert open_corpus(tmp_path, panel=panel_of("srp_Latn")).languages == ("srp_Latn",)
    assert open_corpus(tmp_path, languages=["sr"]).languages == ("srp_Cyrl",)


def test_a_folder_of_corpora_points_inside(tmp_path: Path) -> None:
    fill(tmp_path, "sample/text/yor_Latn.txt", "sample/manifest.json")
    with pytest.raises(CorpusError) as caught:
        open_corpus(tmp_path / "sample")
    assert caught.value.hint == f"did you mean {tmp_path / 'sample' / 'text'}?"


@pytest.mark.parametrize("how", ["languages", "panel"])
def test_missing_languages_stop_by_name(tmp_path: Path, how: str) -> None:
    fill(tmp_path, "yor_Latn.txt", "eng_Latn.txt")
    fill(tmp_path, "ibo.txt", data=b"")
    codes = ["yor_Latn", "ibo_Latn", "hau_Latn"]

    def find(allow_missing: bool) -> Corpus:
        if how == "panel":
            return open_corpus(tmp_path, panel=panel_of(*codes), allow_missing=allow_missing)
        return open_corpus(tmp_path, languages=codes, allow_missing=allow_missing)

    with pytest.raises(CorpusError) as caught:
        find(False)
    assert "ibo_Latn (its files are empty), hau_Latn" in caught.value.message
    assert "--allow-missing" in (caught.value.hint or "")
    corpus = find(True)
    assert corpus.languages == ("yor_Latn",)
    assert corpus.missing == ("ibo_Latn", "hau_Latn")
    assert corpus.ignored == (f"{tmp_path / 'ibo.txt'}: empty",)


def test_empty_files_stop_even_when_not_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, "yor.txt")
    fill(tmp_path, "ibo.txt", data=b"")
    with pytest.raises(CorpusError, match=r"no data for ibo_Latn \(its files are empty\)"):
        open_corpus(tmp_path)
    with pytest.raises(CorpusError, match="no language has data"):
        open_corpus(tmp_path, languages=["ibo"], allow_missing=True)


@pytest.mark.parametrize("name", ["nothing", "a.txt", "a.yaml"])
def test_paths_that_are_no_corpus(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a.txt", "a.yaml")
    with pytest.raises(CorpusError, match=r"no such corpus|unknown language 'a'|not a kind of file"):
        open_corpus(tmp_path / name)


def test_one_file_is_a_corpus_by_its_name_or_by_what_is_said(tmp_path: Path) -> None:
    fill(tmp_path, "yo.txt.gz", "wiki.jsonl", "corpus.yo")
    assert names_of(open_corpus(tmp_path / "yo.txt.gz")) == {"yor_Latn": ["yo.txt.gz"]}
    assert names_of(open_corpus(tmp_path / "wiki.jsonl", language="pt-BR")) == {"por_Latn": ["wiki.jsonl"]}
    with pytest.raises(CorpusError, match="unknown language 'wiki'") as caught:
        open_corpus(tmp_path / "wiki.jsonl")
    assert caught.value.hint.startswith("--language ")
    with pytest.raises(ConfigError, match=r"unknown language 'yoruva'.*yor_Latn"):
        open_corpus(tmp_path / "wiki.jsonl", language="yoruva")
    for language in ("yor", None):
        with pytest.raises(CorpusError, match="not a kind of file") as caught:
            open_corpus(tmp_path / "corpus.yo", language=language)
        assert f"{tmp_path / 'corpus.yo'} corpus.yo.txt  #" in caught.value.hint
        with pytest.raises(CorpusError, match="not a regular file"):
            open_corpus("/dev/null", language=language)


def test_a_folder_of_parts_is_one_language_where_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path, "crawl/part-0.txt", "crawl/deep/part-1.jsonl.zst", "crawl/run.txt", "crawl/notes.md")
    found = open_corpus(tmp_path / "crawl", language="yo", panel=panel_of("yor_Latn", "ibo_Latn"))
    assert names_of(found) == {"yor_Latn": ["part-1.jsonl.zst", "part-0.txt", "run.txt"]}
    assert len(found.ignored) == 1
    # A corpus of several would be counted as one language: the option meant is another.
    for number, names in enumerate((["yor_Latn.txt", "eng_Latn.txt"], ["en.txt", "fr.txt", "yo.txt"])):
        with pytest.raises(CorpusError, match="all of it is yor_Latn, and it has eng_Latn") as caught:
            open_corpus(fill(tmp_path / str(number), *names), language="yo")
        assert caught.value.hint.startswith("--languages yor_Latn ")


def test_what_cannot_be_said_together(tmp_path: Path) -> None:
    fill(tmp_path, "yor_Latn.txt")
    with pytest.raises(ConfigError, match="--languages picks"):
        open_corpus(tmp_path, language="yor", languages=["yor"])
    path = write_toml(tmp_path, '[languages]\nyo = "yor_Latn.txt"')
    with pytest.raises(CorpusError, match="says itself which language"):
        open_corpus(path, language="yor")
    with pytest.raises(ConfigError, match="open already"):
        open_corpus(open_corpus(path), field="body")


def write_toml(root: Path, text: str) -> Path:
    path = root / "news.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_toml_of_globs(tmp_path: Path) -> None:
    odd = tmp_path / "a [b] *"  # a folder with wildcards in its own name
    fill(odd, "x/b.txt", "x/a.txt", "x/deep/c.jsonl", "x/notes.md", "ibo.txt")
    fill(tmp_path, "outside/h.parquet")
    path = write_toml(
        odd,
        f"""
        document = "blank-line"
        field = "body"
        [languages]
        yo = ["x/*", "x/**/*.jsonl", "x/a.txt"]
        ibo = "./ibo.txt"
        hau = "../outside/*.parquet"
        xyz_Cyrl = "{tmp_path}/outside/h.parquet"
        eng_Latn = "file://{tmp_path}/outside/*.parquet"
        """,
    )
    corpus = open_corpus(path)
    assert names_of(corpus) == {
        "eng_Latn": ["h.parquet"],
        "hau_Latn": ["h.parquet"],
        "ibo_Latn": ["ibo.txt"],
        "xyz_Cyrl": ["h.parquet"],
        "yor_Latn": ["a.txt", "b.txt", "c.jsonl"],
    }
    assert (corpus.document, corpus.field, corpus.name) == ("blank-line", "body", "news")
    assert corpus.ignored == (f"{odd / 'x' / 'notes.md'}: not a data file",)
    assert open_corpus(path, document="file", field="text").document == "file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("languages = 3", "no [languages] table"),
        ("[languages]", "no [languages] table"),
        ("[languages]\nyo = 3", "languages.yo is neither a glob nor a list of globs"),
        ("[languages]\nyo = 'none.txt'", "languages.yo: none.txt: no such file"),
        ("[languages]\nyo = 'a.csv'", "a.csv: not a kind of file that can be read"),
        ("[languages]\nyo = '*.zip'", "no data for yor_Latn"),
        ("[languages]\nnonsense = 'a.txt'", "unknown language 'nonsense'"),
        ("[languages\n", "not valid TOML"),
        ("documents = 'line'\n[languages]\nyo = 'a.txt'", "did you mean document?"),
        ("document = 'page'\n[languages]\nyo = 'a.txt'", "document = 'page' is none of line"),
        ("field = 3\n[languages]\nyo = 'a.txt'", "field = 3 is not a string"),
    ],
)
def test_wrong_toml(tmp_path: Path, text: str, message: str) -> None:
    fill(tmp_path, "a.txt", "a.csv")
    path = write_toml(tmp_path, text)
    with pytest.raises(CorpusError) as caught:
        open_corpus(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message


def test_toml_of_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/b.txt", b"two\n")
    memory.pipe("/corpus/a.jsonl.gz", b"123")
    path = write_toml(tmp_path, '[languages]\nyo = "memory://corpus/*"')
    (group,) = open_corpus(path).sources.values()
    assert [(s.path, s.kind, s.size) for s in group] == [
        ("memory:///corpus/a.jsonl.gz", "jsonl", 3),
        ("memory:///corpus/b.txt", "text", 4),
    ]
    path = write_toml(tmp_path, '[languages]\nyo = "memory://corpus/none.txt"')
    with pytest.raises(CorpusError, match=r"languages\.yo: memory://corpus/none\.txt"):
        open_corpus(path)
    path = write_toml(tmp_path, '[languages]\nyo = "nosuch://corpus/none.txt"')
    with pytest.raises(CorpusError, match="nosuch"):
        open_corpus(path)


def test_urls_without_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    path = write_toml(tmp_path, '[languages]\nyo = "memory://corpus/*.txt"')
    with pytest.raises(MissingExtra) as caught:
        open_corpus(path)
    assert caught.value.hint == "pip install fsspec"


def test_a_pipe_is_no_file_of_a_corpus(tmp_path: Path) -> None:
    fill(tmp_path, "eng_Latn.txt")
    os.mkfifo(tmp_path / "yor_Latn.txt")
    with pytest.raises(CorpusError, match=r"yor_Latn\.txt: not a regular file"):
        open_corpus(tmp_path)
    (tmp_path / "corpus.toml").write_text('[languages]\nyor_Latn = "yor_Latn.txt"\n')
    with pytest.raises(CorpusError, match="not a regular file"):
        open_corpus(tmp_path / "corpus.toml")


def test_a_folder_that_may_not_be_read_is_not_an_empty_one() -> None:
    # Not under pytest's folder, which nobody else may enter; root, who may read anything, becomes nobody.
    with tempfile.TemporaryDirectory() as name:
        root = fill(Path(name), "eng_Latn.txt", "yor/a.txt", "yor/deep/b.txt")
        root.chmod(0o755)
        (root / "yor" / "deep").chmod(0)
        before = os.geteuid()
        try:
            if before == 0:
                os.seteuid(65_534)
            with pytest.raises(CorpusError, match="deep: cannot be read: Permission denied"):
                open_corpus(root)
        finally:
            os.seteuid(before)
            (root / "yor" / "deep").chmod(0o755)


def test_a_name_that_is_not_utf8_is_refused_with_its_place(tmp_path: Path) -> None:
    fill(tmp_path, "eng_Latn.txt", "yor/\udcff.txt")
    with pytest.raises(CorpusError, match="a file name that is not UTF-8"):
        open_corpus(tmp_path)


def test_files_and_options_name_languages_as_people_do(tmp_path: Path) -> None:
    fill(tmp_path, "zh-CN.txt", "zh_TW.txt", "iw.txt", "Haitian Creole.txt")
    fill(tmp_path, "pt-BR/a.txt", "no.txt", "swahili.jsonl")
    found = open_corpus(tmp_path)
    assert found.languages == (
        "hat_Latn", "heb_Hebr", "nob_Latn", "por_Latn", "swh_Latn", "zho_Hans", "zho_Hant"
    )  # fmt: skip
    asked = ["Portuguese", "Chinese (Traditional)", "he", "nb"]
    assert open_corpus(tmp_path, languages=asked).languages == ("heb_Hebr", "nob_Latn", "por_Latn", "zho_Hant")
    with pytest.raises(VocabkitError, match="'zh' is ambiguous: zho_Hans, zho_Hant"):
        open_corpus(tmp_path, languages=["zh"])


def test_all_bad_names_are_in_one_message(tmp_path: Path) -> None:
    fill(tmp_path, "yor_Latn.txt", "Hausaa.txt", "corpus.txt", "Yorubba.txt")
    with pytest.raises(CorpusError) as caught:
        open_corpus(tmp_path)
    said = caught.value.message
    assert "'Hausaa'; candidates: hau_Latn" in said
    assert "'Yorubba'; candidates: yor_Latn" in said
    assert "'corpus'" in said
