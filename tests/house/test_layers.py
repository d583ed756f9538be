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


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("vocabkit/fitting/seeds.py", "from vocabkit.corpus import spans\nimport numpy, numba"),
        ("vocabkit/core/scripts.py", "def table():\n    import numpy"),
        (
            "vocabkit/core/scripts.py",
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
