"""What a text is before any tokenizer sees it: per line its bytes, characters, graphemes, words and digits.

All of the raw text, so that tokenizers that normalise and those that do not have the same denominators.
Measured once per text and kept on disk. Reads no tokenizer, and passes no judgement (see `text_quality`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import unicodedata2

from vocabkit.audit.line_characters import (
    attribute_scripts,
    count_bytes,
    count_digits,
    count_graphemes,
    cut_blocks,
    find_words,
    list_scripts,
    main_scripts,
)
from vocabkit.audit.parallel_text import AuditText, fingerprint_lines
from vocabkit.audit.segmentation import (
    count_types,
    find_support,
    join_types,
    name_segmenter,
    split_types,
)
from vocabkit.audit.statistics_cache import find_cache, load_arrays, save_arrays, trim_folder
from vocabkit.core.errors import CorpusError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.scripts import script_names
from vocabkit.corpus.scheduling import open_executor

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

_FORMAT = 3
_TABLES = ("unicodedata2", "fonttools", "regex", "icu4py")
_PER_LINE = ("bytes", "characters", "graphemes", "white_space_words", "digits")
_POOL_CHARACTERS = 12_000_000
"""Text above which worker processes, which take a second to start, pay: three seconds of one process's work."""


@dataclass(frozen=True, slots=True, eq=False)
class TextStatistics:
    """One language's text. Arrays hold one number a line; from counts a line is a word, `weights` its count.

    `words` are ICU's words, None where ICU cannot find them; `words_note` says so, or what they are instead.
    `scripts` counts characters by ISO 15924 code (Zyyy and Zinh apart), `script_words` white-space words by
    main script, `characters_seen` each character, `word_type_counts` the occurrences of each of `word_types`
    (ICU words, sorted); all four weighted. `nfc_changed` is the number of lines that NFC changes.
    """

    language: str
    bytes: Int32Array
    characters: Int32Array
    graphemes: Int32Array
    words: Int32Array | None
    white_space_words: Int32Array
    digits: Int32Array
    words_note: str | None
    scripts: Mapping[str, int]
    script_words: Mapping[str, int]
    characters_seen: Mapping[str, int]
    word_types: tuple[str, ...]
    word_type_counts: Int64Array
    nfc_changed: int
    weights: Int64Array | None

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.characters)

    def total(self, name: str) -> int:
        """Return the weighted sum of a per-line array, by its name. Raises `ValueError` for words not found."""
        values = getattr(self, name)
        if values is None:
            raise ValueError(f"{self.language}: {self.words_note}")
        return int(values.sum(dtype=np.int64) if self.weights is None else values @ self.weights)


def measure_text(
    text: AuditText,
    *,
    workers: int | None = None,
    cache: Path | None = None,
    kept: Mapping[str, TextStatistics] | None = None,
    progress: Progress | None = None,
) -> Mapping[str, TextStatistics]:
    """Return the statistics of every language of a text, in its order.

    Each language is kept in `cache` (default: the user's cache folder) by its content and the versions of
    the Unicode tables; `kept` is what `load_statistics` found there. More than one of `workers` (default: one
    a core) are spawned processes, so a script needs the usual `if __name__ == "__main__"`. The result is the
    same for any number of them. Raises `CorpusError` for a lone surrogate, naming language and line;
    `MissingExtra` where icu4py is absent.
    """
    folder = find_cache(cache)
    found = dict(load_statistics(text, cache=cache) if kept is None else kept)
    report = progress or Silent()
    report.start("measuring text", len(text.languages), "languages")
    report.advance(len(found))
    sizes = {
        code: sum(map(len, lines)) for code, lines in text.languages.items() if code not in found
    }
    missing = sorted(sizes, key=lambda code: (-sizes[code], code))
    if missing:
        wanted = workers if sum(sizes.values()) >= _POOL_CHARACTERS else 1
        with ExitStack() as stack:
            pool = open_executor(wanted, len(missing), stack)
            jobs: dict[str, Future[TextStatistics]] = {
                code: pool.submit(
                    measure_language, code, text.languages[code], _weights(text, code)
                )
                for code in missing
            }
            for code, job in jobs.items():
                found[code] = job.result()
                save_arrays(_path(folder, text, code), _pack(found[code]))
                report.advance(1)
        trim_folder(folder)
    report.finish()
    return {code: found[code] for code in text.languages}


def load_statistics(text: AuditText, *, cache: Path | None = None) -> dict[str, TextStatistics]:
    """Return the statistics of those languages of a text that are in `cache` (default: the user's)."""
    folder = find_cache(cache)
    found = {}
    for code in text.languages:
        arrays = load_arrays(_path(folder, text, code))
        if arrays is not None:
            found[code] = _unpack(code, arrays, _weights(text, code))
    return found


