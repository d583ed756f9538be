"""A few steps of training for new rows alone: the model keeps every other parameter, to the bit.

Only here and in `compare_init` a model is run. Nothing is written: rows are exchanged in memory.
The model reads a line as the old tokenizer cuts it; with the new rows it should come to the same states where
both cuts meet, and predict a new token where its first letters begin. Nothing else is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vocabkit.checkpoints.checkpoint import refuse_gguf
from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.errors import CheckpointError, ConfigError, MissingExtra, VocabkitError, first_line
from vocabkit.extension.rows import Context, RowPlan, number_new
from vocabkit.extension.space_rows import cut_lines

# --- Language model --------------------------------------------------------------------------------

_ModelKind = Literal["causal", "masked", "encoder"]
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_MASKED = ("ForMaskedLM", "ForPreTraining", "WithLMHeadModel")


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A model in memory, in float32 and in evaluation mode.

    `causal` predicts the next token, `masked` a masked one; an `encoder` has no head and only represents text.
    """

    model: Any
    kind: _ModelKind
    tied: bool
    folder: Path

    @property
    def input_rows(self) -> Float32Array:
        """The embedding, float32[V, d], shared with the model."""
        return _to_array(self.model.get_input_embeddings().weight)

    @property
    def output_rows(self) -> Float32Array | None:
        """The head, float32[V, d]; None without one."""
        head = self.head
        return None if head is None else _to_array(head.weight)

    @property
    def output_bias(self) -> Float32Array | None:
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

    def put_rows(self, inputs: Float32Array, outputs: Float32Array | None, bias: Float32Array | None) -> None:
        """Put rows in place of the model's, which may be more or fewer. They are not copied."""
        import torch

        def freeze(rows: Float32Array) -> Any:
            return torch.nn.Parameter(torch.from_numpy(rows), requires_grad=False)

        embedding, head = self.model.get_input_embeddings(), self.head
        embedding.weight, embedding.num_embeddings = freeze(inputs), len(inputs)
        if head is None or outputs is None:
            return
        head.weight = embedding.weight if outputs is inputs else freeze(outputs)
        head.out_features = len(outputs)
        if bias is not None:
            head.bias = freeze(bias)


def load_model(folder: str | Path) -> LanguageModel:
    """Open a checkpoint folder, without a network.

    Raises MissingExtra without transformers, CheckpointError for a folder it cannot open, and ConfigError
    for a model of another kind, as an encoder–decoder.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        what = f"running a model needs transformers and torch: {error}"
        raise MissingExtra(what, "pip install 'vocabkit[torch,hf]'") from error
    path = Path(folder)
    if not (path / "config.json").is_file():
        refuse_gguf(path)
        raise CheckpointError(f"{path}: has no config.json", "name a model's folder")
    try:
        with quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
            kind, factory = _choose_class(config, transformers)
            model, info = factory.from_pretrained(
                path, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except VocabkitError:
        raise
    except Exception as error:  # each class checks its configuration in its own way
        what = f"transformers cannot open it: {first_line(error)}"
        raise CheckpointError(f"{path}: {what}", "look at config.json and the weights") from error
    model.eval().requires_grad_(False)
    if any("embed_tokens_per_layer" in name for name, _ in model.named_modules()):
        what = "every layer has rows of its own, and they cannot be exchanged in memory"
        raise ConfigError(f"{path}: {what}", "extend the model, and measure the result")
    embedding = model.get_input_embeddings()
    head = None if kind == "encoder" else model.get_output_embeddings()
    tied = head is not None and head.weight.data_ptr() == embedding.weight.data_ptr()
    if head is not None and not tied:
        _check_head(path, model, head, len(embedding.weight), {*map(str, info["missing_keys"])})
    return LanguageModel(model, kind, tied, path)


def _check_head(path: Path, model: Any, head: Any, rows: int, missing: set[str]) -> None:
    """Raise CheckpointError for an output matrix that the file lacks, or of another size than the input's."""
    name = next((name for name, item in model.named_parameters() if item is head.weight), "its output matrix")
    if name in missing:
        what = f"{name} is not stored, and transformers makes up a random one: nothing can be measured with it"
        hint = "where the model was trained tied, write tie_word_embeddings true in config.json"
        raise CheckpointError(f"{path}: {what}", hint)
    if len(head.weight) != rows:
        what = (
            f"{name} has {len(head.weight):,} rows and the input {rows:,}: they cannot be exchanged in memory"
        )
        raise CheckpointError(f"{path}: {what}", "extend the model, and measure the result")


@contextmanager
def quiet(transformers: Any, *, reports: bool = False) -> Iterator[None]:
    """Run the block without transformers' progress bars, and with `reports` without what it says on stderr."""
    logs = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    if reports:
        logs.set_verbosity_error()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def _choose_class(config: Any, transformers: Any) -> tuple[_ModelKind, Any]:
    names = tuple(config.architectures or ())
    if getattr(config, "is_encoder_decoder", False):
        what = f"{names[0] if names else config.model_type}: an encoder–decoder cannot be compared on text"
        raise ConfigError(what, "it can be extended: `vocabkit extend`")
    if any(name.endswith(_MASKED) for name in names):
        return "masked", transformers.AutoModelForMaskedLM
    if any(name.endswith(_CAUSAL) for name in names):
        return "causal", transformers.AutoModelForCausalLM
    return "encoder", transformers.AutoModel


