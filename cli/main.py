"""The `vocabkit` application: its verbs and its global options, but not what errors do."""

import os
import sys
from typing import Annotated

import typer

from . import (
    allocate,
    audit,
    compare,
    compare_init,
    count,
    demo,
    diff,
    export,
    extend,
    fit,
    merge,
    prepare,
    presets,
    pretrain,
    sample,
    show,
    undo,
    verify,
)
from .boundary import Boundary

app = typer.Typer(
    name="vocabkit",
    cls=Boundary,
    # Plain help starts in half the time, and can be compared with a file.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("sample")(sample.run)
app.command("count")(count.run)
app.command("merge")(merge.run)
app.command("fit")(fit.run)
app.command("show")(show.run)
app.command("diff")(diff.run)
app.command("audit")(audit.run)
app.command("compare")(compare.run)
app.command("allocate")(allocate.run)
app.command("extend")(extend.run)
app.command("compare-init")(compare_init.run)
app.command("verify")(verify.run)
app.command("undo")(undo.run)
app.command("prepare")(prepare.run)
app.command("pretrain")(pretrain.run)
app.command("export")(export.run)
app.add_typer(presets.app, name="presets")
app.command("demo")(demo.run)


def _print_versions(wanted: bool) -> None:
    if not wanted:
        return
    import platform

    from vocabkit import __version__
    from vocabkit.core.folders import package_versions

    # The package may run from a checkout that is not installed: its own version is in its source.
    installed = {**package_versions(), "vocabkit": __version__}
    versions = {"vocabkit": __version__, "python": platform.python_version(), **installed}
    for name, found in versions.items():
        sys.stdout.write(f"{name:13} {found or 'not installed'}\n")
    raise typer.Exit


@app.callback()
def run(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="Print the versions of vocabkit and everything it stands on.",
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; also VOCABKIT_DEBUG=1.")
    ] = False,
) -> None:
    """Engineer multilingual tokenisers: count once, then fit, look and compare in seconds.

    Start with: vocabkit demo -o demo/
    """
    if debug:
        os.environ["VOCABKIT_DEBUG"] = "1"
