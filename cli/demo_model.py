"""The demo's second half: a checkpoint extended by the blocks, trained on the sample, exported."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocabkit.core.progress import Progress

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


def list_missing() -> list[str]:
    """The packages that training needs and that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def train_sample(folder: Path, progress: "Progress") -> list[Mapping[str, object]]:
    """Extend a random checkpoint of the demo's, train it on the demo's text and export it; one row a step.

    Reads `shared`, `blocks` and `corpus` in the folder; writes `model`, `model-ext`, `shards`, `run` and `hf`.
    """
    from vocabkit.corpus.sources import open_corpus
    from vocabkit.extension.extend import extend_checkpoint
    from vocabkit.extension.sample_checkpoint import write_sample_checkpoint
    from vocabkit.extension.verify import verify_extension
    from vocabkit.pretraining.exporting import export_run
    from vocabkit.pretraining.loop import train_run
    from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus
    from vocabkit.pretraining.run_start import make_plan

    extended = folder / "model-ext"
    write_sample_checkpoint(folder / "model", folder / "shared")
    grown = extend_checkpoint(folder / "model", folder / "blocks", extended, force=True, progress=progress)
    checks = verify_extension(extended, reload=None if find_spec("transformers") else False)
    prepared = prepare_corpus(
        open_corpus(folder / "corpus" / "text"),
        extended,
        folder / "shards",
        PrepareOptions(length=LENGTH),
        force=True,
        progress=progress,
    )
    plan = make_plan(
        "continue", folder / "shards", folder / "run", checkpoint=extended, settings=SETTINGS,
        force=True, device="cpu",
    )  # fmt: skip
    trained = train_run(plan, force=True, device="cpu", progress=progress)
    exported = export_run(folder / "run", folder / "hf", force=True, progress=progress)
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
