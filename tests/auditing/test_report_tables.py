"""Tables of the report: order, shading, notes, and how values are written."""

import pytest

from vocabkit.auditing.figures import Audited, Figure, Finding
from vocabkit.auditing.report import (
    Audit,
    _find_headline,
    _list_unranked,
    _rank_names,
    _show_value,
    _Table,
    _tabulate_checks,
    _tabulate_groups,
    _tabulate_metric,
    _tabulate_scope,
)


def figure(name: str, metric: str, value: float | None, **rest: object) -> Figure:
    given: dict[str, object] = {"tokenizer": "a", "scope": "language", "unit": "ratio", **rest}
    return Figure(name=name, metric=metric, value=value, aggregation="ratio of sums", **given)  # type: ignore[arg-type]


def audit_of(*figures: Figure) -> Audit:
    names = dict.fromkeys(item.tokenizer for item in figures)
    return Audit(figures, tuple(Audited(name, name, 10, "byte-level", "00") for name in names))


def levels(table: _Table | None) -> list[int | None]:
    assert table is not None
    return [row.cells[0].level for row in table.rows]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ratio", "–"),
        (0.0, "ratio", "0.00"),
        (1.0, "share", "100 %"),
        (0.0, "share of tokens", "0 %"),
        (0.99996, "share", "100 %"),
        (0.12345, "share of tokens", "12.3 %"),
        (-0.031, "share more tokens", "-3.1 %"),
        (0.000012, "share", "0.0012 %"),
        (2.345, "tokens a word", "2.35"),
        (0.01234, "ratio", "0.0123"),
        (32000.0, "pieces", "32,000"),
        (4.0, "languages", "4"),
    ],
)
def test_values_are_written_for_a_reader(value: float | None, unit: str, text: str) -> None:
    # A value and its sign stay on one line.
    assert _show_value(value, unit) == text.replace(" ", "\u00a0")


def test_the_worst_over_all_tokenizers_comes_first_and_ties_by_name() -> None:
    figures = [
        figure("x", "premium", 3.0),
        figure("x", "premium", 1.0, tokenizer="b"),
        figure("y", "premium", 2.0),
        figure("y", "premium", 9.0, tokenizer="b"),
        figure("v", "premium", None),
        figure("w", "premium", 3.0),
    ]
    assert _rank_names(figures) == ["y", "w", "x", "v"]
    assert _rank_names([figure("x", "words_whole", 0.2), figure("y", "words_whole", 0.1)]) == [
        "y",
        "x",
    ]


def test_a_premium_is_shaded_from_one_and_other_costs_from_the_best() -> None:
    premium = audit_of(figure("x", "premium", 3.1), figure("y", "premium", 2.9))
    assert levels(_tabulate_metric(premium, "premium", "language", first="language")) == [5, 4]
    fertility = audit_of(figure("x", "fertility", 3.1), figure("y", "fertility", 2.9))
    assert levels(_tabulate_metric(fertility, "fertility", "language", first="language")) == [0, 0]


def test_shares_are_shaded_by_what_is_lost() -> None:
    unit = "share of characters"
    lost = audit_of(
        figure("x", "unknown_characters", 0.3, unit=unit),
        figure("y", "unknown_characters", 0.0, unit=unit),
        figure("z", "unknown_characters", None, unit=unit),
    )
    found = _tabulate_metric(lost, "unknown_characters", "language", first="language")
    assert levels(found) == [5, 0, None]
    kept = audit_of(
        figure("x", "character_coverage", 0.7, unit=unit),
        figure("y", "character_coverage", 1.0, unit=unit),
    )
    assert levels(_tabulate_metric(kept, "character_coverage", "language", first="l")) == [5, 0]


def test_a_note_is_said_once_and_needs_no_mark_where_it_is_of_all() -> None:
    figures = [figure(name, "fertility", 1.0, note="syllables") for name in "xy"]
    table = _tabulate_metric(audit_of(*figures), "fertility", "language", first="language")
    assert table is not None
    assert table.notes == (("", "syllables"),)
    assert [row.cells[0].mark for row in table.rows] == ["", ""]
    figures.append(figure("z", "fertility", 1.0))
    table = _tabulate_metric(audit_of(*figures), "fertility", "language", first="language")
    assert table is not None
    assert table.notes == (("a", "syllables"),)
    assert [row.cells[0].mark for row in table.rows] == ["a", "a", ""]


