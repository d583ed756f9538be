"""What `byte-bpe` and `continued-bpe` share: choosing and weighing languages, taking merges, keeping time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

from vocabkit.configurations.settings import FitConfig, LanguagesTable
from vocabkit.configurations.shared import select_languages
from vocabkit.core.progress import Progress
from vocabkit.corpus.weighting import LanguageWeights, measure_masses, weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.merging import Merge, Merger

_STEP = 1_000


def select_for_merging(counts: WordCounts, languages: LanguagesTable) -> tuple[str, ...]:
    """The codes to fit, sorted. Raises as `shared.select_languages`."""
    return select_languages(counts, FitConfig(languages=languages))


def weigh_for_merging(
    counts: WordCounts, codes: Sequence[str], languages: LanguagesTable
) -> LanguageWeights:
    """The weights of the languages fitted, by the size of their training text."""
    masses = measure_masses(counts)
    return weigh_languages(
        {code: getattr(masses[code], languages.unit) for code in codes},
        languages.weighting,
        exponent=languages.exponent,
        max_epochs=languages.max_epochs,
        quota=languages.quota,
        limit=languages.allow_oversampling,
    )


def merge_all(merger: Merger) -> Iterator[Merge]:
    """Merges of the first group until it has no pair with enough evidence."""
    while (merge := merger.merge_best()) is not None:
        yield merge


def take_merges(merges: Iterator[Merge], number: int, report: Progress) -> list[Merge]:
    """The first `number` merges, reported as they come."""
    report.start("merging pairs", number, "merges")
    taken: list[Merge] = []
    while len(taken) < number:
        batch = list(islice(merges, min(_STEP, number - len(taken))))
        if not batch:
            break
        taken += batch
        report.advance(len(batch))
    report.finish()
    return taken


class Clock:
    """Wall seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap under a name."""
        now = time.perf_counter()
        self.seconds[name] = now - self._start
        self._start = now
