"""Checks who imports whom, by reading the syntax tree: `python tools/import_layers.py [ROOT]`.

Prints one line a violation and exits 1 when there is any. It runs nothing of what it reads, so it
does not see imports made by name at run time.

The rules, whose reasons are in docs/contributing.md:
- a stage imports `core` and the stages before it, never one after it; `extension` and
  `pretraining` do not know each other;
- no two files import each other in a circle, imports inside functions counted;
- the library never imports the command line, Typer or Rich;
- `cli` imports the library and Rich inside functions only, and its own modules relatively;
- heavy packages are imported only where they are used: see `HOMES`.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

STAGES = (
    "core",
    "corpus",
    "vocabulary",
    "checkpoints",
    "fitting",
    "auditing",
    "allocation",
    "configurations",
    "extension",
    "pretraining",
)
STRANGERS = {("extension", "pretraining"), ("pretraining", "extension")}

# Package → where in `vocabkit` it may be imported; a path ends in "/" where it means the folder.
HOMES = {
    "torch": (
        "checkpoints/torch_files.py",
        "extension/compare_init.py",
        "extension/distill.py",
        "extension/verify.py",
        "pretraining/",
    ),
    "transformers": ("extension/distill.py", "extension/verify.py", "pretraining/exporting.py"),
    "numba": ("corpus/compilation.py", "fitting/"),
    "matplotlib": ("core/plots.py",),
    "icu4py": ("auditing/text_statistics.py",),
    "tiktoken": ("vocabulary/",),
    "jinja2": ("core/pages.py",),
    "duckdb": ("corpus/", "vocabulary/", "configurations/", "auditing/"),
    "sentencepiece": ("corpus/", "vocabulary/", "fitting/"),
    "tokenizers": ("vocabulary/",),
    "fastokens": ("vocabulary/byte_level.py",),
    "typer": (),
    "rich": (),
    "cli": (),
    "polars": (),
    "pyarrow": (),
}
# Chapters of `pretraining` that plan, prepare and read, on machines without torch.
WITHOUT_TORCH = (
    "pretraining/packing.py",
    "pretraining/plan.py",
    "pretraining/prepared.py",
    "pretraining/preparing.py",
    "pretraining/run_config.py",
    "pretraining/run_folder.py",
)

# These make up the cost of starting; `core` and every `__init__` must stay free of them at the top.
HEAVY = {
    "duckdb",
    "numba",
    "numpy",
    "pandas",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module: its full name, its line, and when it is loaded."""

    name: str
    line: int
    at_top: bool
    for_types: bool
    relative: bool


def find_violations(root: Path) -> list[str]:
    """All violations under `root`, as `path:line: what`, in the order of the paths."""
    found = []
    for folder, check in (("vocabkit", _check_library), ("cli", _check_commands)):
        for path in sorted((root / folder).rglob("*.py")):
            place = path.relative_to(root).as_posix()
            for item in read_imports(path, root):
                found += [f"{place}:{item.line}: {text}" for text in check(place, item)]
    return found + [f"{circle[0]}: a circle: {' → '.join(circle)}" for circle in find_circles(root)]


def find_circles(root: Path) -> list[list[str]]:
    """The files of the library that import one another in a circle, each circle from its first name on.

    Imports inside functions and for types count: a reader has to follow them too.
    """
    paths = sorted((root / "vocabkit").rglob("*.py"))
    places = {path.relative_to(root).as_posix(): path for path in paths}
    modules = {place.removesuffix(".py").replace("/", "."): place for place in places}
    edges: dict[str, list[str]] = {}
    for place, path in places.items():
        named = [item.name for item in read_imports(path, root)]
        found = {modules.get(name) or modules.get(name.rpartition(".")[0]) for name in named}
        edges[place] = sorted(name for name in found if name is not None)
    circles = []
    while True:
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]
            circles.append(circle)
            edges[circle[0]] = [name for name in edges[circle[0]] if name != circle[1]]
        else:
            return circles


def read_imports(path: Path, root: Path) -> list[Import]:
    """Every import of a file, with relative ones resolved against the package the file is in."""
    package = path.relative_to(root).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return list(_walk(tree, package, at_top=True, for_types=False))


def _walk(node: ast.AST, package: tuple[str, ...], at_top: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top, for_types, False)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else ()
            module = ".".join((*base, *filter(None, [child.module])))
            for alias in child.names:
                name = f"{module}.{alias.name}"
                yield Import(name, child.lineno, at_top, for_types, child.level > 0)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _walk(child, package, at_top and not is_function, for_types or is_types)


def _check_library(place: str, item: Import) -> Iterator[str]:
    parts = item.name.split(".")
    inside = place.removeprefix("vocabkit/")
    stage = inside.split("/")[0] if "/" in inside else None
    if parts[:2] in (["vocabkit", "cli"], ["vocabkit", "configs"]):
        yield f"the library imports {item.name}"
    elif parts[0] == "vocabkit" and stage is not None and len(parts) > 1:
        yield from _check_stage(stage, parts[1])
    homes = HOMES.get(parts[0])
    if homes is not None and not item.for_types and not inside.startswith(homes or ("\0",)):
        yield f"{parts[0]} may not be imported here"
    if parts[0] == "torch" and inside in WITHOUT_TORCH:
        yield "torch may not be imported here: this chapter works without it"
    # What names arrays is imported by chapters that have numpy already.
    is_light = (stage in (None, "core") and inside != "core/arrays.py") or inside.endswith("__init__.py")
    if is_light and parts[0] in HEAVY and item.at_top and not item.for_types:
        yield f"{parts[0]} is imported at the top of a module that must stay light"


def _check_stage(stage: str, imported: str) -> Iterator[str]:
    if stage not in STAGES:
        yield f"{stage} is no stage: add it to tools/import_layers.py"
    elif imported in STAGES and STAGES.index(imported) > STAGES.index(stage):
        yield f"{stage} imports {imported}, a later stage"
    elif (stage, imported) in STRANGERS:
        yield f"{stage} and {imported} may meet only in folders on disk"


def _check_commands(place: str, item: Import) -> Iterator[str]:
    top = item.name.split(".")[0]
    may_load = top == "typer" or top in sys.stdlib_module_names
    if top == "cli" and not item.relative:
        yield f"{item.name} must be imported relatively: installed, this package is vocabkit.cli"
    elif item.at_top and not (item.for_types or item.relative or may_load):
        yield f"{item.name} must be imported inside the function that needs it"


def main() -> int:
    """Print the violations under the folder given, or the repository; 1 when there is any."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    violations = find_violations(root)
    for line in violations:
        print(line)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