def test_more_notes_than_letters_still_differ() -> None:
    figures = [figure(f"{i:02}", "fertility", 1.0, note=f"note {i}") for i in range(60)]
    table = _tabulate_metric(audit_of(*figures), "fertility", "language", first="language")
    assert table is not None
    assert len({mark for mark, _ in table.notes}) == 60


def test_the_headline_is_the_premium_only_where_there_is_one() -> None:
    fertility = figure("x", "fertility", 1.5)
    assert _find_headline(audit_of(figure("x", "premium", 1.0), fertility)) == "premium"
    assert _find_headline(audit_of(figure("x", "premium", None), fertility)) == "fertility"
    assert _find_headline(audit_of()) is None


def test_a_scope_lists_the_headline_first_with_its_n_and_aggregation() -> None:
    audit = audit_of(
        figure("all", "fertility.mean", 2.0, scope="overall", n=4),
        figure("all", "premium.mean", 1.5, scope="overall", n=4, low=1.4, high=1.6),
    )
    table = _tabulate_scope(audit, "overall", "all", "Overall", headline="premium")
    assert table is not None
    assert [row.name for row in table.rows] == ["premium, mean", "fertility, mean"]
    value, count, how = table.rows[0].cells
    assert (value.text, value.interval, count.text) == ("1.50", "1.40 to 1.60", "4")
    assert how.text == "ratio; ratio of sums"
    assert _tabulate_scope(audit, "overall", "none", "Overall") is None


def test_groups_have_a_column_for_each_metric_and_tokenizer() -> None:
    figures = [
        figure(name, f"premium.{how}", value, scope="script", tokenizer=tokenizer, n=n)
        for name, value, n in (("Latn", 1.2, 9), ("Mymr", 3.0, 1))
        for how in ("mean", "bottom_decile")
        for tokenizer in ("a", "b")
    ]
    table = _tabulate_groups(audit_of(*figures), ["premium.mean", "premium.bottom_decile"], "script")
    assert table is not None
    assert [row.name for row in table.rows] == ["Mymr", "Latn"]
    assert [cell.text for cell in table.rows[1].cells] == ["9", "1.20", "1.20", "1.20", "1.20"]
    assert table.columns[2:4] == ("premium, mean, a", "premium, mean, b")
    assert _tabulate_groups(audit_of(), ["premium.mean"], "script") is None


def test_where_n_differs_between_tokenizers_its_range_is_given() -> None:
    audit = audit_of(
        figure("all", "premium.mean", 2.0, scope="overall", n=118),
        figure("all", "premium.mean", 2.0, scope="overall", n=1122, tokenizer="b"),
    )
    table = _tabulate_scope(audit, "overall", "all", "Overall")
    assert table is not None
    assert table.rows[0].cells[2].text == "118\u00a0to\u00a01,122"


def test_languages_without_a_value_are_listed_by_tokenizer() -> None:
    audit = audit_of(figure("x", "premium", None), figure("y", "premium", 1.0), figure("z", "premium", None))
    assert _list_unranked(audit, "premium") == {"a": ["x", "z"]}


def test_checks_of_one_family_are_a_table_by_tokenizer() -> None:
    names = ("a", "b")
    findings = (
        Finding("a", "digits: thai", "fine", 108, 108, "single"),
        Finding("b", "digits: thai", "warning", 216, 108, "bytes"),
        Finding("b", "digits: lao", "failure", None, 108, "unknown"),
        Finding("a", "round trip", "failure", 1, 2, "lost"),
    )
    audit = Audit((), tuple(Audited(n, n, 9, "byte-level", "00") for n in names), findings)
    table = _tabulate_checks(audit, "digits")
    assert table is not None
    assert table.columns == ("digits", "a", "b")
    cells = {row.name: [cell.text for cell in row.cells] for row in table.rows}
    assert cells == {"thai": ["single", "warning: bytes"], "lao": ["–", "failure: unknown"]}
    assert _tabulate_checks(audit, "round trip") is None


