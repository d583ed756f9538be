"""`vocabkit export`: a run's model as transformers reads it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import Force, Format, OutputFolder, Quiet
from .output import show_note, show_rows, show_warnings


def run(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder written by `vocabkit pretrain`.")],
    output: OutputFolder,
    route: Annotated[
        str | None,
        typer.Option(
            "--route",
            metavar="CODE",
            help="Of a run on routed shards: the language whose encoding the tokenizer takes.",
        ),
    ] = None,
    union: Annotated[
        bool,
        typer.Option("--union", help="Of a run on routed shards: a tokenizer of all pieces."),
    ] = False,
    step: Annotated[
        int | None,
        typer.Option("--step", min=0, metavar="N", help="That step's checkpoint; else the newest."),
    ] = None,
    dtype: Annotated[
        Literal["fp32", "bf16"], typer.Option("--dtype", help="What weights are stored as.")
    ] = "fp32",
    optimizer: Annotated[
        bool,
        typer.Option("--optimizer", help="The optimiser's moments too, for a run from the result."),
    ] = False,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Load the result with transformers and compare logits and ids; or do not even check "
            "the checkpoint's digests (1.3 s a gigabyte).",
        ),
    ] = None,
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Write a run's model and tokenizer as transformers reads them.

    AutoModelForMaskedLM or AutoModelForCausalLM loads the folder, and AutoTokenizer. Exits with 1 when
    --verify finds logits that differ by more than 1e-5 of the largest, or text with other ids.

    Example: vocabkit export run/ -o hf/ --verify
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    done = vk.export(
        run,
        output,
        route=route,
        union=union,
        step=step,
        dtype=dtype,
        optimizer=optimizer,
        verify=verify,
        force=force,
        progress=watch(quiet),
    )
    show_rows(done.to_rows(), format, "export")
    if done.no_tokenizer is not None:
        show_warnings([f"AutoTokenizer will not open {output}: {done.no_tokenizer}"], quiet)
    show_note(f"wrote {output} in {done.seconds:.1f} s", quiet)
    if done.differing:
        show_note(
            f"failed: {len(done.differing)} of {done.texts} texts have other ids by AutoTokenizer than in "
            f"training, {done.differing[0]!r} among them"
        )
        raise typer.Exit(1)
    if done.passed is False:
        show_note(
            f"failed: logits differ from transformers' by {done.difference:.3g}, "
            f"the largest being {done.scale:.3g}"
        )
        raise typer.Exit(1)
