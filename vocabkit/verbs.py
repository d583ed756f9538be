"""The face of vocabkit: one function a verb, of the verb's name, as `import vocabkit as vk` shows them.

Every function takes its inputs first (paths or loaded objects alike), then `output`, then settings by keyword:
named as the options of the command, or tables named as in a preset (`vocabulary={"size": 64_000}`). Where the
result fits in memory, no `output` writes nothing. The commands call these functions and print what they
return. Nothing is decided here: each function opens what it is given and calls the stage whose verb it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from vocabkit.core.config import list_settings, parse_size
from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import resolve_code, split_codes
from vocabkit.core.progress import Progress, watch

if TYPE_CHECKING:
    from vocabkit.auditing.comparison import Comparison
    from vocabkit.auditing.report import Audit
    from vocabkit.configurations.allocating import Allotment, SaturationReport
    from vocabkit.configurations.shared import Fit
    from vocabkit.core.languages import Panel
    from vocabkit.corpus.counting import Counted
    from vocabkit.corpus.sample import Sample
    from vocabkit.corpus.sources import Corpus
    from vocabkit.corpus.word_counts import WordCounts
    from vocabkit.extension.compare_init import InitComparison
    from vocabkit.extension.extend import Extension
    from vocabkit.extension.undo import Undone
    from vocabkit.extension.verify import Verification
    from vocabkit.pretraining.exporting import Export
    from vocabkit.pretraining.plan import RunPlan
    from vocabkit.pretraining.prepared import PreparedCorpus
    from vocabkit.pretraining.preparing import Prepared
    from vocabkit.pretraining.run_config import RunConfig
    from vocabkit.pretraining.run_folder import Run
    from vocabkit.vocabulary.adapters import Shown, Tokenizer
    from vocabkit.vocabulary.vocabulary import Difference, Vocabulary

Pathlike = str | Path
Codes = str | Sequence[str]
Table = Mapping[str, object]


@contextmanager
def _watched(progress: Progress | None) -> Iterator[Progress]:
    """Yield the caller's progress, or a bar where someone watches; no bar is left behind."""
    shown = watch() if progress is None else progress
    try:
        yield shown
    finally:
        shown.finish()


# --- Text and counts -------------------------------------------------------------------------------


def sample(output: Pathlike, *, force: bool = False, progress: Progress | None = None) -> Sample:
    """Write real text in 40 languages, offline, about 1 MB in all.

    The text comes from installed packages (extra `sample`): `text/` holds a file a language, `aligned/` lines
    that say the same in every language. Enough to try every step, too little to judge a vocabulary by.

    >>> vk.sample("corpus/").to_frame()[["language", "lines", "size"]]
    """
    from vocabkit.corpus.sample import write_sample

    with _watched(progress) as shown:
        return write_sample(output, force=force, progress=shown)


def open_corpus(
    corpus: Pathlike | Corpus,
    *,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    language: str | None = None,
    languages: Codes | None = None,
    panel: Pathlike | Panel | None = None,
    allow_missing: bool = False,
) -> Corpus:
    """Find the files of a corpus, and which language each is; nothing is read.

    `corpus` is a folder with a file or folder a language, a TOML file, or one file of one language; `language`
    says which where the names do not. `languages`, or else the `panel`, are the languages asked for. A `Corpus`
    that is open already comes back as it is. Raises `CorpusError` where a name is unknown, or a language asked
    for has no data and `allow_missing` is not set.

    >>> vk.open_corpus("corpus/text", languages="yor,ibo").languages
    ('ibo_Latn', 'yor_Latn')
    """
    from vocabkit.corpus import sources

    return sources.open_corpus(
        corpus,
        languages=split_codes(languages),
        panel=_open_panel(panel),
        document=document,
        field=field,
        language=language,
        allow_missing=allow_missing,
    )


