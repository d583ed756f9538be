"""Tables of figures: order, shading, labels, and how values are written."""

from pathlib import Path

import pytest

from vocabkit.auditing.composition import SCRIPT_GROUPS
from vocabkit.auditing.definitions import (
    DEFINITIONS,
    define,
    find_best,
    find_headline,
    find_level,
    list_unranked,
    rank_names,
)
from vocabkit.auditing.figures import Audited, Figure, Finding
from vocabkit.auditing.page import _Page
from vocabkit.auditing.report import Audit
from vocabkit.auditing.requirements import METRICS
from vocabkit.core.pages import Table, show_value


def figure(name: str, metric: str, value: float | None, **rest: object) -> Figure:
    given: dict[str, object] = {"tokenizer": "a", "scope": "language", "unit": "ratio", **rest}
    return Figure(name=name, metric=metric, value=value, aggregation="ratio of sums", **given)  # type: ignore[arg-type]


def audit_of(*figures: Figure) -> Audit:
    names = dict.fromkeys(item.tokenizer for item in figures)
    return Audit(figures, tuple(Audited(name, name, 10, "byte-level", "00") for name in names))


def levels(*figures: Figure) -> list[int | None]:
    return [find_level(one, find_best(figures)) for one in figures]


def cells(table: Table | None) -> dict[str, list[str]]:
    assert table is not None
    return {row.name: [cell.text.replace("\u00a0", " ") for cell in row.cells] for row in table.rows}


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
    assert show_value(value, unit) == text.replace(" ", "\u00a0")


def test_the_worst_over_all_tokenizers_comes_first_and_ties_by_name() -> None:
    figures = [
        figure("x", "premium", 3.0),
        figure("x", "premium", 1.0, tokenizer="b"),
        figure("y", "premium", 2.0),
        figure("y", "premium", 9.0, tokenizer="b"),
        figure("v", "premium", None),
        figure("w", "premium", 3.0),
    ]
    assert rank_names(figures) == ["y", "w", "x", "v"]
    assert rank_names([figure("x", "words_whole", 0.2), figure("y", "words_whole", 0.1)]) == ["y", "x"]


def test_a_premium_is_shaded_from_one_and_other_costs_from_the_best() -> None:
    assert levels(figure("x", "premium", 3.1), figure("y", "premium", 2.9)) == [5, 4]
    assert levels(figure("x", "fertility", 3.1), figure("y", "fertility", 2.9)) == [0, 0]


def test_shares_are_shaded_by_what_is_lost() -> None:
    unit = "share of characters"
    lost = [
        figure(name, "unknown_characters", v, unit=unit) for name, v in (("x", 0.3), ("y", 0.0), ("z", None))
    ]
    assert levels(*lost) == [5, 0, None]
    kept = [figure(name, "character_coverage", v, unit=unit) for name, v in (("x", 0.7), ("y", 1.0))]
    assert levels(*kept) == [5, 0]


def test_where_more_is_better_the_smallest_value_is_the_worst() -> None:
    assert levels(*(figure("x", "characters_per_token", v) for v in (1.0, 4.9, 5.0))) == [6, 0, 0]


def test_the_headline_is_the_premium_only_where_there_is_one() -> None:
    fertility = figure("x", "fertility", 1.5)
    assert find_headline(audit_of(figure("x", "premium", 1.0), fertility)) == "premium"
    assert find_headline(audit_of(figure("x", "premium", None), fertility)) == "fertility"
    assert find_headline(audit_of()) is None


def test_languages_without_a_value_are_listed_by_tokenizer() -> None:
    audit = audit_of(figure("x", "premium", None), figure("y", "premium", 1.0), figure("z", "premium", None))
    assert list_unranked(audit, "premium") == {"a": ["x", "z"]}


def test_every_metric_has_a_definition_and_labels_tell_them_apart() -> None:
    labels = {metric: define(metric).label for metric in METRICS}
    assert len(set(labels.values())) == len(METRICS)
    assert not [label for label in labels.values() if "_" in label]
    assert all(define(metric).said for metric in METRICS)
    # And none is explained that is not measured.
    assert set(DEFINITIONS) <= METRICS | {metric.rpartition(".")[0] for metric in METRICS}
    assert define("change.tok.v2").label == "Change against tok.v2"


def test_definitions_name_headings_that_the_page_of_metrics_has() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    headings = {line[3:] for line in text.splitlines() if line.startswith("## ")}
    assert {one.heading for one in DEFINITIONS.values()} <= headings
    # Every metric that is defined stands there under its name.
    assert [key for key in DEFINITIONS if f"`{key}" not in text] == []


def test_all_languages_together_list_the_headline_first_with_its_n_and_aggregation() -> None:
    audit = audit_of(
        figure("x", "premium", 1.5),
        figure("all", "fertility.mean", 2.0, scope="overall", n=4),
        figure("all", "premium.mean", 1.5, scope="overall", n=4, low=1.4, high=1.6),
    )
    table = _Page(audit).tabulate_overall()
    assert list(cells(table)) == ["Premium, mean", "Tokens per word, mean"]
    assert table is not None
    value, count, how = table.rows[0].cells
    assert (value.text, value.value, value.title, count.text) == ("1.50", 1.5, "95 %: 1.40 to 1.60", "4")
    assert how.text == "ratio; ratio of sums"
    assert _Page(audit_of()).tabulate_overall() is None


