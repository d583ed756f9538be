from dataclasses import replace

import pytest

from vocabkit.auditing.figures import Figure, Scope
from vocabkit.auditing.report import Audit
from vocabkit.auditing.requirements import Outcome, check_requirements, parse_requirement
from vocabkit.core.errors import ConfigError


def row(
    scope: Scope,
    name: str,
    metric: str,
    value: float | None,
    *,
    tokenizer: str = "a",
    note: str | None = None,
) -> Figure:
    return Figure(tokenizer, scope, name, metric, value, "×", "mean", None, None, 3, note)


def check(audit: Audit, requirements: list[str]) -> list[Outcome]:
    return check_requirements(audit.figures, audit.failures, audit.names, requirements)


AUDIT = Audit(
    (
        row("language", "yor_Latn", "fertility", 2.5),
        row("language", "eng_Latn", "fertility", 1.25),
        row("language", "tha_Thai", "fertility", None, note="lost"),
        row("overall", "all", "premium.bottom_decile", 2.0),
        row("overall", "all", "premium.bottom_decile", 1.5, tokenizer="b"),
        row("overall", "all", "languages_lost", 0.0),
        row("overall", "all", "languages_lost", 2.0, tokenizer="b"),
        row("group", "Germanic", "premium.mean", 1.1),
        row("overall", "all", "premium.mean", 1.4),
    ),
    (),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("premium.bottom_decile<2.0", ("premium.bottom_decile", None, "<", 2.0)),
        (" fertility[ yor_Latn ] <= 2.5 ", ("fertility", "yor_Latn", "<=", 2.5)),
        ("change≤2%", ("change", None, "<=", 0.02)),
        ("renyi_2.5 > 0.4", ("renyi_2.5", None, ">", 0.4)),
        ("premium.mean[Niger-Congo]>=1e-3", ("premium.mean", "Niger-Congo", ">=", 0.001)),
    ],
)
def test_reading(text: str, expected: tuple[str, str | None, str, float]) -> None:
    found = parse_requirement(text)
    assert (found.metric, found.name, found.sign, found.limit) == expected


@pytest.mark.parametrize("text", ["", "premium", "premium=2", "premium<two", "<2", "premium[]<1", "a<1<2"])
def test_unreadable_names_the_form(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_requirement(text)
    assert "METRIC<NUMBER" in (caught.value.hint or "")


def test_limits_are_strict_or_not() -> None:
    def met(text: str) -> list[bool]:
        return [outcome.met for outcome in check(AUDIT, [text])]

    assert met("fertility[yor_Latn]<=2.5") == [True]
    assert met("fertility[yor_Latn]<2.5") == [False]
    assert met("premium.mean<1.2") == [False]
    assert met("premium.mean[Germanic]<1.2") == [True]


def test_without_a_name_a_language_metric_is_asked_of_every_language() -> None:
    outcomes = check(AUDIT, ["fertility<3"])
    assert [outcome.met for outcome in outcomes] == [True, True, False]
    assert "no value (lost)" in outcomes[2].describe()


def test_lost_languages_are_never_good_enough() -> None:
    first, second = check(AUDIT, ["premium.bottom_decile<=2.0"])
    assert first.met
    assert not second.met
    assert "b: " in second.describe()
    assert "2 languages are lost" in second.describe()


def test_unknown_names_suggest_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean premium.bottom_decile"):
        check(AUDIT, ["premium.botom_decile<2"])
    with pytest.raises(ConfigError, match="yor_Latn"):
        check(AUDIT, ["fertility[yor_Lat]<2"])


MISSING = replace(
    AUDIT, failures={"mya_Mymr": "mya_Mymr.txt: line 3: not UTF-8", "b: tha_Thai": "cannot be encoded"}
)


@pytest.mark.parametrize(
    "text", ["premium.mean<9", "premium.mean[Germanic]<9", "fertility<9", "fertility[eng_Latn]<9"]
)
def test_nothing_holds_while_a_language_is_not_measured(text: str) -> None:
    outcomes = check(MISSING, [text])
    assert not any(outcome.met for outcome in outcomes)
    with_value = [outcome for outcome in outcomes if outcome.figure.value is not None]
    assert with_value
    assert all("mya_Mymr, not measured" in outcome.describe() for outcome in with_value)


def test_what_one_tokenizer_cannot_encode_is_missing_from_its_own_figures() -> None:
    first, second = check(MISSING, ["premium.bottom_decile<9"])
    assert (first.missing, second.missing) == (("mya_Mymr",), ("mya_Mymr", "tha_Thai"))


def test_a_language_that_was_not_measured_is_named_with_its_reason() -> None:
    outcomes = check(MISSING, ["fertility[mya_Mymr]<9"])
    assert [outcome.met for outcome in outcomes] == [False] * len(MISSING.names)


def test_a_premium_over_languages_wants_all_of_them_in_step() -> None:
    rows = (
        row("language", "yor_Latn", "premium", None, note="19 lines, not 20"),
        row("language", "yor_Latn", "fertility", 2.5),
        row("language", "eng_Latn", "premium", 1.0),
        row("overall", "all", "premium.mean", 1.0),
    )
    (outcome,) = check(Audit(rows, ()), ["premium.mean<9"])
    assert (outcome.met, outcome.missing) == (False, ("yor_Latn",))


def test_a_language_is_named_as_people_name_it() -> None:
    met = {text: check(AUDIT, [text])[0] for text in ("fertility[Yoruba]<3", "fertility[en-US]<1")}
    assert [(one.figure.name, one.met) for one in met.values()] == [("yor_Latn", True), ("eng_Latn", False)]
    # A group of that name comes first.
    assert check(AUDIT, ["premium.mean[Germanic]<1.2"])[0].figure.scope == "group"
