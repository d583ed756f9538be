"""What is installed is what is in the tree, under one top-level name."""

import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_packages_list_equals_the_folders_with_an_init() -> None:
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "vocabkit").rglob("__init__.py")
    }
    expected = sorted(folders | {"vocabkit.cli", "vocabkit.configs"})
    assert PROJECT["tool"]["setuptools"]["packages"] == expected


def test_every_folder_of_modules_has_an_init() -> None:
    for top in ("vocabkit", "cli"):
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_configs_is_a_folder_of_data_and_no_package() -> None:
    assert not list((ROOT / "configs").rglob("*.py"))
    assert list((ROOT / "configs").rglob("*.toml"))


def test_nothing_is_installed_beside_vocabkit() -> None:
    tops = {name.split(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    assert tops == {"vocabkit"}


def test_dependencies_have_lower_bounds_and_no_pins() -> None:
    project = PROJECT["project"]
    listed = [
        *project["dependencies"],
        *chain.from_iterable(project["optional-dependencies"].values()),
    ]
    for requirement in listed:
        if not requirement.startswith("vocabkit["):
            # Behind a semicolon is where it is needed, as `python_version < '3.14'`.
            bound, _, _ = requirement.partition(";")
            assert ">=" in bound, requirement
            assert "==" not in bound, requirement
            assert "<" not in bound, requirement


def test_the_extra_all_holds_every_extra() -> None:
    extras = dict(PROJECT["project"]["optional-dependencies"])
    (everything,) = extras.pop("all")
    assert everything == f"vocabkit[{','.join(extras)}]"


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    # The two extras that `make` does not install yet.
    wanted = [extra for name, extra in extras.items() if name not in {"all", "torch", "plots"}]
    for requirement in [*PROJECT["project"]["dependencies"], *chain.from_iterable(wanted)]:
        assert requirement.split(">=")[0].split("[")[0].lower().replace("_", "-") in pinned, requirement
