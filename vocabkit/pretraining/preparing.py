"""Preparing a corpus: from text to packed rows of ids, in parallel, resumable, in bounded memory.

The map step (`row_shards.prepare_shard`) runs on any `concurrent.futures.Executor`. Finished shards wait in a
work folder beside the output, so an interrupted run resumes; the output appears whole or not at all. The
same corpus, tokenizer and options give the same bytes, whatever the number of workers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from vocabkit.core.errors import ConfigError, CorpusError, TokenizerError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import (
    check_inputs,
    check_output,
    name_full_disk,
    publish_folder,
    write_manifest,
)
from vocabkit.corpus.scheduling import open_executor
from vocabkit.corpus.sources import Corpus
from vocabkit.pretraining.auto_tokenizer import complete_tokenizer
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.preparation import PrepareOptions, PrepareReport, PrepareRow
from vocabkit.pretraining.prepared import ENCODINGS, PreparedCorpus
from vocabkit.pretraining.row_index import (
    group_by_language,
    measure_efficiency,
    publish_rows,
    sum_splits,
    write_row_config,
    write_row_index,
)
from vocabkit.pretraining.row_scheduling import plan_row_shards, run_row_shards
from vocabkit.pretraining.row_shards import RowShard, load_row_shard, open_encoder
from vocabkit.pretraining.special_ids import SpecialIds
from vocabkit.pretraining.special_tokens import (
    TokenizerFiles,
    find_special_ids,
    find_tokenizer_files,
)
from vocabkit.pretraining.work_folder import open_work
from vocabkit.vocabulary.routing import block_languages
from vocabkit.vocabulary.vocabulary import Vocabulary

__all__ = ["PrepareOptions", "PrepareReport", "PrepareRow", "prepare_corpus"]

# Bump when the same input comes to give other rows: an interrupted run is then begun anew.
_VERSION = 1
_SHORTEST = 8
# Text in a script without pieces is half unknown tokens: each word a space and one unknown run.
_UNKNOWN = 0.4


def prepare_corpus(
    corpus: Corpus,
    tokenizer: str | Path,
    output: str | Path,
    options: PrepareOptions | None = None,
    *,
    force: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> PrepareReport:
    """Encode and pack every source of a corpus into a folder of prepared rows.

    Raises `CorpusError` for text that cannot be read, `TokenizerError` for a tokenizer that cannot be used,
    `PretrainingError` for one without a token that begins a text, `OutputError` for an output that exists.
    """
    settings = options or PrepareOptions()
    _check_options(settings)
    target = Path(output)
    check_output(target, force=force)
    sources = [source.path for parts in corpus.sources.values() for source in parts]
    check_inputs(target, [*(path for path in sources if "://" not in path), tokenizer])
    with name_full_disk(target):
        return _prepare(corpus, Path(tokenizer), target, settings, executor, progress or Silent())


def _prepare(
    corpus: Corpus,
    tokenizer: Path,
    target: Path,
    settings: PrepareOptions,
    executor: Executor | None,
    report: Progress,
) -> PrepareReport:
    start = time.perf_counter()
    files = find_tokenizer_files(tokenizer)
    # Kept open: where shards are prepared in this process, theirs is this one.
    opened = open_encoder(files.file, None, files.fingerprint).tokenizer
    special, vocabulary = find_special_ids(tokenizer, opened), opened.size
    blocks = _find_blocks(files) if settings.encoding == "routed" else None
    plan = _describe_plan(corpus, settings, files, special)
    with open_work(target, plan) as work:
        plans = plan_row_shards(
            corpus, files, special, blocks, work, length=settings.length, held_out=settings.held_out
        )
        resumed = sum(load_row_shard(plan.folder) is not None for plan in plans)
        with ExitStack() as stack:
            pool = executor or open_executor(settings.workers, len(plans), stack)
            shards = run_row_shards(pool, plans, report)
        encoded = time.perf_counter()
        groups = group_by_language(shards)
        _check_text(groups, special, settings)
        ready = work / "shards-ready"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        languages = {
            code: publish_rows(group, ready, settings.length) for code, group in groups.items()
        }
        write_row_index(ready, languages, corpus, settings, files, special, vocabulary, shards)
        no_export = _copy_tokenizer(files, ready / "tokenizer")
        write_row_config(ready, corpus, tokenizer, settings)
        PreparedCorpus.load(ready)
        write_manifest(
            ready,
            config={"length": settings.length, "encoding": settings.encoding, "held_out": settings.held_out},
            inputs={"tokenizer": files.fingerprint}
            | {f"{s.language}: {path}": digest for s in shards for path, digest in s.sources.items()},
            seconds={"encode": encoded - start},
            details={
                "repairs": {code: _sum_repairs(group) for code, group in groups.items()},
                "ignored": list(corpus.ignored),
            },
        )  # fmt: skip
        publish_folder(ready, target)
        shutil.rmtree(work, ignore_errors=True)
    rows = tuple(_report_row(code, group, settings.length) for code, group in groups.items())
    used = sum(shard.used["train"] for shard in shards)
    places = sum(shard.splits["train"].rows for shard in shards) * settings.length
    return PrepareReport(
        rows, used / places, tuple(corpus.ignored), resumed, time.perf_counter() - start, no_export
    )


def _copy_tokenizer(files: TokenizerFiles, folder: Path) -> str | None:
    """Keep the tokenizer's files, and return why AutoTokenizer will not open an export of them, if so."""
    folder.mkdir()
    for path in files.copied:
        shutil.copyfile(path, folder / path.name)
    with TemporaryDirectory(prefix="vocabkit-") as trial:
        return complete_tokenizer(folder, Path(trial))


