"""Ways to damage a file: its bytes anywhere, or one place of what it says, drawn from a seed.

Nothing here knows what the file is for, so a reader cannot be fitted to it.
"""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from vocabkit.core.records import seal

Mutation = Callable[[Path, random.Random], str]
"""Damages a file in place and says how."""

EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
# One of each kind that a file can hold where another was expected; names that lead elsewhere among them.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**40, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", " ", "a", "../x", "/etc/passwd", "x/../../y", "\ud800", "\x00", "\x1b[2J", "x" * 5_000,
    "1_000", [], {}, [None], [[]], ["a"], [0], {"": None}, {"a": {}}, [-1, 10**10],
)  # fmt: skip


def mutate_bytes(path: Path, chance: random.Random) -> str:
    """Flip, cut, repeat, overwrite or insert bytes."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data) + 1)
    # Headers are short and decide most: half of the changes are in the first 64 bytes.
    if chance.random() < 0.5:
        at = min(at, chance.randrange(64))
    length = chance.choice((1, 2, 4, 8, 64, 1_000))
    way = chance.choice(("flip", "cut", "delete", "repeat", "insert", "number", "zero"))
    if way == "flip":
        for _ in range(chance.randrange(1, 5)):
            place = min(at + chance.randrange(length), len(data) - 1)
            if place >= 0:
                data[place] ^= 1 << chance.randrange(8)
    elif way == "cut":
        del data[at:]
    elif way == "delete":
        del data[at : at + length]
    elif way == "repeat":
        data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
    elif way == "insert":
        data[at:at] = chance.randbytes(length)
    elif way == "number":
        size, form = chance.choice(((4, "<I"), (8, "<Q"), (4, ">I"), (8, ">Q")))
        data[at : at + size] = struct.pack(form, chance.choice(EXTREMES) & (2 ** (8 * size) - 1))
    else:
        data[at : at + length] = bytes(length)
    path.write_bytes(bytes(data))
    return f"{way} {length} at {at}"


def list_places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested lists and objects, of long ones a part."""
    if isinstance(content, dict):
        keys: list[Any] = list(content)
    elif isinstance(content, list):
        keys = list(range(len(content)))
    else:
        return
    for key in keys if len(keys) <= 60 else [*keys[:30], *keys[-30:]]:
        yield (*path, key)
        yield from list_places(content[key], (*path, key))


def mutate_value(content: Any, chance: random.Random) -> tuple[Any, str]:
    """Change one value of what JSON can hold: replace, remove, rename, double or exchange it."""
    made = copy.deepcopy(content)
    # A list of thousands must not hide the ten keys beside it: depth first, then a place of that depth.
    places = list(list_places(made))
    if not places or chance.random() < 0.02:
        odd = chance.choice(ODD_VALUES)
        return odd, f"all := {odd!r:.40}"
    depth = chance.choice(sorted({len(place) for place in places}))
    place = chance.choice([p for p in places if len(p) == depth])
    holder = made
    for key in place[:-1]:
        holder = holder[key]
    last = place[-1]
    way = chance.choice(("replace", "replace", "replace", "remove", "rename", "double", "nudge"))
    shown = ".".join(map(str, place))
    if way == "remove":
        del holder[last]
    elif way == "rename" and isinstance(holder, dict):
        holder[str(chance.choice(ODD_VALUES))] = holder.pop(last)
    elif way == "double" and isinstance(holder, list):
        holder.insert(last, copy.deepcopy(holder[last]))
    elif way == "nudge" and isinstance(holder[last], int | float):
        holder[last] += chance.choice((-1, 1, 0.5, 1_000, 2**33))
    else:
        odd = chance.choice(ODD_VALUES)
        holder[last] = odd
        shown = f"{shown} := {odd!r:.40}"
    return made, f"{way} {shown}"


