"""Languages as FLORES names them (`yor_Latn`), panels of them, and the short codes users type.

A panel is a TOML file; `configs/panels/panel-40.toml` is the study's. Codes outside every shipped
panel are legal wherever their form is (three letters, underscore, four letters): vocabkit does not
keep a list of the world's languages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vocabkit.core.errors import ConfigError
from vocabkit.core.folders import read_toml

CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")

# ISO 639-1 (and the macrolanguage codes people type) → ISO 639-3 as FLORES-200 uses it. Facts of the
# standard for the languages that are in FLORES-200 and have a two-letter code.
_SHORT_CODES = """
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
_SHORT = dict(pair.split(":") for pair in _SHORT_CODES.split())


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


@cache
def known_codes() -> tuple[str, ...]:
    """Return the codes of the shipped panel, the candidates for short codes."""
    return load_panel("panels/panel-40").codes


def resolve_code(text: str, candidates: Iterable[str] | None = None) -> str:
    """Return the FLORES code a user means by `yo`, `yor` or `yor_Latn`.

    `candidates` are the codes that can be meant (default: the shipped panel); a full code is taken as
    it is unless `candidates` are given and lack it. Raises `ConfigError` listing near candidates when
    the code is unknown, or all of them when it is ambiguous (`srp` with two scripts present).
    """
    pool = sorted(set(candidates)) if candidates is not None else sorted(known_codes())
    if CODE.fullmatch(text):
        if candidates is None or text in pool:
            return text
    else:
        language = _SHORT.get(text.lower(), text.lower())
        found = [code for code in pool if code.split("_")[0] == language]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"language {text!r} is ambiguous: {', '.join(found)}", "give the full code")
    near = difflib.get_close_matches(text, pool, n=4, cutoff=0.4) or pool[:8]
    raise ConfigError(
        f"unknown language {text!r}; candidates: {', '.join(near)}",
        "languages are FLORES codes such as yor_Latn; any xxx_Yyyy may name a file of yours",
    )


def split_codes(codes: str | Sequence[str] | None) -> list[str] | None:
    """Return language codes given as a sequence, or in one text with commas; None where none were given."""
    if codes is None:
        return None
    listed = codes.split(",") if isinstance(codes, str) else codes
    return [code for code in (part.strip() for part in listed) if code]
