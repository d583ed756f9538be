from pathlib import Path

import pytest
from babel import Locale

from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import load_panel, name_languages, resolve_code, resolve_codes, resolve_keys


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
    with pytest.raises(ConfigError, match="unknown language 'Yorba'; candidates: yor_Latn"):
        resolve_code("Yorba")


# What two-letter and old three-letter codes are in FLORES-200, as its authors list them.
SHORT = """
af:afr ak:aka am:amh ar:arb as:asm ay:ayr az:azj ba:bak be:bel bg:bul bm:bam bn:ben bo:bod
bs:bos ca:cat cs:ces cy:cym da:dan de:deu dz:dzo ee:ewe el:ell en:eng eo:epo es:spa et:est
eu:eus fa:pes ff:fuv fi:fin fj:fij fo:fao fr:fra ga:gle gd:gla gl:glg gn:grn gu:guj ha:hau
he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat
kg:kon ki:kik kk:kaz km:khm kn:kan ko:kor kr:knc ks:kas ku:kmr ky:kir lb:ltz lg:lug li:lim
ln:lin lo:lao lt:lit lv:lvs mg:plt mi:mri mk:mkd ml:mal mn:khk mr:mar ms:zsm mt:mlt my:mya
nb:nob ne:npi nl:nld nn:nno no:nob ny:nya oc:oci om:gaz or:ory pa:pan pl:pol ps:pbt pt:por
qu:quy rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd sg:sag si:sin sk:slk sl:slv sm:smo
sn:sna so:som sq:als sr:srp ss:ssw st:sot su:sun sv:swe sw:swh ta:tam te:tel tg:tgk th:tha
ti:tir tk:tuk tl:tgl tn:tsn tr:tur ts:tso tt:tat tw:twi ug:uig uk:ukr ur:urd uz:uzn vi:vie
wo:wol xh:xho yi:ydd yo:yor zh:zho zu:zul ara:arb aze:azj est:est fas:pes fil:tgl lav:lvs
mlg:plt mon:khk msa:zsm nep:npi nor:nob ori:ory orm:gaz pus:pbt sqi:als swa:swh uzb:uzn yid:ydd
kur:kmr
"""


@pytest.mark.parametrize("pair", SHORT.split())
def test_short_and_old_codes_are_the_languages_of_flores(pair: str) -> None:
    text, language = pair.split(":")
    assert resolve_code(text).partition("_")[0] == language


def test_every_language_of_flores_by_code_and_by_its_name_in_cldr() -> None:
    # Only here: transformers takes a second to load.
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    names = Locale.parse("en").languages
    for code in FAIRSEQ_LANGUAGE_CODES:
        language, script = code.split("_")
        assert resolve_code(code) == resolve_code(f"{language}-{script.upper()}") == code
        assert resolve_code(language.upper()).startswith(language)
        assert resolve_code(language, [code, "xxx_Latn"]) == code
        if name := names.get(language):
            assert resolve_code(name).partition("_")[0] == language
            assert resolve_code(name.lower().replace(" ", "_"), [code, "xxx_Latn"]) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("iw", "heb_Hebr"), ("in", "ind_Latn"), ("ji", "ydd_Hebr"), ("jw", "jav_Latn"), ("sh", "srp_Latn"),
        ("chi", "zho_Hans"), ("cmn", "zho_Hans"), ("zh-yue", "yue_Hant"), ("no", "nob_Latn"),
        ("zh-CN", "zho_Hans"), ("zh_TW", "zho_Hant"), ("zh-Hant-HK", "zho_Hant"), ("pt-BR", "por_Latn"),
        ("sr-Latn-RS", "srp_Latn"), ("es-419", "spa_Latn"), ("fa-AF", "prs_Arab"), ("Dari", "prs_Arab"),
        ("Chinese (Traditional)", "zho_Hant"), ("simplified_chinese", "zho_Hans"), ("Farsi", "pes_Arab"),
        ("Brazilian Portuguese", "por_Latn"), ("Serbian (Latin)", "srp_Latn"), ("Bokmål", "nob_Latn"),
        ("bokmal", "nob_Latn"), ("Mandarin", "zho_Hans"), ("Greek", "ell_Grek"), ("Deutsch", "deu_Latn"),
        ("gsw", "gsw_Latn"), ("Cornish", "cor_Latn"), ("haw", "haw_Latn"), ("Odia", "ory_Orya"),
    ],
)  # fmt: skip
def test_names_that_people_use(text: str, code: str) -> None:
    assert resolve_code(text) == code