def measure_language(
    language: str, lines: Sequence[str], weights: Int64Array | None = None
) -> TextStatistics:
    """Return the statistics of one language's lines. Raises as `measure_text` does."""
    size = len(lines)
    per_line = {name: np.zeros(size, np.int32) for name in _PER_LINE}
    seen = np.zeros(0x110000, np.int64)
    script_words = np.zeros(256, np.int64)
    table = attribute_scripts(list_scripts(language))
    try:
        for block in cut_blocks(lines):
            rows = slice(block.start, block.stop)
            heavy = None if weights is None else weights[rows]
            per_line["characters"][rows] = block.ends - block.starts
            per_line["bytes"][rows] = count_bytes(block)
            per_line["digits"][rows] = count_digits(block)
            per_line["graphemes"][rows] = count_graphemes(block, lines)
            per_line["white_space_words"][rows] = block.sum_lines(find_words(block)[1])
            seen += _tally(
                block.points, None if heavy is None else heavy[block.owners()], len(seen)
            )
            main, owners = main_scripts(block, table)
            script_words += _tally(main, None if heavy is None else heavy[owners], 256)
    except UnicodeEncodeError as error:
        raise _name_surrogate(language, lines) from error
    points = np.flatnonzero(seen)
    characters = {chr(point): int(seen[point]) for point in points.tolist()}
    words, types, type_counts = count_types(language, lines, weights)
    names = script_names()
    return TextStatistics(
        language,
        words=words,
        words_note=find_support(language).note,
        scripts=_name_scripts(_tally(table[points], seen[points], 256), names),
        script_words=_name_scripts(script_words, names),
        characters_seen=characters,
        word_types=types,
        word_type_counts=type_counts,
        nfc_changed=sum(unicodedata2.normalize("NFC", line) != line for line in lines),
        weights=weights,
        **per_line,
    )


def _tally(values: npt.NDArray[Any], heavy: Int64Array | None, size: int) -> Int64Array:
    """Return how often each value below `size` occurs, or the sum of its weights (exact below 2**53)."""
    return np.bincount(values, weights=heavy, minlength=size).astype(np.int64)


def _name_scripts(counts: Int64Array, names: Sequence[str]) -> dict[str, int]:
    return {names[index]: int(counts[index]) for index in np.flatnonzero(counts).tolist()}


def _name_surrogate(language: str, lines: Sequence[str]) -> CorpusError:
    number = next(
        (i for i, line in enumerate(lines, 1) if any("\ud800" <= c <= "\udfff" for c in line)), 0
    )
    return CorpusError(
        f"{language}: line {number}: lone surrogate: not text that UTF-8 can write",
        "read the text with `read_audit_text`, or decode it with errors='replace'",
    )


def _weights(text: AuditText, code: str) -> Int64Array | None:
    return None if text.weights is None else text.weights[code]


def _path(folder: Path, text: AuditText, code: str) -> Path:
    """Return a language's file, named by what its statistics depend on: its rows, the tables, this format."""
    weights = None if text.weights is None else {code: text.weights[code]}
    content = fingerprint_lines({code: text.languages[code]}, weights)
    stamp = f"{_FORMAT} {code} {content} {_name_tables()}"
    return folder / f"{hashlib.blake2b(stamp.encode(), digest_size=16).hexdigest()}.npz"


@cache
def _name_tables() -> str:
    return " ".join([name_segmenter(), *map(version, _TABLES)])


def _pack(found: TextStatistics) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(found, name) for name in _PER_LINE}
    if found.words is not None:
        arrays["words"] = found.words
    arrays["word_type_counts"] = found.word_type_counts
    arrays["word_types"] = _bytes(join_types(found.word_types))
    arrays["points"] = np.fromiter(map(ord, found.characters_seen), np.uint32)
    arrays["point_counts"] = np.fromiter(found.characters_seen.values(), np.int64)
    arrays["nfc_changed"] = np.array([found.nfc_changed], np.int64)
    for name in ("scripts", "script_words"):
        table: Mapping[str, int] = getattr(found, name)
        arrays[name] = _bytes(" ".join(table))
        arrays[f"{name}_counts"] = np.fromiter(table.values(), np.int64)
    return arrays


def _unpack(
    language: str, arrays: Mapping[str, npt.NDArray[Any]], weights: Int64Array | None
) -> TextStatistics:
    types = tuple(split_types(arrays["word_types"].tobytes().decode()))
    per_line: dict[str, Int32Array] = {name: arrays[name] for name in _PER_LINE}
    return TextStatistics(
        language,
        words=arrays.get("words"),
        words_note=find_support(language).note,
        characters_seen=dict(
            zip(map(chr, arrays["points"].tolist()), arrays["point_counts"].tolist(), strict=True)
        ),
        word_types=types,
        word_type_counts=arrays["word_type_counts"],
        nfc_changed=int(arrays["nfc_changed"][0]),
        weights=weights,
        scripts=_table(arrays, "scripts"),
        script_words=_table(arrays, "script_words"),
        **per_line,
    )


def _table(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> dict[str, int]:
    keys = arrays[name].tobytes().decode().split()
    return dict(zip(keys, arrays[f"{name}_counts"].tolist(), strict=True))


def _bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)
