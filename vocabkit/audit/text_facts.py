"""What an audit needs of a text besides its statistics: letters, middles of lines, warnings; kept like those.

All of it depends on the text alone (and on the packages that know languages), so that it is found once. What a
file in the cache says is taken only where it fits the text; else it is found anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vocabkit.audit.exemplars import load_exemplars
from vocabkit.audit.figures import Warned
from vocabkit.audit.language_encoding import Switched
from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.segmentation import name_segmenter
from vocabkit.audit.statistics_cache import find_cache, load_values, save_values
from vocabkit.audit.switching import draw_rows, find_middles, join_halves
from vocabkit.audit.text_quality import warn_of_text
from vocabkit.audit.text_statistics import TextStatistics
from vocabkit.core.languages import Panel
from vocabkit.core.provenance import package_versions

SWITCHED = 60
"""Code-switched lines of a language: the 95 % interval of their cost over their halves' is then 0.1 % of it
on either side in ntrex's median language, and 0.6 % in the worst."""
_FORMAT = 1
_TABLES = ("vocabkit", "unicodedata2", "fonttools", "regex", "gflanguages")
_Middles = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True, slots=True, eq=False)
class TextFacts:
    """A text's letters by language (None without a list), code-switched lines by language, and warnings.

    `switched` are lines of the reference and the other language, see `switching`; none of the reference itself.
    """

    exemplars: Mapping[str, frozenset[str] | None]
    switched: Mapping[str, Switched]
    warnings: tuple[Warned, ...]


class FactsSearch:
    """The search for a text's facts: started with the jobs that others can do, finished by `finish`."""

    def __init__(
        self,
        text: AuditText,
        *,
        panel: Panel | None,
        reference: str,
        seed: int,
        pool: Executor,
        cache: Path | None = None,
    ) -> None:
        """Look in `cache` (default: the user's), and submit to `pool` what is not there."""
        self._text, self._panel, self._reference = text, panel, reference
        self._rows = draw_rows(text.alignment.lines or 0, seed, SWITCHED)
        self._path = find_cache(cache) / f"{_key(text, panel, seed)}.json"
        self._kept = _read(text, self._rows, load_values(self._path))
        self._letters: Future[dict[str, list[str] | None]] | None = None
        self._middles: dict[str, Future[list[int | None]]] = {}
        if self._kept is None:
            self._letters = pool.submit(_list_exemplars, tuple(text.languages))
            self._middles = {
                code: pool.submit(
                    find_middles, [text.languages[code][row] for row in self._rows], code
                )
                for code in text.aligned_languages
            }

    def finish(self, statistics: Mapping[str, TextStatistics]) -> TextFacts:
        """Return the facts, once they are all found; those found anew are kept."""
        if self._kept is None:
            assert self._letters is not None
            warnings = warn_of_text(self._text, statistics, self._panel)
            values: dict[str, Any] = {
                "exemplars": self._letters.result(),
                "middles": {code: job.result() for code, job in self._middles.items()},
                "warnings": [asdict(warned) for warned in warnings],
            }
            save_values(self._path, values)
            self._kept = _read(self._text, self._rows, values)
        assert self._kept is not None
        exemplars, middles, warned = self._kept
        return TextFacts(exemplars, self._switch(middles), warned)

    def _switch(self, middles: _Middles) -> dict[str, Switched]:
        """Return code-switched lines of the reference and every other aligned language."""
        aligned = self._text.aligned_languages
        if self._reference not in aligned:
            return {}
        lines = {code: [self._text.languages[code][row] for row in self._rows] for code in aligned}
        own = (lines[self._reference], middles[self._reference])
        return {
            code: join_halves(*own, lines[code], middles[code])
            for code in aligned
            if code != self._reference
        }


_Facts = tuple[dict[str, frozenset[str] | None], _Middles, tuple[Warned, ...]]


def _read(text: AuditText, rows: Sequence[int], values: object) -> _Facts | None:
    """The facts that values of a file are, or None where they are not this text's facts."""
    try:
        assert isinstance(values, dict)
        letters, middles = values["exemplars"], values["middles"]
        exemplars = {
            code: None if letters[code] is None else frozenset(letters[code])
            for code in text.languages
        }
        kept = {code: middles[code] for code in text.aligned_languages}
        warned = tuple(
            Warned(**{**item, "examples": tuple(item["examples"])}) for item in values["warnings"]
        )
        fits = all(len(cuts) == len(rows) for cuts in kept.values()) and all(
            cut is None or type(cut) is int for cuts in kept.values() for cut in cuts
        )
    except (AssertionError, KeyError, TypeError):
        return None
    return (exemplars, kept, warned) if fits else None


def _list_exemplars(codes: Sequence[str]) -> dict[str, list[str] | None]:
    found = {code: load_exemplars(code) for code in codes}
    return {code: None if letters is None else sorted(letters) for code, letters in found.items()}


def _key(text: AuditText, panel: Panel | None, seed: int) -> str:
    """Return what the facts depend on, as a digest: the text, what the panel says of it, tables and rules."""
    known = {code: panel.find(code) for code in text.languages} if panel else {}
    scripts = {code: language.scripts for code, language in known.items() if language}
    drawn = f"{seed} {SWITCHED}"
    stamp = (
        f"{_FORMAT} {text.fingerprint} {sorted(text.languages)} {scripts} {drawn} {_name_tables()}"
    )
    return hashlib.blake2b(stamp.encode(), digest_size=16).hexdigest()


def _name_tables() -> str:
    return f"{name_segmenter()} {package_versions(_TABLES)}"
