"""The configuration of a run from a preset and what was asked for beside it.

A preset proposes; `--set`, the data and the checkpoint decide. How a TOML file is read is `core.config`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from vocabkit.core.config import Config, load_config, validate
from vocabkit.core.presets import find_preset
from vocabkit.pretraining.run_config import RunConfig

__all__ = ["read_preset"]

_LENGTHS = ("steps", "tokens", "bytes")


class _Tables(Config):
    """A TOML file as it stands."""

    model_config = ConfigDict(frozen=True, extra="allow")


def read_preset(
    name: str | Path,
    overrides: Sequence[str] = (),
    *,
    has_data: bool = False,
    has_checkpoint: bool = False,
) -> RunConfig:
    """Read a preset (`tiny`), a TOML file or the configuration of an earlier run, and lay `overrides` over it.

    A length given in `overrides` (training.steps, .tokens or .bytes) replaces the preset's, whichever of the
    three that is. With a checkpoint the preset's [model] is left out, and with data its vocabulary, since these
    say it themselves; what an override names stays, to be refused where it does not fit. Raises `ConfigError`.
    """
    path = find_preset(name, "pretrain")
    tables: dict[str, Any] = dict(load_config(_Tables, path, overrides).model_extra or {})
    keys = {text.partition("=")[0].strip() for text in overrides}
    given = [length for length in _LENGTHS if f"training.{length}" in keys]
    dropped = [length for length in _LENGTHS if given and length not in given]
    tables = _without(tables, "training", dropped)
    if has_checkpoint and not any(key.partition(".")[0] == "model" for key in keys):
        tables.pop("model", None)
    elif has_data and "model.vocabulary" not in keys:
        tables = _without(tables, "model", ["vocabulary"])
    return validate(RunConfig, tables, str(path))


def _without(tables: dict[str, Any], name: str, keys: Sequence[str]) -> dict[str, Any]:
    """The tables, one of them without some keys."""
    table = tables.get(name)
    if not isinstance(table, dict):
        return tables
    return {**tables, name: {key: value for key, value in table.items() if key not in keys}}
