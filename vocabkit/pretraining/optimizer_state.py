"""The optimiser's state beside an exported model: `optimizer.safetensors`, by the names of transformers.

It lets a run go on elsewhere with the moments it had. `extend` carries such a file along as it is; the rows of
a grown vocabulary then follow its receipt: kept ids take theirs with them, new ones begin at zero. A model
without the file begins with zeros everywhere, as from scratch.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vocabkit.pretraining.checkpointing import find_checkpoint, load_checkpoint
from vocabkit.pretraining.distributed import World, fill_part
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.extension_receipt import grow_rows, read_kept
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.model_config import ModelConfig
from vocabkit.pretraining.optimizer import Optimizer
from vocabkit.pretraining.run_folder import read_run_model
from vocabkit.pretraining.tensor_names import VOCABULARY_PARAMETERS, name_tensors, split_rows

__all__ = ["OPTIMIZER_STATE", "load_optimizer_state", "write_optimizer_state"]

OPTIMIZER_STATE = "optimizer.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


def write_optimizer_state(run: Path, target: Path, step: int | None = None) -> None:
    """Write the moments of a run's newest checkpoint, or of `step`'s, into the folder `target`.

    `exp_avg.NAME` and `exp_avg_sq.NAME` in fp32, shaped as the tensor NAME of the exported model, without rows
    of padding; `step.NAME` counts the updates. Raises PretrainingError where there is no such checkpoint.
    """
    config = read_run_model(run).config
    folder = find_checkpoint(run, step)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in Model(config, seed=None).named_parameters()}
    held: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        held |= {f"optimizer.{kind}.{name}": torch.empty(shape) for kind in MOMENTS}
        held[f"optimizer.step.{name}"] = torch.empty(())
    load_checkpoint(folder, held, World(0, 1, torch.device("cpu")))
    written: dict[str, Tensor] = {}
    for name, parts in name_tensors(config).items():
        rows = config.vocabulary if name in VOCABULARY_PARAMETERS else shapes[name][0]
        for kind in MOMENTS:
            whole = held[f"optimizer.{kind}.{name}"][:rows]
            pieces = torch.split(whole, split_rows(len(parts), rows, config))
            for part, piece in zip(parts, pieces, strict=True):
                written[f"{kind}.{part}"] = piece.contiguous()
        for part in parts:
            written[f"step.{part}"] = held[f"optimizer.step.{name}"].clone()
    save_file(written, target / OPTIMIZER_STATE)


def load_optimizer_state(checkpoint: Path, optimizer: Optimizer, config: ModelConfig) -> bool:
    """Read a checkpoint's `optimizer.safetensors` into an optimiser; whether there is one.

    Raises PretrainingError where it is damaged, or of another model.
    """
    path = checkpoint / OPTIMIZER_STATE
    if not path.is_file():
        return False
    kept = read_kept(checkpoint)
    try:
        with safe_open(path, framework="pt") as file:
            for name, parts in name_tensors(config).items():
                for kind, moments in zip(
                    MOMENTS, (optimizer.means, optimizer.squares), strict=True
                ):
                    whole = torch.cat([file.get_tensor(f"{kind}.{part}") for part in parts])
                    if name in VOCABULARY_PARAMETERS:
                        whole = _fit_rows(whole, kept, config)
                    _fill(moments[name], whole, path, name)
                optimizer.steps[name].copy_(file.get_tensor(f"step.{parts[0]}"))
    except SafetensorError as error:
        raise PretrainingError(
            f"{path}: {error}", "remove it to begin with a state of zeros"
        ) from error
    return True


def _fit_rows(whole: Tensor, kept: Tensor | None, config: ModelConfig) -> Tensor:
    """A matrix of the vocabulary with the rows the model has, padding included."""
    return grow_rows(whole, torch.arange(len(whole)) if kept is None else kept, config.rows)


def _fill(target: Tensor, whole: Tensor, path: Path, name: str) -> None:
    if whole.shape != target.shape:
        raise PretrainingError(
            f"{path}: {name} has shape {list(whole.shape)}, expected {list(target.shape)}",
            "it belongs to another model: remove it to begin with a state of zeros",
        )
    fill_part(target, whole)
