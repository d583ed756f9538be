"""A run's model as a folder that `AutoModelForMaskedLM` or `AutoModelForCausalLM` and `AutoTokenizer` load.

A run on routed shards was trained on every language's own view of one vocabulary: which view the exported
tokenizer takes must be said. How files are written is in `hf_folder`; that transformers computes the same is
checked in `logit_check`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import (
    check_inputs,
    check_output,
    fingerprint_file,
    output_folder,
    write_manifest,
)
from vocabkit.pretraining.auto_tokenizer import complete_tokenizer
from vocabkit.pretraining.checkpointing import load_run_model
from vocabkit.pretraining.hf_folder import Precision, write_hf
from vocabkit.pretraining.layouts import CLASSES
from vocabkit.pretraining.logit_check import LogitCheck, compare_logits
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.optimizer_state import write_optimizer_state
from vocabkit.pretraining.run_folder import RunModel, read_run_model
from vocabkit.vocabulary.routing import SHARED, block_languages, route_vocabulary
from vocabkit.vocabulary.vocabulary import Vocabulary

__all__ = ["Exported", "export_run"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the class that loads it, the step it is of, bytes, and the comparison if asked for.

    `parameters` counts a tied matrix once, and no rows of padding. `route`: the language whose view the
    tokenizer takes; None for the whole vocabulary's. `no_tokenizer`: why AutoTokenizer will not open the
    folder, None where it will.
    """

    folder: Path
    class_name: str
    step: int | None
    parameters: int
    vocabulary: int
    dtype: Precision
    route: str | None
    bytes: int
    seconds: float
    check: LogitCheck | None
    no_tokenizer: str | None


def export_run(
    run: str | Path,
    output: str | Path,
    *,
    route: str | None = None,
    union: bool = False,
    step: int | None = None,
    dtype: Precision = "fp32",
    optimizer: bool = False,
    verify: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the model of a run's newest checkpoint, or of that at `step`, as transformers reads it.

    `route` (a language's code) or `union` must be said where the shards were routed. With `verify` logits
    are compared before anything appears at `output`; a difference is for the caller to judge. `optimizer`
    adds the optimiser's moments, so that a run from this folder, extended or not, goes on with them. Raises
    `PretrainingError`, `ConfigError`, `OutputError`, and `MissingExtra` where `verify` finds no transformers.
    """
    began = time.perf_counter()
    target, source = Path(output), Path(run)
    check_output(target, force=force)
    check_inputs(target, [source])
    made = read_run_model(source)
    view = _choose_view(made, route, union, f"vocabkit export {source} -o {target}")
    steps = progress or Silent()
    steps.start("read the checkpoint")
    model, made = load_run_model(source, step)
    steps.finish()
    check = None
    with output_folder(target, force=force) as work:
        if dtype == "bf16":
            _round_parameters(model)
        steps.start("write the model")
        with _open_view(made.tokenizer, view) as tokenizer:
            write_hf(model, work, tokenizer, dtype=dtype)
            no_tokenizer = _explain_missing(tokenizer)
        if optimizer:
            write_optimizer_state(source, work, made.step)
        steps.finish()
        if verify:
            steps.start("compare logits")
            check = compare_logits(model, work)
            steps.finish()
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        write_manifest(
            work,
            config={"route": view, "step": made.step, "dtype": dtype},
            inputs={"run": fingerprint_file(source / "run.json")},
            seconds={"all": time.perf_counter() - began},
            details={
                "layout": made.config.layout,
                "encoding": made.encoding,
                "difference": None if check is None else check.difference,
                "scale": None if check is None else check.scale,
            },
        )
    padding = made.config.rows - made.config.vocabulary
    return Exported(
        folder=target,
        class_name=CLASSES[made.config.layout],
        step=made.step,
        parameters=_count_parameters(model, padding),
        vocabulary=made.config.vocabulary,
        dtype=dtype,
        route=view,
        bytes=size,
        seconds=time.perf_counter() - began,
        check=check,
        no_tokenizer=no_tokenizer,
    )


def _choose_view(made: RunModel, route: str | None, union: bool, command: str) -> str | None:
    """The block's name whose view is exported, None for the whole vocabulary."""
    if route is not None and union:
        raise ConfigError("--route and --union: say one of them", command)
    if made.encoding != "routed":
        if route is None:
            return None
        raise ConfigError(
            f"--route {route}: the model was trained on the whole vocabulary's encoding",
            command,
        )
    if union:
        return None
    blocks = block_languages(Vocabulary.load(made.tokenizer))
    if route is None:
        raise ConfigError(
            "the model was trained on routed shards: say whose encoding the tokenizer takes",
            f"{command} --route CODE, or --union; blocks are {', '.join(blocks)}",
        )
    found = next((name for name in blocks if route in (name, name.split("_")[0])), None)
    if found is not None:
        return found
    plain = {code for name in made.languages for code in (name, name.split("_")[0])}
    if route in plain or route == SHARED:
        return SHARED
    raise ConfigError(
        f"--route {route}: no block of that name, and no language of this run",
        f"blocks are {', '.join(blocks)}; any other language of the run takes the shared one",
    )


@contextmanager
def _open_view(tokenizer: Path, view: str | None) -> Iterator[Path]:
    """The tokenizer's folder, or a passing one with a language's view of it."""
    if view is None:
        yield tokenizer
        return
    with TemporaryDirectory(prefix="vocabkit-view-") as folder:
        route_vocabulary(Vocabulary.load(tokenizer), view).save(folder)
        yield Path(folder)


def _explain_missing(tokenizer: Path) -> str | None:
    """Why AutoTokenizer will not cut text as a run's tokenizer does, None where it will."""
    with TemporaryDirectory(prefix="vocabkit-") as trial:
        return complete_tokenizer(tokenizer, Path(trial))


@torch.no_grad()
def _round_parameters(model: Model) -> None:
    """Make parameters what their bf16 copies are, so that the comparison is of what was written."""
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16())


def _count_parameters(model: Model, padding: int) -> int:
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = [model.table, model.output_table, model.output_bias]
    spare = sum(padding * table[0].numel() for table in tables if table is not None)
    return total - spare
