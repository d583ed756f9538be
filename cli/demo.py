"""`vocabkit demo`: the whole path on real text, small enough to watch."""

from pathlib import Path
from typing import TYPE_CHECKING

from .options import Force, Format, OutputFolder, Quiet
from .output import show_note, show_rows
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.core.progress import Progress

SIZE = 4_000
PRESETS = {"shared": "shared-250k", "balanced": "balanced-250k"}


def run(
    folder: OutputFolder, force: Force = False, output: Format = "table", quiet: Quiet = False
) -> None:
    """Run sample, count and fit, and print tokens per word.

    Two vocabularies of 4,000 are fitted on about 1 MB of text in 40 languages, in less than two
    minutes; the languages that pay most come first. It checks the path: text this small says
    nothing about the quality of a vocabulary.

    Example: vocabkit demo -o demo/
    """
    from vocabkit.configurations.tokenizer_folder import fit_folder
    from vocabkit.core.provenance import check_output

    check_output(folder, force=force)
    with open_progress(quiet) as progress:
        _prepare(folder, progress)
        for name, preset in PRESETS.items():
            settings = [f"vocabulary.size={SIZE}"]
            fit_folder(
                preset,
                folder / "counts",
                folder / name,
                overrides=settings,
                force=True,
                progress=progress,
            )
        rows = _compare(folder)
    show_rows(rows, output, "demo")
    show_note(
        f"tokens per word with {SIZE:,} tokens, the language that pays most first.\n"
        "The sample checks the path, not the quality of a vocabulary.\n"
        f'next: vocabkit show {folder / "balanced"} "any text", or count a corpus of your own',
        quiet,
    )


def _prepare(folder: Path, progress: "Progress") -> None:
    """Write the sample and count it."""
    from vocabkit.corpus.counting import count_corpus
    from vocabkit.corpus.sample import write_sample
    from vocabkit.corpus.sources import open_corpus

    write_sample(folder / "corpus", force=True, progress=progress)
    corpus = open_corpus(folder / "corpus" / "text")
    count_corpus(corpus, folder / "counts", force=True, progress=progress)


def _compare(folder: Path) -> list[dict[str, object]]:
    """One row a language, worst with the shared vocabulary first, and a column a vocabulary."""
    from vocabkit.audit.fertility import measure_fertility, rank_worst
    from vocabkit.corpus.word_counts import WordCounts
    from vocabkit.vocabulary.tokenizers import open_tokenizer

    counts = WordCounts.load(folder / "counts")
    measured = {name: measure_fertility(open_tokenizer(folder / name), counts) for name in PRESETS}
    found = {
        (name, row.language): row.tokens_per_word for name in PRESETS for row in measured[name]
    }
    return [
        {"language": row.language, "words": row.words}
        | {name: found[name, row.language] for name in PRESETS}
        for row in rank_worst(measured["shared"], limit=len(counts.languages))
    ]
