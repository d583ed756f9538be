"""Installs the wheel into an empty environment and uses it from another folder: `make wheel-test`.

Finds what an editable install hides: a package left out of the list, presets left out of the
wheel, a dependency that only developers have, a module `cli` or `configs` on everybody's path.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")

# Run by the new environment's Python: only `vocabkit` may be importable.
NO_STRAY_MODULES = """# only vocabkit is importable
from importlib.util import find_spec
stray = [name for name in ("cli", "configs", "tests", "tools") if find_spec(name) is not None]
assert not stray, f"the wheel put {stray} on everybody's path"
import vocabkit
assert "site-packages" in vocabkit.__file__, vocabkit.__file__
"""


def build_wheel(folder: Path) -> Path:
    """Build the wheel into `folder`, from a copy without leftovers of earlier builds."""
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "demo-output", "site", "__pycache__")
    shutil.copytree(ROOT, source, ignore=unwanted)
    _run(
        [sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)],
        folder,
    )
    return next(folder.glob("*.whl"))


def check_names(wheel: Path) -> None:
    """Raise `SystemExit` unless the wheel holds one top-level name, and every preset."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if tops != {"vocabkit"}:
        raise SystemExit(f"error: top-level names of the wheel are {sorted(tops)}, not vocabkit alone")
    presets = {f"vocabkit/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.toml")}
    if missing := sorted(presets - set(names)):
        raise SystemExit(f"error: the wheel lacks {missing}")


def install(wheel: Path, folder: Path) -> Path:
    """Make an empty environment, install the wheel with its `sample` extra, return its `bin`."""
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    constraints = str(ROOT / "constraints.txt")
    target = f"vocabkit[sample] @ {wheel.as_uri()}"
    _run([str(binaries / "python"), *PIP, "install", "-c", constraints, target], folder)
    return binaries


def use(binaries: Path, folder: Path) -> None:
    """Run the commands a new user runs, from `folder`."""
    _run([str(binaries / "python"), "-c", NO_STRAY_MODULES], folder)
    vocabkit = str(binaries / "vocabkit")
    for line in (
        "--help",
        "--version",
        "presets list",
        "sample corpus",
        "count corpus/text -o counts",
        "fit shared-250k --counts counts -o tok --set vocabulary.size=2_000 --languages eng,yor",
        "show tok Ẹkúàárọ̀",
        "prepare corpus/text --tokenizer tok -o shards --languages eng,yor --length 64",
        "pretrain multi-s --data shards --dry-run",
    ):
        _run([vocabkit, *line.split(" ")], folder)
    _run([str(binaries / "python"), "-m", "vocabkit", "presets", "show", "shared-250k"], folder)


def _run(command: list[str], folder: Path) -> None:
    print("+", Path(command[0]).name, " ".join(command[1:]).split("\n")[0], flush=True)
    # PYTHONPATH and the like would let the checkout in by the back door.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"error: exit code {done.returncode}")


def main() -> None:
    """Build, look inside, install, use."""
    with tempfile.TemporaryDirectory(prefix="vocabkit-wheel-") as name:
        folder = Path(name).resolve()
        wheel = build_wheel(folder)
        check_names(wheel)
        binaries = install(wheel, folder / "environment")
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        use(binaries, elsewhere)
        print(
            f"{wheel.name}: one top-level name, presets found, sample, count, fit, show, prepare and a plan run"
        )


if __name__ == "__main__":
    main()
