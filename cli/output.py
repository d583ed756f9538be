"""Prints one set of rows as a table, JSON, CSV or Markdown on stdout.

Every format shows the same rows and the same columns. Nothing is shortened: a table wider than the
terminal runs past its edge. Whatever a name read from a file holds, it commands neither the terminal nor a
spreadsheet.
"""

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

from .options import OutputFormat

Row = Mapping[str, object]

_MISSING = "-"
# All that moves a terminal's cursor, recolours it, starts a line, or turns the rest of it around. U+2068 and
# U+2069 may stay: they set text apart, and `vocabkit.core.text.show_token` puts them there.
_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066\u2067\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@")


def show_rows(items: Sequence[object], output: OutputFormat, name: str) -> None:
    """Print one row an item, whose keys or fields are the columns.

    `name` says in JSON what the rows are. Raises `TypeError` for an item that is neither a mapping
    nor a dataclass.
    """
    rows = [_row(item) for item in items]
    if output in ("json", "csv"):
        rows = [{key: _unmark(value) for key, value in row.items()} for row in rows]
    if output == "json":
        document = {"schema": f"vocabkit.{name}/1", "rows": rows}
        text = json.dumps(document, ensure_ascii=False, indent=2)
        # JSON escapes the controls below U+0020 itself, all but its own line ends; U+009B begins a command too.
        lines = [_COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n")]
        sys.stdout.write("\n".join(lines) + "\n")
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(map(_quote_formula, _columns(rows)))
        writer.writerows([_quote_formula(_raw(row.get(key))) for key in _columns(rows)] for row in rows)
    elif output == "markdown":
        sys.stdout.write(format_markdown(rows))
    elif rows:
        _print_table(rows)


def show_warnings(lines: Sequence[str], quiet: bool = False) -> None:
    """Print each line on stderr as a warning, unless `quiet`."""
    if not quiet:
        for line in lines:
            say(f"warning: {line}")


def show_note(text: str, quiet: bool = False) -> None:
    """Print a line on stderr, where it does not mix with the result, unless `quiet`."""
    if not quiet:
        say(text)


def escape_commands(text: str) -> str:
    r"""Return text in which nothing commands a terminal: `\x1b[2J`, spelled out, instead of a cleared screen.

    For names that come from files: a key of a TOML file, a file's or a tokenizer's name. Escapes are Python's.
    """
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def say(line: str) -> None:
    """Print a line on stderr; what would command the terminal is escaped."""
    print(escape_commands(line), file=sys.stderr)


def _row(item: object) -> dict[str, object]:
    if isinstance(item, Mapping):
        return dict(item)
    if is_dataclass(item):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    raise TypeError(f"{type(item).__name__} is neither a mapping nor a dataclass")


def _unmark(value: object) -> object:
    """A value for a program: nothing in place of a mark, which is for a reader."""
    from vocabkit.core.results import Mark

    return None if isinstance(value, Mark) else value


def _columns(rows: Sequence[Row]) -> list[str]:
    """All keys in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _quote_formula(value: object) -> object:
    """A cell that a spreadsheet takes for text: one that begins as a formula does gets an apostrophe."""
    if not isinstance(value, str):
        return value
    shown = escape_commands(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _raw(value: object) -> object:
    """A value for CSV: empty where there is none; a list as its parts, a tally as `name=number`."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={amount}" for key, amount in value.items())
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _text(value: object) -> str:
    """A value for a reader: thousands with commas, four significant digits, a dash for none."""
    if value is None or value in ((), [], {}, ""):
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return escape_commands(str(_raw(value)))


def _numeric_columns(rows: Sequence[Row]) -> set[str]:
    """The columns that hold numbers, or marks in their place, and nothing else: they are set to the right."""
    from vocabkit.core.results import Mark

    return {
        key
        for key in _columns(rows)
        if any(row.get(key) is not None for row in rows)
        and all(isinstance(row.get(key), int | float | Mark | None) for row in rows)
    }


def format_markdown(items: Sequence[object]) -> str:
    """Return the rows of `show_rows` as a Markdown table."""
    rows = [_row(item) for item in items]
    columns, numeric = _columns(rows), _numeric_columns(rows)
    lines = [list(map(escape_commands, columns)), ["--:" if key in numeric else "---" for key in columns]]
    lines += [[_text(row.get(key)).replace("|", "\\|") for key in columns] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _print_table(rows: Sequence[Row]) -> None:
    columns, numeric = _columns(rows), _numeric_columns(rows)
    cells = [[_text(row.get(key)) for key in columns] for row in rows]
    if sys.stdout.isatty():
        _print_terminal_table(columns, numeric, cells)
    else:
        _print_plain_table(columns, numeric, cells)


def _print_terminal_table(columns: Sequence[str], numeric: set[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for key in columns:
        table.add_column(
            Text(escape_commands(key)), justify="right" if key in numeric else "left", no_wrap=True
        )
    for line in cells:
        # Text, not str: a piece such as "[b]" is no markup.
        table.add_row(*(Text(cell) for cell in line))
    wide = Console(width=100_000)
    # Rich cuts cells to the width of its console: give it all that the table needs.
    console = Console(width=wide.measure(table).maximum)
    console.print(table, crop=False, soft_wrap=True)


def _print_plain_table(columns: Sequence[str], numeric: set[str], cells: Sequence[Sequence[str]]) -> None:
    """Columns aligned by the cells a terminal gives each character, two spaces between them."""
    from rich.cells import cell_len

    lines = [list(map(escape_commands, columns)), *cells]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        parts = []
        for key, cell, width in zip(columns, line, widths, strict=True):
            padding = " " * (width - cell_len(cell))
            parts.append(padding + cell if key in numeric else cell + padding)
        sys.stdout.write("  ".join(parts).rstrip() + "\n")