def mutate_json(path: Path, chance: random.Random) -> str:
    """Change one value of a JSON file."""
    made, said = mutate_value(json.loads(path.read_text(encoding="utf-8")), chance)
    path.write_text(json.dumps(made), encoding="utf-8")
    return said


def mutate_sealed(path: Path, chance: random.Random) -> str:
    """Change one value of a sealed JSON file and seal it anew: only its fields can tell that it is wrong."""
    made, said = mutate_value(json.loads(path.read_text(encoding="utf-8")), chance)
    path.write_text(json.dumps(seal(made) if isinstance(made, dict) else made), encoding="utf-8")
    return f"sealed: {said}"


def mutate_json_lines(path: Path, chance: random.Random) -> str:
    """Change one value of one line of a file of JSON lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = chance.randrange(len(lines))
    made, said = mutate_value(json.loads(lines[at]), chance)
    lines[at] = json.dumps(made)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line {at + 1}: {said}"


def mutate_safetensors(path: Path, chance: random.Random) -> str:
    """Change one value of the header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    made, said = mutate_value(json.loads(data[8 : 8 + length]), chance)
    raw = json.dumps(made).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data[8 + length :])
    return said


def mutate_toml(path: Path, chance: random.Random) -> str:
    """Give one key of a TOML file another value, remove it, double it, or rename it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = chance.choice([i for i, line in enumerate(lines) if re.match(r"\s*[\w.\"]+\s*=", line)] or [0])
    key = lines[at].partition("=")[0]
    odd = chance.choice([value for value in ODD_VALUES if value is not None and value != "\ud800"])
    shown = {float("inf"): "inf"}.get(odd, "nan") if isinstance(odd, float) and odd - odd else None
    spelled = shown or ("{ a = {} }" if isinstance(odd, dict) else json.dumps(odd).replace("null", '""'))
    way = chance.choice(("replace", "replace", "remove", "double", "rename"))
    if way == "remove":
        del lines[at]
    elif way == "double":
        lines.insert(at, lines[at])
    elif way == "rename":
        lines[at] = f"{json.dumps(str(odd))} ={lines[at].partition('=')[2]}"
    else:
        lines[at] = f"{key}= {spelled}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{way} line {at + 1}: {lines[min(at, len(lines) - 1)]:.60}"


def mutate_table(path: Path, chance: random.Random) -> str:
    """Change one column of a parquet file: its values, its type, its name, or take it away."""
    with duckdb.connect() as connection:
        names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
        name = chance.choice(names)
        quoted = f'"{name}"'
        ways = (
            f"SELECT * REPLACE (NULL AS {quoted}) FROM given",
            f"SELECT * REPLACE (CAST({quoted} AS VARCHAR) AS {quoted}) FROM given",
            f"SELECT * REPLACE (TRY_CAST({quoted} AS DOUBLE) + 0.5 AS {quoted}) FROM given",
            f"SELECT * REPLACE (-TRY_CAST({quoted} AS HUGEINT) AS {quoted}) FROM given",
            f"SELECT * REPLACE (9223372036854775807 AS {quoted}) FROM given",
            f"SELECT * REPLACE ([1, 2] AS {quoted}) FROM given",
            f"SELECT * REPLACE (CASE WHEN rowid % 7 = 3 THEN NULL ELSE {quoted} END AS {quoted}) FROM given",
            f"SELECT * REPLACE ('\\xFF\\x00'::BLOB AS {quoted}) FROM given",
            "SELECT * FROM given UNION ALL SELECT * FROM given",
            "SELECT * FROM given LIMIT 0",
            f"SELECT * RENAME ({quoted} AS odd) FROM given",
            *([f"SELECT * EXCLUDE ({quoted}) FROM given"] if len(names) > 1 else []),
        )
        way = chance.choice(ways)
        connection.execute(f"CREATE TABLE given AS SELECT * FROM '{path}'")
        connection.execute(f"COPY ({way}) TO '{path}' (FORMAT parquet)")
    return way