def uneven() -> Audit:
    """Tokenizer a loses two of three languages, and would look the best by its mean."""
    values = {"eng_Latn": (1.0, 1.0), "lao_Laoo": (None, 3.0), "tha_Thai": (None, 2.0)}
    figures = []
    for k, tokenizer in enumerate("ab"):
        held = [pair[k] for pair in values.values() if pair[k] is not None]
        for code, pair in values.items():
            lost = pair[k] is None
            note = "90.0% of the characters are lost in unknown tokens" if lost else None
            figures += [
                figure(code, "premium", pair[k], tokenizer=tokenizer, note=note),
                figure(code, "unknown_characters", 0.9 if lost else 0.0, tokenizer=tokenizer, unit="share"),
            ]
        for scope, name in (("overall", "all"), ("script", "Laoo")):
            size = 3 if scope == "overall" else 1
            n = len(held) if scope == "overall" else k
            given = {"tokenizer": tokenizer, "scope": scope}
            value = sum(v or 0 for v in held) / len(held) if n else None
            figures += [
                figure(name, "premium.mean", value, n=n, **given),
                figure(name, "premium.bottom_decile", value, n=n, **given),
                figure(name, "premium.mean_common", 1.0 if size == 3 else None, n=size // 3, **given),
                figure(name, "languages_lost", float(size - n), unit="languages", n=size, **given),
            ]
    return audit_of(*figures)


def test_a_mean_says_over_how_many_languages_it_is() -> None:
    rows = {str(row["metric"]): row for row in uneven().to_rows(marked=True) if row["language"] == "all"}
    assert (rows["premium.mean"]["a"], rows["premium.mean"]["b"]) == ("1 (1 of 3)", "2 (3 of 3)")
    assert (rows["premium.mean_common"]["a"], rows["premium.mean_common"]["b"]) == ("1 (1 of 3)", "1 (1 of 3)")
    plain = {str(row["metric"]): row for row in uneven().to_rows() if row["language"] == "all"}
    assert (plain["premium.mean"]["a"], plain["premium.mean"]["b"]) == (1.0, 2.0)
    assert plain["premium.mean"]["languages"] == {"a": "1 of 3", "b": "3 of 3"}


def test_a_lost_language_is_marked_in_rows_and_cells() -> None:
    audit = uneven()
    marked = {str(row["language"]): row for row in audit.to_rows(marked=True)}
    assert (marked["lao_Laoo"]["a"], marked["lao_Laoo"]["b"]) == ("lost", 3.0)
    plain = {str(row["language"]): row for row in audit.to_rows()}
    assert plain["lao_Laoo"]["a"] is None
    assert plain["lao_Laoo"]["note"] == "a: 90.0% of the characters are lost in unknown tokens"
    assert "note" not in plain["eng_Latn"]
    table = _tabulate_metric(audit, "premium", "language", first="language")
    assert table is not None
    cells = {row.name: [(cell.text, cell.level) for cell in row.cells] for row in table.rows}
    assert cells["lao_Laoo"] == [("lost", 6), ("3.00", 5)]
    overall = _tabulate_scope(audit, "overall", "all", "Overall", headline="premium")
    assert overall is not None
    shown = {row.name: [cell.text for cell in row.cells[:2]] for row in overall.rows}
    assert shown["premium, mean"] == ["1.00 (1 of 3)", "2.00 (3 of 3)"]
    groups = _tabulate_groups(audit, ["premium.mean"], "script")
    assert groups is not None
    assert [cell.text for cell in groups.rows[0].cells[1:]] == ["– (0 of 1)", "2.00 (1 of 1)"]


def test_where_every_tokenizer_has_every_language_nothing_is_marked() -> None:
    figures = [
        figure("all", name, 1.5, scope="overall", n=3)
        for name in ("premium.mean", "premium.bottom_decile", "languages_lost", "premium.mean_common")
    ]
    audit = audit_of(figure("x", "premium", 1.5), *figures)
    assert [row["metric"] for row in audit.to_rows()] == ["premium", "premium.mean", "premium.bottom_decile"]
    assert audit.to_rows(marked=True) == audit.to_rows()
