from pathlib import Path

import pytest

from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import load_panel, resolve_code


@pytest.mark.parametrize("text", ["yo", "yor", "yor_Latn", "YO"])
def test_short_codes(text: str) -> None:
    assert resolve_code(text) == "yor_Latn"


def test_a_full_code_outside_the_panel_is_legal() -> None:
    assert resolve_code("gsw_Latn") == "gsw_Latn"
    with pytest.raises(ConfigError, match="unknown language 'gsw_Latn'"):
        resolve_code("gsw_Latn", ["yor_Latn"])


def test_ambiguous_and_unknown() -> None:
    with pytest.raises(ConfigError, match="ambiguous: srp_Cyrl, srp_Latn"):
        resolve_code("sr", ["srp_Latn", "srp_Cyrl"])
    with pytest.raises(ConfigError, match="candidates"):
        resolve_code("yoruba")


def test_panel_40() -> None:
    panel = load_panel("panel-40")
    assert len(panel.languages) == 40
    assert len(set(panel.codes)) == 40
    assert len(panel.tail) == 12
    assert {language.group for language in panel.languages} == {
        "Germanic", "Romance", "Slavic", "Indo-Aryan", "Iranian",
        "Sino-Tibetan", "Niger-Congo", "Afro-Asiatic", "Austronesian", "other",
    }  # fmt: skip
    serbian = panel.find("srp_Cyrl")
    assert serbian is not None
    assert serbian.scripts == ("Cyrl", "Latn")


def test_a_broken_panel_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[[languages]]\ncode = "yor_Latn"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="name"):
        load_panel(path)
    with pytest.raises(ConfigError, match="no such preset"):
        load_panel("panels/panel-4O")
