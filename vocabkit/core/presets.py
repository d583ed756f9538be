"""Where the shipped TOML presets live, in a wheel, an editable install and a bare checkout."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vocabkit.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Preset:
    """A shipped configuration: `kind/stem`, its file, and the first line of its opening comment."""

    name: str
    path: Path
    title: str


def presets_folder() -> Path:
    """Return the folder that holds the shipped presets."""
    # In a wheel the presets are `vocabkit/configs`; an editable install and a checkout keep them at
    # the repository root, where importlib.resources does not see them.
    inside = Path(str(files("vocabkit"))) / "configs"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def list_presets() -> list[Preset]:
    """Return every shipped preset, sorted by name."""
    root = presets_folder()
    found = []
    for path in sorted(root.rglob("*.toml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        name = path.relative_to(root).with_suffix("").as_posix()
        found.append(Preset(name, path, first.lstrip("# ").rstrip()))
    return found


def find_preset(name: str | Path, kind: str | None = None) -> Path:
    """Return the file behind a preset's name or a path.

    `kind` is the folder searched first for a bare name: `fit` finds `shared-250k` in `configs/fit/`.
    Raises `ConfigError`, with near names, when there is none.
    """
    text = str(name)
    path = Path(text)
    if path.suffix in {".yaml", ".yml", ".json"} and path.exists():
        raise ConfigError(
            f"{text}: configurations are TOML, not {path.suffix[1:].upper()}",
            "start from a shipped one: vocabkit presets list",
        )
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise ConfigError(f"{text}: no such file", "vocabkit presets list")
    if path.is_dir() and (path / "config.toml").is_file():
        return path / "config.toml"
    presets = list_presets()
    wanted = {text} | ({f"{kind}/{text}"} if kind else set())
    for preset in presets:
        if preset.name in wanted:
            return preset.path
    names = [p.name for p in presets if kind is None or p.name.startswith(f"{kind}/")]
    names += [n.split("/", 1)[1] for n in names]
    near = difflib.get_close_matches(text, names, n=3)
    did_you_mean = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"{text}: no such preset or file{did_you_mean}", "vocabkit presets list")
