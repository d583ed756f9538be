"""`vocabkit extend`: a checkpoint with another vocabulary."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DocumentRule, Force, Format, OutputFolder, Pattern, Quiet, TextField
from .output import show_note, show_rows, show_warnings


def run(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A model's folder, or a .pt file of a state dict."),
    ],
    tokenizer: Annotated[
        Path,
        typer.Argument(metavar="TOKENIZER", help="A tokenizer folder, tokenizer.json or .model."),
    ],
    output: OutputFolder,
    init_input: Annotated[
        str | None,
        typer.Option("--init-input", metavar="M", help="How new input rows are made."),
    ] = None,
    init_output: Annotated[
        str | None,
        typer.Option("--init-output", metavar="M", help="How new output rows are made."),
    ] = None,
    init_bias: Annotated[
        str,
        typer.Option("--init-bias", metavar="M", help="How new values of a head's bias are made."),
    ] = "mean",
    untie: Annotated[
        bool, typer.Option("--untie", help="Give a tied model an output matrix of its own.")
    ] = False,
    donor: Annotated[
        Path | None,
        typer.Option("--donor", metavar="DIR", help="A model that knows the new tokens, for omp."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="Text for initialisers that learn from some."),
    ] = None,
    document: DocumentRule = None,
    field: TextField = None,
    pad_to_multiple_of: Annotated[
        int | None,
        typer.Option("--pad-to-multiple-of", min=1, metavar="N", help="Pad the rows, as to 64."),
    ] = None,
    trim: Annotated[
        bool, typer.Option("--trim", help="Cut the rows beyond the new tokenizer; undo gives them back.")
    ] = False,
    old_tokenizer: Annotated[
        Path | None,
        typer.Option("--old-tokenizer", metavar="PATH", help="The model's own, where MODEL has none."),
    ] = None,
    pattern: Pattern = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option(
            "--tensor",
            metavar="NAME=ROLE",
            help="What a tensor is: input, output, bias, per-layer or ignore; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    link: Annotated[bool, typer.Option("--link", help="Hard-link the files that do not change.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Give a checkpoint the vocabulary of another tokenizer.

    Rows of tokens that both have are kept to the bit, wherever their ids move; MODEL is not changed,
    and `vocabkit undo` gives it back. `vocabkit compare-init` shows which way to make rows is best.

    Example: vocabkit extend xlmr/ tok/ -o xlmr-ext/ --pad-to-multiple-of 64
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    done = vk.extend(
        model,
        tokenizer,
        None if dry_run else output,
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
        tensor=tensor,
        seed=seed,
        link=link,
        force=force,
        progress=watch(quiet),
    )
    show_rows(done.to_rows(), format, "extend")
    show_warnings(done.warnings, quiet)
    if done.output is None:
        return
    for name, note in done.notes.items():
        show_note(f"{name}: {note}", quiet)
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.seconds.items())
    show_note(f"wrote {output}: {phases}; next: vocabkit verify {output}", quiet)
