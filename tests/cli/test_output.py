"""One set of rows in every format: the same values, nothing lost, nothing wrapped."""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.options import OutputFormat
from cli.output import show_note, show_rows, show_warnings
from vocabkit.core.results import Mark

ROWS = [
    {"language": "yor_Latn", "words": 1_234_567, "weight": 1.5, "note": None},
    {"language": "ไทย", "words": 8, "weight": 0.25, "note": "a|b, [red]c[/red]"},
]


def test_table_is_aligned_by_display_width(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, "table", "test")
    assert capsys.readouterr().out.splitlines() == [
        "language      words  weight  note",
        "yor_Latn  1,234,567     1.5  -",
        "ไทย               8    0.25  a|b, [red]c[/red]",
    ]


def test_wide_characters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"piece": "漢字", "id": 1}, {"piece": "abcd", "id": 2}], "table", "test")
    assert capsys.readouterr().out == "piece  id\n漢字    1\nabcd    2\n"


def test_a_long_row_is_not_wrapped_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"a": "x" * 300, "b": "y" * 300}], "table", "test")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_keeps_values_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, "json", "test")
    out = capsys.readouterr().out
    assert json.loads(out) == {"schema": "vocabkit.test/1", "rows": ROWS}
    assert "ไทย" in out


def test_csv_has_numbers_without_commas_and_empty_for_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_rows(ROWS, "csv", "test")
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [
        ["language", "words", "weight", "note"],
        ["yor_Latn", "1234567", "1.5", ""],
        ["ไทย", "8", "0.25", "a|b, [red]c[/red]"],
    ]


def test_markdown_escapes_the_column_mark(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, "markdown", "test")
    assert capsys.readouterr().out.splitlines() == [
        "| language | words | weight | note |",
        "| --- | --: | --: | --- |",
        "| yor_Latn | 1,234,567 | 1.5 | - |",
        "| ไทย | 8 | 0.25 | a\\|b, [red]c[/red] |",
    ]


def test_rows_may_be_dataclasses_and_cells_may_be_tallies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @dataclass(frozen=True, slots=True)
    class Line:
        language: str
        repairs: dict[str, int]

    show_rows([Line("yor_Latn", {"bom": 1, "crlf": 20}), Line("ibo_Latn", {})], "table", "test")
    assert capsys.readouterr().out.splitlines() == [
        "language  repairs",
        "yor_Latn  bom=1 crlf=20",
        "ibo_Latn  -",
    ]


def test_a_row_that_is_neither_is_refused() -> None:
    with pytest.raises(TypeError, match="str is neither"):
        show_rows(["text"], "table", "test")


def test_no_rows_are_an_empty_table_and_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], "table", "test")
    assert capsys.readouterr().out == ""
    show_rows([], "json", "test")
    assert json.loads(capsys.readouterr().out)["rows"] == []


def test_a_terminal_gets_whole_cells_and_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    show_rows([{"piece": "[bold]" + "x" * 60, "note": "y" * 60}], "table", "test")
    out = capsys.readouterr().out
    assert "[bold]" + "x" * 60 in out
    assert "y" * 60 in out


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.integers()}), min_size=1))
def test_json_and_csv_give_back_what_went_in(rows: list[dict[str, Any]]) -> None:
    # hypothesis does not reset function fixtures between examples, so stdout is replaced here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream := io.StringIO(newline=""))
        show_rows(rows, "json", "test")
    assert json.loads(stream.getvalue())["rows"] == rows


HOSTILE = "yor\x1b[2J\x9b31m\u202etxt\r\nerror: none"


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
def test_no_name_commands_the_terminal(format: OutputFormat, capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"language": HOSTILE, HOSTILE: 1}], format, "test")
    show_warnings([HOSTILE])
    show_note(HOSTILE)
    captured = capsys.readouterr()
    for text in captured:
        assert not set(text) & set("\x1b\x9b\u202e\r")
    # One line each: no name can forge a line of its own.
    assert len(captured.err.splitlines()) == 2
    if format == "json":
        assert json.loads(captured.out)["rows"] == [{"language": HOSTILE, HOSTILE: 1}]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2", "@SUM(A1)", "\x1b=1"])
def test_csv_holds_no_formula(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"name": cell, "value": -2.5}], "csv", "test")
    (_, row) = csv.reader(io.StringIO(capsys.readouterr().out))
    assert row[0][0] in "'\\"
    assert row[1] == "-2.5"


def test_a_mark_stands_where_a_number_would(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"language": "lao_Laoo", "cost": Mark("lost")}, {"language": "eng_Latn", "cost": 12.5}]
    show_rows(rows, "table", "test")
    assert capsys.readouterr().out.splitlines() == ["language  cost", "lao_Laoo  lost", "eng_Latn  12.5"]
    show_rows(rows, "markdown", "test")
    assert "| --- | --: |" in capsys.readouterr().out
    # A program gets numbers and nothing else.
    show_rows(rows, "json", "test")
    assert [row["cost"] for row in json.loads(capsys.readouterr().out)["rows"]] == [None, 12.5]
    show_rows(rows, "csv", "test")
    assert capsys.readouterr().out.splitlines()[1:] == ["lao_Laoo,", "eng_Latn,12.5"]
