"""The checks of one tokenizer by itself, as jobs for a process: round trips, and unreachable pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vocabkit.audit.figures import Figure, Finding
from vocabkit.audit.integrity import check_integrity
from vocabkit.audit.opened_tokenizers import Opening, reuse_tokenizer
from vocabkit.audit.reachability import check_reachability


def check_round_trips(
    opening: Opening, name: str, lines: Mapping[str, Sequence[str]], seed: int
) -> tuple[list[Finding], list[Figure]]:
    """Return what `integrity` finds, under the tokenizer's short name. Raises TokenizerError."""
    findings, figures = check_integrity(reuse_tokenizer(opening).tokenizer, lines, seed=seed)
    return (
        [replace(finding, tokenizer=name) for finding in findings],
        [replace(figure, tokenizer=name) for figure in figures],
    )


def check_pieces(opening: Opening, name: str) -> tuple[list[Finding], list[Figure]]:
    """Return what `reachability` finds, under the tokenizer's short name. Raises TokenizerError."""
    findings = check_reachability(reuse_tokenizer(opening).tokenizer)
    return [replace(finding, tokenizer=name) for finding in findings], []