def _check_options(settings: PrepareOptions) -> None:
    if settings.length < _SHORTEST:
        raise ConfigError(f"--length {settings.length}: expected {_SHORTEST} places or more")
    if settings.encoding not in ENCODINGS:
        raise ConfigError(f"--encoding {settings.encoding}: one of {', '.join(ENCODINGS)}")
    if not 0.0 <= settings.held_out < 1.0:
        raise ConfigError(
            f"--held-out {settings.held_out}: expected a share from 0 up to, not including, 1"
        )


def _find_blocks(files: TokenizerFiles) -> tuple[str, ...]:
    try:
        return block_languages(Vocabulary.load(files.folder))
    except TokenizerError as error:
        raise TokenizerError(
            f"{files.folder}: cannot be routed: {error.message}",
            "leave out --encoding routed, or fit with `vocabkit fit two-stage-250k-12x50k`",
        ) from error


def _describe_plan(
    corpus: Corpus, settings: PrepareOptions, files: TokenizerFiles, special: SpecialIds
) -> str:
    """All that decides what is in a finished shard, but for its files."""
    return json.dumps(
        [
            _VERSION, settings.length, settings.encoding, settings.held_out, corpus.document,
            corpus.field, files.fingerprint, special.to_dict(),
        ]
    )  # fmt: skip


def _check_text(
    groups: Mapping[str, Sequence[RowShard]], special: SpecialIds, settings: PrepareOptions
) -> None:
    """Raise for a language without a document, a known token or a row to train on."""
    for code, group in groups.items():
        names = ", ".join(path for shard in group for path in shard.sources)
        train, held = sum_splits(group, "train"), sum_splits(group, "held-out")
        if not train.documents + held.documents:
            raise CorpusError(
                f"{code}: no document in {names}",
                "add text of that language, or take its files out of the corpus",
            )
        unknown = sum(shard.unknown for shard in group) / max(1, train.tokens + held.tokens)
        if unknown >= _UNKNOWN:
            raise TokenizerError(
                f"{code}: the tokenizer does not know its text: {unknown:.0%} of the tokens are unknown "
                f"(id {special.unknown})",
                "leave the language out with --languages, or fit a vocabulary that covers it",
            )
        if not train.rows:
            raise PretrainingError(
                f"{code}: all of its {held.documents} documents are held out, none is left to train on",
                f"lower --held-out (now {settings.held_out}), or add text",
            )


def _sum_repairs(shards: Sequence[RowShard]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.repairs)
    return dict(sorted(total.items()))


def _report_row(code: str, shards: Sequence[RowShard], length: int) -> PrepareRow:
    train, held = sum_splits(shards, "train"), sum_splits(shards, "held-out")
    return PrepareRow(
        code, train.documents, train.bytes, train.tokens, train.rows,
        measure_efficiency(shards, length) or 0.0, train.bytes / train.tokens,
        held.documents, held.rows, sum(shard.cut for shard in shards),
        sum(shard.unknown for shard in shards) / (train.tokens + held.tokens),
        _sum_repairs(shards),
    )  # fmt: skip
