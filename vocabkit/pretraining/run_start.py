"""From what is asked for to a run: `make_plan` decides everything once, `pretrain` then trains by it.

A preset, data, a checkpoint or an earlier run are names here; what they come to is `plan`'s, and the training
`loop`'s. Nothing here loads torch but for a checkpoint's shape and the name of the GPU.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from vocabkit.core.errors import ConfigError, PretrainingError, TokenizerError
from vocabkit.core.progress import Progress
from vocabkit.pretraining.plan import (
    Device,
    RunPlan,
    check_fit,
    identify_device,
    measure_cpu,
    parse_device,
    plan_run,
)
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import ModelConfig, RunConfig, read_preset
from vocabkit.pretraining.run_folder import (
    Run,
    check_identity,
    identify_run,
    is_run,
    read_origin,
    settle_length,
)
from vocabkit.vocabulary.roles import SpecialIds, find_tokenizer_files
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

_ROW_LENGTH = 512
"""Rows of a preset that is looked at without data."""
_ALIKE = 0.01
"""Share of pieces that may differ between two formats of one tokenizer; another one differs in most."""


def pretrain(
    preset: str | Path | RunConfig,
    data: str | Path | PreparedCorpus | None,
    output: str | Path | None = None,
    *,
    checkpoint: str | Path | None = None,
    settings: Sequence[str] = (),
    allow_epochs: float | None = None,
    dry_run: bool = False,
    force: bool = False,
    verify: bool = True,
    device: str | None = None,
    progress: Progress | None = None,
) -> Run | RunPlan:
    """Train a model on the rows in `data`, into the folder `output`, and return the run.

    `preset` is a name, a TOML file, an earlier run or a configuration; `settings` are texts as
    `training.steps=1_000` laid over it. `checkpoint` is the folder to start from; [model] says the shape
    otherwise. A language may be read `allow_epochs` times. `device` is "cpu" or "cuda", by default CUDA where
    there is one. With `dry_run` nothing is trained and the plan returned: that needs neither data nor output,
    and `device` may name others, as "h200:8".

    A run that is there already, of the same configuration and data, goes on from its newest checkpoint, and
    answers at once where it is finished; `force` starts it anew. Rows and the checkpoint that it goes on from
    are held to their digests first, 1.3 s a gigabyte, unless `verify` is False. Started by torchrun on every
    rank alike.

    Raises PretrainingError, ConfigError, OutputError or MissingExtra for what the user can put right, before
    anything is trained where that is possible.

    >>> run = pretrain("tiny", "shards/", "run/", settings=["training.steps=200"])  # doctest: +SKIP
    >>> run.to_frame()["loss"]  # doctest: +SKIP
    """
    plan = make_plan(
        preset, data, output, checkpoint=checkpoint, settings=settings, allow_epochs=allow_epochs,
        dry_run=dry_run, force=force, device=device,
    )  # fmt: skip
    if dry_run:
        return plan
    from vocabkit.pretraining.loop import train_run

    return train_run(plan, force=force, device=device, verify=verify, progress=progress)


def make_plan(
    preset: str | Path | RunConfig,
    data: str | Path | PreparedCorpus | None = None,
    output: str | Path | None = None,
    *,
    checkpoint: str | Path | None = None,
    settings: Sequence[str] = (),
    allow_epochs: float | None = None,
    dry_run: bool = False,
    force: bool = False,
    device: str | None = None,
) -> RunPlan:
    """Return what `pretrain` of the same arguments will do.

    With `dry_run`, what training would refuse for its epochs is a warning of the plan, and times are for
    `device`: this machine's, or one by name. Raises ConfigError and PretrainingError for what cannot be
    planned.
    """
    if allow_epochs is not None:
        settings = [*settings, f"languages.allow_epochs={allow_epochs}"]
    config = read_preset(preset, settings, has_data=data is not None, has_checkpoint=checkpoint is not None)
    corpus = data if isinstance(data, PreparedCorpus | None) else PreparedCorpus.load(data)
    if not dry_run and (corpus is None or output is None):
        raise ConfigError("training needs data and an output", "give both, or ask for a dry run")
    if not dry_run and device not in (None, "cpu", "cuda"):
        raise ConfigError(
            f"--device {device}: training runs on this machine's cpu or cuda", "--dry-run  # plans for another"
        )
    run, begin = (None if path is None else Path(path) for path in (output, checkpoint))
    goes_on = run is not None and not force and is_run(run)
    earlier = run if goes_on else None
    if earlier is not None and begin is None and read_origin(earlier) is not None:
        # The shape is that of the checkpoint the run began with, which it needs no more.
        config = config.model_copy(update={"model": None})
    model = _find_shape(config, corpus, begin, earlier)
    if begin is not None and corpus is not None and earlier is None:
        check_fit(model, corpus)
        _check_tokenizer(begin, corpus)
    planned, world = _find_device(device, dry_run=dry_run)
    plan = plan_run(config, corpus, model, world, device=planned, refuse=not dry_run)
    plan = replace(plan, output=run, goes_on=goes_on, checkpoint=begin)
    return _take_up(plan, refuse=not dry_run) if goes_on and corpus is not None else plan


def _take_up(plan: RunPlan, *, refuse: bool) -> RunPlan:
    """The plan of a run that is there already; where it is to be longer, a warning tells from where it goes on.

    Raises PretrainingError for one that cannot be made longer: without `refuse` that is a warning too.
    """
    plan = settle_length(plan)
    if plan.lengthens is None:
        return plan
    from vocabkit.pretraining.checkpointing import explain_longer

    assert plan.corpus is not None
    try:
        check_identity(plan, identify_run(plan.config, plan.corpus, plan.checkpoint))
        said = explain_longer(plan)
    except PretrainingError as refusal:
        if refuse:
            raise
        said = f"training would be refused: {refusal.message}; {refusal.hint}"
    return replace(plan, warnings=(*plan.warnings, said))


def _find_shape(
    config: RunConfig, corpus: PreparedCorpus | None, checkpoint: Path | None, earlier: Path | None
) -> ModelConfig:
    """The shape of the model: the checkpoint's, an earlier run's, or the configuration's."""
    if checkpoint is not None and earlier is None:
        if config.model is not None:
            raise ConfigError(
                f"[model] and the checkpoint {checkpoint} both say what to train",
                "leave [model] out, or pass no --checkpoint",
            )
        # Only here does a plan need torch.
        from vocabkit.pretraining.transformers_format import read_checkpoint

        return read_checkpoint(checkpoint)[0]
    if config.model is None and earlier is not None:
        return Run.load(earlier).model
    if config.model is None:
        raise ConfigError("the preset has no [model]: it goes on from a checkpoint", "pass --checkpoint DIR")
    if corpus is not None:
        return config.model.shape(config.model.vocabulary or corpus.vocabulary, corpus.special, corpus.length)
    if config.model.vocabulary is None:
        raise ConfigError(
            "neither data nor the preset says how large the vocabulary is",
            "pass --data DIR, or --set model.vocabulary=250_000",
        )
    ids = SpecialIds(begin=0, end=2, pad=1, mask=4, unknown=3)
    return config.model.shape(config.model.vocabulary, ids, _ROW_LENGTH)


