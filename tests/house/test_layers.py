"""The tree keeps its layers, and the checker sees each kind of violation."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.import_layers import STAGES, find_violations  # noqa: E402


def test_the_tree_has_no_violation() -> None:
    assert find_violations(ROOT) == []


def test_every_folder_of_the_library_is_a_stage() -> None:
    folders = {path.parent.name for path in (ROOT / "vocabkit").glob("*/__init__.py")}
    assert folders <= set(STAGES)


@pytest.mark.parametrize(
    ("place", "source", "message"),
    [
        ("vocabkit/corpus/reading.py", "from vocabkit.fitting import seeds", "a later stage"),
        ("vocabkit/corpus/reading.py", "import vocabkit.fitting.seeds", "a later stage"),
        ("vocabkit/corpus/reading.py", "from vocabkit import fitting", "a later stage"),
        (
            "vocabkit/corpus/reading.py",
            "def late():\n    from vocabkit.fitting import seeds",
            "a later stage",
        ),
        ("vocabkit/pretraining/loop.py", "from vocabkit.extension import plan", "folders on disk"),
        ("vocabkit/corpus/reading.py", "import rich.table", "rich may not"),
        ("vocabkit/corpus/reading.py", "from cli import app", "cli may not"),
        ("vocabkit/core/config.py", "import numpy as np", "must stay light"),
        ("vocabkit/corpus/__init__.py", "import duckdb", "must stay light"),
        ("vocabkit/corpus/reading.py", "def late():\n    import torch", "torch may not"),
        ("vocabkit/pretraining/plan.py", "import torch", "works without it"),
        ("vocabkit/core/text.py", "from vocabkit.core import text", "a circle"),
        ("vocabkit/novelty/thing.py", "from vocabkit.core import errors", "is no stage"),
        ("cli/count.py", "from vocabkit.core import errors", "inside the function"),
        ("cli/count.py", "import rich", "inside the function"),
        ("cli/count.py", "def late():\n    from cli.output import show_rows", "relatively"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, place: str, source: str, message: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    found = find_violations(tmp_path)
    assert len(found) == 1
    assert message in found[0]
    assert found[0].startswith(f"{place}:")


def test_a_circle_of_files_is_found_also_where_a_function_closes_it(tmp_path: Path) -> None:
    folder = tmp_path / "vocabkit" / "corpus"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("from vocabkit.corpus.b import B", encoding="utf-8")
    (folder / "b.py").write_text("from vocabkit.corpus import c", encoding="utf-8")
    (folder / "c.py").write_text("def f():\n    from vocabkit.corpus.a import A", encoding="utf-8")
    found = find_violations(tmp_path)
    assert len(found) == 1
    assert "a circle" in found[0]
    for name in "abc":
        assert f"vocabkit/corpus/{name}.py" in found[0]


@pytest.mark.parametrize(
    ("place", "source"),
    [
        (
            "vocabkit/fitting/sentencepiece_engine.py",
            "from vocabkit.corpus import spans\nimport numpy, numba",
        ),
        ("vocabkit/core/text.py", "def table():\n    import numpy"),
        (
            "vocabkit/core/text.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy",
        ),
        ("vocabkit/pretraining/loop.py", "import torch"),
        ("cli/count.py", "import typer\nfrom pathlib import Path\nfrom .output import show_rows"),
        ("cli/count.py", "def run():\n    from vocabkit.corpus import counting"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, place: str, source: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert find_violations(tmp_path) == []