def pad_lines(lines: Sequence[Int64Array], fill: int = 0) -> tuple[Int64Array, Int64Array]:
    """Return lines of ids one below the other, int64[lines, longest], and a mask: 1 where there is an id."""
    mask = (np.arange(max(map(len, lines))) < np.array([len(line) for line in lines])[:, None]).astype(np.int64)
    ids = np.full_like(mask, fill)
    ids[mask > 0] = np.concatenate(lines)
    return ids, mask


def _to_array(parameter: Any) -> Float32Array:
    found = parameter.detach().numpy()
    assert found.dtype == np.float32
    return np.asarray(found)


# --- Distilling ------------------------------------------------------------------------------------

# Against the states' loss, which is a share of their length and below 1, a nat is worth this much.
_NAT = 0.1
_POSITIONS = 4_096


class _Pair(NamedTuple):
    """A line in both cuts, and where they meet: state `old_at[i]` should be state `new_at[i]`.

    `fed` are the old ids to feed for the new cut, `positions` which row to be made stands there instead, or -1.
    `targets` are (old position of the state before, place of a new token or -1, id of an old token or -1).
    """

    old_ids: Int64Array
    fed: Int64Array
    positions: Int64Array
    old_at: Int64Array
    new_at: Int64Array
    targets: Int64Array


def distill_rows(
    plan: RowPlan, rows: Float32Array, start: Float32Array, context: Context
) -> tuple[Float32Array, str]:
    """Train the rows for `steps` (32) batches of `batch` (8) lines of at most `length` (32) old tokens.

    Input rows minimise mean ‖h' − h‖² ÷ ‖h‖² over the positions where both cuts end a token and a new one
    came before, h and h' being last-layer states (token distillation, Dobler et al. 2025); output rows the
    cross-entropy of new and old tokens after the old cut's states; tied rows both, the latter times 0.1. Adam
    moves by `rate` (0.1) of the old rows' standard deviation, falling to 0. Returns the rows and a note.
    """
    if context.model is None or context.new_tokenizer is None:
        what = "distill needs the model's folder and the new tokenizer"
        raise ConfigError(what, "or choose another initialiser")
    opened = load_model(context.model)
    if context.role != "input" and opened.head is None:
        what = f"{context.model}: has no head to distill output rows for"
        raise ConfigError(what, "choose another --init-output")
    steps, batch = context.whole("steps", 32), context.whole("batch", 8)
    pairs = _collect(plan, context, opened, context.whole("length", 32, 4))
    if not pairs:
        return start.copy(), "no line of the text has a new token: rows are as they started"
    order = context.generator().permutation(len(pairs))
    chosen = [pairs[order[i % len(pairs)]] for i in range(steps * batch)]
    batches = [chosen[i : i + batch] for i in range(0, len(chosen), batch)]
    spread = float(np.std(rows[plan.old_used[: len(rows)]])) or 1.0
    trainer = _Trainer(opened, rows, start, context, spread)
    found, first, last = trainer.train(batches)
    if not np.isfinite(found).all():
        raise ConfigError("distill: the rows diverged", "a smaller rate, as distill:rate=0.02")
    touched = len({int(p) for one in chosen for p in one.positions if p >= 0})
    seen = len(set(map(id, chosen)))
    note = f"{touched:,} of {len(start):,} rows in {seen:,} lines; loss {first:.3g} to {last:.3g}"
    return found, note


