"""`fit_vocabulary`: any preset fitted from counts, in memory or into the folder `vocabkit fit` writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from vocabkit.configurations.byte_bpe import continue_bpe, fit_byte_bpe
from vocabkit.configurations.proportional import fit_proportional
from vocabkit.configurations.replacing import fit_replacement
from vocabkit.configurations.settings import (
    CONFIGURATIONS,
    LanguagesTable,
    ParityConfig,
    TwoStageConfig,
    read_configuration,
)
from vocabkit.configurations.shared import (
    Fit,
    choose_languages,
    fit_parity,
    fit_shared,
    list_inputs,
    open_counts,
)
from vocabkit.configurations.two_stage import choose_tail, fit_two_stage
from vocabkit.core.config import Config, Settings
from vocabkit.core.errors import ConfigError, VocabkitError
from vocabkit.core.folders import check_output, scratch_folder
from vocabkit.core.progress import Progress
from vocabkit.corpus.counting import keep_counts
from vocabkit.corpus.sources import Corpus, open_corpus
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.tokenizers import open_tokenizer

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
    counts: str | Path | WordCounts | Corpus,
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
    again is kept. A corpus is counted first, once all that does not need its words was looked at: into
    `OUTPUT-counts`, where the next fit of the same files finds them (`keep_counts`).

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
    if isinstance(counts, Corpus):
        _check_before(counts, preset, config, output, force=force)
    with ExitStack() as stack:
        counted = None
        if isinstance(counts, Corpus):
            folder = (
                stack.enter_context(scratch_folder()) / "counts" if output is None else _place_counts(output)
            )
            counts, counted = keep_counts(counts, folder, force=force, progress=progress)
        try:
            words = open_counts(counts, output, force=force, others=list_inputs(preset, config))
            kind = next(name for name, model in CONFIGURATIONS.items() if type(config) is model)
            fit = _FITS[kind](words, config, progress, workers=workers or os.cpu_count() or 1)
            if output is not None:
                fit.save(output, force=force, routed=routed)
        except VocabkitError as error:
            if counted is not None and output is not None:
                error.add_note(counted)  # the counts stay, for the next try
            raise
    return replace(fit, counted=counted) if output is not None else fit


def _place_counts(output: str | Path) -> Path:
    """Where the counts of a corpus that is fitted are kept: beside the output, under its name and `-counts`."""
    target = Path(output)
    target = target if target.name not in ("", "..") else target.resolve()
    return target.with_name(f"{target.name}-counts")


def _check_before(
    corpus: Corpus, preset: str | Path | Config, config: Config, output: str | Path | None, *, force: bool
) -> None:
    """Raise what a fit would raise once the corpus is counted, where that needs no word of it."""
    inputs = list_inputs(preset, config)
    if output is not None:
        check_output(Path(output), [*corpus.places, *inputs], force=force)
    table, where = getattr(config, "languages", None), f"in {corpus.name}, which holds"
    if isinstance(table, LanguagesTable):
        choose_languages(corpus.languages, table, where)
    if isinstance(config, TwoStageConfig):
        choose_tail(corpus.languages, config, f"in {corpus.name}")
    if isinstance(config, ParityConfig) and config.parity.development:
        open_corpus(config.parity.development, field=config.parity.field or None)
    if base := getattr(config, "base", ""):
        open_tokenizer(base, pattern=getattr(config, "base_pattern", "") or None)
