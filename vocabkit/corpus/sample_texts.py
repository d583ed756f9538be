"""Real text in the panel's languages out of three installed packages, cleaned line by line.

    gflanguages   passages of the Universal Declaration of Human Rights
    Babel         CLDR's names of languages, territories, scripts, currencies, units and time zones
    Django        the messages of its user interface, keyed by the English one

It finds and cleans lines; what goes into a sample, and how much, is `sample`'s matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from vocabkit.core.errors import MissingExtra
from vocabkit.core.scripts import piece_script

# CLDR's codes for the panel's languages. Where packages disagree on a script the FLORES code decides.
_TAGS = """
eng_Latn:en deu_Latn:de nld_Latn:nl swe_Latn:sv fra_Latn:fr spa_Latn:es ita_Latn:it por_Latn:pt
ron_Latn:ro rus_Cyrl:ru ukr_Cyrl:uk bul_Cyrl:bg srp_Cyrl:sr pol_Latn:pl ces_Latn:cs hin_Deva:hi
mar_Deva:mr npi_Deva:ne ben_Beng:bn urd_Arab:ur sin_Sinh:si pes_Arab:fa tgk_Cyrl:tg ckb_Arab:ckb
cym_Latn:cy zho_Hans:zh mya_Mymr:my swh_Latn:sw zul_Latn:zu yor_Latn:yo ibo_Latn:ig arb_Arab:ar
heb_Hebr:he amh_Ethi:am hau_Latn:ha ind_Latn:id tgl_Latn:fil tam_Taml:ta khm_Khmr:km lao_Laoo:lo
"""
TAGS: Mapping[str, str] = dict(pair.split(":") for pair in _TAGS.split())
PACKAGES: Mapping[str, tuple[str, str]] = {
    "gflanguages": (
        "passages of the Universal Declaration of Human Rights",
        "Apache-2.0 (package); text of the Declaration: United Nations",
    ),
    "babel": ("Unicode CLDR display names", "BSD-3-Clause (package); Unicode-3.0 (CLDR data)"),
    "django": ("messages of the Django user interface", "BSD-3-Clause"),
}
_SCRIPTS = {"Hans": "Hani", "Hant": "Hani"}
# Placeholders, markup, addresses, code: a reader would not write these.
_NOT_PROSE = re.compile(r"%[(a-z%]|[{}<>\\|=_`#]|&\w+;|://|\.\w+\(|\w/\w+/|^\W*$")


def check_packages() -> None:
    """Raise `MissingExtra` naming the packages of the extra `sample` that are not installed."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        raise MissingExtra(
            f"the sample's text comes from packages that are not installed: {', '.join(absent)}",
            "pip install 'vocabkit[sample]'",
        )


def read_declaration(code: str) -> list[str]:
    """Return passages of the Declaration in a language, none of them part of another; [] without one."""
    language = _declarations().get(f"{TAGS[code]}_{code.split('_')[1]}")
    if language is None or not language.HasField("sample_text"):
        return []
    sample = language.sample_text
    names = (field.name for field in sample.DESCRIPTOR.fields)
    texts = (getattr(sample, name) for name in names if name.startswith("specimen"))
    lines = [
        clean for text in texts for line in text.split("\n") if (clean := clean_line(line, code))
    ]
    return [
        line
        for line in dict.fromkeys(lines)
        if not any(line in other for other in lines if other != line)
    ]


def read_names(code: str) -> dict[str, str]:
    """Return CLDR names in a language by key (`territory NG`). Some equal the English name: Angola."""
    return {
        key: clean
        for key, text in _raw_names(_locale_name(code)).items()
        # A name that CLDR lacks comes back as its key.
        if key.split(" ", 1)[1] != text and (clean := clean_line(text, code))
    }


def read_messages(code: str) -> dict[str, str]:
    """Return Django's messages in a language by their English; {} where it is not translated."""
    if code == "eng_Latn":
        # The source language has no catalogue of its own; every other one holds its messages.
        pairs = {key: key for other in ("de", "fr", "ckb") for key, _ in _raw_messages(other)}
    else:
        pairs = dict(_raw_messages("zh_Hans" if code == "zho_Hans" else TAGS[code]))
        pairs = {key: text for key, text in pairs.items() if key != text}
    return {
        key: clean
        for key, text in sorted(pairs.items())
        if clean_line(key, "eng_Latn") and (clean := clean_line(text, code))
    }


def clean_line(text: str, code: str) -> str | None:
    """Return one line of prose in the language's script (NFC, single spaces), or None where it is not."""
    line = unicodedata.normalize("NFC", " ".join(text.split())).strip()
    script = code.split("_")[1]
    if len(line) < 2 or _NOT_PROSE.search(line):
        return None
    return line if piece_script(line) == _SCRIPTS.get(script, script) else None


def _locale_name(code: str) -> str:
    return f"{TAGS[code]}_{code.split('_')[1]}" if code in {"zho_Hans", "srp_Cyrl"} else TAGS[code]


@cache
def _declarations() -> Mapping[str, Any]:
    import gflanguages

    found: Mapping[str, Any] = gflanguages.LoadLanguages()
    return found


@cache
def _raw_names(locale_name: str) -> dict[str, str]:
    from babel import Locale

    locale = Locale.parse(locale_name)
    tables: dict[str, Mapping[Any, Any]] = {
        "territory": locale.territories,
        "language": locale.languages,
        "script": locale.scripts,
        "variant": locale.variants,
        "currency": locale.currencies,
        "zone": {key: value.get("city") for key, value in locale.time_zones.items()},
        "unit": {key: value.get("long") for key, value in locale.unit_display_names.items()},
    }
    for form in ("generic", "standard", "daylight"):
        tables[form] = {
            key: value.get("long", {}).get(form) for key, value in locale.meta_zones.items()
        }
    return {
        f"{kind} {key}": text
        for kind, table in tables.items()
        for key, text in sorted(table.items())
        if isinstance(text, str)
    }


def _raw_messages(folder: str) -> Iterator[tuple[str, str]]:
    from babel.messages.mofile import read_mo

    root = files("django")
    applications = sorted((root / "contrib").iterdir(), key=lambda place: place.name)
    for place in (root / "conf", *applications):
        catalogue = place / "locale" / folder / "LC_MESSAGES" / "django.mo"
        if not catalogue.is_file():
            continue
        with catalogue.open("rb") as file:
            for message in read_mo(file):
                # Plural forms say the same thing several times over, mostly around a placeholder.
                if message.id and isinstance(message.id, str) and isinstance(message.string, str):
                    yield message.id, message.string
