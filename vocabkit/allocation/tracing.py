"""Tracing the curves of many languages at once, with those of an earlier run taken from the counts folder."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vocabkit.allocation.curve_cache import curve_key, load_curve, save_curve
from vocabkit.allocation.curves import Curve, CurveOptions, trace_curve
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.compilation import open_workers
from vocabkit.fitting.lexicon import BoolArray
from vocabkit.fitting.warming import warm_kernels


def trace_curves(
    train: Mapping[str, SpanTable],
    measured: Mapping[str, SpanTable],
    covered: Mapping[str, BoolArray],
    options: CurveOptions,
    *,
    kind: str = "held_out",
    cache: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Curve]:
    """Return the curve of every language of `train`, sorted by code.

    `measured` holds the text each is measured on, `covered` its characters by code point. Languages are
    traced side by side, one thread each: results do not depend on it. `cache` is a folder beside the counts.
    Raises `FitError` naming a language without a covered character.
    """
    report = progress or Silent()
    codes = sorted(train)
    found: dict[str, Curve] = {}
    keys: dict[str, str] = {}
    characters: dict[str, int] = {}
    for code in codes:
        table = train[code]
        keys[code] = curve_key(table, measured.get(code), covered[code], options, kind)
        kept = load_curve(cache, code, keys[code])
        if kept is not None:
            found[code] = kept
        else:
            characters[code] = len(table.text)
    # The largest first: the last ones to finish are then short.
    missing = sorted(characters, key=lambda code: (-characters[code], code))
    if not missing:
        return {code: found[code] for code in codes}
    with open_workers(threads) as pool:
        warm_kernels(pool, report)
        side = min(pool.threads, len(missing))
    report.start("tracing curves", len(missing), "languages")

    def trace(code: str) -> Curve:
        with open_workers(1 if side > 1 else threads) as workers:
            try:
                curve = trace_curve(
                    code,
                    train[code],
                    measured.get(code),
                    covered[code],
                    workers,
                    options,
                    kind=kind,
                )
            except FitError as error:
                raise FitError(f"{code}: {error.message}", error.hint) from error
        save_curve(cache, keys[code], curve)
        report.advance(1)
        return curve

    with ThreadPoolExecutor(side) as pool_of_languages:
        for curve in pool_of_languages.map(trace, missing):
            found[curve.language] = curve
    report.finish()
    return {code: found[code] for code in codes}
