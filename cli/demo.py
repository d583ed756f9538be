"""`vocabkit demo`: the whole path on real text, small enough to watch."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Force, Format, OutputFolder, Quiet
from .output import show_note, show_rows, show_warnings

if TYPE_CHECKING:
    import vocabkit as vk

SIZE = 4_000
# The aligned set in all 40 languages; the other has sentences, but in 29.
ALIGNED = "names"
WORST = 5
BLOCK = 200
# The four configurations of the study; {DIR} is the demo's folder.
PRESETS = {
    "shared": "shared-250k",
    "balanced": "balanced-250k",
    "proportional": "{DIR}/allocation",
    "blocks": "two-stage-250k-12x50k",
}
LENGTH = 128
STEPS = 40
# Enough held-out rows that the bits of a language are not those of one line.
SETTINGS = (
    f"training.steps={STEPS}",
    "training.batch_rows=32",
    "training.micro_rows=32",
    "training.precision='fp32'",
    "training.compile=false",
    "optimizer.rate=2e-3",
    # The sample is 1 MB: small languages are read many times over, which a real run must not do.
    "languages.allow_epochs=1_000",
    "log.every=10",
    "log.evaluate_every=0",
    "log.evaluate_rows=16",
)
NEEDED = ("torch", "safetensors")


def run(output: OutputFolder, force: Force = False, format: Format = "table", quiet: Quiet = False) -> None:
    """Run every step from a sample to a trained model.

    Four vocabularies of 4,000 (shared, balanced, proportional, and shared with blocks of 200 for
    12 languages) are fitted on about 1 MB of text in 40 languages and audited; a tiny checkpoint
    is then extended, trained and exported. The languages that pay most come first. It checks the
    path: text this small says nothing about the quality of a vocabulary.

    Example: vocabkit demo -o demo/
    """
    from vocabkit.core.folders import check_output
    from vocabkit.core.progress import watch

    # The folder itself stays: what is in it is replaced, each part by the verb that writes it.
    check_output(output, force=force, known=[path.name for path in output.glob("*")])
    audit, rows = _fit_and_audit(output, watch(quiet))
    missing = [name for name in NEEDED if find_spec(name) is None]
    steps = [] if missing else _train(output, watch(quiet))
    show_rows(rows, format, "demo")
    show_warnings(audit.list_doubts(), quiet)
    for line in (
        f"tokens per word with {SIZE:,} tokens, the language that pays most first; then its premium:",
        "tokens for what one token says in English, on the sample's aligned names.",
        _name_worst(audit),
        f"all of it, with intervals and checks: {output / 'audit' / 'report.html'}",
    ):
        show_note(line, quiet)
    if missing:
        show_note(f"left out for want of {', '.join(missing)}: extend, prepare, pretrain, export", quiet)
    for step in steps:
        show_note(f"{step['step']}: {output / str(step['folder'])}: {step['result']}", quiet)
    show_note("The sample checks the path, not the quality of a vocabulary.", quiet)
    show_note(f'next: vocabkit show {output / "balanced"} "any text", or count a corpus of your own', quiet)


def _fit_and_audit(folder: Path, progress: "vk.Progress") -> tuple["vk.Audit", list[dict[str, object]]]:
    """Write the sample, count it, fit four vocabularies and audit them; the audit, and a row a language."""
    from dataclasses import replace

    import vocabkit as vk

    vk.sample(folder / "corpus", force=True, progress=progress)
    counts = vk.count(folder / "corpus" / "text", folder / "counts", force=True, progress=progress)
    size = {"size": SIZE}
    vk.allocate(counts, folder / "allocation", force=True, progress=progress, vocabulary=size)
    for name, preset in PRESETS.items():
        has_blocks = name == "blocks"
        vk.fit(
            preset.replace("{DIR}", str(folder)),
            counts,
            folder / name,
            base=folder / "shared" if has_blocks else None,
            settings=[f"tail.size={BLOCK}", "tail.allow_fewer=true"] if has_blocks else None,
            force=True,
            progress=progress,
            vocabulary=size,
        )
    corpus = folder / "corpus" / "aligned" / ALIGNED
    found = vk.audit([folder / name for name in PRESETS], corpus, aligned="yes", progress=progress)
    chosen = {key: found.origin["config"][key] for key in ("panel", "aligned", "seed")}
    # The manifest names what the demo chose, not every default.
    audit = replace(found, origin={**found.origin, "config": chosen})
    audit.save(folder / "audit", force=True)
    return audit, _compare(folder, audit)


def _train(folder: Path, progress: "vk.Progress") -> list[Mapping[str, object]]:
    """Extend a random checkpoint, train it on the demo's text and export it; one row a step.

    Reads `shared`, `blocks` and `corpus` in the folder; writes `model`, `model-ext`, `shards`, `run` and `hf`.
    """
    import vocabkit as vk
    from vocabkit.extension.sample_checkpoint import write_sample_checkpoint

    extended = folder / "model-ext"
    write_sample_checkpoint(folder / "model", folder / "shared")
    grown = vk.extend(folder / "model", folder / "blocks", extended, force=True, progress=progress)
    checks = vk.verify(extended, reload=None if find_spec("transformers") else False)
    text, shards = folder / "corpus" / "text", folder / "shards"
    prepared = vk.prepare(text, extended, shards, length=LENGTH, force=True, progress=progress)
    trained = vk.pretrain(
        "continue",
        shards,
        folder / "run",
        checkpoint=extended,
        settings=SETTINGS,
        force=True,
        progress=progress,
    )
    exported = vk.export(trained, folder / "hf", force=True, progress=progress)
    coverage = grown.plan.coverage
    failed = [check.name for check in checks if check.state == "failed"]
    return [
        {
            "step": "extend",
            "folder": "model-ext",
            "result": f"{coverage.kept:,} rows kept, {coverage.approximated:,} new",
        },
        {
            "step": "verify",
            "folder": "model-ext",
            "result": f"failed: {', '.join(failed)}" if failed else f"{len(checks)} checks, none failed",
        },
        {
            "step": "prepare",
            "folder": "shards",
            "result": f"{sum(row.rows for row in prepared.rows):,} rows of {LENGTH} tokens",
        },
        {
            "step": "pretrain",
            "folder": "run",
            "result": f"{trained.steps} steps, loss {trained.loss:.2f}",
        },
        {
            "step": "export",
            "folder": "hf",
            "result": f"{exported.class_name}, {exported.parameters:,} parameters",
        },
    ]


def _name_worst(audit: "vk.Audit") -> str:
    """The languages with the highest premium, in words."""
    rows = audit.to_rows(marked=True)
    said = []
    for name in PRESETS:
        paid = {
            str(row["language"]): cost
            for row in rows
            if row["metric"] == "premium" and isinstance(cost := row[name], float)
        }
        worst = sorted(paid, key=lambda code: (-paid[code], code))[:WORST]
        # What is lost has no premium, and is worse than any that has one.
        lost = [f"{row['language']} lost" for row in rows if row[name] == "lost"]
        said.append(f"{name}: {', '.join(lost + [f'{code} {paid[code]:.1f}' for code in worst])}")
    return "highest premiums with " + "; with ".join(said)


def _compare(folder: Path, audit: "vk.Audit") -> list[dict[str, object]]:
    """One row a language, worst with the shared vocabulary first, and two columns a vocabulary."""
    from vocabkit.auditing.metrics import measure_fertility, rank_worst
    from vocabkit.corpus.word_counts import WordCounts
    from vocabkit.vocabulary.tokenizers import open_tokenizer

    counts = WordCounts.load(folder / "counts")
    measured = {name: measure_fertility(open_tokenizer(folder / name), counts) for name in PRESETS}
    found = {(name, row.language): row.tokens_per_word for name in PRESETS for row in measured[name]}
    premiums = {
        (name, row["language"]): row[name]
        for row in audit.to_rows(marked=True)
        if row["metric"] == "premium"
        for name in PRESETS
    }
    return [
        {"language": row.language, "words": row.words}
        | {name: found[name, row.language] for name in PRESETS}
        | {f"{name} premium": premiums.get((name, row.language)) for name in PRESETS}
        for row in rank_worst(measured["shared"], limit=len(counts.languages))
    ]
