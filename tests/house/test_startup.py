"""Help and version load nothing heavy: checked by what is loaded, not by the clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "babel",
    "django",
    "duckdb",
    "fontTools",
    "jinja2",
    "langcodes",
    "language_data",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "pydantic",
    "regex",
    "rich",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
}
PROBE = """
import json, sys
sys.argv = ["vocabkit", *sys.argv[1:]]
from cli import app
try:
    app()
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
print()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("fit", "--help")])
def test_nothing_heavy_is_loaded(words: tuple[str, ...]) -> None:
    # Typer loads Pydantic by itself once a command's parameters are parsed or printed.
    allowed = {"pydantic"} if "fit" in words else set()
    assert loaded_by(*words) & HEAVY <= allowed


def test_the_probe_sees_what_a_command_loads() -> None:
    assert "rich" in loaded_by("presets", "list")
