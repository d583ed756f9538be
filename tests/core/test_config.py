import math
import re
import shlex
from pathlib import Path

import pytest
from pydantic import Field

from vocabkit.configurations.settings import CONFIGURATIONS
from vocabkit.core.config import (
    Config,
    _parse_override,
    dump_toml,
    find_preset,
    lay_over,
    list_keys,
    load_config,
    parse_share,
    validate,
)
from vocabkit.core.errors import ConfigError
from vocabkit.pretraining.run_config import RunConfig


class Table(Config):
    size: int = 3
    name: str = "x"
    quota: dict[str, float] = Field(default_factory=dict)


class Root(Config):
    table: Table = Table()
    rate: float = 0.3
    codes: tuple[str, ...] = ()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "c.toml"
    file.write_text("rate = 0.5\n[table]\nsize = 64_000\n", encoding="utf-8")
    return file


def test_overrides_are_toml_and_bare_words_are_text(path: Path) -> None:
    root = load_config(Root, path, ["table.name=no", 'codes=["no", "sv"]', "table.quota.yor_Latn=2"])
    assert root.table.name == "no"
    assert root.codes == ("no", "sv")
    assert root.table.quota == {"yor_Latn": 2.0}
    assert root.table.size == 64_000


def test_dump_reads_back_equal(path: Path) -> None:
    root = load_config(Root, path, ['table.name=a "quoted" \\ ▁\t', 'table.quota={yor_Latn=0.1, "x y"=1e-7}'])
    path.write_text(dump_toml(root, "two\nlines"), encoding="utf-8")
    assert load_config(Root, path) == root


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("table.sise=3", ["table.sise", "did you mean table.size"]),
        ("table.size=many", ["--set table.size=many:", "'many'"]),
        ("vocab=2", ["unknown key vocab"]),
        ("nothing", ["--set nothing: expected KEY=VALUE"]),
        ("a b=[", ["cannot be read"]),
    ],
)
def test_a_mistake_names_key_and_value(path: Path, override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Root, path, [override])
    for word in words:
        assert word in caught.value.message


def test_broken_toml_and_missing_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("a = ", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(Root, bad)
    with pytest.raises(ConfigError, match="no such file"):
        load_config(Root, tmp_path / "none.toml")


def test_override_text() -> None:
    assert _parse_override("a.b=64_000") == {"a": {"b": 64000}}
    assert _parse_override("a=uniform") == {"a": "uniform"}


def test_text_where_a_list_is_needed_is_one(path: Path) -> None:
    assert load_config(Root, path, ["codes=no"]).codes == ("no",)
    assert load_config(Root, path, ["codes=no,yo"]).codes == ("no", "yo")
    with pytest.raises(ConfigError, match="--set codes=3: codes = 3: a list is needed") as caught:
        load_config(Root, path, ["codes=3"])
    assert shlex.split(caught.value.hint or "") == ["--set", "codes=[3]"]


@pytest.mark.parametrize(
    ("text", "share"),
    [("2%", 0.02), ("2 %", 0.02), ("0.02", 0.02), ("0", 0.0), ("1", 1.0), ("150%", 1.5), ("5e-1", 0.5)],
)
def test_percents(text: str, share: float) -> None:
    assert parse_share(text, math.inf) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "two", "-1%", "nan", "inf"])
def test_what_is_no_percent(text: str) -> None:
    with pytest.raises(ValueError, match="is no share"):
        parse_share(text, math.inf)


def test_a_share_of_a_whole_is_no_more_than_it() -> None:
    with pytest.raises(ValueError, match="is no share"):
        parse_share("101%")
    with pytest.raises(ValueError, match=r"5 is 500% as a share; 5%\?"):
        parse_share(5)


# --- What a key means ------------------------------------------------------------------------------
# Held to the models themselves: what the type says is taken is taken, and what it says is not is refused.

KINDS: dict[str, type[Config]] = {**CONFIGURATIONS, "run": RunConfig}


def refuses(model: type[Config], key: str, value: str) -> bool:
    """Whether a setting is refused for the sake of its own key: others may contradict it."""
    try:
        validate(model, lay_over({}, [f"{key}={value}"]), "test", [f"{key}={value}"])
    except ConfigError as error:
        return f": {key} = " in error.message
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_says_what_it_takes_and_means(kind: str) -> None:
    model = KINDS[kind]
    keys = [key for key in list_keys(model) if "[]" not in key.key]
    assert len({key.key for key in keys}) == len(keys) > 12
    for key in keys:
        assert key.meaning.endswith("."), key
        assert 10 < len(key.meaning) < 200, key
        if key.default is not None and key.default != "{}":
            assert not refuses(model, key.key, key.default), key
        if " | " in key.type:
            assert not any(refuses(model, key.key, f'"{word}"') for word in key.type.split(" | ")), key
            assert refuses(model, key.key, '"none of these"'), key
        for sign, limit in re.findall(r"([≥≤]) (-?[\d_.]+)", key.type):
            step = 1 if "integer" in key.type else 0.001
            beyond = float(limit.replace("_", "")) + (step if sign == "≤" else -step)
            text = str(int(beyond)) if step == 1 else str(beyond)
            assert refuses(model, key.key, text), key
        if key.type == "true or false":
            assert refuses(model, key.key, "3"), key
        if key.type.startswith(("integer", "number")):
            assert refuses(model, key.key, '"many"'), key


def test_a_key_has_the_value_of_the_configuration_that_is_given() -> None:
    path = find_preset("balanced-250k", "fit")
    config = load_config(CONFIGURATIONS["shared"], path, ["vocabulary.size=99_999"])
    found = {key.key: key.default for key in list_keys(type(config), config)}
    assert found["vocabulary.size"] == "99_999"
    assert found["languages.exponent"] == "0.3"
    assert found["languages.panel"] is None
    again = validate(
        CONFIGURATIONS["shared"],
        lay_over({}, [f"{key}={value}" for key, value in found.items() if value not in (None, "{}")]),
        "test",
    )
    assert again == config
    rows = {key.key: key for key in list_keys(RunConfig)}
    assert rows["stages[].train"].type == "new-rows | embeddings | all"
    assert rows["model.layers"].default == "12"
    with pytest.raises(ConfigError, match=r"did you mean model\.layers"):
        validate(RunConfig, lay_over({}, ["model.layrs=3"]), "test")
