"""`vocabkit diff`: what changed between two vocabularies."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Format
from .output import show_rows

if TYPE_CHECKING:
    from vocabkit.vocabulary.vocabulary import Vocabulary


def run(
    first: Annotated[
        Path, typer.Argument(metavar="TOK-A", help="The earlier tokenizer folder or .model.")
    ],
    second: Annotated[Path, typer.Argument(metavar="TOK-B", help="The later one.")],
    pieces: Annotated[
        bool, typer.Option("--pieces", help="One row a piece, not one row a script.")
    ] = False,
    output: Format = "table",
) -> None:
    """Show the pieces that were added, removed and moved, by script.

    A moved piece has another id. Equal vocabularies print no row.

    Example: vocabkit diff tok-a/ tok-b/ --pieces
    """
    rows = _list_changes(_load(first), _load(second))
    show_rows(rows if pieces else _count_by_script(rows), output, "diff")


def _load(path: Path) -> "Vocabulary":
    from vocabkit.core.errors import TokenizerError
    from vocabkit.vocabulary.adapters import SentencePieceTokenizer
    from vocabkit.vocabulary.tokenizers import open_tokenizer

    opened = open_tokenizer(path)
    if not isinstance(opened, SentencePieceTokenizer):
        raise TokenizerError(f"{path}: has no .model", "name a folder written by `vocabkit fit`")
    return opened.vocabulary


def _list_changes(first: "Vocabulary", second: "Vocabulary") -> list[dict[str, object]]:
    """One row a change, in the order of the ids."""
    from vocabkit.core.text import piece_script, show_token
    from vocabkit.vocabulary.vocabulary import Kind, compare_vocabularies

    found = compare_vocabularies(first, second)
    changes: list[tuple[str, str, int | None, int | None]] = [
        *(("added", piece, None, second.id_of(piece)) for piece in found.added),
        *(("removed", piece, first.id_of(piece), None) for piece in found.removed),
        *(("moved", item.piece, item.before, item.after) for item in found.moved),
    ]
    kinds = {
        piece: kind
        for vocabulary in (first, second)
        for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)
    }
    return [
        {
            "change": change,
            "piece": show_token(piece.encode()),
            # A special or byte token stands for no letters: its name's are not its script.
            "script": piece_script(piece) if kinds[piece] in (Kind.NORMAL, Kind.USER) else None,
            "before": before,
            "after": after,
        }
        for change, piece, before, after in changes
    ]


def _count_by_script(changes: list[dict[str, object]]) -> list[dict[str, object]]:
    """One row a script, the most changed first."""
    amount = Counter((row["script"], row["change"]) for row in changes)
    scripts = Counter(row["script"] for row in changes)
    kinds = ("added", "removed", "moved")
    return [
        {"script": script, **{kind: amount[script, kind] for kind in kinds}}
        for script, _ in sorted(scripts.items(), key=lambda item: (-item[1], str(item[0])))
    ]
