"""Dead vocabulary: the pieces that a run never saw as input, or never had to predict.

A piece that was never seen keeps the row it began with, so a model cannot use it; many of them mean a
vocabulary too large for the data, or data without the languages it was made for. It is found from what the
run drew: a piece seen once counts as alive. Whether a piece can be reached from text at all is the audit's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocabkit.core.render import show_token
from vocabkit.core.scripts import COMMON, piece_script
from vocabkit.corpus.tables import connect, read_columns
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.vocabulary.tokenizers import Tokenizer, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

__all__ = ["DeadGroup", "DeadVocabulary", "find_dead"]

BoolArray = npt.NDArray[np.bool_]
EXAMPLES = 8
_SCHEMA = "vocabkit.dead-vocabulary/1"
_WITHOUT_TEXT = "bytes"
_NO_BLOCKS = "shared"


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """How many of a group's pieces were never seen. A share is of `pieces`, None where there are none.

    `scope` is `all`, `block` or `script`; `examples` are pieces never seen as input, by id, rendered for eyes.
    """

    scope: str
    name: str
    pieces: int
    never_input: int
    never_input_share: float | None
    never_target: int
    never_target_share: float | None
    examples: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DeadVocabulary:
    """What was never seen, in groups and piece by piece.

    Special, control, unused and placeholder ids are in no group: no text is meant to yield them. `pieces`
    are the ids that are, int64[n]; beside them stand `seen_input`, `seen_target` (bool[n]), `tokens`, `blocks`
    and `scripts`.
    """

    groups: tuple[DeadGroup, ...]
    pieces: npt.NDArray[np.int64]
    seen_input: BoolArray
    seen_target: BoolArray
    tokens: tuple[bytes, ...]
    blocks: tuple[str, ...]
    scripts: tuple[str, ...]

    @property
    def total(self) -> DeadGroup:
        """The group of all pieces."""
        return self.groups[0]

    def rows(self) -> list[dict[str, object]]:
        """One row a group for a table: all, then blocks in the order of ids, then scripts by size."""
        return [asdict(group) for group in self.groups]

    def save(self, folder: Path) -> None:
        """Write `dead-vocabulary.json` (the groups) and `dead-vocabulary.tsv` (every piece never seen)."""
        document = {"schema": _SCHEMA, "groups": self.rows()}
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        _write(folder / "dead-vocabulary.json", text)
        lines = ["id\tpiece\tblock\tscript\tseen_input\tseen_target\n"]
        for place in np.flatnonzero(~(self.seen_input & self.seen_target)).tolist():
            token = show_token(self.tokens[place], isolate=False)
            labels = (token, self.blocks[place], self.scripts[place])
            seen = (int(self.seen_input[place]), int(self.seen_target[place]))
            cells = map(str, (self.pieces[place], *labels, *seen))
            lines.append("\t".join(cells) + "\n")
        _write(folder / "dead-vocabulary.tsv", "".join(lines))


def find_dead(
    seen_input: BoolArray,
    seen_target: BoolArray,
    tokenizer: str | Path,
    *,
    reserved: Sequence[int] = (),
    examples: int = EXAMPLES,
) -> DeadVocabulary:
    """Group the pieces of a tokenizer by whether a run saw them.

    `seen_input` and `seen_target` are bool[rows], rows at least the tokenizer's size (padding follows it);
    `reserved` are ids beside the special ones that no text yields. Blocks are those of vocabulary.parquet, one
    called `shared` where there is none. A piece is of the script most of its letters are of; `Zyyy` are digits
    and punctuation, `bytes` those that are no whole UTF-8 text. Raises PretrainingError where an array is
    shorter than the vocabulary, TokenizerError for a folder that holds none.
    """
    opened = open_tokenizer(tokenizer)
    for name, seen in (("input", seen_input), ("target", seen_target)):
        if seen.ndim != 1 or len(seen) < opened.size:
            raise PretrainingError(
                f"seen as {name}: {seen.shape} values for the {opened.size:,} ids of {tokenizer}",
                "the run was made with another tokenizer",
            )
    kept = _find_countable(opened, reserved)
    tokens = [opened.token_bytes(int(index)) or b"" for index in kept]
    parted = _read_blocks(Path(tokenizer), opened.size)
    blocks = [parted[index] if parted is not None else _NO_BLOCKS for index in kept.tolist()]
    scripts = [_find_script(token) for token in tokens]
    found_input, found_target = seen_input[kept], seen_target[kept]

    def count(scope: str, name: str, places: npt.NDArray[np.int64]) -> DeadGroup:
        dead = places[~found_input[places]]
        never_target = int(np.count_nonzero(~found_target[places]))
        return DeadGroup(
            scope,
            name,
            len(places),
            len(dead),
            _share(len(dead), len(places)),
            never_target,
            _share(never_target, len(places)),
            tuple(show_token(tokens[place]) for place in _spread(dead, examples).tolist()),
        )

    by_block, by_script = _collect(blocks), _collect(scripts)
    groups = [count("all", "all", np.arange(len(kept)))]
    groups += [count("block", name, places) for name, places in by_block.items()]
    largest = sorted(by_script.items(), key=lambda item: (-len(item[1]), item[0]))
    groups += [count("script", name, places) for name, places in largest]
    return DeadVocabulary(
        tuple(groups), kept, found_input, found_target, tuple(tokens), tuple(blocks), tuple(scripts)
    )


def _find_countable(tokenizer: Tokenizer, reserved: Sequence[int]) -> npt.NDArray[np.int64]:
    """The ids that text can yield, int64, ascending; the unknown one stands for what has no piece."""
    text = {Kind.NORMAL, Kind.BYTE, Kind.USER}
    wanted = np.fromiter((kind in text for kind in tokenizer.kinds), np.bool_, tokenizer.size)
    outside = np.asarray(reserved, np.int64)
    wanted[outside[outside < tokenizer.size]] = False
    return np.flatnonzero(wanted)


def _read_blocks(folder: Path, size: int) -> list[str] | None:
    """The block of every id from vocabulary.parquet; None where there is no such file of this size."""
    path = folder / "vocabulary.parquet"
    if not path.is_file():
        return None
    with connect() as database:
        found = read_columns(database, path, {"id": "INTEGER", "block": "VARCHAR"})
    if len(found["id"]) != size:
        return None
    blocks = [_NO_BLOCKS] * size
    for index, block in zip(found["id"].tolist(), found["block"], strict=True):
        blocks[index] = str(block)
    return blocks


def _find_script(token: bytes) -> str:
    """The script of a piece: Zyyy for pieces without letters, `bytes` for part of a character."""
    if token.isascii():  # most pieces of most vocabularies; piece_script looks up every character
        return "Latn" if any(65 <= byte <= 90 or 97 <= byte <= 122 for byte in token) else COMMON
    try:
        return piece_script(token.decode())
    except UnicodeDecodeError:
        return _WITHOUT_TEXT


def _collect(labels: Sequence[str]) -> Mapping[str, npt.NDArray[np.int64]]:
    """The places of each label, in the order of first appearance."""
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    return {label: np.array(found, np.int64) for label, found in places.items()}


def _spread(places: npt.NDArray[np.int64], amount: int) -> npt.NDArray[np.int64]:
    """At most `amount` places, evenly apart: the first ids alone would all be frequent pieces or bytes."""
    if len(places) <= amount:
        return places
    return places[np.arange(amount) * len(places) // amount]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _write(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
