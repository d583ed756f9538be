"""`vocabkit pretrain`: a model over prepared shards; under `torchrun` one of many processes."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Force, Format, Overrides, Quiet
from .output import show_note, show_rows, show_warnings
from .pretrain_tables import list_plan, list_scores, tell_dead
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.pretraining.plan import RunPlan
    from vocabkit.pretraining.prepared import PreparedCorpus
    from vocabkit.pretraining.run_config import ModelConfig, RunConfig
    from vocabkit.pretraining.run_folder import RunResult

# Times are given for this GPU where there is none to ask.
ASSUMED_GPU = "H200"
# Rows of a preset that is looked at without data.
ROW_LENGTH = 512


def run(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="A preset, a TOML file or an earlier run.")
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder written by `vocabkit prepare`."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of the run.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="DIR", help="Begin with this model, in transformers' format."
        ),
    ] = None,
    overrides: Overrides = None,
    allow_epochs: Annotated[
        float | None,
        typer.Option(
            "--allow-epochs", metavar="N", help="Let a language be read N times over, not 8."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print parameters, memory, time and epochs; train nothing."),
    ] = False,
    force: Force = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Train a model over prepared shards, as a preset describes it.

    The same command goes on where a run was stopped, by Ctrl-C or a scheduler: both save first. On
    several GPUs: torchrun --nproc-per-node 8 -m vocabkit pretrain ...

    Example: vocabkit pretrain multi-s --data shards/ -o run/
    """
    from vocabkit.pretraining.run_config import read_preset

    given = [f"languages.allow_epochs={allow_epochs}"] if allow_epochs is not None else []
    config = read_preset(
        preset,
        [*(overrides or []), *given],
        has_data=data is not None,
        has_checkpoint=checkpoint is not None,
    )
    corpus = _open_data(data)
    speaks = os.environ.get("RANK", "0") == "0"
    quiet = quiet or not speaks
    earlier = _find_earlier(folder, force)
    if dry_run:
        plan, model = _plan(config, corpus, checkpoint, earlier, refuse=False)
        if speaks:
            show_rows(list_plan(plan, model), output, "pretrain-plan")
            show_warnings([*plan.warnings, *_list_refusals(plan)], quiet)
        return
    if corpus is None or folder is None:
        raise typer.BadParameter("--data and --output are needed, or --dry-run")
    plan, _ = _plan(config, corpus, checkpoint, earlier, refuse=True)
    _show_languages(plan, quiet)
    from vocabkit.pretraining.loop import pretrain

    with open_progress(quiet) as progress:
        result = pretrain(
            config,
            corpus.folder,
            folder,
            checkpoint=checkpoint,
            force=force,
            progress=progress,
        )
    if speaks:
        show_rows(list_scores(result, plan), output, "pretrain")
        _show_end(result, quiet)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _open_data(data: Path | None) -> "PreparedCorpus | None":
    from vocabkit.pretraining.prepared import PreparedCorpus

    return None if data is None else PreparedCorpus.load(data)


def _plan(
    config: "RunConfig",
    corpus: "PreparedCorpus | None",
    checkpoint: Path | None,
    earlier: Path | None,
    *,
    refuse: bool,
) -> "tuple[RunPlan, ModelConfig]":
    """The plan of the run, for the GPU at hand or else an assumed one."""
    from vocabkit.pretraining.plan import plan_run

    model = _shape(config, corpus, checkpoint, earlier)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    # Only the rank that shows it asks the GPU: all of them would ask the first one.
    device = (_find_gpu() if os.environ.get("RANK", "0") == "0" else None) or ASSUMED_GPU
    return plan_run(config, corpus, model, world, device=device, refuse=refuse), model


def _shape(
    config: "RunConfig",
    corpus: "PreparedCorpus | None",
    checkpoint: Path | None,
    earlier: Path | None,
) -> "ModelConfig":
    """The shape of the model: a checkpoint's, an earlier run's, or the preset's."""
    from vocabkit.core.errors import ConfigError
    from vocabkit.pretraining.run_folder import read_run_model
    from vocabkit.vocabulary.roles import SpecialIds

    if checkpoint is not None:
        # Only here does a plan need torch.
        from vocabkit.pretraining.run_start import describe_model
        from vocabkit.pretraining.transformers_format import read_checkpoint

        return (
            read_checkpoint(checkpoint)[0]
            if corpus is None
            else describe_model(config, corpus, checkpoint)
        )
    if config.model is None and earlier is not None:
        return read_run_model(earlier).config
    if config.model is None:
        raise ConfigError(
            "the preset has no [model]: it goes on from a checkpoint", "pass --checkpoint DIR"
        )
    if corpus is not None:
        return config.model.shape(
            config.model.vocabulary or corpus.vocabulary, corpus.special, corpus.length
        )
    if config.model.vocabulary is None:
        raise ConfigError(
            "neither data nor the preset says how large the vocabulary is",
            "pass --data DIR, or --set model.vocabulary=250_000",
        )
    ids = SpecialIds(begin=0, end=2, pad=1, mask=4, unknown=3)
    return config.model.shape(config.model.vocabulary, ids, ROW_LENGTH)


def _find_earlier(folder: Path | None, force: bool) -> Path | None:
    """The folder of a run to go on with: it needs its checkpoint no more."""
    from vocabkit.pretraining.run_folder import is_run

    return folder if folder is not None and not force and is_run(folder) else None


def _list_refusals(plan: "RunPlan") -> list[str]:
    """What training would refuse of a plan that is only shown."""
    from vocabkit.core.errors import PretrainingError

    try:
        if plan.languages is not None:
            plan.languages.check()
    except PretrainingError as error:
        return [f"training would be refused: {error.message}; {error.hint}"]
    return []


def _find_gpu() -> str | None:
    """The name of this machine's GPU; None without one, or without torch."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _show_languages(plan: "RunPlan", quiet: bool) -> None:
    """What is drawn how often, on stderr, before the first step."""
    if plan.languages is not None and not quiet:
        with redirect_stdout(sys.stderr):
            show_rows(plan.languages.to_rows(), "table", "languages")
    show_warnings(plan.warnings, quiet)


def _show_end(result: "RunResult", quiet: bool) -> None:
    """How it ended, what to look at, and what to do next."""
    loss = "" if result.loss is None else f", loss {result.loss:.3f} nats a prediction"
    show_note(
        f"{result.folder}: {result.steps:,} steps in {result.seconds:.1f} s{loss} (moving average)",
        quiet,
    )
    if result.evaluation is not None:
        show_note(f"comparable: {result.evaluation['comparable']}", quiet)
    if result.dead is not None:
        show_note(tell_dead(result), quiet)
    if result.skipped:
        show_warnings([f"{result.skipped} steps were not finite and changed nothing"], quiet)
    if result.stopped == "signal":
        show_note("stopped by a signal and saved; the same command goes on", quiet)
    elif result.message is not None:
        print(f"error: {result.message}", file=sys.stderr)
    else:
        show_note(f"next: vocabkit export {result.folder} -o model/", quiet)