class _Trainer:
    """The rows in training, and the model that stays as it is."""

    def __init__(
        self, opened: LanguageModel, rows: Float32Array, start: Float32Array, context: Context, spread: float
    ) -> None:
        import torch

        self.torch = torch
        self.model, self.role, self.progress = opened.model, context.role, context.progress
        self.rows = torch.nn.Parameter(torch.from_numpy(start.copy()))
        self.rate = context.option("rate", 0.1) * spread
        self.base = getattr(self.model, self.model.base_model_prefix, self.model)
        self.is_causal = opened.kind == "causal"
        self.head = torch.from_numpy(np.array(rows)) if context.role != "input" else None
        bias = opened.output_bias
        self.bias = 0.0 if bias is None else float(bias.mean())
        self.old_bias = 0.0 if bias is None else torch.from_numpy(bias.copy())
        self.positions: Any = None
        embedding = self.model.get_input_embeddings()
        is_scaled = "Scaled" in type(embedding).__name__
        self.scale = getattr(embedding, "embed_scale", 1.0) if is_scaled else 1.0
        embedding.register_forward_hook(self._put_rows)

    def train(self, batches: Sequence[Sequence[_Pair]]) -> tuple[Float32Array, float, float]:
        """Return the rows, and the mean loss over the first and the last eighth of the steps."""
        torch = self.torch
        optimizer = torch.optim.Adam([self.rows], lr=self.rate)
        losses: list[float] = []
        self.progress.start("Distilling", len(batches), "steps")
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * (1 - step / len(batches))
            loss = self._measure(batch)
            if loss.requires_grad:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            losses.append(float(loss.detach()))
            self.progress.advance(1)
        self.progress.finish()
        few = max(len(losses) // 8, 1)
        found = self.rows.detach().numpy().copy()
        return found, float(np.mean(losses[:few])), float(np.mean(losses[-few:]))

    def _measure(self, batch: Sequence[_Pair]) -> Any:
        torch = self.torch
        with torch.no_grad():
            old = self._run([pair.old_ids for pair in batch])
        loss = torch.zeros(())
        if self.role != "output":
            states = self._run([pair.fed for pair in batch], [pair.positions for pair in batch])
            teacher = torch.cat([old[i, p.old_at] for i, p in enumerate(batch)])
            student = torch.cat([states[i, p.new_at] for i, p in enumerate(batch)])
            if len(teacher):
                size = teacher.square().sum(1).mean().clamp_min(1e-12)
                loss = loss + (student - teacher).square().sum(1).mean() / size
        if self.role != "input":
            spent = self._predict(old, batch)
            loss = loss + (spent if self.role == "output" else _NAT * spent)
        return loss

    def _predict(self, old: Any, batch: Sequence[_Pair]) -> Any:
        """Mean −log p of what follows in the new cut, and of old tokens, which new rows must not displace."""
        torch = self.torch
        states, wanted, rivals = [], [], []
        for i, pair in enumerate(batch):
            states.append(old[i, pair.targets[:, 0]])
            wanted.append(torch.from_numpy(pair.targets[:, 1]))
            rivals.append(torch.from_numpy(pair.targets[:, 2]))
        if self.head is None or not sum(map(len, wanted)):
            return torch.zeros(())
        state, position, rival = torch.cat(states), torch.cat(wanted), torch.cat(rivals)
        state, position, rival = state[:_POSITIONS], position[:_POSITIONS], rival[:_POSITIONS]
        with torch.no_grad():
            logits = state @ self.head.T + self.old_bias
            total, own = logits.logsumexp(1), logits.gather(1, rival.clamp_min(0)[:, None])[:, 0]
        fresh = state @ self.rows.T + self.bias
        norm = torch.logaddexp(total, fresh.logsumexp(1))
        told = fresh.gather(1, position.clamp_min(0)[:, None])[:, 0]
        return (norm - torch.where(position >= 0, told, own)).mean()

    def _run(self, ids: Sequence[Int64Array], positions: Sequence[Int64Array] | None = None) -> Any:
        """The last layer's states. `positions` are put over the ids by the hook on the embedding."""
        fed, seen = map(self.torch.from_numpy, pad_lines(ids))
        self.positions = None if positions is None else self.torch.from_numpy(pad_lines(positions, -1)[0])
        found = self.base(input_ids=fed, attention_mask=seen)
        self.positions = None
        return found[0]

    def _put_rows(self, module: Any, given: Any, output: Any) -> Any:
        if self.positions is None:
            return output
        rows = self.rows[self.positions.clamp_min(0)] * self.scale
        return self.torch.where((self.positions >= 0)[:, :, None], rows, output)


def _collect(plan: RowPlan, context: Context, opened: LanguageModel, length: int) -> list[_Pair]:
    """The lines of the context's text that have a token to be made, cut where both cuts meet."""
    assert context.new_tokenizer is not None
    position = number_new(plan)
    begin = opened.model.config.bos_token_id if opened.kind == "causal" else None
    head = np.array([begin] if isinstance(begin, int) else [], np.int64)
    found: list[_Pair] = []
    for cuts in cut_lines(context.lines, context.old_tokenizer, context.new_tokenizer, plan):
        limit = cuts.old_stops[min(length, len(cuts.old_stops)) - 1] if len(cuts.old_stops) else 0
        meet, old_at, new_at = np.intersect1d(cuts.old_stops, cuts.new_stops, return_indices=True)
        inside = meet <= limit
        meet, old_at, new_at = meet[inside], old_at[inside], new_at[inside]
        if not len(meet):
            continue
        old_ids, new_ids = cuts.old_ids[: old_at[-1] + 1], cuts.new_ids[: new_at[-1] + 1]
        positions = position[new_ids]
        if (positions < 0).all():
            continue
        first = int(np.flatnonzero(positions >= 0)[0])
        after = new_at >= first if opened.kind == "causal" else np.ones(len(meet), bool)
        shift = len(head)
        told, kept = np.full(len(new_ids) + 1, -1, np.int64), plan.kept[new_ids]
        told[new_at + 1] = old_at + shift
        if shift:
            told[0] = shift - 1
        targets = np.stack([told[:-1], positions, np.where(positions >= 0, -1, kept)], axis=1)
        found.append(
            _Pair(
                np.concatenate([head, old_ids]),
                np.concatenate([head, np.maximum(kept, 0)]),
                np.concatenate([np.full(shift, -1, np.int64), positions]),
                old_at[after] + shift,
                new_at[after] + shift,
                targets[(told[:-1] >= 0) & ((positions >= 0) | (kept >= 0))],
            )
        )
    return found
