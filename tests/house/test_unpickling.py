"""Nothing in the house unpickles what it finds in a file: a pickle runs the code it brings along."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for folder in ("vocabkit", "cli", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
# Whose readers unpickle, or run what they read.
MODULES = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "yaml"}
CALLS = {
    "pandas.read_pickle",
    "pd.read_pickle",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "eval",
    "exec",
}
TORCHS = "torch.distributed.checkpoint"


def find_faults(source: str) -> list[str]:
    """Calls and imports that read pickles without an allow-list, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [f"{node.module}"] if isinstance(node, ast.ImportFrom) else []
            wrong = [name for name in names if name.split(".")[0] in MODULES or name.startswith(TORCHS)]
            if isinstance(node, ast.ImportFrom) and node.module == "pickle":
                wrong += [name for name in names if name not in ("pickle", "UnpicklingError", "dumps", "dump")]
            found += [f"{node.lineno}: imports {name}" for name in wrong]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            unsafe = called in CALLS
            unsafe |= called == "torch.load" and given.get("weights_only") != "True"
            unsafe |= given.get("allow_pickle") == "True" or given.get("trust_remote_code") == "True"
            found += [f"{node.lineno}: {called}"] if unsafe else []
    return found


def test_no_file_of_the_house_reads_pickles() -> None:
    assert len(FILES) > 100
    faults = [f"{path.relative_to(ROOT)}:{fault}" for path in FILES for fault in find_faults(path.read_text())]
    assert faults == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "import pickle\npickle.loads(data)",
        "from pickle import Unpickler",
        "from pickle import loads as read",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "import marshal",
        "from joblib import load",
        "import torch.distributed.checkpoint as dcp",
        "from torch.distributed.checkpoint.filesystem import FileSystemReader",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "pd.read_pickle(path)",
    ],
)
def test_the_check_finds_what_it_is_for(source: str) -> None:
    assert find_faults(source)


def test_the_check_leaves_safe_readers_alone() -> None:
    assert find_faults("torch.load(p, weights_only=True)\nnp.load(p)\nnp.load(p, allow_pickle=False)") == []
