"""The files of a shared vocabulary's folder: the tokenizer, who got what, and what was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vocabkit.configurations.language_table import write_rows
from vocabkit.core.config import Config, dump_toml
from vocabkit.fitting.coverage import Coverage
from vocabkit.fitting.sorting import Int64Array
from vocabkit.vocabulary.vocabulary import Vocabulary


def save_vocabulary(
    folder: Path,
    vocabulary: Vocabulary,
    usage: Mapping[str, Int64Array],
    rows: Sequence[Mapping[str, object]],
    coverage: Coverage,
    config: Config,
) -> None:
    """Write the vocabulary's files, languages.tsv, cut_characters.tsv and config.toml.

    `folder` exists and is empty; the manifest is the caller's, who knows the command.
    """
    vocabulary.save(folder, usage=usage)
    write_rows(rows, folder / "languages.tsv")
    cut = [
        {
            "language": row.language,
            "code_point": f"U+{ord(row.character):04X}",
            "character": _printable(row.character),
            "count": row.count,
            "share": row.share,
        }
        for row in coverage.cut
    ]
    write_rows(cut, folder / "cut_characters.tsv", CUT_COLUMNS)
    (folder / "config.toml").write_text(dump_toml(config), encoding="utf-8", newline="\n")


CUT_COLUMNS = ("language", "code_point", "character", "count", "share")


def _printable(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else ""
