"""What compiling wants is found, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vocabkit.pretraining.model import AVAILABLE, _find_lack


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / name))
    assert "no compiler (g++, clang++)" in str(_find_lack("cpu"))
    (tmp_path / "g++").write_text("")
    (tmp_path / "g++").chmod(0o755)
    assert "Python's headers" in str(_find_lack("cpu"))
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").write_text("")
    assert _find_lack("cpu") is None
    if not AVAILABLE:
        assert _find_lack("cuda") == "Triton is not installed"
