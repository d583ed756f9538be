"""`import vocabkit as vk`: what it gives, and that a command is its function with a parser in front."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import vocabkit
from cli import app
from vocabkit import verbs

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
# Commands that run functions one after the other, or list files: they have none of their own.
WITHOUT_FUNCTION = {"demo", "presets"}
# How a command prints, and what in Python is said by leaving `output` out or by keywords for tables.
COMMAND_ONLY = {"format", "junit", "quiet", "dry_run"}
FUNCTION_ONLY = {"progress"}
VERBS = sorted(set(COMMANDS) - WITHOUT_FUNCTION)


def find_function(verb: str) -> Any:
    return getattr(vocabkit, verb.replace("-", "_"))


def read_command(verb: str) -> dict[str, object]:
    """The parameters of a command under the names its function has them, with their defaults."""
    found: dict[str, object] = {}
    for parameter in COMMANDS[verb].params:
        if parameter.param_type_name == "argument":
            name = parameter.name
        else:
            name = max(parameter.opts, key=len).removeprefix("--").replace("-", "_")
        if name == "help":
            continue
        name = {"set": "settings"}.get(name, name)
        default = parameter.default
        if name.startswith("no_"):
            name, default = name.removeprefix("no_"), not default
        found[name] = None if default in ((), []) or parameter.required else default
    return found


def read_function(verb: str) -> dict[str, object]:
    """The parameters of a function with their defaults; None for those without."""
    found = {}
    for name, parameter in inspect.signature(find_function(verb)).parameters.items():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            default = parameter.default
            found[name] = None if default is inspect.Parameter.empty else default
    return found


def test_a_verb_and_its_command_are_both_there() -> None:
    functions = {name for name, item in vars(verbs).items() if inspect.isfunction(item)}
    own = {name for name in functions if getattr(verbs, name).__module__ == verbs.__name__}
    public = {name for name in own if not name.startswith(("_", "open_"))}
    assert public == {verb.replace("-", "_") for verb in VERBS}
    assert public <= set(vocabkit.__all__)


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_has_the_parameters_and_defaults_of_its_function(verb: str) -> None:
    command, function = read_command(verb), read_function(verb)
    assert set(command) - COMMAND_ONLY == set(function) - FUNCTION_ONLY
    for name in set(command) & set(function):
        assert command[name] == function[name], name


@pytest.mark.parametrize("verb", VERBS)
def test_keys_of_a_preset_are_keywords_where_the_command_has_set(verb: str) -> None:
    kinds = {p.kind for p in inspect.signature(find_function(verb)).parameters.values()}
    assert ("settings" in read_command(verb)) == (inspect.Parameter.VAR_KEYWORD in kinds)


@pytest.mark.parametrize("verb", VERBS)
def test_inputs_and_output_come_first_and_settings_by_keyword(verb: str) -> None:
    parameters = inspect.signature(find_function(verb)).parameters.values()
    placed = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if "output" in {p.name for p in parameters}:
        assert placed[-1] == "output"


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_and_its_function_are_helped_by_one_sentence(verb: str) -> None:
    said = inspect.getdoc(find_function(verb)) or ""
    assert (COMMANDS[verb].help or "").split("\n")[0] == said.split("\n")[0]
    assert f">>> vk.{verb.replace('-', '_')}(" in said or f" = vk.{verb}(" in said


def test_the_table_of_names_is_what_checkers_are_told() -> None:
    tree = ast.parse((ROOT / "vocabkit" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        node.module: tuple(sorted(alias.name for alias in node.names))
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    homes = {f"vocabkit.{home}": tuple(sorted(names.split())) for home, names in vocabkit._HOMES.items()}
    assert homes == told
    listed = {name for names in homes.values() for name in names}
    assert set(vocabkit.__all__) == {"__version__", *listed}
    assert vocabkit.__all__ == sorted(vocabkit.__all__)


@pytest.mark.parametrize("name", vocabkit.__all__)
def test_a_name_is_there_and_where_the_table_says(name: str) -> None:
    item = getattr(vocabkit, name)
    if inspect.isclass(item) or inspect.isfunction(item):
        (home,) = [home for home, names in vocabkit._HOMES.items() if name in names.split()]
        assert item.__module__ == f"vocabkit.{home}"
        assert item.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        getattr(vocabkit, "fitt")  # noqa: B009


def test_importing_vocabkit_loads_nothing_else() -> None:
    probe = (
        "import sys, json; before = set(sys.modules); import vocabkit; vocabkit.__all__;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert loaded <= {"vocabkit", "__future__", *sys.stdlib_module_names}


def test_results_have_rows_a_table_and_a_folder() -> None:
    from vocabkit.core.results import Result

    results = [
        item
        for name in vocabkit.__all__
        if inspect.isclass(item := getattr(vocabkit, name)) and issubclass(item, Result)
    ]
    assert len(results) >= 12
    for item in results:
        for method in ("to_rows", "to_frame", "save", "load", "_repr_html_"):
            assert callable(getattr(item, method, None)), f"{item.__name__}.{method}"
