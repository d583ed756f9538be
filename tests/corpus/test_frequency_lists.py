from pathlib import Path

import pytest

from vocabkit.core.errors import CountsError
from vocabkit.corpus.counting import _thin_frequencies, import_frequencies


def test_a_list_becomes_counts_split_by_thinning(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("\ufeffọ́\t1000\r\nb\t3\n\nb\t4\n" + "x" * 1_200 + "\t2\n", encoding="utf-8")
    counts = import_frequencies(path, "yor_Latn", tmp_path / "out", held_out=0.2, seed=1)
    language = counts.languages["yor_Latn"]
    train, held = dict(language.train.rows()), dict(language.held_out.rows())
    assert train["ọ́", False][0] + held["ọ́", False][0] == 1000
    # Binomial(1000, 0.2): five standard deviations are 63.
    assert 137 < held["ọ́", False][0] < 263
    assert train["b", False][0] + held.get(("b", False), (0, 0))[0] == 7
    assert ("x" * 200, True) in train
    assert language.totals.words + language.held_out_totals.words == 1009
    again = import_frequencies(path, "yor_Latn", tmp_path / "again", held_out=0.2, seed=1)
    assert again.fingerprint == counts.fingerprint
    other = import_frequencies(path, "yor_Latn", tmp_path / "other", held_out=0.2, seed=2)
    assert other.fingerprint != counts.fingerprint


def test_thinning_does_not_depend_on_the_order_of_the_list() -> None:
    rows = {f"w{i}": i + 1 for i in range(50)}
    backwards = dict(reversed(rows.items()))
    a = _thin_frequencies(rows, "x", held_out=0.3, seed=0)
    assert a == _thin_frequencies(backwards, "x", held_out=0.3, seed=0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a b\t3", "'a b"),
        ("a\t0", "count '0'"),
        ("a\t1.5", "count '1.5'"),
        ("a\t-1", "count '-1'"),
        ("a\t٣", "count"),
        ("a", "not one word"),
        ("\t3", "not one word"),
        ("a\t" + "9" * 30, "count"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(f"ok\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(CountsError) as caught:
        import_frequencies(path, "x", tmp_path / "out")
    assert "list.tsv:2" in caught.value.message
    assert said in caught.value.message
    assert not (tmp_path / "out").exists()


def test_empty_missing_and_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    with pytest.raises(CountsError, match="no such file"):
        import_frequencies(path, "x", tmp_path / "out")
    path.write_bytes(b"caf\xe9\t3\n")
    with pytest.raises(CountsError, match="not UTF-8 at byte 3"):
        import_frequencies(path, "x", tmp_path / "out")
    path.write_bytes(b"\n")
    with pytest.raises(CountsError, match="holds no words"):
        import_frequencies(path, "x", tmp_path / "out")
