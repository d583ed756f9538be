"""`fit_vocabulary`: any preset fitted from counts, in memory or into the folder `vocabkit fit` writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vocabkit.configurations.byte_bpe import continue_bpe, fit_byte_bpe
from vocabkit.configurations.proportional import fit_proportional
from vocabkit.configurations.replacing import fit_replacement
from vocabkit.configurations.settings import CONFIGURATIONS, read_configuration
from vocabkit.configurations.shared import Fit, fit_parity, fit_shared, list_inputs, open_counts
from vocabkit.configurations.two_stage import fit_two_stage
from vocabkit.core.config import Config, Settings
from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress
from vocabkit.corpus.word_counts import WordCounts

_FITS: Mapping[str, Callable[..., Fit[Any]]] = {
    "shared": fit_shared,
    "parity": fit_parity,
    "proportional": fit_proportional,
    "two-stage": fit_two_stage,
    "byte-bpe": fit_byte_bpe,
    "continued-bpe": continue_bpe,
    "replace-bpe": fit_replacement,
}


def fit_vocabulary(
    preset: str | Path | Config,
    counts: str | Path | WordCounts,
    output: str | Path | None = None,
    *,
    settings: Settings = (),
    routed: Sequence[str] = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Fit[Any]:
    """Fit a preset on counts and return the result; with an `output` folder, write it there too.

    `preset` is a name, a TOML file, an earlier output or a configuration; `settings` are laid over it. `routed`
    are languages whose view of a vocabulary with blocks is written too, to `routed/CODE`. `workers` processes
    (default: every core) derive spans that are not cached. Beside a folder of counts, what another fit can use
    again is kept.

    Raises `ConfigError`, `CountsError`, `CorpusError`, `FitError`, `TokenizerError` and `OutputError`; nothing
    is left behind when it does.

    >>> fit = fit_vocabulary("balanced-250k", "counts/", settings={"vocabulary": {"size": 64_000}})
    ... # doctest: +SKIP
    >>> fit.size, fit.to_frame()["tokens_per_word"].max()  # doctest: +SKIP
    (64000, 3.07)
    """
    config = read_configuration(preset, settings)
    if routed and output is None:
        raise ConfigError("routed views are written, and there is no output", "name a folder")
    words = open_counts(counts, output, force=force, others=list_inputs(preset, config))
    kind = next(name for name, model in CONFIGURATIONS.items() if type(config) is model)
    fit = _FITS[kind](words, config, progress, workers=workers or os.cpu_count() or 1)
    if output is not None:
        fit.save(output, force=force, routed=routed)
    return fit
