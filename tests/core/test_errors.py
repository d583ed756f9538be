"""The tree in the docstring of `core/errors.py` is the tree of the classes."""

import importlib
import inspect
import pickle
import pkgutil
import re

import pytest

import vocabkit
from vocabkit.core import errors
from vocabkit.core.errors import MissingExtra, TooFewPieces, VocabkitError

LINES = re.findall(r"^    (.*?)(?:├──|└──) (\w+)", errors.__doc__ or "", re.MULTILINE)
DRAWN = [name for _, name in LINES]


def read_tree() -> dict[str, str]:
    """Each class drawn, and the one it is drawn under."""
    parents, path = {}, ["VocabkitError"]
    for indent, name in LINES:
        path[1 + len(indent) // 4 :] = [name]
        parents[name] = path[-2]
    return parents


def list_subclasses() -> list[type[VocabkitError]]:
    skipped = ("vocabkit.__main__", "vocabkit.cli", "vocabkit.configs")
    for module in pkgutil.walk_packages(vocabkit.__path__, "vocabkit."):
        if not module.name.startswith(skipped):
            importlib.import_module(module.name)
    waiting, found = [VocabkitError], []
    while waiting:
        below = waiting.pop().__subclasses__()
        found += below
        waiting += below
    return found


def test_the_tree_drawn_is_the_tree_of_subclasses() -> None:
    found = list_subclasses()
    assert {item.__name__: item.__base__.__name__ for item in found if item.__base__} == read_tree()
    assert len(DRAWN) >= 10
    for item in found:
        assert inspect.getmodule(item) is errors


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "TooFewPieces"])
def test_an_error_keeps_its_hint_through_a_worker_process(name: str) -> None:
    kind = getattr(errors, name)
    back = pickle.loads(pickle.dumps(kind("what", "do this")))
    assert (type(back), back.message, back.hint) == (kind, "what", "do this")


def test_a_missing_extra_says_how_to_install_everything() -> None:
    assert MissingExtra("no torch").hint == "pip install 'vocabkit[all]'"


def test_what_a_text_supports_comes_through_a_worker_process() -> None:
    back = pickle.loads(pickle.dumps(TooFewPieces(1_000, 2_000)))
    assert (type(back), back.reached, back.size) == (TooFewPieces, 1_000, 2_000)
    assert back.message == "this text supports 1_000 pieces, not 2_000"
