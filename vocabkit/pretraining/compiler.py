"""Whether kernels can be compiled where this runs: what is missing is said, and done without.

Torch and Triton find these things themselves, and end in an error of theirs where one is absent. Nothing is
compiled here.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from vocabkit.pretraining import softmax_kernel

__all__ = ["find_lack"]


def find_lack(kind: str) -> str | None:
    """What is missing for kernels on devices of a kind (`cpu`, `cuda`), in words; None where nothing is."""
    if kind == "cuda" and not softmax_kernel.AVAILABLE:
        return "Triton is not installed"
    names = ("g++", "clang++") if kind == "cpu" else ("gcc", "clang", "cc")
    chosen = os.environ.get("CXX" if kind == "cpu" else "CC")
    if not any(shutil.which(name) for name in (chosen, *names) if name):
        return f"no compiler ({', '.join(names)}) is on the path"
    # What starts a kernel is itself compiled, against Python.
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"Python's headers are not installed ({headers}/Python.h)"
    return None
