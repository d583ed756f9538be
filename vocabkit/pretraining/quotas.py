"""How often each language is drawn: shares of samples, and the epochs they come to, before training starts.

A weighting gives every language a share of the text drawn, in tokens or in bytes of original text; a factor
may raise a language's share; shares of text become shares of rows by what a row of the language holds.
Bytes are the default: a share of tokens favours languages whose words fall into many pieces.

Repeating text up to about four times costs little, and by sixteen times adds little (arXiv 2305.16264);
above `warn_epochs` is reported, above `allow_epochs` refused. UniMax's bound counts epochs of the run
itself. Which row comes when is `order`'s affair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vocabkit.core.errors import ConfigError
from vocabkit.corpus.weighting import OVERSAMPLING_WARNING, weigh_languages
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.prepared import PreparedCorpus, Split
from vocabkit.pretraining.run_config import LanguageSettings

__all__ = ["LanguagePlan", "SamplingPlan", "plan_languages"]

_UNLIMITED = 1e300
"""A language's weight against its natural share is not clipped here: its epochs are what is bounded."""
_ROUNDS = 50
_NAMED = 6
"""Languages that a warning names."""


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """One language's row.

    `rows`, `tokens` (of text) and `bytes` are what there is; `share` is that of samples, `samples` how many are
    drawn over the run, within one, and `epochs` how often that passes over its rows. `weight` is its share of
    the text drawn ÷ its share of the text there is; `oversampling` the factor asked for. `first_repeat` is the
    sample at which a row first comes again, within a block of the order; None when none does.
    """

    language: str
    rows: int
    tokens: int
    bytes: int
    share: float
    samples: int
    epochs: float
    weight: float
    oversampling: float
    first_repeat: int | None
    note: str


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """The languages of a corpus, in its order, for a run of `samples` rows; shares sum to one."""

    rows: tuple[LanguagePlan, ...]
    settings: LanguageSettings
    samples: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of samples of each language, float64[n]."""
        return np.array([row.share for row in self.rows], dtype=np.float64)

    @property
    def tokens_per_row(self) -> float:
        """Tokens of text that a sample holds on average."""
        return self._average([row.tokens for row in self.rows])

    @property
    def bytes_per_row(self) -> float:
        """Bytes of original text that a sample holds on average."""
        return self._average([row.bytes for row in self.rows])

    def check(self) -> None:
        """Raise PretrainingError when a language would be repeated more often than is allowed."""
        allowed = self.settings.allow_epochs
        over = [row for row in self.rows if row.epochs > allowed]
        if over:
            names = _name_worst({row.language: row.epochs for row in over})
            needed = math.ceil(max(row.epochs for row in over))
            hint = f"--allow-epochs {needed}, or a shorter run"
            # Another weighting helps only where the text as a whole is not read too often.
            whole = self.samples / sum(row.rows for row in self.rows)
            if whole < allowed and self.settings.weighting != "unimax":
                hint += ", or --set languages.weighting=unimax"
            raise PretrainingError(
                f"the run repeats the text of {len(over)} of {len(self.rows)} languages more than "
                f"{allowed:g} times: {names}",
                hint,
            )

    def warnings(self) -> list[str]:
        """Return one sentence for each thing to know before training."""
        found = []
        limit = self.settings.warn_epochs
        often = [row for row in self.rows if row.epochs > limit]
        if often:
            names = _name_worst({row.language: row.epochs for row in often})
            found.append(f"repeated more than {limit:g} times: {names}")
        raised = [row for row in self.rows if row.oversampling > OVERSAMPLING_WARNING]
        if raised:
            names = _name_worst({row.language: row.oversampling for row in raised})
            found.append(f"oversampled more than {OVERSAMPLING_WARNING:g}×: {names}")
        empty = [row.language for row in self.rows if not row.rows]
        if empty:
            found.append(f"no text to train on, never drawn: {', '.join(empty)}")
        return found

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language for a table."""
        return [asdict(row) for row in self.rows]

    def to_json(self) -> dict[str, object]:
        """Return plain data for plan.json."""
        return {
            "samples": self.samples,
            "settings": self.settings.model_dump(mode="json"),
            "languages": self.to_rows(),
            "warnings": self.warnings(),
        }

    def _average(self, sizes: list[int]) -> float:
        return math.fsum(
            row.share * size / row.rows
            for row, size in zip(self.rows, sizes, strict=True)
            if row.rows
        )


def _name_worst(times: Mapping[str, float]) -> str:
    """The languages with the highest figures: a table says the rest, a warning must be read."""
    worst = sorted(times, key=lambda code: (-times[code], code))
    named = ", ".join(f"{code} {times[code]:,.1f}×" for code in worst[:_NAMED])
    return named + (f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else "")


