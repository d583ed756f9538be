"""Proof that transformers computes what the model here computes: logits of a written folder, compared.

Both run in fp32 on the CPU, on rows without padding. Logits are compared, nothing else: neither speed, nor
gradients, nor whether the tokenizer cuts text well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocabkit.core.errors import MissingExtra
from vocabkit.pretraining.batch import Batch
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.model import Model

__all__ = ["LogitCheck", "compare_logits", "lay_out_rows"]

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


def compare_logits(model: Model, folder: Path) -> LogitCheck:
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
            ours = model.logits(lay_out_rows(ids))
            theirs: Tensor = peer(input_ids=ids).logits.flatten(0, 1)
        difference = max(difference, float((ours - theirs).abs().max()))
        scale = max(scale, float(theirs.abs().max()))
        tokens += ids.numel()
    return LogitCheck(rows=_ROWS + 1, tokens=tokens, difference=difference, scale=scale)


def lay_out_rows(ids: Tensor) -> Batch:
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
