"""What `vocabkit` exports, and that no module takes the place of a function."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import vocabkit


def submodules() -> list[str]:
    found = pkgutil.walk_packages(vocabkit.__path__, "vocabkit.")
    # The command line is found under `vocabkit` only where it is installed; __main__ would run it.
    skipped = ("vocabkit.__main__", "vocabkit.cli", "vocabkit.configs")
    return [module.name for module in found if not module.name.startswith(skipped)]


@pytest.mark.parametrize("name", ["vocabkit", *submodules()])
def test_names_listed_exist_once(name: str) -> None:
    module = importlib.import_module(name)
    listed = list(getattr(module, "__all__", []))
    assert len(listed) == len(set(listed))  # ruff sees to their order
    for item in listed:
        assert hasattr(module, item)


def test_no_exported_name_is_a_module_once_all_are_imported() -> None:
    # Importing a submodule sets it on its package, over a function of the same name.
    for name in submodules():
        importlib.import_module(name)
    for name in ["vocabkit", *submodules()]:
        module = importlib.import_module(name)
        for item in getattr(module, "__all__", []):
            assert not isinstance(getattr(module, item), ModuleType), f"{name}.{item}"


def test_every_module_says_what_it_does() -> None:
    for name in submodules():
        assert (importlib.import_module(name).__doc__ or "").strip(), name
