"""Languages as FLORES names them (`yor_Latn`), panels of them, and the names users type.

A panel is a TOML file; `configs/panels/panel-40.toml` is the study's. Codes outside every shipped
panel are legal wherever their form is (three letters, underscore, four letters). Languages may be named as
people name them, anywhere: `resolve_code` is where a name becomes a code.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from vocabkit.core.errors import ConfigError
from vocabkit.core.folders import read_toml

T = TypeVar("T")

CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")

# The languages of FLORES-200, by script: what a looser name comes to where neither a corpus nor a panel decides
# (`ps` is pbt_Arab). All else about names is langcodes' and its data's.
_FLORES_200 = """
Latn: ace afr aka als arb ast ayr azj bam ban bem bjn bos bug cat ceb ces cjk crh cym dan deu dik dyu eng epo
est eus ewe fao fij fin fon fra fur fuv gaz gla gle glg grn hat hau hrv hun ibo ilo ind isl ita jav kab kac
kam kbp kea kik kin kmb kmr knc kon lij lim lin lit lmo ltg ltz lua lug luo lus lvs min mlt mos mri nld nno
nob nso nus nya oci pag pap plt pol por quy ron run sag scn slk slv smo sna som sot spa srd ssw sun swe swh
szl taq tgl tpi tsn tso tuk tum tur twi umb uzn vec vie war wol xho yor zsm zul
Arab: ace acm acq aeb ajp apc arb ars ary arz azb bjn ckb kas knc min pbt pes prs snd uig urd
Cyrl: bak bel bul kaz khk kir mkd rus srp tat tgk ukr
Deva: awa bho hin hne kas mag mai mar npi san
Beng: asm ben mni Ethi: amh tir Tfng: taq tzm Tibt: bod dzo Hebr: heb ydd Mymr: mya shn Grek: ell Armn: hye
Geor: kat Gujr: guj Guru: pan Hang: kor Hans: zho Hant: yue zho Jpan: jpn Khmr: khm Knda: kan Laoo: lao Mlym:
mal Olck: sat Orya: ory Sinh: sin Taml: tam Telu: tel Thai: tha
"""
_SCRIPTS_OF_ONE = ({"Kore", "Hang"}, {"Jpan", "Hrkt"})
"""Scripts that one text may be filed under by either name."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language of a panel: FLORES code, name, classification, ISO 15924 scripts, resource class."""

    code: str
    name: str
    family: str
    branch: str
    group: str
    scripts: tuple[str, ...]
    resource: str
    tail: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """A named list of languages, in the order that decides block order and table order."""

    name: str
    languages: tuple[Language, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The languages' codes, in panel order."""
        return tuple(language.code for language in self.languages)

    @property
    def tail(self) -> tuple[str, ...]:
        """The codes of the tail languages, in panel order."""
        return tuple(language.code for language in self.languages if language.tail)

    def find(self, code: str) -> Language | None:
        """Return the language with this code, or None."""
        return next((language for language in self.languages if language.code == code), None)


_PANEL_HINT = "vocabkit presets show panels/panel-40"


def load_panel(name: str | Path) -> Panel:
    """Read a panel by preset name (`panels/panel-40`) or path. Raises `ConfigError`."""
    # Its models cost a worker process 0.07 s, and workers load no panel.
    from vocabkit.core.config import find_preset

    path = find_preset(name, "panels")
    data, hint = read_toml(path, ConfigError, _PANEL_HINT), _PANEL_HINT
    try:
        rows = tuple(
            Language(
                row["code"], row["name"], row["family"], row["branch"], row["group"],
                tuple(row["scripts"]), row["resource"], bool(row["tail"]),
            )
            for row in data["languages"]
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: a panel is [[languages]] tables with code, name, family, branch, group, scripts, "
            f"resource and tail; wrong or missing: {error}",
            hint,
        ) from error
    codes = [row.code for row in rows]
    for code in codes:
        if not isinstance(code, str) or not CODE.fullmatch(code):
            what = f"{path}: {code!r} is not a language code such as yor_Latn"
            raise ConfigError(what, hint)
        if codes.count(code) > 1:
            raise ConfigError(f"{path}: {code} is listed twice", "remove one of its [[languages]] tables")
    return Panel(str(data.get("name", path.stem)), rows)


# --- Names ------------------------------------------------------------------------------------------
# What people type is read into subtags (BCP 47's: ISO 639-1 or -3, a script, a country), and those are held
# against the codes that can be meant. A language may be called by its macrolanguage (`ar` for arb) and the
# other way round, never by its neighbour (`arz` is not arb). What knows names is loaded when one comes: 0.1 s.


def resolve_code(text: str, candidates: Iterable[str] | None = None) -> str:
    """Return the FLORES code a user means by `yo`, `yor`, `yor_Latn`, `yo-NG` or `Yoruba`.

    `candidates` are the codes that can be meant; without them the shipped panel decides, then FLORES-200, then
    the script that a language is mostly written in. A full code is taken as it is unless `candidates` are given
    and lack it. Raises `ConfigError` naming those nearest by spelling when it is unknown, or all that are meant
    when it is ambiguous (`srp` with two scripts present).

    >>> resolve_code("pt-BR"), resolve_code("iw"), resolve_code("Haitian Creole")
    ('por_Latn', 'heb_Hebr', 'hat_Latn')
    """
    return resolve_codes([text], *([] if candidates is None else [candidates]), beyond=candidates is None)[0]


def resolve_codes(texts: Iterable[str], *pools: Iterable[str], beyond: bool = False) -> list[str]:
    """Return the code of every name, in their order. Raises one `ConfigError` for all names that have none.

    The first of the pools that has a language so called decides; `beyond` them a name means what it means to
    `resolve_code` without candidates.
    """
    listed = [sorted(set(pool)) for pool in pools]
    codes, wrong = [], {}
    for text in texts:
        found = next(filter(None, (find_codes(text, pool) for pool in listed)), [])
        if not found and beyond:
            found = [text] if CODE.fullmatch(text) else _find_usual(text)
        codes.append(found[0] if found else "")
        if len(found) > 1:
            wrong[f"language {text!r} is ambiguous: {', '.join(found)}"] = "give the full code"
        elif not found:
            near = _find_near(text, sorted({code for pool in listed for code in pool}), beyond)
            wrong[f"unknown language {text!r}{'; candidates: ' if near else ''}{', '.join(near)}"] = _NAMED
    if wrong:
        raise ConfigError("; ".join(wrong), next(iter(wrong.values())))
    return codes


_NAMED = "languages are named as yor_Latn, yor, yo, yo-NG or Yoruba; any xxx_Yyyy may name a file of yours"


def resolve_keys(table: Mapping[str, T], candidates: Iterable[str]) -> dict[str, T]:
    """Return a table by the languages' codes; a name that is none of the candidates' stays for its reader.

    Raises `ConfigError` for a name that leaves several open, and for two names of one language.
    """
    pool, found = sorted(set(candidates)), dict[str, T]()
    for name, value in table.items():
        code = resolve_codes([name], pool)[0] if find_codes(name, pool) else name
        if code in found:
            raise ConfigError(f"{name!r} is {code}, which has a value already", f"give {code} one value")
        found[code] = value
    return found


def find_codes(text: str, candidates: Iterable[str]) -> list[str]:
    """Return which of these codes a name means: none, one, or all that it leaves open."""
    pool = sorted(set(candidates))
    if text in pool:
        return [text]
    wanted = _read_tag(text) or _read_name(text)
    return wanted.choose(pool) if wanted else []


def _find_usual(text: str) -> list[str]:
    """What a name means where nothing else decides."""
    wanted = _read_tag(text) or _read_name(text)
    if wanted is None:
        return []
    for codes in (load_panel("panels/panel-40").codes, _list_flores()):
        if found := wanted.choose(sorted(codes)):
            usual = [code for code in found if code == _write_usual(wanted)]
            return usual or found
    usual_code = _write_usual(wanted)
    return [usual_code] if usual_code else []


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a name says: a language's subtag, the script and the country, where it says them."""

    language: str
    script: str | None
    territory: str | None

    def choose(self, pool: Sequence[str]) -> list[str]:
        """Those of the codes that are meant, by the closest way in which any of them is this language."""
        of = {code: code.partition("_")[0] for code in pool}
        preferred, key = _choose_flores(self.language), _normalize(self.language)
        ways = (
            lambda part: part == _write_alpha3(self.language),
            lambda part: part == preferred,
            lambda part: _normalize(part) == key,
            lambda part: preferred is None and _find_macro(part) == key[0],
        )
        for is_meant in ways:
            if found := [code for code in pool if is_meant(of[code])]:
                return self._narrow(found)
        return []

    def _narrow(self, found: list[str]) -> list[str]:
        from langcodes import Language as Tag
        from langcodes.data_dicts import LIKELY_SUBTAGS

        script, strict = self.script, True
        if script is None and self.territory:
            tag = f"{_normalize(self.language)[0]}-{self.territory}"
            # `zh-TW` is the other script, `pt-BR` is not: only what a country changes is insisted on.
            script, strict = Tag.get(tag).maximize().script, tag in LIKELY_SUBTAGS
        if script is None:
            return found
        alike = next((group for group in _SCRIPTS_OF_ONE if script in group), {script})
        kept = [code for code in found if code.partition("_")[2] in alike]
        return kept if kept or strict else found


@cache
def _read_tag(text: str) -> _Wanted | None:
    """Read a code: `yo`, `yor`, `zh_CN`, `sr-Latn-RS`, `iw`, also a full one that is written otherwise."""
    from langcodes import Language as Tag
    from langcodes.data_dicts import LANGUAGE_REPLACEMENTS
    from langcodes.tag_parser import LanguageTagError

    try:
        given = Tag.get(text.strip().replace("_", "-"), normalize=False)
        known = Tag.get(str(given))
    except LanguageTagError:
        return None
    # What is read as an extension of a language and is none is a misspelt script: `yor-Lat`.
    unread = given.private or known.extlangs or given.language in (None, "und")
    if unread or not known.is_valid():
        return None
    # An extended language (`zh-yue`) is one of its own; Serbo-Croatian (`sh`) has a script by its old code.
    language = known.language if given.extlangs else given.language
    for old, new in LANGUAGE_REPLACEMENTS.items():
        # Dari is the Persian of Afghanistan to CLDR, and a language of its own to FLORES.
        if given.territory and new == f"{known.language}-{given.territory}" and _choose_flores(old) == old:
            return _Wanted(old, known.script, None)
    return _Wanted(language or "", known.script, given.territory)


@cache
def _read_name(text: str) -> _Wanted | None:
    """Read a name: `Yoruba`, `Deutsch`, `Portuguese (Brazil)`, `serbian_cyrillic`."""
    words = _fold(text).split()
    for spoken in ("en", "und"):
        names = _load_names(spoken, "language")
        if (tag := names.get(" ".join(words))) and _is_said(tag, spoken):
            return _read_tag(tag)
        for cut in range(1, len(words)):
            for name, rest in ((words[:cut], words[cut:]), (words[cut:], words[:cut])):
                said = " ".join(word for word in rest if word not in ("script", "in", "language"))
                tag = names.get(" ".join(word for word in name if word != "in"))
                script = _load_names(spoken, "script").get(said)
                territory = _load_names(spoken, "territory").get(said)
                if tag and _is_said(tag, spoken) and (not said or script or territory):
                    return _read_tag("-".join(part for part in (tag, script, territory) if part))
    return None


def _is_said(tag: str, spoken: str) -> bool:
    """Whether a name is taken: `mono` is Bodo's in some language, and a folder of text in one language."""
    return spoken == "en" or _choose_flores(tag.partition("-")[0]) is not None


@cache
def _load_names(spoken: str, what: str) -> dict[str, str]:
    """The subtags behind names in English (`en`) or in any language (`und`), without their accents."""
    from language_data.names import load_trie
    from language_data.util import data_filename

    trie = load_trie(data_filename(f"trie/{spoken}/name_to_{what}.marisa"))
    named: dict[str, str] = {}
    for name, tag in sorted(trie.items()):
        folded = _fold(name)
        if folded not in named or folded == name:
            named[folded] = tag.decode()
    return named


def _fold(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[\W_]+", " ", plain).split())


@cache
def _normalize(language: str) -> tuple[str, str | None]:
    """A subtag as CLDR writes it, by the macrolanguage where that means it: `arb` and `ara` are ar."""
    from langcodes import Language as Tag
    from langcodes import standardize_tag
    from langcodes.tag_parser import LanguageTagError

    try:
        # Dari (`prs`) is the Persian of a country: without that it would be Iran's.
        known = Tag.get(standardize_tag(language, macro=True))
    except LanguageTagError:
        return language, None
    return known.language or language, known.territory


def _find_macro(language: str) -> str | None:
    from langcodes.data_dicts import MACROLANGUAGES

    found: str | None = MACROLANGUAGES.get(_normalize(language)[0])
    return found


@cache
def _write_alpha3(language: str) -> str:
    from langcodes import Language as Tag

    try:
        return Tag.get(language, normalize=False).to_alpha3()
    except LookupError:
        return language


@cache
def _list_flores() -> tuple[str, ...]:
    codes, script = [], ""
    for word in _FLORES_200.split():
        if word.endswith(":"):
            script = word[:-1]
        else:
            codes.append(f"{word}_{script}")
    return tuple(sorted(codes))


def list_known() -> tuple[str, ...]:
    """Return the codes of FLORES-200 and of the shipped panel, sorted: those that are worth offering."""
    return tuple(sorted({*_list_flores(), *load_panel("panels/panel-40").codes}))


@cache
def _choose_flores(language: str) -> str | None:
    """The language of FLORES-200 that a subtag means, a macrolanguage its one member there or the closest."""
    from langcodes import tag_distance

    parts = sorted({code.partition("_")[0] for code in _list_flores()})
    key, exact = _normalize(language), _write_alpha3(language)
    if exact in parts:
        return exact
    if same := [part for part in parts if _normalize(part) == key]:
        return same[0]
    members = [part for part in parts if _find_macro(part) == key[0] == _normalize(language)[0]]
    return min(members, key=lambda part: tag_distance(language, part), default=None)


def _write_usual(wanted: _Wanted) -> str | None:
    """The code in the script that is said, or that is mostly written; None where that is not known."""
    from langcodes import Language as Tag
    from langcodes.data_dicts import LIKELY_SUBTAGS

    language, _ = _normalize(wanted.language)
    script = wanted.script
    if script is None and language in LIKELY_SUBTAGS:
        script = Tag.get("-".join(part for part in (language, wanted.territory) if part)).maximize().script
    part = _choose_flores(wanted.language) or _write_alpha3(wanted.language)
    return f"{part}_{script}" if script and CODE.fullmatch(f"{part}_{script}") else None


def _find_near(text: str, pool: Sequence[str], beyond: bool) -> list[str]:
    """The codes that are spelled nearest, by themselves or by a name; where none is, some that can be meant."""
    known = sorted({*pool, *_list_flores()}) if beyond else pool
    names = difflib.get_close_matches(_fold(text), _load_names("en", "language"), n=8, cutoff=0.7)
    named = [code for name in names for code in find_codes(name, known)]
    spelled = difflib.get_close_matches(text, known, n=4, cutoff=0.6 if named else 0.4)
    return [*dict.fromkeys([*named, *spelled])][:4] or [*pool][:8]


def name_languages(codes: Iterable[str], panel: Panel | None = None) -> dict[str, str]:
    """Return what each code is called in English, by the panel and else by CLDR; else the code itself.

    Where two would be called the same, their scripts are said.

    >>> name_languages(["yor_Latn", "srp_Cyrl", "srp_Latn"])
    {'yor_Latn': 'Yoruba', 'srp_Cyrl': 'Serbian (Cyrillic)', 'srp_Latn': 'Serbian (Latin)'}
    """
    from langcodes import Language as Tag

    plain, full = dict[str, str](), dict[str, str]()
    for code in codes:
        known, (language, _, script) = panel.find(code) if panel else None, code.partition("_")
        # Dari is the Persian of a country to CLDR: by its own name first.
        tags = [Tag.get(language, normalize=normal) for normal in (False, True) if CODE.fullmatch(code)]
        said = (tag.language_name("en").removesuffix(" (individual language)") for tag in tags)
        named = next((name for name in said if not name.startswith("Unknown")), code)
        plain[code] = known.name if known else named
        written = Tag.get(f"und-{script}").script_name("en") if tags else ""
        full[code] = f"{plain[code]} ({written})" if written and plain[code] != code else plain[code]
    often = Counter(plain.values())
    return {code: full[code] if often[name] > 1 else name for code, name in plain.items()}


def split_codes(codes: str | Sequence[str] | None) -> list[str] | None:
    """Return language codes given as a sequence, or in one text with commas; None where none were given."""
    if codes is None:
        return None
    listed = codes.split(",") if isinstance(codes, str) else codes
    return [code for code in (part.strip() for part in listed) if code]