def test_what_no_divisor_changes_is_said_once() -> None:
    given = (
        ("premium.gini", 0.25),
        ("premium_fixed.gini", 0.25),
        ("fertility.gini", 0.3),
        ("premium_fixed.mean", 0.25),
    )
    audit = audit_of(
        figure("x", "premium", 1.5), *(figure("all", m, v, scope="overall", n=4) for m, v in given)
    )
    assert list(cells(_Page(audit).tabulate_overall())) == [
        "Premium, inequality (Gini)", "Tokens per word, inequality (Gini)", "Premium, one yardstick, mean",
    ]  # fmt: skip


def test_groups_have_a_column_for_each_metric_and_tokenizer() -> None:
    figures = [
        figure(name, f"premium.{how}", value, scope="script", tokenizer=tokenizer, n=n)
        for name, value, n in (("Latn", 1.2, 9), ("Mymr", 3.0, 1))
        for how in ("mean", "bottom_decile")
        for tokenizer in ("a", "b")
    ]
    table = _Page(audit_of(figure("x", "premium", 1.0), *figures)).tabulate_group("script")
    assert table is not None
    assert [row.name for row in table.rows] == ["Mymr", "Latn"]
    assert cells(table)["Latn"] == ["9", "1.20", "1.20", "1.20", "1.20"]
    assert table.columns[2:4] == ("Premium, mean: a", "Premium, mean: b")
    assert _Page(audit_of()).tabulate_group("script") is None


def test_one_group_of_all_languages_is_no_table() -> None:
    found = figure("Latn", "premium.mean", 1.2, scope="script", n=9)
    assert _Page(audit_of(figure("x", "premium", 1.0), found)).tabulate_group("script") is None


def test_where_n_differs_between_tokenizers_its_range_is_given() -> None:
    audit = audit_of(
        figure("all", "premium.mean", 2.0, scope="overall", n=118),
        figure("all", "premium.mean", 2.0, scope="overall", n=1122, tokenizer="b"),
    )
    assert cells(_Page(audit).tabulate_overall())["Premium, mean"][2] == "118 to 1,122"


def test_checks_of_one_family_are_a_table_and_what_is_the_same_is_said_once() -> None:
    findings = (
        Finding("a", "digits: thai", "fine", 108, 108, "single"),
        Finding("b", "digits: thai", "warning", 216, 108, "bytes"),
        Finding("b", "digits: lao", "failure", None, 108, "unknown"),
        Finding("a", "digits: ascii", "fine", 108, 108, "single"),
        Finding("b", "digits: ascii", "fine", 108, 108, "single"),
        Finding("a", "round trip", "failure", 1, 2, "lost"),
    )
    audit = Audit((), tuple(Audited(n, n, 9, "byte-level", "00") for n in "ab"), findings)
    table = _Page(audit).tabulate_checks("digits")
    assert cells(table) == {"thai": ["single", "warning: bytes"], "lao": ["–", "failure: unknown"]}
    assert table is not None
    assert table.columns == ("digits", "a", "b")
    assert table.notes == ["The same with every tokenizer, single: ascii"]
    assert _Page(audit).tabulate_checks("round trip") is None


def test_pieces_that_text_never_gives_are_counted_beside_the_vocabulary() -> None:
    findings = tuple(
        Finding(name, check, "note", count, 200, "others are always preferred")
        for name, check, count in (
            ("a", "pieces: dead", 4),
            ("b", "pieces: dead", 0),
            ("a", "pieces: reachable", 0),
        )
    )
    audit = Audit((), tuple(Audited(n, n, 9, "byte-level", "00") for n in "abc"), findings)
    # A check that found nothing anywhere has no row, and one that was not made has no count.
    dead = ["4 (2 %)", "0", "–", "others are always preferred"]
    assert cells(_Page(audit).tabulate_vocabulary()) == {"Pieces never chosen": dead}


def test_scripts_stand_beside_their_share_of_the_text_and_groups_apart() -> None:
    shares = (("Latn", 30.0, 0.75, 0.5), ("Latin", 30.0, 0.75, 0.5), ("Thai", 10.0, 0.25, 0.5))
    figures = [
        figure(name, metric, value, scope="vocabulary", unit=unit)
        for name, size, share, text in shares
        for metric, value, unit in (
            ("pieces", size, "pieces"),
            ("vocabulary_share", share, "share"),
            ("corpus_share_characters", text, "share"),
            ("allocation_characters", share / text, "ratio"),
        )
    ]
    assert "Latin" in SCRIPT_GROUPS
    groups, scripts, *_ = _Page(audit_of(*figures)).tabulate_parts()
    assert cells(scripts) == {
        "Latn": ["50 %", "30", "75 %", "1.50", "–"],
        "Thai": ["50 %", "10", "25 %", "0.5", "–"],
    }
    assert list(cells(groups)) == ["Latin"]


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
    heat = _Page(audit).draw_heat()
    assert heat is not None
    found = {row.id: [(cell.text, cell.value, cell.level) for cell in row.cells] for row in heat.rows}
    assert found["lao_Laoo"] == [("lost", None, 6), ("3.00", 3.0, 5)]
    assert cells(_Page(audit).tabulate_overall())["Premium, mean"][:2] == ["1.00 (1 of 3)", "2.00 (3 of 3)"]


def test_where_every_tokenizer_has_every_language_nothing_is_marked() -> None:
    figures = [
        figure("all", name, 1.5, scope="overall", n=3)
        for name in ("premium.mean", "premium.bottom_decile", "languages_lost", "premium.mean_common")
    ]
    audit = audit_of(figure("x", "premium", 1.5), *figures)
    assert [row["metric"] for row in audit.to_rows()] == ["premium", "premium.mean", "premium.bottom_decile"]
    assert audit.to_rows(marked=True) == audit.to_rows()
