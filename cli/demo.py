"""`vocabkit demo`: the whole path on real text, small enough to watch."""

from pathlib import Path
from typing import TYPE_CHECKING

from .demo_model import list_missing, train_sample
from .options import Force, Format, OutputFolder, Quiet
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.auditing.report import Audit
    from vocabkit.core.progress import Progress

SIZE = 4_000
# The aligned set in all 40 languages; the other has sentences, but in 29.
ALIGNED = "names"
WORST = 5
BLOCK = 200
# The four configurations of the study; {DIR} is the demo's folder.
PRESETS = {
    "shared": ("shared-250k",),
    "balanced": ("balanced-250k",),
    "proportional": ("{DIR}/allocation",),
    "blocks": (
        "two-stage-250k-12x50k",
        "base={DIR}/shared",
        f"tail.size={BLOCK}",
        "tail.allow_fewer=true",
    ),
}


def run(folder: OutputFolder, force: Force = False, output: Format = "table", quiet: Quiet = False) -> None:
    """Run every step from a sample to a trained model.

    Four vocabularies of 4,000 (shared, balanced, proportional, and shared with blocks of 200 for
    12 languages) are fitted on about 1 MB of text in 40 languages and audited; a tiny checkpoint
    is then extended, trained and exported. The languages that pay most come first. It checks the
    path: text this small says nothing about the quality of a vocabulary.

    Example: vocabkit demo -o demo/
    """
    from vocabkit.configurations.tokenizer_folder import fit_vocabulary
    from vocabkit.core.folders import check_output

    check_output(folder, force=force)
    with open_progress(quiet) as progress:
        _prepare(folder, progress)
        for name, (preset, *given) in PRESETS.items():
            settings = [f"vocabulary.size={SIZE}"]
            settings += [text.replace("{DIR}", str(folder)) for text in given]
            fit_vocabulary(
                preset.replace("{DIR}", str(folder)),
                folder / "counts",
                folder / name,
                settings=settings,
                force=True,
                progress=progress,
            )
        audit = _audit(folder, progress)
        rows = _compare(folder, audit)
        missing = list_missing()
        steps = [] if missing else train_sample(folder, progress)
    show_rows(rows, output, "demo")
    show_warnings(audit.list_doubts(), quiet)
    show_note(
        f"tokens per word with {SIZE:,} tokens, the language that pays most first; then its premium:\n"
        "tokens for what one token says in English, on the sample's aligned names.\n"
        f"{_name_worst(audit)}\n"
        f"all of it, with intervals and checks: {folder / 'audit' / 'report.html'}",
        quiet,
    )
    if missing:
        show_note(f"left out for want of {', '.join(missing)}: extend, prepare, pretrain, export", quiet)
    for step in steps:
        show_note(f"{step['step']}: {folder / str(step['folder'])}: {step['result']}", quiet)
    show_note(
        "The sample checks the path, not the quality of a vocabulary.\n"
        f'next: vocabkit show {folder / "balanced"} "any text", or count a corpus of your own',
        quiet,
    )


def _prepare(folder: Path, progress: "Progress") -> None:
    """Write the sample, count it, and share out the pieces of the vocabulary that is allocated."""
    from vocabkit.configurations.allocating import allocate_budget
    from vocabkit.corpus.counting import count_corpus
    from vocabkit.corpus.sample import write_sample
    from vocabkit.corpus.sources import open_corpus

    write_sample(folder / "corpus", force=True, progress=progress)
    corpus = open_corpus(folder / "corpus" / "text")
    count_corpus(corpus, folder / "counts", force=True, progress=progress)
    allocate_budget(
        folder / "counts",
        folder / "allocation",
        settings=[f"vocabulary.size={SIZE}"],
        force=True,
        progress=progress,
    )


def _audit(folder: Path, progress: "Progress") -> "Audit":
    """Audit the vocabularies on lines that say the same in every language, and write the report."""
    from dataclasses import replace

    from vocabkit.auditing.auditing import run_audit

    corpus = folder / "corpus" / "aligned" / ALIGNED
    tokenizers = [folder / name for name in PRESETS]
    found = run_audit(tokenizers, corpus, aligned="yes", progress=progress)
    chosen = {key: found.origin["config"][key] for key in ("panel", "aligned", "seed")}
    # The manifest names what the demo chose, not every default.
    kept = replace(found, origin={**found.origin, "config": chosen})
    kept.save(folder / "audit", force=True)
    return kept


def _name_worst(audit: "Audit") -> str:
    """The languages with the highest premium, in words."""
    rows = audit.to_rows()
    said = []
    for name in PRESETS:
        paid = {
            str(row["language"]): cost
            for row in rows
            if row["metric"] == "premium" and isinstance(cost := row[name], float)
        }
        worst = sorted(paid, key=lambda code: (-paid[code], code))[:WORST]
        said.append(f"{name}: {', '.join(f'{code} {paid[code]:.1f}' for code in worst)}")
    return "highest premiums with " + "; with ".join(said)


def _compare(folder: Path, audit: "Audit") -> list[dict[str, object]]:
    """One row a language, worst with the shared vocabulary first, and two columns a vocabulary."""
    from vocabkit.auditing.metrics import measure_fertility, rank_worst
    from vocabkit.corpus.word_counts import WordCounts
    from vocabkit.vocabulary.tokenizers import open_tokenizer

    counts = WordCounts.load(folder / "counts")
    measured = {name: measure_fertility(open_tokenizer(folder / name), counts) for name in PRESETS}
    found = {(name, row.language): row.tokens_per_word for name in PRESETS for row in measured[name]}
    premiums = {
        (figure.tokenizer, figure.name): figure.value
        for figure in audit.select(metric="premium", scope="language")
    }
    return [
        {"language": row.language, "words": row.words}
        | {name: found[name, row.language] for name in PRESETS}
        | {f"{name} premium": premiums.get((name, row.language)) for name in PRESETS}
        for row in rank_worst(measured["shared"], limit=len(counts.languages))
    ]
