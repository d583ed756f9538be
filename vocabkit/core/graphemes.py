"""Extended grapheme clusters: where text may be cut without breaking what a reader sees as one letter."""

from __future__ import annotations


def cut_run(run: str, limit: int) -> list[str]:
    """Cut a run of text into parts of at most `limit` characters, each ending at a grapheme boundary.

    A single grapheme longer than `limit` (a stack of marks) is cut at `limit`: nothing is ever dropped.
    """
    import regex

    if len(run) <= limit:
        return [run]
    parts = []
    start = 0
    while len(run) - start > limit:
        window = run[start : start + limit + 1]
        # The last boundary at or before the limit: only the window's tail is segmented, since a cluster
        # rarely exceeds 64 characters and segmenting a 200 MB run whole would take minutes.
        tail = max(0, limit - 256)
        boundaries = [tail + match.start() for match in regex.finditer(r"\X", window[tail:])]
        cut = boundaries[-1] if len(boundaries) > 1 else limit
        parts.append(run[start : start + cut])
        start += cut
    parts.append(run[start:])
    return parts
