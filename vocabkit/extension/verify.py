"""Proof that an extended checkpoint is what its receipt says, and that it still works.

Always: files, tensors, sizes, configuration against tokenizer, rows, and the new rows made again from
their sources. With transformers: the model is loaded in its class beside the original, given back from
the receipt, and both must give equal logits over old tokens for old text.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from vocabkit.core.errors import VocabkitError
from vocabkit.extension.checkpoint import read_json
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.plan_types import Int64Array
from vocabkit.extension.receipt import Receipt, read_receipt
from vocabkit.extension.source_checks import check_sources
from vocabkit.extension.structure_checks import (
    State,
    check_configuration,
    check_files,
    check_index,
    check_receipt,
    check_rows,
    check_tensors,
    check_tokenizer,
)
from vocabkit.extension.tokenizer_source import open_source
from vocabkit.extension.undo import open_extended, undo_extension

if TYPE_CHECKING:
    import torch

__all__ = ["TOLERANCE", "Check", "verify_extension"]

TOLERANCE = 1e-6
"""How far logits may differ, as a share of the largest logit or of 1, whichever is more."""
_LONGEST = 32


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, and what was found. Only `failed` means that the checkpoint is wrong."""

    name: str
    state: State
    detail: str


def verify_extension(
    folder: str | Path,
    *,
    reload: bool | None = None,
    lines: tuple[str, ...] = (),
    original: str | Path | None = None,
) -> list[Check]:
    """Check an extended checkpoint, most basic things first.

    `reload` loads both models: None means where transformers is installed. `lines` is text to compare
    them on, beside random old tokens; `original` the model's folder, else it is undone into a temporary
    one. Raises CheckpointError where there is no receipt.
    """
    receipt = read_receipt(folder)
    found = [
        _guard("receipt", lambda: check_receipt(receipt)),
        _guard("files", lambda: check_files(receipt)),
    ]
    try:
        checkpoint = open_extended(receipt)
    except VocabkitError as error:
        return [*found, Check("tensors", "failed", error.message)]
    found.append(_guard("tensors", lambda: check_tensors(receipt, checkpoint)))
    if found[-1].state == "failed":
        return found
    found.append(_guard("index", lambda: check_index(receipt, checkpoint)))
    found.append(_guard("configuration", lambda: check_configuration(receipt, checkpoint)))
    found.append(_guard("tokenizer", lambda: check_tokenizer(receipt)))
    for place, group in enumerate(receipt.groups):
        name = f"{group['role']} {group['tensors'][0]['name']}"
        found.append(_guard(f"rows of {name}", partial(check_rows, receipt, checkpoint, place)))
        found.append(
            _guard(f"sources of {name}", partial(check_sources, receipt, checkpoint, place))
        )
    found.append(_check_reload(receipt, reload, lines, original))
    return found


def _guard(name: str, check: Callable[..., tuple[State, str]]) -> Check:
    """A check's result. What a damaged file or an edited receipt makes it raise is a failure too."""
    try:
        return Check(name, *check())
    except VocabkitError as error:
        return Check(name, "failed", error.message)
    except OSError as error:
        return Check(name, "failed", f"{error.filename}: {error.strerror}")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        return Check(name, "failed", f"cannot be checked: {type(error).__name__}: {error}")


def _check_reload(
    receipt: Receipt, reload: bool | None, lines: tuple[str, ...], original: str | Path | None
) -> Check:
    name = "logits"
    if reload is False or receipt.facts["plain"]:
        return Check(name, "skipped", "a plain file" if reload is not False else "not asked for")
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        state: State = "failed" if reload else "skipped"
        return Check(name, state, "transformers is not installed")

    def compare() -> tuple[State, str]:
        if original is not None:
            return _compare_models(receipt, Path(original), lines)
        with TemporaryDirectory(dir=receipt.root.resolve().parent, prefix=".verify-") as work:
            undone = undo_extension(receipt.root, Path(work) / "original", link=True)
            lost = [name for name, reason in undone.differing.items() if "anew" not in reason]
            if lost:
                return "failed", f"not given back to the bit: {', '.join(lost[:5])}"
            return _compare_models(receipt, Path(work) / "original", lines)

    return _guard(name, compare)


