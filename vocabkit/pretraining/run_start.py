"""How a run begins or goes on: everything is checked before anything is trained, and by all ranks alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vocabkit.checkpoints.receipt import read_kept
from vocabkit.core.errors import ConfigError, PretrainingError, TokenizerError
from vocabkit.pretraining.checkpointing import (
    RunState,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_optimizer_state,
    load_seen,
    read_state,
    remove_unfinished,
)
from vocabkit.pretraining.distributed import World
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.optimizer import PlannedStage, plan_stages, require_new_rows
from vocabkit.pretraining.order import Ledger
from vocabkit.pretraining.plan import RunPlan, check_fit, plan_run
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import ModelConfig, RunConfig
from vocabkit.pretraining.run_folder import (
    Identity,
    check_identity,
    create_run,
    identify_run,
    is_run,
    read_new_rows,
    read_origin,
    read_run_model,
    write_config,
)
from vocabkit.pretraining.trainer import Trainer
from vocabkit.pretraining.transformers_format import load_model, read_checkpoint
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.roles import check_numbering, find_tokenizer_files
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# --- Model setup -----------------------------------------------------------------------------------
# The model a run begins with: drawn from a seed, or read from a checkpoint that `extend` or others wrote.


_ALIKE = 0.01
"""Share of pieces that may differ between two formats of one tokenizer; another one differs in most."""


def describe_model(
    config: RunConfig, corpus: PreparedCorpus, checkpoint: Path | None
) -> ModelConfig:
    """The shape of a new run's model: `[model]`'s, or the checkpoint's.

    Raises ConfigError where both or neither say it, PretrainingError where it does not fit the prepared data.
    """
    if checkpoint is None:
        if config.model is None:
            raise ConfigError(
                "no [model] and no checkpoint: nothing says what to train",
                "add a [model] table, or pass --checkpoint DIR",
            )
        shape = config.model.shape(
            config.model.vocabulary or corpus.vocabulary, corpus.special, corpus.length
        )
    else:
        if config.model is not None:
            raise ConfigError(
                f"[model] and the checkpoint {checkpoint} both say what to train",
                "leave [model] out, or pass no --checkpoint",
            )
        shape, _ = read_checkpoint(checkpoint)
    check_fit(shape, corpus)
    if checkpoint is not None:
        _check_tokenizer(checkpoint, corpus)
    return shape


def _build_model(shape: ModelConfig, seed: int | None, checkpoint: Path | None) -> Model:
    """The model in fp32 on the CPU: a checkpoint's weights, or drawn; with no seed, whatever memory holds."""
    return Model(shape, seed=seed) if checkpoint is None else load_model(checkpoint)


def _check_new_ids(new_rows: Tensor, corpus: PreparedCorpus) -> None:
    """Raise PretrainingError when data knows none of the ids that an extension added."""
    if len(new_rows) and int(new_rows.min()) >= corpus.vocabulary:
        raise PretrainingError(
            f"{corpus.folder}: data of {corpus.vocabulary:,} ids, and the first id that the extension added "
            f"is {int(new_rows.min()):,}: it was prepared with the tokenizer of before",
            "prepare the corpus with the extended checkpoint's tokenizer",
        )


def _check_tokenizer(checkpoint: Path, corpus: PreparedCorpus) -> None:
    """Raise PretrainingError when the checkpoint holds a tokenizer that gives pieces other ids than the data's.

    One tokenizer may come in files of two formats: where they differ, pieces are compared. Raises
    TokenizerError where the checkpoint's .model does not number pieces as its rows.
    """
    check_numbering(checkpoint)
    try:
        if find_tokenizer_files(checkpoint).fingerprint == corpus.tokenizer_fingerprint:
            return
        held, used = open_tokenizer(checkpoint), open_tokenizer(corpus.tokenizer_folder)
    except TokenizerError:
        return  # a checkpoint need not hold a tokenizer
    different = _find_different(held, used)
    if different is not None:
        raise PretrainingError(
            f"{corpus.folder} was prepared with another tokenizer than {checkpoint} holds: id {different} is "
            f"{used.token_bytes(different)!r} in the one, {held.token_bytes(different)!r} in the other",
            f"vocabkit prepare CORPUS --tokenizer {checkpoint} -o DIR",
        )


