"""The output matrix that untying a tied model adds: its name, where it is known not to change the logits."""

from __future__ import annotations

from vocabkit.extension.checkpoint import Checkpoint
from vocabkit.extension.errors import CheckpointError

__all__ = ["new_head"]

# The head that --untie writes, by model_type. Left out: T5 scales the output of a tied decoder, so an
# untied copy gives other logits; BERT and its like are told of a bias of their own by each version.
_HEADS = {
    "lm_head.weight": [
        "bloom", "cohere", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2",
        "gpt_bigcode", "granite", "llama", "mamba", "mistral", "mixtral", "olmo", "olmo2",
        "olmo3", "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
        "smollm3", "stablelm", "starcoder2", "xglm",
    ],
    "embed_out.weight": ["gpt_neox"],
}  # fmt: skip


def new_head(checkpoint: Checkpoint) -> str:
    """The name of the output matrix to add when a tied model is untied. Raises CheckpointError."""
    kind = checkpoint.model_type or "none"
    inner = (checkpoint.config or {}).get("text_config")
    if inner is not None or kind == "none":
        raise CheckpointError(
            f"{checkpoint.root}: --untie knows models of text alone", "leave --untie out"
        )
    classes = (checkpoint.config or {}).get("architectures") or []
    if not any("CausalLM" in str(item) or "LMHead" in str(item) for item in classes):
        raise CheckpointError(
            f"{checkpoint.root}: --untie needs a causal language model, and this is "
            f"{', '.join(map(str, classes)) or kind}",
            "leave --untie out",
        )
    for name, kinds in _HEADS.items():
        if kind in kinds:
            return name
    raise CheckpointError(
        f"{checkpoint.root}: --untie does not know how {kind} names or scales an untied head",
        "leave --untie out",
    )
