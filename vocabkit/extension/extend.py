"""A checkpoint given the vocabulary of another tokenizer: `extend_checkpoint` makes, writes and signs it.

Only shards with vocabulary tensors are rewritten; everything else is linked, reflinked or copied as it
is. The output is made under a hidden name and appears whole; a killed run is taken up where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import check_output, fingerprint_file, package_versions
from vocabkit.extension.plan import ExtensionPlan, Options, plan_extension
from vocabkit.extension.plan_types import Rows
from vocabkit.extension.receipt import RECEIPT, digest_rows, dump_facts
from vocabkit.extension.recording import (
    describe,
    hash_files,
    hash_originals,
    write_manifest,
    write_originals,
)
from vocabkit.extension.row_making import make_context, make_rows, new_blocks
from vocabkit.extension.staging import check_places, check_space, open_staging
from vocabkit.extension.weight_writing import write_others, write_weights

__all__ = ["Extended", "extend_checkpoint"]


@dataclass(frozen=True, slots=True)
class Extended:
    """What was done: the plan, what each group's rows came to, and the seconds of each phase."""

    plan: ExtensionPlan
    notes: Mapping[str, str]
    seconds: Mapping[str, float]


def extend_checkpoint(
    model: str | Path,
    tokenizer: str | Path,
    folder: str | Path,
    options: Options | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Extended:
    """Write to `folder` the checkpoint `model` with the vocabulary of `tokenizer`.

    `model` is not changed. Raises CheckpointError, TokenizerError, ConfigError and OutputError; then
    nothing is left behind.
    """
    clock = _Clock()
    shown = progress or Silent()
    target, told = Path(folder), options or Options()
    check_places(target, Path(model), Path(tokenizer), told.donor, told.text, told.old_tokenizer)
    check_output(target, force=force)
    with clock.measure("plan"):
        plan = plan_extension(model, tokenizer, told)
        check_space(target, plan.disk_size)
    with clock.measure("rows"):
        rows = _make_all(plan, shown)
        digests = [
            digest_rows(new_blocks(made.values, group.first.tensor.number))
            for group, made in zip(plan.groups, rows, strict=True)
        ]
    with open_staging(target, _make_key(plan, digests), force=force) as work:
        with clock.measure("write"):
            how = write_weights(plan, rows, work, shown)
            how |= write_others(plan, work)
        with clock.measure("receipt"):
            write_originals(plan, rows, work)
        with clock.measure("hash"):
            files = hash_files(plan, work, how)
            originals = hash_originals(plan, work)
        facts = describe(plan, rows, digests, files, originals)
        (work / RECEIPT / "receipt.json").write_bytes(dump_facts(facts))
        write_manifest(plan, work, files, clock.seconds)
    notes = {
        f"{group.role} ({group.first.tensor.name})": made.note or made.method
        for group, made in zip(plan.groups, rows, strict=True)
    }
    return Extended(plan, notes, clock.seconds)


class _Clock:
    """Seconds of named phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def _make_key(plan: ExtensionPlan, digests: list[str]) -> str:
    """What tells two extensions apart: options, rows, files by size and time, and the tokenizers.

    The rows themselves, and not what they were made from: text or a donor may have changed, and sums in
    another number of threads may come out otherwise in the last place.
    """
    root = plan.checkpoint.root
    names = (*plan.checkpoint.shards, *plan.copied)
    stats = [(root / name).stat() for name in names]
    told = {
        "options": {name: str(value) for name, value in asdict(plan.options).items()},
        "files": [(name, stat.st_size, stat.st_mtime_ns) for name, stat in
                  zip(names, stats, strict=True)],
        "kept": hashlib.blake2b(plan.rows.kept.tobytes(), digest_size=20).hexdigest(),
        "rows": digests,
        "root": str(root.resolve()),
        "tokenizers": [fingerprint_file(plan.old.path), fingerprint_file(plan.new.path)],
        "versions": package_versions(("vocabkit", "numpy")),
    }  # fmt: skip
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=20).hexdigest()


def _make_all(plan: ExtensionPlan, progress: Progress) -> list[Rows]:
    context = make_context(plan.options, plan.old, plan.new, plan.checkpoint.root, progress)
    return [make_rows(plan, group, context) for group in plan.groups]
