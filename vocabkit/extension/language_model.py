"""A checkpoint opened with transformers: which kind of model it is, and its rows put in and taken out.

Only this module and `distill` run a model. Nothing is written: rows are exchanged in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vocabkit.core.errors import ConfigError, MissingExtra
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.plan_types import FloatArray

ModelKind = Literal["causal", "masked", "encoder"]
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_MASKED = ("ForMaskedLM", "ForPreTraining", "WithLMHeadModel")


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A model in memory, in float32 and in evaluation mode.

    `causal` predicts the next token, `masked` a masked one; an `encoder` has no head and only represents text.
    """

    model: Any
    kind: ModelKind
    tied: bool
    folder: Path

    @property
    def input_rows(self) -> FloatArray:
        """The embedding, float32[V, d], shared with the model."""
        return _to_array(self.model.get_input_embeddings().weight)

    @property
    def output_rows(self) -> FloatArray | None:
        """The head, float32[V, d]; None without one."""
        head = self.head
        return None if head is None else _to_array(head.weight)

    @property
    def output_bias(self) -> FloatArray | None:
        """The head's bias, float32[V]; None without one."""
        bias = getattr(self.head, "bias", None)
        return None if bias is None else _to_array(bias)

    @property
    def head(self) -> Any:
        """The module whose output is the logits."""
        return None if self.kind == "encoder" else self.model.get_output_embeddings()

    @property
    def longest(self) -> int:
        """The most tokens a text may have."""
        told = getattr(self.model.config, "max_position_embeddings", None)
        # RoBERTa's positions start behind the padding id.
        return int(told) - 2 if isinstance(told, int) and told > 8 else 512

    def put_rows(
        self, inputs: FloatArray, outputs: FloatArray | None, bias: FloatArray | None
    ) -> None:
        """Put rows in place of the model's, which may be more or fewer. They are not copied."""
        import torch

        embedding, head = self.model.get_input_embeddings(), self.head
        embedding.weight = torch.nn.Parameter(torch.from_numpy(inputs), requires_grad=False)
        embedding.num_embeddings = len(inputs)
        if head is None or outputs is None:
            return
        head.weight = (
            embedding.weight
            if outputs is inputs
            else torch.nn.Parameter(torch.from_numpy(outputs), requires_grad=False)
        )
        head.out_features = len(outputs)
        if bias is not None:
            head.bias = torch.nn.Parameter(torch.from_numpy(bias), requires_grad=False)


def load_model(folder: str | Path) -> LanguageModel:
    """Open a checkpoint folder, without a network.

    Raises MissingExtra without transformers, CheckpointError for a folder it cannot open, and ConfigError
    for a model of another kind, as an encoder–decoder.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(
            f"running a model needs transformers and torch: {error}",
            "pip install 'vocabkit[torch,hf]'",
        ) from error
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path}: has no config.json", "name a model's folder")
    bars: Any = transformers.utils.logging
    was_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        kind, factory = _choose_class(config, transformers)
        model = factory.from_pretrained(path, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = str(error).split("\n", 1)[0]
        raise CheckpointError(
            f"{path}: transformers cannot open it: {said}", "look at config.json and the weights"
        ) from error
    finally:
        if was_on:
            bars.enable_progress_bar()
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if _has_layer_rows(model):
        raise ConfigError(
            f"{path}: every layer has rows of its own, and they cannot be exchanged in memory",
            "extend the model, and measure the result",
        )
    embedding = model.get_input_embeddings()
    head = None if kind == "encoder" else model.get_output_embeddings()
    tied = head is not None and head.weight.data_ptr() == embedding.weight.data_ptr()
    return LanguageModel(model, kind, tied, path)


def _choose_class(config: Any, transformers: Any) -> tuple[ModelKind, Any]:
    names = tuple(config.architectures or ())
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{names[0] if names else config.model_type}: an encoder–decoder cannot be compared on text",
            "it can be extended: `vocabkit extend`",
        )
    if any(name.endswith(_MASKED) for name in names):
        return "masked", transformers.AutoModelForMaskedLM
    if any(name.endswith(_CAUSAL) for name in names):
        return "causal", transformers.AutoModelForCausalLM
    return "encoder", transformers.AutoModel


def _has_layer_rows(model: Any) -> bool:
    return any("embed_tokens_per_layer" in name for name, _ in model.named_modules())


def _to_array(parameter: Any) -> FloatArray:
    found = parameter.detach().numpy()
    assert found.dtype == np.float32
    return np.asarray(found)
