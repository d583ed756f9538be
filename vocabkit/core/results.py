"""What the results of all verbs can do: give their rows, as a table of pandas or a notebook, and keep them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vocabkit.core.errors import OutputError
from vocabkit.core.folders import check_inputs, output_folder, read_json, write_json
from vocabkit.core.records import parse_record

if TYPE_CHECKING:
    import pandas as pd

_FILE = "result.json"


class Mark(str):
    """What a table shows where a number stands in other rows: `lost`, `1.31 (6 of 15)`."""

    __slots__ = ()


class Result:
    """A result with one row a language, check or piece: the rows that its command prints.

    `save` and `load` keep the rows; results that are a folder of their own, as `Fit`, keep everything.
    """

    __slots__ = ()

    @abstractmethod
    def to_rows(self) -> Sequence[Mapping[str, object]]:
        """Return the rows, all with the same keys; None where there is no value."""

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas table."""
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self.to_rows()])

    def save(self, folder: str | Path, *, force: bool = False) -> object:
        """Write the rows into a new folder, or over an old one with `force`. Raises `OutputError`.

        The folder that the result itself is about is never replaced.
        """
        own = getattr(self, "folder", None) or getattr(self, "output", None)
        check_inputs(Path(folder), [] if own is None else [own])
        with output_folder(folder, force=force) as work:
            rows = [dict(row) for row in self.to_rows()]
            kind = self.kind if isinstance(self, _Rows) else type(self).__name__
            write_json(work / _FILE, {"schema": f"vocabkit.{kind}/1", "rows": rows})
        return None

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """Read the rows that `save` wrote. Raises `OutputError` where they are another result's, or damaged."""
        path = Path(folder) / _FILE
        found = read_json(path, OutputError, "name a folder that a result was saved to")
        if found.get("schema") != f"vocabkit.{cls.__name__}/1":
            raise OutputError(f"{path}: holds no {cls.__name__}", f"it says schema {found.get('schema')!r}")
        hint = "save the result again"
        rows = parse_record(tuple[Mapping[str, Any], ...], found.get("rows"), path, OutputError, hint)
        return _Rows(cls.__name__, rows)

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        html: str = self.to_frame().to_html(notebook=True, max_rows=60, na_rep="–")
        return html


@dataclass(frozen=True, slots=True)
class _Rows(Result):
    """The rows of a result that was read back; `kind` is the class that they are of."""

    kind: str
    rows: tuple[Mapping[str, object], ...]

    def to_rows(self) -> Sequence[Mapping[str, object]]:
        """Return the rows."""
        return self.rows


Value = TypeVar("Value")


class LoadedMapping(Mapping[str, Value]):
    """Values by code, loaded at each access and not kept: memory holds one, whatever the corpus."""

    def __init__(self, codes: Iterable[str], load: Callable[[str], Value]) -> None:
        self._codes = tuple(codes)
        self._load = load

    def __getitem__(self, code: str) -> Value:
        if code not in self._codes:
            raise KeyError(code)
        return self._load(code)

    def __contains__(self, code: object) -> bool:
        # Mapping's own would load the value to see whether it is there.
        return code in self._codes

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)
