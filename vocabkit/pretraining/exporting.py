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
from typing import Any

import torch
from torch import Tensor

from vocabkit.core.errors import ConfigError, MissingExtra, PretrainingError
from vocabkit.core.folders import (
    check_inputs,
    check_output,
    fingerprint_file,
    output_folder,
    write_manifest,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.checkpointing import load_run_model, write_optimizer_state
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.run_folder import RunModel, read_run_model
from vocabkit.pretraining.transformers_format import CLASSES, Precision, write_hf
from vocabkit.vocabulary.roles import complete_tokenizer
from vocabkit.vocabulary.vocabulary import SHARED, Vocabulary, block_languages, route_vocabulary

# --- Logit check -----------------------------------------------------------------------------------
# Proof that transformers computes what the model here computes: logits of a written folder, compared.
#
# Both run in fp32 on the CPU, on rows without padding. Logits are compared, nothing else: neither speed, nor
# gradients, nor whether the tokenizer cuts text well.


TOLERANCE = 1e-5
"""Largest difference allowed, as a share of the largest logit."""
_TEXT = "Ẹ káàárọ̀. Habari za asubuhi? Good morning! 2,026"
_ROWS, _LENGTH = 4, 64


@dataclass(frozen=True, slots=True)
class LogitCheck:
    """How far two programs' logits lie apart: the largest difference and the largest logit, over all rows."""

    rows: int
    tokens: int
    difference: float
    scale: float

    @property
    def passed(self) -> bool:
        """Whether the largest difference is at most 1e-5 of the largest logit."""
        return self.difference <= TOLERANCE * self.scale


def _compare_logits(model: Model, folder: Path) -> LogitCheck:
    """Load a folder with transformers and compare its logits with a model's.

    Rows: ids drawn from the whole tokenizer, between its begin and end, and the tokenizer's own ids of a
    sentence. Raises `MissingExtra` without transformers, and `PretrainingError` where a class there cannot
    open the folder, finds tensors missing or too many, or the tokenizer has ids that the model has not.
    """
    peer, tokenizer = _open_peer(folder, causal=model.config.causal)
    size, config = len(tokenizer), model.config
    if size > config.vocabulary:
        raise PretrainingError(
            f"{folder}: a tokenizer of {size:,} ids and a model of {config.vocabulary:,}",
            "prepare the data with the model's own tokenizer, and train again",
        )
    length = min(_LENGTH, config.max_length)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, size, (_ROWS, length), generator=generator)
    # The class gives padding no position of its own, inside a row too.
    drawn[drawn == config.pad_id] = config.begin_id
    drawn[:, 0] = config.begin_id
    if config.end_id is not None:
        drawn[:, -1] = config.end_id
    sentence = torch.tensor([tokenizer(_TEXT)["input_ids"][:length]])
    difference, scale, tokens = 0.0, 0.0, 0
    for ids in (drawn, sentence):
        with torch.no_grad():
            ours = model.logits(_lay_out_rows(ids))
            theirs: Tensor = peer(input_ids=ids).logits.flatten(0, 1)
        difference = max(difference, float((ours - theirs).abs().max()))
        scale = max(scale, float(theirs.abs().max()))
        tokens += ids.numel()
    return LogitCheck(rows=_ROWS + 1, tokens=tokens, difference=difference, scale=scale)


def _lay_out_rows(ids: Tensor) -> Batch:
    """Rows [rows, length] of ids as a batch of one document each, that asks for no prediction."""
    rows, length = ids.shape
    none = torch.zeros(0, dtype=torch.int64)
    return Batch(
        ids=ids.flatten().int(),
        documents=torch.arange(rows, dtype=torch.int32).repeat_interleave(length),
        positions=torch.arange(length, dtype=torch.int32).repeat(rows),
        boundaries=torch.arange(rows + 1, dtype=torch.int32) * length,
        chosen=none,
        targets=none,
        weights=none.float(),
        languages=none.int(),
        row_languages=torch.zeros(rows, dtype=torch.int32),
        row_bytes=torch.zeros(rows, dtype=torch.int32),
        length=length,
        tokens=rows * length,
        first=0,
        stop=rows,
    )


def _open_peer(folder: Path, *, causal: bool) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            f"comparing logits needs transformers: {error}", "pip install 'vocabkit[torch,hf]'"
        ) from error
    bars: Any = transformers.utils.logging
    was_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    factory: Any = (
        transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    )
    try:
        peer, found = factory.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        said = str(error).split("\n", 1)[0]
        raise PretrainingError(f"{folder}: transformers cannot open it: {said}") from error
    finally:
        if was_on:
            bars.enable_progress_bar()
    wrong = sorted(map(str, (*found["missing_keys"], *found["unexpected_keys"])))
    if wrong:
        raise PretrainingError(
            f"{folder}: {len(wrong)} tensors are missing or too many, {wrong[0]} among them"
        )
    return peer.eval(), tokenizer


# --- Exporting -------------------------------------------------------------------------------------


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
            check = _compare_logits(model, work)
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