def _find_device(device: str | None, *, dry_run: bool) -> tuple[Device | None, int]:
    """What a plan is for, and how many: this machine's GPU or CPU, or what is named. A CPU only plans."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device not in (None, "cpu", "cuda"):
        return parse_device(device)
    found = None if device == "cpu" else _find_gpu()
    if found is None and device == "cuda" and dry_run:
        raise ConfigError("--device cuda: no GPU is found here", "--device h200  # or another by name")
    return found or (measure_cpu() if dry_run else None), world


def _find_gpu() -> Device | None:
    """This process's GPU; None without one, or without torch."""
    if find_spec("torch") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    place = int(os.environ.get("LOCAL_RANK", "0"))
    memory = torch.cuda.get_device_properties(place).total_memory
    return identify_device(torch.cuda.get_device_name(place), memory)


def _check_tokenizer(checkpoint: Path, corpus: PreparedCorpus) -> None:
    """Raise PretrainingError when the checkpoint holds a tokenizer that gives pieces other ids than the data's.

    One tokenizer may come in files of two formats: where they differ, pieces are compared.
    """
    try:
        if find_tokenizer_files(checkpoint).fingerprint == corpus.tokenizer_fingerprint:
            return
        held, used = open_tokenizer(checkpoint), open_tokenizer(corpus.tokenizer_folder)
    except TokenizerError:
        return  # a checkpoint need not hold a tokenizer
    both = range(min(held.size, used.size))
    text = [index for index in both if held.kinds[index] is Kind.NORMAL is used.kinds[index]]
    other = [index for index in text if held.token_bytes(index) != used.token_bytes(index)]
    if len(other) > _ALIKE * len(text):
        raise PretrainingError(
            f"{corpus.folder} was prepared with another tokenizer than {checkpoint} holds: id {other[0]} is "
            f"{used.token_bytes(other[0])!r} in the one, {held.token_bytes(other[0])!r} in the other",
            f"vocabkit prepare CORPUS --tokenizer {shlex.quote(str(checkpoint))} -o DIR",
        )