def _compare_models(receipt: Receipt, original: Path, lines: tuple[str, ...]) -> tuple[State, str]:
    """Run both models on old text, and compare what they say of old tokens."""
    kept = receipt.kept
    back = _list_new_ids(kept, receipt.facts["old_rows"])
    texts = _list_texts(receipt, original, lines, back)
    if not texts:
        return "skipped", "no old text whose tokens are all kept"
    try:
        before, missing_before = _run(original, texts)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        # Some need more than ids: X-MOD a language, others a second input.
        return "skipped", f"the original does not run on ids alone: {error}"
    after, missing_after = _run(receipt.root, [back[ids] for ids in texts])
    lost = sorted(missing_after - missing_before)
    if lost:
        return "failed", f"not in the file, and made up while loading: {', '.join(lost[:5])}"
    old = np.flatnonzero(back >= 0)
    worst, scale = 0.0, 1.0
    for first, second in zip(before, after, strict=True):
        if first.shape[-1] == len(back):
            first, second = first[..., old], second[..., back[old]]
        known = np.isfinite(first)
        if not np.array_equal(known, np.isfinite(second)):
            return "failed", "numbers that are not finite in one model and not in the other"
        worst = max(worst, float(np.abs(first - second)[known].max(initial=0)))
        scale = max(scale, float(np.abs(first[known]).max(initial=0)))
    what = "logits of old tokens" if before[0].shape[-1] == len(back) else "embeddings"
    detail = f"{what} differ by at most {worst:.2g} of {scale:.3g} on {len(texts)} texts"
    return ("ok" if worst <= TOLERANCE * scale else "failed"), detail


def _list_new_ids(kept: Int64Array, rows: int) -> Int64Array:
    back = np.full(rows, -1, np.int64)
    places = np.flatnonzero(kept >= 0)[::-1]
    back[kept[places]] = places
    same = np.flatnonzero(kept[:rows] == np.arange(min(len(kept), rows)))
    back[same] = same
    return back


def _list_texts(
    receipt: Receipt, original: Path, lines: tuple[str, ...], back: Int64Array
) -> list[Int64Array]:
    """Ids of the lines as the old tokenizer cuts them, and of random old tokens; all of them kept."""
    found: list[Int64Array] = []
    if lines:
        source = open_source(original)
        for ids in source.tokenizer.encode_batch(list(lines[:8])):
            usable = ids[back[ids] >= 0].astype(np.int64)
            found += [usable[:_LONGEST]] if len(usable) else []
    choose = np.random.default_rng(0)
    old = np.flatnonzero((back >= 0) & receipt.old_used)
    if len(old):
        found += [choose.choice(old, 16) for _ in range(2)]
    return found


def _run(folder: Path, texts: list[Int64Array]) -> tuple[list[Any], set[str]]:
    """What the model gives for each text as float32, and the names of tensors its file lacks."""
    import torch
    import transformers

    config = read_json(folder / "config.json")
    name = next(iter(config.get("architectures") or []), "AutoModel")
    factory = getattr(transformers, name, None)
    if factory is None:
        raise CheckpointError(f"{folder}: transformers has no {name}", "verify with --no-reload")
    with warnings.catch_warnings(), _quiet(transformers):
        warnings.simplefilter("ignore")
        model, info = factory.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    model.eval()
    given = []
    with torch.no_grad():
        for ids in texts:
            tokens = torch.from_numpy(np.ascontiguousarray(ids))[None]
            inputs: dict[str, torch.Tensor] = {"input_ids": tokens}
            if getattr(model.config, "is_encoder_decoder", False):
                inputs["decoder_input_ids"] = tokens
            outputs: Mapping[str, Any] = model(**inputs)
            result = outputs["logits"] if "logits" in outputs else outputs["last_hidden_state"]
            given.append(result.float().numpy())
    return given, {*map(str, info["missing_keys"]), *map(str, info.get("mismatched_keys", []))}


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars and reports on stderr."""
    logs = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()