def plan_languages(
    corpus: PreparedCorpus, settings: LanguageSettings, samples: int, *, refuse: bool = True
) -> SamplingPlan:
    """Return how often each language of a corpus is drawn in a run of `samples` rows.

    Raises ConfigError for settings that cannot be met, PretrainingError for a corpus without text and, unless
    `refuse` is False, for more epochs than `settings.allow_epochs`.
    """
    splits = {code: corpus.split(code, "train") for code in corpus.languages}
    masses = {code: _measure(split, settings) for code, split in splits.items()}
    masses = {code: mass for code, mass in masses.items() if mass > 0.0}
    if not masses:
        raise PretrainingError(
            f"{corpus.folder}: no rows to train on", "vocabkit prepare CORPUS --held-out 0.02"
        )
    _check_settings(settings, tuple(splits), masses)
    per_row = {code: mass / splits[code].rows for code, mass in masses.items()}
    text = _share_text(masses, per_row, settings, samples)
    total = math.fsum(text[code] / per_row[code] for code in masses)
    shares = {code: text[code] / per_row[code] / total for code in masses}
    natural = math.fsum(masses.values())
    rows = []
    for code, split in splits.items():
        share = shares.get(code, 0.0)
        drawn = share * samples
        rows.append(
            LanguagePlan(
                code,
                split.rows,
                split.tokens,
                split.bytes,
                share,
                round(drawn),
                drawn / split.rows if share else 0.0,
                text[code] * natural / masses[code] if share else 0.0,
                settings.oversampling.get(code, 1.0),
                int(split.rows / share) if drawn > split.rows else None,
                "" if share else "no text to train on",
            )
        )
    plan = SamplingPlan(tuple(rows), settings, samples)
    if refuse:
        plan.check()
    return plan


def _measure(split: Split, settings: LanguageSettings) -> float:
    return float(split.bytes if settings.unit == "bytes" else split.tokens) if split.rows else 0.0


def _share_text(
    masses: Mapping[str, float],
    per_row: Mapping[str, float],
    settings: LanguageSettings,
    samples: int,
) -> dict[str, float]:
    """Return shares of the text drawn, which sum to one.

    UniMax caps a language at so many epochs of the budget, which is the text of the run: what `samples` rows
    hold, and that depends on the shares. Starting from the average row, the two settle within a few rounds.
    """
    total = math.fsum(masses.values())
    budget = samples * total / math.fsum(masses[code] / per_row[code] for code in masses)
    text: dict[str, float] = {}
    for _ in range(_ROUNDS if settings.weighting == "unimax" else 1):
        # `weigh_languages` takes the corpus for the budget: the cap is put in its terms. A run that every
        # language's cap together cannot fill comes out natural, and its epochs are reported like any other's.
        cap = max(1.0, settings.max_epochs * total / budget)
        weights = weigh_languages(
            masses,
            settings.weighting,
            exponent=settings.exponent,
            max_epochs=cap,
            quota=settings.quota,
            limit=_UNLIMITED,
        )
        raised = {
            row.language: row.target_share * settings.oversampling.get(row.language, 1.0)
            for row in weights.rows
        }
        whole = math.fsum(raised.values())
        text = {code: share / whole for code, share in raised.items()}
        drawn = samples / math.fsum(text[code] / per_row[code] for code in masses)
        if abs(drawn - budget) <= 1e-12 * budget:
            break
        budget = drawn
    return text


def _check_settings(
    settings: LanguageSettings, languages: tuple[str, ...], masses: Mapping[str, float]
) -> None:
    known = f"the data has: {', '.join(languages)}"
    for code, factor in settings.oversampling.items():
        if code not in languages:
            raise ConfigError(
                f"languages.oversampling names {code}, which is not in the data", known
            )
        if not (math.isfinite(factor) and factor > 0.0):
            raise ConfigError(f"languages.oversampling.{code} = {factor}: must be positive")
    if settings.weighting == "quota":
        unknown = sorted(set(settings.quota) - set(masses))
        if unknown:
            raise ConfigError(
                f"languages.quota names what has no rows to train on: {', '.join(unknown)}", known
            )
        missing = sorted(set(masses) - set(settings.quota))
        if missing:
            raise ConfigError(
                f"languages.quota has no share for: {', '.join(missing)}",
                "give every language of the data a share, or prepare fewer with --languages",
            )
    if not (math.isfinite(settings.max_epochs) and settings.max_epochs > 0.0):
        raise ConfigError(f"languages.max_epochs = {settings.max_epochs}: must be positive")