def _find_different(held: Tokenizer, used: Tokenizer) -> int | None:
    """The first id of pieces that are not the same, when there are too many of them; None otherwise."""
    both = range(min(held.size, used.size))
    text = [index for index in both if held.kinds[index] is Kind.NORMAL is used.kinds[index]]
    other = [index for index in text if held.token_bytes(index) != used.token_bytes(index)]
    return other[0] if len(other) > _ALIKE * len(text) else None


# --- Run start -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class RunStart:
    """What a run works on. `state` is that of `resumed`, the checkpoint it goes on from; None at the start.

    `checkpoint` is the folder its first weights are from, None where they are drawn, or not needed any more.
    """

    run: Path
    config: RunConfig
    corpus: PreparedCorpus
    shape: ModelConfig
    plan: RunPlan
    stages: tuple[PlannedStage, ...]
    new_rows: Tensor | None
    identity: Identity
    checkpoint: Path | None
    resumed: Path | None
    state: RunState | None


def start_run(
    config: RunConfig,
    data: Path,
    run: Path,
    checkpoint: Path | None,
    world: World,
    *,
    force: bool,
) -> RunStart:
    """Open the data, and find or lay out the run. Every rank calls.

    Raises what the user can put right; a run that is there already is refused when it is another.
    """
    corpus = PreparedCorpus.load(data)
    going_on = world.on_main(lambda: is_run(run) and not force)
    if going_on and checkpoint is None and read_origin(run) is not None:
        # The shape is that of the checkpoint the run began with, which it needs no more.
        config = config.model_copy(update={"model": None})
    identity = identify_run(config, corpus, checkpoint)
    new_rows: Tensor | None = None
    if going_on:
        check_identity(run, identity, checkpoint_given=checkpoint is not None)
        shape = read_run_model(run).config
        found = read_new_rows(run)
        new_rows = None if found is None else torch.from_numpy(found)
    else:
        shape = describe_model(config, corpus, checkpoint)
        kept = None if checkpoint is None else read_kept(checkpoint)
        if kept is not None:
            new_rows = torch.from_numpy(np.flatnonzero(kept < 0))
            _check_new_ids(new_rows, corpus)
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
    plan = plan_run(config, corpus, shape, world.size, device=device)
    stages = plan_stages(config.stages, plan.steps)
    require_new_rows(stages, new_rows)
    folder = world.on_main(lambda: _find_resumed(run, checkpoint) if going_on else None)
    if not going_on:
        rows = None if new_rows is None else new_rows.numpy()
        world.on_main(
            lambda: create_run(
                run, config, shape, corpus, identity, plan.to_json(), new_rows=rows, force=force
            )
        )
    state = None if folder is None else read_state(folder)
    origin = None if folder is not None else checkpoint
    return RunStart(
        run, config, corpus, shape, plan, stages, new_rows, identity, origin, folder, state
    )


def make_model(start: RunStart) -> Model:
    """The model with its first weights, on the CPU; where a checkpoint is resumed they are still to be read."""
    seed = start.config.training.seed if start.resumed is None else None
    return _build_model(start.shape, seed, start.checkpoint)


def tidy_run(run: Path, config: RunConfig) -> None:
    """Remove what a killed process left half written, and note the configuration that holds now.

    For the process that holds the run alone: what another is writing looks half written too.
    """
    remove_unfinished(run)
    write_config(run, config)


def restore_run(start: RunStart, trainer: Trainer, ledger: Ledger, world: World) -> int:
    """Put a checkpoint's state into a trainer, or the state beside the first weights; the steps done."""
    if start.resumed is None or start.state is None:
        if start.checkpoint is not None:
            load_optimizer_state(start.checkpoint, trainer.optimizer, start.shape)
        return 0
    load_checkpoint(start.resumed, trainer.tensors(), world)
    trainer.seen.load(load_seen(start.resumed))
    state = start.state
    ledger.load(state.samples, state.rows, state.tokens, state.bytes)
    return state.step


def _find_resumed(run: Path, checkpoint: Path | None) -> Path | None:
    """The newest checkpoint of a run; None where it was stopped before its first."""
    if list_checkpoints(run):
        return find_checkpoint(run)
    if checkpoint is None and read_origin(run) is not None:
        raise PretrainingError(
            f"{run}: stopped before its first checkpoint, and starts from another model's",
            "pass the same --checkpoint again",
        )
    return None