def count(
    corpus: Pathlike | Corpus | None = None,
    output: Pathlike | None = None,
    *,
    held_out: float = 0.02,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    language: str | None = None,
    languages: Codes | None = None,
    panel: Pathlike | Panel | None = None,
    allow_missing: bool = False,
    min_count: int = 1,
    workers: int | None = None,
    memory: int | str = "2GB",
    update: bool = False,
    from_frequencies: Pathlike | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Counted:
    """Count every word of a corpus once, by language.

    Everything after this works on the counts and never reads the text again. An interrupted count goes on
    where it stopped when the same call is made again. Without `output` the counts are kept in memory.
    `memory` is a size such as "2GB", or bytes. `document`, `field` and `language` are those of `open_corpus`.
    `from_frequencies` imports a list of `word<TAB>count` lines of one `language` instead. Raises `CorpusError`,
    `CountsError` and `OutputError`.

    >>> counts = vk.count("corpus/text", "counts/")
    >>> counts.totals["yor_Latn"].words
    """
    from vocabkit.corpus.counting import CountOptions, count_corpus, import_frequencies

    if (corpus is None) == (from_frequencies is None):
        raise ConfigError("give either CORPUS or --from-frequencies FILE", "vocabkit count CORPUS -o DIR")
    if from_frequencies is not None and language is None:
        raise ConfigError(
            "--from-frequencies FILE and --language CODE belong together",
            "vocabkit count --from-frequencies FILE --language CODE -o DIR",
        )
    if from_frequencies is not None and any(given is not None for given in (document, field, languages, panel)):
        what = (
            "--document, --field, --languages and --panel say how a CORPUS is read, and a list of words is none"
        )
        raise ConfigError(what, "leave them out; its language is --language CODE")
    with _watched(progress) as shown, _folder_or_memory(output) as folder:
        if from_frequencies is not None and language is not None:
            counts = import_frequencies(
                from_frequencies, resolve_code(language), folder, held_out=held_out, seed=seed, force=force
            )
            return counts if output is not None else _keep_in_memory(counts)
        assert corpus is not None  # one of the two is given
        opened = open_corpus(
            corpus,
            document=document,
            field=field,
            language=language,
            languages=languages,
            panel=panel,
            allow_missing=allow_missing,
        )
        options = CountOptions(held_out, min_count, parse_size(memory), workers)
        counted = count_corpus(opened, folder, options, force=force, update=update, progress=shown)
        return counted if output is not None else _keep_in_memory(counted)


def merge(
    counts: Sequence[Pathlike | WordCounts],
    output: Pathlike | None = None,
    *,
    memory: int | str = "2GB",
    force: bool = False,
    progress: Progress | None = None,
) -> WordCounts:
    """Merge counts into one, exactly and in any order.

    The text is not read again. Without `output` the sum is made in memory, as `a + b` makes it.

    >>> vk.merge(["counts-2025/", "counts-2026/"], "counts/")
    """
    from vocabkit.corpus.counting import add_counts, merge_counts

    opened = [_open_counts(item) for item in ([counts] if isinstance(counts, str | Path) else counts)]
    folders = [item.folder for item in opened if item.folder is not None]
    if output is None or len(folders) < len(opened):
        total = add_counts(opened)
        if output is not None:
            total.save(output, force=force)
        return total
    with _watched(progress) as shown:
        return merge_counts(
            folders,
            output,
            memory=parse_size(memory),
            force=force,
            progress=shown,
        )


# --- Vocabularies ----------------------------------------------------------------------------------


def fit(
    preset: Pathlike,
    counts: Pathlike | WordCounts | None = None,
    output: Pathlike | None = None,
    *,
    corpus: Pathlike | Corpus | None = None,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    language: str | None = None,
    languages: Codes | Table | None = None,
    allow_oversampling: float | None = None,
    base: Pathlike | None = None,
    pattern: str | None = None,
    keep_languages: Codes | None = None,
    max_loss: float | str | None = None,
    routed: Codes | None = None,
    dev: Pathlike | None = None,
    memory: int | str | None = None,
    settings: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **tables: Table,
) -> Fit[Any]:
    """Fit a vocabulary from counts or text, as a preset describes it.

    With `corpus` in place of `counts`, that is counted first, and the counts are kept in `OUTPUT-counts`;
    `document`, `field` and `language` are those of `open_corpus`. `preset` is a shipped preset's name, a TOML
    file or an earlier output. Its tables and keys are changed by keyword, or by `settings` such as
    "vocabulary.size=4_000". Nothing is random: equal counts and settings give equal files. What is written also
    loads with SentencePiece and with transformers. Raises `ConfigError`, `CorpusError`, `CountsError`,
    `FitError`, `TokenizerError` and `OutputError`; no output is left behind when it does.

    >>> vk.fit("balanced-250k", corpus="yor_Latn.txt", output="tok/", vocabulary={"size": 4_000})
    >>> fit = vk.fit("balanced-250k", "counts/", "tok/", vocabulary={"size": 4_000})
    >>> fit.to_frame()[["language", "weight"]]
    """
    from vocabkit.configurations.tokenizer_folder import fit_vocabulary

    if (counts is None) == (corpus is None):
        raise ConfigError(
            "give either --counts DIR, or --corpus DIR to count first",
            "vocabkit fit PRESET --corpus DIR -o DIR",
        )
    if corpus is None and (document or language):
        name = "--document" if document else "--language"
        raise ConfigError(f"{name} says how --corpus is read, and there is none", f"leave {name} out")
    given = {
        **_language_settings(languages),
        "languages.allow_oversampling": allow_oversampling,
        "trainer.memory": None if memory is None else parse_size(memory),
        "base": base,
        "base_pattern": pattern,
        "replace.keep": split_codes(keep_languages),
        "replace.max_loss": max_loss,
        "parity.development": dev,
        # Of the development text too: both are read by one option.
        "parity.field": field if dev is not None or corpus is None else None,
    }
    source: WordCounts | Corpus
    if corpus is not None:
        source = open_corpus(corpus, document=document, field=field, language=language)
    elif counts is not None:
        source = _open_counts(counts)
    with _watched(progress) as shown:
        return fit_vocabulary(
            preset,
            source,
            output,
            settings=[*_as_list(settings), *list_settings(tables, given)],
            routed=split_codes(routed) or (),
            force=force,
            progress=shown,
        )


def allocate(
    counts: Pathlike | WordCounts,
    output: Pathlike | None = None,
    *,
    budget: int | None = None,
    method: Literal["proportional", "exponent", "unimax", "vocap", "parity", "maxmin"] | None = None,
    dev: Pathlike | None = None,
    dev_lines: int | None = None,
    field: str | None = None,
    floor: int | None = None,
    ceiling: int | None = None,
    preset: Pathlike = "proportional-500k",
    languages: Codes | Table | None = None,
    panel: Pathlike | None = None,
    saturation: bool = False,
    base: Pathlike | None = None,
    settings: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **tables: Table,
) -> Allotment | SaturationReport:
    """Share out a budget of pieces among languages.

    Gives each language's size and cost beside a baseline: sizes in proportion to text, or even ones where that
    is the method. `fit` of the output then fits the allocation. With `saturation`, how much k tail languages
    save with 5,000 to 50,000 pieces of their own on top of `base`.

    >>> vk.allocate("counts/", budget=600_000, method="vocap").to_frame()
    """
    from vocabkit.configurations.allocating import allocate_budget, saturate_vocabulary

    given = {
        "allocation.method": method,
        "allocation.dev": dev,
        "allocation.dev_lines": dev_lines,
        "allocation.dev_field": field,
        "allocation.floor": floor,
        "allocation.ceiling": ceiling,
        "languages.panel": panel,
        **_language_settings(languages),
    }
    settings = [*_as_list(settings), *list_settings(tables, given)]
    words = _open_counts(counts)
    if saturation and base is None:
        raise ConfigError("--saturation needs a fitted vocabulary", "give --base TOK")
    if base is not None and not saturation:
        raise ConfigError("--base is for --saturation", "add --saturation, or leave out --base")
    with _watched(progress) as shown:
        if base is not None:
            return saturate_vocabulary(base, words, output, settings=settings, force=force, progress=shown)
        return allocate_budget(
            words,
            output,
            budget=budget,
            preset=preset,
            settings=settings,
            force=force,
            progress=shown,
        )


def open_tokenizer(tokenizer: Pathlike, *, route: str | None = None, pattern: str | None = None) -> Tokenizer:
    """Open a tokenizer: SentencePiece, tokenizer.json, vocab.txt, tiktoken ranks, GGUF, or a folder with one.

    `route` is the language whose block of a vocabulary is used beside the shared pieces; `pattern` is how a
    file splits text that does not say: a name, or a regular expression. Raises `TokenizerError`.

    >>> tokenizer = vk.open_tokenizer("tok/")
    >>> (ids,) = tokenizer.encode_batch(["Ẹ kú àárọ̀"])
    >>> b"".join(tokenizer.token_bytes(i) or b"" for i in ids).decode()
    """
    from vocabkit.vocabulary import tokenizers

    if route is not None:
        return tokenizers.open_route(tokenizer, route)
    return tokenizers.open_tokenizer(tokenizer, pattern=pattern)


def show(
    tokenizers: Pathlike | Tokenizer | Sequence[Pathlike | Tokenizer],
    text: str,
    *,
    route: str | None = None,
    pattern: str | None = None,
) -> Shown:
    """Show the pieces a text is cut into, with ids, scripts and bytes.

    Of several tokenizers every row begins with the tokenizer's name. `route` and `pattern` are those of
    `open_tokenizer`; of several a route is taken by those that have blocks. Control characters are escaped and
    right-to-left text is isolated; ▁ is a space.

    >>> vk.show("tok/", "Ẹ kú àárọ̀").to_frame()
    >>> vk.show(["tok-a/", "tok-b/"], "Ẹ kú àárọ̀").to_frame()
    """
    from vocabkit.auditing.encoding import open_several
    from vocabkit.vocabulary.adapters import show_text

    if isinstance(tokenizers, str) or not isinstance(tokenizers, Sequence):
        tokenizers = [tokenizers]
    return show_text(open_several(tokenizers, route, pattern), text)


def diff(first: Pathlike | Vocabulary, second: Pathlike | Vocabulary, *, pieces: bool = False) -> Difference:
    """Show the pieces that were added, removed and moved, by script.

    A moved piece has another id. Equal vocabularies have no row. With `pieces` a row is a piece, not a script.

    >>> vk.diff("tok-a/", "tok-b/", pieces=True).to_frame()
    """
    from vocabkit.vocabulary.tokenizers import open_vocabulary
    from vocabkit.vocabulary.vocabulary import Vocabulary, compare_vocabularies

    opened = [item if isinstance(item, Vocabulary) else open_vocabulary(item) for item in (first, second)]
    return replace(compare_vocabularies(*opened), pieces=pieces)


# --- Audits ----------------------------------------------------------------------------------------


def audit(
    tokenizers: Pathlike | Sequence[Pathlike],
    corpus: Pathlike | Corpus | None = None,
    output: Pathlike | None = None,
    *,
    counts: Pathlike | WordCounts | None = None,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    language: str | None = None,
    languages: Codes | None = None,
    panel: Pathlike | Panel | None = None,
    reference: str = "eng_Latn",
    fixed: str | None = None,
    aligned: Literal["auto", "yes", "no"] = "auto",
    limit: int | None = None,
    width: int = 768,
    pattern: str | None = None,
    route: str | None = None,
    integrity: bool = True,
    sharing: bool = False,
    resamples: int = 1_000,
    seed: int = 0,
    require: Sequence[str] | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Measure what tokenizers cost each language.

    Gives a row a language, the worst first: its premium over the reference where lines are aligned across
    languages, tokens per word elsewhere. `output` gets report.html, audit.parquet with every figure, and
    audit.json with the rest. `require` are conditions such as "premium.bottom_decile<2.0"; `Audit.failed`
    lists those that do not hold. Raises `TokenizerError`, `CorpusError` and `OutputError`.

    >>> audit = vk.audit(["tok-a/", "tok-b/"], "ntrex/", "report/")
    >>> audit.to_frame()
    """
    from vocabkit.auditing.auditing import run_audit

    with _watched(progress) as shown:
        return run_audit(
            [tokenizers] if isinstance(tokenizers, str | Path) else tokenizers,
            corpus,
            output,
            counts=None if counts is None else _open_counts(counts),
            document=document,
            field=field,
            language=language,
            languages=split_codes(languages),
            panel=panel,
            reference=reference,
            fixed=fixed,
            aligned=aligned,
            limit=limit,
            width=width,
            pattern=pattern,
            route=route,
            integrity=integrity,
            sharing=sharing,
            resamples=resamples,
            seed=seed,
            require=_as_list(require),
            workers=workers,
            force=force,
            progress=shown,
        )


def compare(
    first: Pathlike,
    second: Pathlike | None,
    corpus: Pathlike | Corpus,
    output: Pathlike | None = None,
    *,
    against: Pathlike | None = None,
    max_regression: float | str = "2%",
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    language: str | None = None,
    languages: Codes | None = None,
    panel: Pathlike | Panel | None = None,
    aligned: Literal["auto", "yes", "no"] = "auto",
    limit: int | None = None,
    pattern: str | None = None,
    resamples: int = 1_000,
    seed: int = 0,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare what two tokenizers cost each language.

    Gives the change in tokens of the same lines, with its 95 % interval, the worst first. `regressions` are the
    languages that need more than `max_regression` more tokens with the second. `output` gets the audit that
    they are read off. `against` names an earlier audit of the same text, its folder or its audit.parquet, to
    hold one tokenizer to: `first`, with None for the second, or `second`, with `first` the name in that audit.

    >>> vk.compare("tok-a/", "tok-b/", "ntrex/", max_regression="2%").regressions
    >>> vk.compare("tok-b/", None, "ntrex/", against="report/").regressions
    """
    from vocabkit.auditing.comparison import run_comparison

    with _watched(progress) as shown:
        return run_comparison(
            first,
            second,
            corpus,
            output,
            against=against,
            max_regression=max_regression,
            document=document,
            field=field,
            language=language,
            languages=split_codes(languages),
            panel=panel,
            aligned=aligned,
            limit=limit,
            pattern=pattern,
            resamples=resamples,
            seed=seed,
            workers=workers,
            force=force,
            progress=shown,
        )


# --- Checkpoints -----------------------------------------------------------------------------------


def extend(
    model: Pathlike,
    tokenizer: Pathlike,
    output: Pathlike | None = None,
    *,
    init_input: str | None = None,
    init_output: str | None = None,
    init_bias: str = "mean",
    untie: bool = False,
    donor: Pathlike | None = None,
    text: Pathlike | None = None,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    pad_to_multiple_of: int | None = None,
    trim: bool = False,
    old_tokenizer: Pathlike | None = None,
    pattern: str | None = None,
    tensor: Mapping[str, str] | Sequence[str] | None = None,
    seed: int = 0,
    link: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Extension:
    """Give a checkpoint the vocabulary of another tokenizer.

    Rows of tokens that both have are kept to the bit, wherever their ids move; `model` is not changed, and
    `undo` gives it back. Without `output` nothing is written: the result is the plan. `compare_init` shows
    which way to make rows is best. `tensor` says what a tensor is: input, output, bias, per-layer or ignore.
    Raises `CheckpointError`, `TokenizerError` and `OutputError`.

    >>> vk.extend("xlmr/", "tok/", "xlmr-ext/", pad_to_multiple_of=64).to_frame()
    """
    from vocabkit.extension.extend import extend_checkpoint

    with _watched(progress) as shown:
        return extend_checkpoint(
            model,
            tokenizer,
            output,
            init_input=init_input,
            init_output=init_output,
            init_bias=init_bias,
            untie=untie,
            donor=donor,
            text=text,
            document=document,
            field=field,
            pad_to_multiple_of=pad_to_multiple_of,
            trim=trim,
            old_tokenizer=old_tokenizer,
            pattern=pattern,
            tensor=tensor if isinstance(tensor, Mapping) else _as_list(tensor),
            seed=seed,
            link=link,
            dry_run=output is None,
            force=force,
            progress=shown,
        )


def compare_init(
    model: Pathlike,
    tokenizer: Pathlike,
    text: Pathlike,
    *,
    init_text: Pathlike | None = None,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    method: Sequence[str] | None = None,
    donor: Pathlike | None = None,
    old_tokenizer: Pathlike | None = None,
    pattern: str | None = None,
    limit: int = 200,
    untie: bool = True,
    bias: str = "mean",
    resamples: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> InitComparison:
    """Compare initialisers of new rows on text, before any training.

    Gives bits per byte of each beside the old tokenization, the best first, with 95 % intervals over lines; of
    a model without a head the cosine between both tokenizations' vectors.

    >>> vk.compare_init("model/", "tok/", "deu.txt", method=["subword-mean/first"]).to_frame()
    """
    from vocabkit.extension.compare_init import compare_initializers

    with _watched(progress) as shown:
        return compare_initializers(
            model,
            tokenizer,
            text,
            init_text=init_text,
            document=document,
            field=field,
            method=_as_list(method) or None,
            donor=donor,
            old_tokenizer=old_tokenizer,
            pattern=pattern,
            limit=limit,
            untie=untie,
            bias=bias,
            resamples=resamples,
            seed=seed,
            progress=shown,
        )


def verify(
    folder: Pathlike,
    *,
    text: Pathlike | None = None,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    original: Pathlike | None = None,
    reload: bool | None = None,
) -> Verification:
    """Check that an extended checkpoint is right.

    Looks at files, tensors, ids and rows, and whether logits of old tokens are as they were; `passed` says
    whether nothing failed.

    >>> vk.verify("xlmr-ext/").passed
    True
    """
    from vocabkit.extension.verify import verify_extension

    return verify_extension(folder, text=text, document=document, field=field, original=original, reload=reload)


def undo(
    extended: Pathlike,
    output: Pathlike,
    *,
    link: bool = False,
    verify: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> Undone:
    """Write the original of an extended checkpoint.

    The folder alone is needed: dropped rows and old files are in its receipt. Bit for bit, but for PyTorch's
    own files, which get equal tensors.

    >>> vk.undo("xlmr-ext/", "xlmr/")
    """
    from vocabkit.extension.undo import undo_extension

    with _watched(progress) as shown:
        return undo_extension(extended, output, link=link, verify=verify, force=force, progress=shown)


# --- Pretraining -----------------------------------------------------------------------------------


def prepare(
    corpus: Pathlike | Corpus,
    tokenizer: Pathlike,
    output: Pathlike,
    *,
    length: int = 512,
    encoding: Literal["union", "routed"] = "union",
    held_out: float = 0.02,
    document: Literal["line", "blank-line", "file"] | None = None,
    field: str | None = None,
    language: str | None = None,
    languages: Codes | None = None,
    panel: Pathlike | Panel | None = None,
    allow_missing: bool = False,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Encode a corpus and pack it into rows for `vocabkit pretrain`.

    An interrupted run goes on where it stopped when the same call is made again. Raises `CorpusError`,
    `TokenizerError` and `OutputError`.

    >>> vk.prepare("corpus/", "tok/", "shards/", length=128).to_frame()
    """
    from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus

    opened = open_corpus(
        corpus,
        document=document,
        field=field,
        language=language,
        languages=languages,
        panel=panel,
        allow_missing=allow_missing,
    )
    options = PrepareOptions(length, encoding, held_out, workers)
    with _watched(progress) as shown:
        return prepare_corpus(opened, tokenizer, output, options, force=force, progress=shown)


@overload
def pretrain(
    preset: Pathlike | RunConfig, data: Pathlike | PreparedCorpus, output: Pathlike, **settings: Any
) -> Run: ...
@overload
def pretrain(
    preset: Pathlike | RunConfig,
    data: Pathlike | PreparedCorpus | None = None,
    output: None = None,
    **settings: Any,
) -> RunPlan: ...
def pretrain(
    preset: Pathlike | RunConfig,
    data: Pathlike | PreparedCorpus | None = None,
    output: Pathlike | None = None,
    *,
    checkpoint: Pathlike | None = None,
    allow_epochs: float | None = None,
    device: str | None = None,
    settings: Sequence[str] | None = None,
    force: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
    **tables: Table,
) -> Run | RunPlan:
    """Train a model over prepared shards, as a preset describes it.

    The same call goes on where a run was stopped, by Ctrl-C or a scheduler: both save first; one with a larger
    `training.steps` makes it longer, where its rate has not begun to fall. Without `output` nothing is trained:
    the result is the plan, with parameters, memory, time and epochs, for this machine or for a `device` such as
    "h200:8"; training takes "cpu" or "cuda". Under `torchrun` every process makes the same call. Raises
    `ConfigError`, `CheckpointError`, `PretrainingError` and `OutputError`.

    >>> vk.pretrain("multi-s", "shards/", device="a100-80gb:4").to_frame()
    >>> run = vk.pretrain("multi-s", "shards/", "run/", training={"steps": 1_000})
    """
    from vocabkit.pretraining.run_start import pretrain as train

    with _watched(progress) as shown:
        return train(
            preset,
            data,
            output,
            checkpoint=checkpoint,
            settings=[*_as_list(settings), *list_settings(tables)],
            allow_epochs=allow_epochs,
            dry_run=output is None,
            device=device,
            force=force,
            verify=verify,
            progress=shown,
        )


def export(
    run: Pathlike | Run,
    output: Pathlike,
    *,
    route: str | None = None,
    union: bool = False,
    step: int | None = None,
    dtype: Literal["fp32", "bf16"] = "fp32",
    optimizer: bool = False,
    verify: bool | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Write a run's model and tokenizer as transformers reads them.

    AutoModelForMaskedLM or AutoModelForCausalLM loads the folder, and AutoTokenizer. With `verify` the result
    is loaded and its logits are compared; `difference` says how much they differ, `passed` whether too much.
    The run's checkpoint is held to its digests unless `verify` is False.

    >>> vk.export("run/", "hf/", verify=True).passed
    """
    from vocabkit.pretraining.exporting import export_run

    with _watched(progress) as shown:
        return export_run(
            run,
            output,
            route=route,
            union=union,
            step=step,
            dtype=dtype,
            optimizer=optimizer,
            verify=verify,
            force=force,
            progress=shown,
        )


# --- What callers may write ------------------------------------------------------------------------


def _open_counts(counts: Pathlike | WordCounts) -> WordCounts:
    from vocabkit.corpus.word_counts import WordCounts

    return counts if isinstance(counts, WordCounts) else WordCounts.load(counts)


def _open_panel(panel: Pathlike | Panel | None) -> Panel | None:
    from vocabkit.core.languages import load_panel

    return load_panel(panel) if isinstance(panel, str | Path) else panel


def _language_settings(languages: Codes | Table | None) -> Table:
    """The keys of a preset behind `languages`: the codes to take, or the preset's whole table."""
    if isinstance(languages, Mapping):
        return {f"languages.{key}": value for key, value in languages.items()}
    return {"languages.include": split_codes(languages)}


def _as_list(given: Sequence[str] | None) -> list[str]:
    """What was given once or several times; a text alone is one, and not its letters."""
    return [given] if isinstance(given, str) else list(given or ())


def _keep_in_memory(counts: Counted) -> Counted:
    """The same counts with every table read: they need their folder no more."""
    loaded = {code: counts.languages[code] for code in counts.languages}
    return replace(counts, languages=loaded, folder=None)


@contextmanager
def _folder_or_memory(output: Pathlike | None) -> Iterator[Path]:
    """Yield the output, or a folder that is gone afterwards."""
    if output is not None:
        yield Path(output)
        return
    from vocabkit.core.folders import scratch_folder

    with scratch_folder() as folder:
        yield folder / "output"
