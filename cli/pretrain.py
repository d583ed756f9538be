"""`vocabkit pretrain`: a model over prepared shards; under `torchrun` one of many processes."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .completion import complete_runs
from .options import Force, Format, NoVerify, Overrides, Quiet
from .output import say, show_note, show_rows, show_warnings

if TYPE_CHECKING:
    from vocabkit.pretraining.run_folder import Run


def run(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET", help="A preset, a TOML file or an earlier run.", autocompletion=complete_runs
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder written by `vocabkit prepare`."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of the run.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="DIR", help="Begin with this model, in transformers' format."),
    ] = None,
    settings: Overrides = None,
    allow_epochs: Annotated[
        float | None,
        typer.Option("--allow-epochs", metavar="N", help="Let a language be read N times over, not 8."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print parameters, memory, time and epochs; train nothing."),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME[:N]",
            help="cpu or cuda; with --dry-run also another machine's, as h200:8 or a100-80gb:4.",
        ),
    ] = None,
    force: Force = False,
    no_verify: NoVerify = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Train a model over prepared shards, as a preset describes it.

    The same command goes on where a run was stopped, by Ctrl-C or a scheduler: both save first; with
    more training.steps it makes a run longer. On several GPUs: torchrun --nproc-per-node 8 -m vocabkit
    pretrain ...

    Example: vocabkit pretrain multi-s --data shards/ -o run/
    """
    if not dry_run and (data is None or output is None):
        raise typer.BadParameter("--data and --output are needed, or --dry-run")
    from vocabkit.core.progress import watch
    from vocabkit.pretraining.run_start import make_plan

    plan = make_plan(
        preset,
        data,
        output,
        checkpoint=checkpoint,
        settings=settings or (),
        allow_epochs=allow_epochs,
        dry_run=dry_run,
        force=force,
        device=device,
    )
    speaks = os.environ.get("RANK", "0") == "0"
    quiet = quiet or not speaks
    if dry_run:
        if speaks:
            show_rows(plan.to_rows(), format, "pretrain-plan")
        show_warnings(plan.warnings, quiet)
        return
    if plan.languages is not None and not quiet:
        # What is drawn how often, before the first step.
        with redirect_stdout(sys.stderr):
            show_rows(plan.languages.to_rows(), "table", "languages")
    show_warnings(plan.warnings, quiet)
    from vocabkit.pretraining.loop import train_run

    trained = train_run(plan, force=force, device=device, verify=not no_verify, progress=watch(quiet))
    if speaks:
        show_rows(trained.to_rows(), format, "pretrain")
        _show_end(trained, plan.steps, quiet)
    if trained.exit_code:
        raise typer.Exit(trained.exit_code)


def _show_end(result: "Run", steps: int, quiet: bool) -> None:
    """How it ended, what to look at, and what to do next."""
    loss = "" if result.loss is None else f", loss {result.loss:.3f} nats a prediction (moving average)"
    show_note(
        f"{result.folder}: {result.steps:,} of {steps:,} steps in {result.seconds:.1f} s{loss}",
        quiet,
    )
    if result.evaluation is not None:
        scored, lost = result.evaluation["bytes"], result.evaluation["lost"]
        share = f" ({lost / scored:.2%}), charged 8 bits each" if lost else ""
        show_note(f"held-out text: {scored:,} bytes scored, {lost:,} lost in unknown tokens{share}", quiet)
        show_note(f"comparable: {result.evaluation['comparable']}", quiet)
        if (gained := result.describe_gain()) is not None:
            show_note(gained, quiet)
    if result.dead is not None:
        pieces, never, target = (result.dead[name] for name in ("pieces", "never_input", "never_target"))
        show_note(
            f"of {pieces:,} pieces {never:,} were never seen and {target:,} never predicted: "
            f"{result.folder / 'dead-vocabulary.json'}",
            quiet,
        )
    curve = result.folder / "curve.svg"
    drawn = f"loss by step: {curve}" if curve.is_file() else f"no {curve}: pip install 'vocabkit[plots]'"
    show_note(drawn, quiet)
    if result.skipped:
        show_warnings([f"{result.skipped} steps were not finite and changed nothing"], quiet)
    if result.stopped == "signal":
        show_note("stopped by a signal and saved; the same command goes on", quiet)
    elif result.message is not None:
        say(f"error: {result.message}")
    else:
        show_note(f"next: vocabkit export {result.folder} -o model/", quiet)
