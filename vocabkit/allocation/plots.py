"""Plots of curves and of saturation, as SVG. Nothing else in this stage imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.allocation.curves import Curve
from vocabkit.core.errors import MissingExtra


def plot_curves(curves: Mapping[str, Curve], sizes: Mapping[str, int], path: Path) -> None:
    """Draw tokens per character against size, a line per language, with the chosen size marked.

    Raises `MissingExtra` without matplotlib.
    """
    figure, axes = _open_figure(9.0, 6.5)
    colours = _pick_colours(len(curves))
    ends = []
    for colour, (code, curve) in zip(colours, sorted(curves.items()), strict=True):
        values = -curve.saving.value
        axes.plot(curve.size, values, color=colour, linewidth=1.0)
        chosen = max(sizes[code], 1)
        height = curve.tokens_at(chosen)
        axes.plot([chosen], [height], "o", color=colour, markersize=4)
        ends.append((height, chosen, code, colour))
    for height, chosen, code, colour in ends:
        axes.annotate(
            code, (chosen, height), textcoords="offset points", xytext=(4, 3), fontsize=6, color=colour
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    from matplotlib.ticker import ScalarFormatter

    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    measured = ", ".join(sorted({curve.measured.replace("_", "-") for curve in curves.values()}))
    axes.set_xlabel("pieces in the language's own vocabulary")
    axes.set_ylabel(f"tokens per character ({measured} text)")
    axes.set_title("What pieces are worth; dots are the allocated sizes", fontsize=10)
    _save(figure, path)


def plot_saturation(
    series: Mapping[int, Sequence[tuple[int, float, float | None, float | None, bool]]], path: Path
) -> None:
    """Draw the saving against the number of languages served, a line per block size.

    `series` maps a size to (languages, saving, low, high, data-limited), savings as shares; a language whose
    text could not fill its block has a hollow mark. Raises `MissingExtra` without matplotlib.
    """
    figure, axes = _open_figure(7.0, 5.0)
    for colour, (size, points) in zip(_pick_colours(len(series)), sorted(series.items()), strict=True):
        served = [point[0] for point in points]
        saved = [100 * point[1] for point in points]
        axes.plot(served, saved, "-", color=colour, label=f"{size:,}")
        fill = ["white" if point[4] else colour for point in points]
        axes.scatter(served, saved, s=25, color=fill, edgecolors=[colour], zorder=3)
        low = [100 * (p[1] if p[2] is None else p[2]) for p in points]
        high = [100 * (p[1] if p[3] is None else p[3]) for p in points]
        axes.fill_between(served, low, high, color=colour, alpha=0.2, linewidth=0)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("tail languages with a block of their own, the greatest saving first; hollow: data-limited")
    axes.set_ylabel("held-out tokens saved, % (mean over the tail)")
    axes.legend(title="pieces a language", fontsize=8)
    _save(figure, path)


def plot_lines(
    lines: Mapping[str, Sequence[tuple[float, float]]], path: Path, *, across: str, upward: str
) -> None:
    """Draw lines of points by their labels; `across` and `upward` name the axes. Raises `MissingExtra`."""
    figure, axes = _open_figure(7.0, 4.5)
    for colour, (label, points) in zip(_pick_colours(len(lines)), lines.items(), strict=True):
        if points:
            mark = "o" if len(points) < 20 else ""
            axes.plot(*zip(*points, strict=True), color=colour, marker=mark, markersize=3, label=label)
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
    if any(lines.values()):
        axes.legend(fontsize=8)
    _save(figure, path)


def _open_figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots need matplotlib", "pip install 'vocabkit[plots]'") from error
    # Without these every SVG differs: ids are drawn at random and the date is written in.
    matplotlib.rcParams["svg.hashsalt"] = "vocabkit"
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _pick_colours(count: int) -> list[Any]:
    import matplotlib

    table = matplotlib.colormaps["viridis" if count <= 6 else "turbo"]
    return [table(k) for k in np.linspace(0.0, 0.9, max(count, 1))][:count]


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})