@pytest.mark.parametrize(
    ("text", "here", "code"),
    [
        ("ko", ["kor_Kore"], "kor_Kore"), ("ara_Arab", ["arb_Arab"], "arb_Arab"),
        ("ff", ["fuc_Latn"], "fuc_Latn"),
        ("cmn_Hans", ["zho_Hans"], "zho_Hans"), ("Serbian", ["srp_Latn"], "srp_Latn"),
        ("no", ["nno_Latn", "nob_Latn"], "nob_Latn"), ("de", ["deu_Latn", "gsw_Latn"], "deu_Latn"),
        ("zh-CN", ["zho_Hans", "zho_Hant"], "zho_Hans"), ("Yue", ["yue_Hant", "zho_Hant"], "yue_Hant"),
    ],
)  # fmt: skip
def test_what_is_there_decides(text: str, here: list[str], code: str) -> None:
    assert resolve_code(text, here) == code


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("ms", "ind_Latn"), ("ar", "arz_Arab"), ("arz", "arb_Arab"), ("zh-TW", "zho_Hans"), ("yue", "zho_Hant"),
        ("fa", "prs_Arab"), ("nn", "nob_Latn"), ("ku", "ckb_Arab"), ("sr-Cyrl", "srp_Latn"),
    ],
)  # fmt: skip
def test_a_neighbour_is_never_meant(text: str, here: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown language '{text}'; candidates: {here}"):
        resolve_code(text, [here])


@pytest.mark.parametrize(
    "text", ["text", "mono", "train", "docs", "dev", "the", "all", "xx", "und", "mis", "yor_Lat", "", "-"]
)
def test_a_word_that_no_one_calls_a_language_by(text: str) -> None:
    with pytest.raises(ConfigError, match="unknown language"):
        resolve_code(text)


def test_all_wrong_names_are_in_one_message() -> None:
    here = ["deu_Latn", "yor_Latn", "zho_Hans", "zho_Hant"]
    with pytest.raises(ConfigError) as caught:
        resolve_codes(["Yorba", "yo", "Germn", "zh"], here)
    said = caught.value.message
    assert "'Yorba'; candidates: yor_Latn" in said
    assert "'Germn'; candidates: deu_Latn" in said
    assert "'zh' is ambiguous: zho_Hans, zho_Hant" in said
    assert "'yo'" not in said


def test_the_keys_of_a_table() -> None:
    here = ["deu_Latn", "yor_Latn"]
    assert resolve_keys({"Yoruba": 1, "de": 2, "xx": 3}, here) == {"yor_Latn": 1, "deu_Latn": 2, "xx": 3}
    with pytest.raises(ConfigError, match="yor_Latn, which has a value already"):
        resolve_keys({"yo": 1, "yor_Latn": 2}, here)


def test_languages_are_called_by_the_panel_then_by_cldr_and_never_alike() -> None:
    codes = ["zho_Hans", "jpn_Jpan", "prs_Arab", "srp_Cyrl", "srp_Latn", "qqq_Latn", "corpus"]
    assert name_languages(codes, load_panel("panel-40")) == {
        "zho_Hans": "Chinese (Simplified)", "jpn_Jpan": "Japanese", "prs_Arab": "Dari",
        "srp_Cyrl": "Serbian (Cyrillic)", "srp_Latn": "Serbian (Latin)",
        "qqq_Latn": "qqq_Latn", "corpus": "corpus",
    }  # fmt: skip
    # CLDR as Babel has it calls them the same.
    english = Locale("en").languages
    for code, tag in (("kat_Geor", "ka"), ("tha_Thai", "th"), ("amh_Ethi", "am"), ("yor_Latn", "yo")):
        assert name_languages([code]) == {code: english[tag]}


def test_every_language_of_flores_has_a_name_of_its_own() -> None:
    from vocabkit.core.languages import _list_flores

    named = name_languages(_list_flores())
    assert len(set(named.values())) == len(named) == 204
    assert not [name for name in named.values() if "_" in name or "nknown" in name]


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
