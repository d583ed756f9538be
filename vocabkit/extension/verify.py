"""Proof that an extended checkpoint is what its receipt says, and that it still works.

Always: files, tensors, sizes, configuration against tokenizer, rows, and the new rows made again from
their sources. With transformers: the model is loaded in its class beside the original, given back from
the receipt, and both must give equal logits over old tokens for old text.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vocabkit.checkpoints.checkpoint import Checkpoint, find_vocabulary_tensors, read_vocabulary_size
from vocabkit.checkpoints.receipt import ORIGINAL, RECEIPT, Receipt, digest_rows, invert_kept, read_receipt
from vocabkit.checkpoints.safetensors_files import as_bytes, as_float32, equal_bytes
from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.errors import CheckpointError, VocabkitError, first_line
from vocabkit.core.folders import fingerprint_file, read_json, scratch_folder
from vocabkit.core.results import Result
from vocabkit.corpus.reading import read_text
from vocabkit.extension.distill import quiet
from vocabkit.extension.extend import restrict_plan
from vocabkit.extension.initializers import METHODS, initialize
from vocabkit.extension.plan import make_row_plan
from vocabkit.extension.rows import Context, Mixture, parse_method, sum_rows
from vocabkit.extension.simple_rows import initialize_bias
from vocabkit.extension.undo import find_old, open_extended, undo_extension
from vocabkit.vocabulary.neighbours import token_text
from vocabkit.vocabulary.roles import list_tokenizer_files, open_source

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-6
"""How far logits may differ, as a share of the largest logit or of 1, whichever is more."""
_LONGEST = 32

_State = Literal["ok", "failed", "warned", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, and what was found. Only `failed` means that the checkpoint is wrong."""

    name: str
    state: _State
    detail: str


class Verification(tuple[Check, ...], Result):
    """All checks, most basic things first."""

    @property
    def failed(self) -> list[Check]:
        """Those that found the checkpoint wrong."""
        return [check for check in self if check.state == "failed"]

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failed

    def to_rows(self) -> list[dict[str, object]]:
        """Return what the command prints, a row a check."""
        return [asdict(check) for check in self]


def verify_extension(
    folder: str | Path,
    *,
    text: str | Path | None = None,
    document: str | None = None,
    field: str | None = None,
    original: str | Path | None = None,
    reload: bool | None = None,
) -> Verification:
    """Check an extended checkpoint; return what was looked at, and what was found.

    `text` is a file whose first lines the models are compared on, beside random old tokens; `original` is the
    model's folder, else it is undone into a temporary one. `reload` loads both models: None means where
    transformers is installed. Raises CheckpointError where there is no receipt, and CorpusError for the text.
    """
    lines = () if text is None else tuple(read_text(text, document, field))
    try:
        receipt = read_receipt(folder)
    except CheckpointError as error:
        if not (Path(folder) / RECEIPT / "receipt.json").is_file():
            raise
        return Verification([Check("receipt", "failed", error.message)])
    found = [_guard("receipt", _check_receipt, receipt), _guard("files", _check_files, receipt)]
    try:
        checkpoint = open_extended(receipt)
    except VocabkitError as error:
        return Verification([*found, Check("tensors", "failed", error.message)])
    found.append(_guard("tensors", _check_tensors, receipt, checkpoint))
    if found[-1].state == "failed":
        return Verification(found)
    found.append(_guard("index", _check_index, receipt, checkpoint))
    found.append(_guard("configuration", _check_configuration, receipt, checkpoint))
    found.append(_guard("tokenizer", _check_tokenizer, receipt))
    for position, group in enumerate(receipt.groups):
        name = f"{group['role']} {group['tensors'][0]['name']}"
        found.append(_guard(f"rows of {name}", _check_rows, receipt, checkpoint, position))
        found.append(_guard(f"sources of {name}", _check_sources, receipt, checkpoint, position))
    if reload is not False and list_tokenizer_files(receipt.root) and not _find_missing():
        found.append(_guard("text", _check_text, receipt, lines))
    found.append(_check_reload(receipt, reload, lines, original))
    return Verification(found)


def _guard(name: str, check: Callable[..., tuple[_State, str]], *given: Any) -> Check:
    """A check's result. What a damaged file or an edited receipt makes it raise is a failure too."""
    try:
        return Check(name, *check(*given))
    except VocabkitError as error:
        return Check(name, "failed", error.message)
    except OSError as error:
        return Check(name, "failed", f"{error.filename}: {error.strerror}")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        return Check(name, "failed", f"cannot be checked: {type(error).__name__}: {error}")


# --- Rows ------------------------------------------------------------------------------------------

_BLOCK = 1 << 14


class _RowStatistics(NamedTuple):
    """Numbers of rows that are not finite, zero or equal to another, and the quantiles of their norms.

    `norms` are the 5 %, 50 % and 95 % quantiles of Euclidean norms; None where there is no row.
    """

    rows: int
    not_finite: int
    zero: int
    repeated: int
    norms: tuple[float, ...] | None


def _measure_rows(rows: Float32Array, positions: npt.NDArray[np.integer]) -> _RowStatistics:
    """Measure the rows of float32 [rows, width] at some positions, in blocks."""
    norms = np.empty(len(positions), np.float64)
    seen: Counter[bytes] = Counter()
    not_finite = 0
    for start in range(0, len(positions), _BLOCK):
        block = np.asarray(rows[positions[start : start + _BLOCK]], np.float32)
        finite = np.isfinite(block).all(axis=1)
        not_finite += int((~finite).sum())
        norms[start : start + len(block)] = np.sqrt(np.square(block, dtype=np.float64).sum(axis=1))
        for row in block:
            key = row.tobytes()
            seen[key if len(key) <= 64 else hashlib.blake2b(key, digest_size=16).digest()] += 1
    known = norms[np.isfinite(norms)]
    quantiles = tuple(np.quantile(known, (0.05, 0.5, 0.95)).tolist()) if len(known) else None
    repeated = sum(amount for amount in seen.values() if amount > 1)
    return _RowStatistics(len(positions), not_finite, int((norms == 0).sum()), repeated, quantiles)


# --- Structure -------------------------------------------------------------------------------------


def _check_receipt(receipt: Receipt) -> tuple[_State, str]:
    """Whether the receipt, which all else is held against, is as the manifest says."""
    path = receipt.root / "manifest.json"
    if not path.is_file():
        return "failed", "manifest.json is missing, which has the receipt's hash"
    name = f"{RECEIPT}/receipt.json"
    outputs = read_json(path).get("outputs")
    said = outputs.get(name) if isinstance(outputs, Mapping) else None
    if said != fingerprint_file(receipt.root / name):
        return "failed", f"{name} was changed since it was written"
    return "ok", f"{name} as it was written"


def _check_files(receipt: Receipt) -> tuple[_State, str]:
    """Whether every file is there with the bytes it was written with."""
    files: Mapping[str, Any] = receipt.facts["files"]
    missing = [name for name in files if not (receipt.root / name).is_file()]
    if missing:
        return "failed", f"missing: {', '.join(missing[:5])}"
    changed = [
        name
        for name, item in files.items()
        if (receipt.root / name).stat().st_size != item["size"]
        or fingerprint_file(receipt.root / name) != item["blake2b"]
    ]
    if changed:
        return "failed", f"changed since they were written: {', '.join(changed[:5])}"
    return "ok", f"{len(files)} files as they were written"


def _check_tensors(receipt: Receipt, checkpoint: Checkpoint) -> tuple[_State, str]:
    """Whether each vocabulary tensor has its new shape, and no other has that size."""
    size = receipt.facts["new_rows"]
    told = receipt.facts["options"]["tensors"]
    listed = {item["name"]: item for group in receipt.groups for item in group["tensors"]}
    for name, item in listed.items():
        tensor = checkpoint.tensors.get(name)
        if tensor is None or list(tensor.shape) != item["new_shape"]:
            return "failed", f"{name}: {None if tensor is None else tensor.shape}"
    told = {**told, **{name: item["role"] for name, item in listed.items()}}
    found = find_vocabulary_tensors(checkpoint, size, told)
    if found.rows != size or {item.tensor.name for item in found.found} != set(listed):
        return "failed", f"{found.rows} rows in {len(found.found)} tensors, not {size} in {len(listed)}"
    return "ok", f"{len(listed)} tensors of {size:,} rows, {found.tied}"


def _check_index(receipt: Receipt, checkpoint: Checkpoint) -> tuple[_State, str]:
    """Whether the index counts the bytes that the tensors have."""
    if checkpoint.index is None:
        return "skipped", "one file, no index"
    said = read_json(receipt.root / checkpoint.index).get("metadata", {}).get("total_size")
    if said != checkpoint.total_size:
        return "failed", f"total_size {said}, and the tensors take {checkpoint.total_size:,}"
    return "ok", f"total_size {said:,}"


def _check_configuration(receipt: Receipt, checkpoint: Checkpoint) -> tuple[_State, str]:
    """Whether config.json and generation_config.json fit the tensors and the tokenizer."""
    if checkpoint.config is None:
        return "skipped", "a plain file has none"
    size = receipt.facts["new_rows"] - int(receipt.facts.get("extra_rows", 0))
    said = read_vocabulary_size(checkpoint.config)
    if said != size:
        return "failed", f"vocab_size {said}, and the tensors have {size:,} rows"
    wrong = "; ".join(_list_wrong_ids(receipt, size))
    return ("failed", wrong) if wrong else ("ok", f"vocab_size {size:,}")


def _list_wrong_ids(receipt: Receipt, size: int) -> Iterator[str]:
    """Ids beyond the vocabulary, and those of another token than the tokenizer's of that role."""
    roles = open_source(receipt.root).roles if list_tokenizer_files(receipt.root) else {}
    for name in ("config.json", "generation_config.json"):
        if not (receipt.root / name).is_file():
            continue
        stored = receipt.root / ORIGINAL / name
        before = read_json(stored) if stored.is_file() else {}
        for key, value in read_json(receipt.root / name).items():
            if not key.endswith("_token_id"):
                continue
            had = before.get(key, value)
            if value == had:
                continue  # many a configuration names ids of another vocabulary, and did before
            listed, olds = (item if isinstance(item, list) else [item] for item in (value, had))
            if any(item is not None and (type(item) is not int or not -1 <= item < size) for item in listed):
                yield f"{name}: {key} {value} is no id of the vocabulary"
                continue
            index = roles.get(key.removesuffix("_token_id"))
            # Nor do all models agree with their tokenizer: an id moved with its row is right.
            moved = all(item is not None and int(receipt.kept[item]) in olds for item in listed)
            if index is not None and index not in listed and not moved:
                yield f"{name}: {key} {value}, and the tokenizer says {index}"


def _check_tokenizer(receipt: Receipt) -> tuple[_State, str]:
    """Whether the tokenizer fits the rows, and its files agree with each other."""
    if not list_tokenizer_files(receipt.root):
        return "skipped", "no tokenizer in the folder"
    source = open_source(receipt.root)
    size = receipt.facts["new_rows"]
    if source.size > size:
        return "failed", f"ids up to {source.size - 1:,}, and {size:,} rows"
    if source.size != receipt.facts["new_tokenizer"]["size"]:
        return "failed", f"{source.size:,} ids, not {receipt.facts['new_tokenizer']['size']:,}"
    decoder = source.settings.get("added_tokens_decoder") or {}
    names = source.names
    for index, entry in decoder.items():
        if names.get(int(index)) != token_text(entry):
            return "failed", f"added_tokens_decoder: {index} is {names.get(int(index))!r}"
    for role, index in source.roles.items():
        text = token_text(source.settings.get(f"{role}_token"))
        if text is not None and names.get(index) != text:
            return "failed", f"{role}_token {text!r} is no special token"
    return "ok", f"{source.size:,} ids, {size - source.size:,} rows of padding"


def _check_rows(receipt: Receipt, checkpoint: Checkpoint, position: int) -> tuple[_State, str]:
    """What the new rows of a group look like beside the old ones."""
    group = receipt.groups[position]
    listed = group["tensors"][0]
    stored = checkpoint.read_rows(listed["name"], listed["axis"])
    values = as_float32(stored, group["number"])
    kept = receipt.kept_of(position)
    tokens = receipt.facts["new_tokenizer"]["size"]
    fresh = (kept < 0) & (np.arange(len(kept)) < tokens)
    made = _measure_rows(values, np.flatnonzero(fresh))
    if not made.rows:
        return "ok", "no new rows"
    if made.not_finite:
        return "failed", f"{made.not_finite} of {made.rows} new rows are not finite"
    if group["role"] == "bias":
        return "ok", f"{made.rows} new values"
    detail = f"{made.rows:,} new rows"
    positions = np.flatnonzero(kept >= 0)
    old = _measure_rows(values, positions[:: max(1, len(positions) // 20_000)])
    if made.norms and old.norms:
        shown, before = ("–".join(f"{norm:.3g}" for norm in found) for found in (made.norms, old.norms))
        detail += f", norms {shown} (old {before})"
    faults = ((made.zero, "zero"), (made.repeated, "equal to another"))
    doubts = [f"{amount:,} {what}" for amount, what in faults if amount]
    if made.norms and old.norms and made.norms[1] > 3 * max(old.norms[2], 1e-12):
        doubts.append("norms far above the old")
    return ("warned" if doubts else "ok"), "; ".join([detail, *doubts])


# --- Sources ---------------------------------------------------------------------------------------
# Rows that are sums of old rows come from their sources; seeded ones, and biases, from their method and
# seed. What was learned from text, a donor or the model itself is compared by its digest alone.

_SOURCE_BLOCK = 1 << 23
# A last place of each format: sums may be rounded otherwise by another version of a library.
_NEAR = {"F32": 1e-6, "F64": 1e-6, "F16": 1e-3, "BF16": 8e-3}


def _check_sources(receipt: Receipt, checkpoint: Checkpoint, position: int) -> tuple[_State, str]:
    """Whether the new rows of a group are what was made, alike in all its tensors, and can be made again."""
    group = receipt.groups[position]
    listed = group["tensors"][0]
    dtype = group["number"]
    fresh = np.flatnonzero(receipt.kept_of(position) < 0)
    stored = checkpoint.read_rows(listed["name"], listed["axis"])
    step = max(1, _SOURCE_BLOCK // max(1, stored.shape[1]))
    blocks = (stored[fresh[i : i + step]] for i in range(0, len(fresh), step))
    if digest_rows(blocks) != group["new_rows_blake2b"]:
        return "failed", "the new rows are not those that were made"
    for other in group["tensors"][1:]:
        if not equal_bytes(checkpoint.read_rows(other["name"], other["axis"]), stored):
            return "failed", f"{other['name']} differs from {listed['name']}"
    again = _make_again(receipt, checkpoint, position) if len(fresh) else None
    if again is None:
        return "ok", f"{len(fresh):,} rows by {group['method']}, as they were made"
    differing, far = 0, 0.0
    for start in range(0, len(fresh), step):
        part = stored[fresh[start : start + step]]
        made = again[start : start + step]
        differing += int((as_bytes(made, dtype) != part).any(axis=1).sum())
        far = max(far, float(np.abs(made - as_float32(part, dtype)).max(initial=0)))
    if not differing:
        return "ok", f"{len(fresh):,} rows made again, bit for bit"
    if far > _NEAR[dtype] * max(1e-12, float(np.abs(again).max())):
        return "failed", f"{differing:,} rows made again differ by up to {far:.2g}"
    return "ok", f"{len(fresh):,} rows made again, {differing:,} of them within rounding"


def _make_again(receipt: Receipt, checkpoint: Checkpoint, position: int) -> Float32Array | None:
    """The rows as the receipt tells to make them; None where it takes more than the receipt."""
    group = receipt.groups[position]
    sources = None
    if receipt.find(f"group{position}.offsets") is not None:
        sources = Mixture(*(receipt.array(f"group{position}.{part}") for part in ("ids", "weights", "offsets")))
    name, _ = parse_method(group["method"])
    is_bias = group["role"] == "bias"
    can = name != "log-prior" if is_bias else METHODS[name].needs == "nothing"
    if sources is None and not can:
        return None
    origin = group["tensors"][0]["from"]
    holds = [any(item["name"] == origin for item in other["tensors"]) for other in receipt.groups]
    (old_rows,) = find_old(receipt, checkpoint, holds.index(True) if True in holds else position).values()
    base = as_float32(old_rows.take(), group["number"])
    if sources is not None:
        return sum_rows(sources, base, receipt.old_used)
    kept_files = receipt.root / ORIGINAL
    if receipt.facts["plain"] or not list_tokenizer_files(kept_files):
        return None  # the tokenizers as they were are not in the folder
    pattern = receipt.facts["options"].get("pattern")
    old, new = open_source(kept_files, pattern=pattern), open_source(receipt.root)
    plan = make_row_plan(new, receipt.kept, receipt.array("padding"), receipt.old_used)
    plan = restrict_plan(plan, len(base), len(receipt.kept_of(position)))
    context = Context(old.tokenizer, new.tokenizer, seed=int(receipt.facts["options"]["seed"]))
    if is_bias:
        return initialize_bias(group["method"], plan, base.reshape(-1), context).reshape(-1, 1)
    return initialize(group["method"], plan, base, replace(context, role=group["role"])).values


# --- Logits ----------------------------------------------------------------------------------------


# Digits, runs, cases, marks and line ends: where the pipelines of classes differ.
_SAMPLE = (
    "The year 2024 had 366 days.",
    "x  =  f(a[12]);\n\n\ty",
    "It's IT'S",
    "Ọ̀rọ̀ naïve",
    "日本語 ภาษาไทย हिन्दी",
)


def _find_missing() -> bool:
    """Whether transformers or torch is not installed."""
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        return True
    return False


def _check_text(receipt: Receipt, lines: tuple[str, ...]) -> tuple[_State, str]:
    """Whether AutoTokenizer cuts text as the tokenizer does whose rows were made.

    Many classes of transformers build a pipeline of their own from the vocabulary of a tokenizer.json.
    """
    import transformers

    texts = [*_SAMPLE, *lines]
    source = open_source(receipt.root)
    try:
        with quiet(transformers, reports=True):
            theirs = transformers.AutoTokenizer.from_pretrained(receipt.root)
            found = theirs(texts, add_special_tokens=False)["input_ids"]
    except (
        Exception
    ) as error:  # tokenizers raises Exception itself; of another version, or a class unknown here
        return "warned", f"AutoTokenizer does not open it: {type(error).__name__}: {first_line(error)}"
    ours = [ids.tolist() for ids in source.tokenizer.encode_batch(texts)]
    wrong = [text for text, one, other in zip(texts, ours, found, strict=True) if one != list(other)]
    if not wrong:
        return "ok", f"AutoTokenizer gives the same ids on {len(texts)} lines"
    what = f"AutoTokenizer ({type(theirs).__name__}) gives other ids on {len(wrong)} of {len(texts)} lines"
    told = source.settings.get("tokenizer_class")
    hint = (
        f'tokenizer_class {told!r} builds its own pipeline; "PreTrainedTokenizerFast" takes tokenizer.json\'s'
    )
    if told in (None, "PreTrainedTokenizerFast"):
        hint = (
            "it is the class of this model_type, and builds its own pipeline: load with PreTrainedTokenizerFast"
        )
    return "failed", f"{what}, {wrong[0][:40]!r} first: {hint}"


def _check_reload(
    receipt: Receipt, reload: bool | None, lines: tuple[str, ...], original: str | Path | None
) -> Check:
    name = "logits"
    if reload is False or receipt.facts["plain"]:
        return Check(name, "skipped", "a plain file" if reload is not False else "not asked for")
    if _find_missing():
        return Check(name, "failed" if reload else "skipped", "transformers is not installed")

    def compare() -> tuple[_State, str]:
        if original is not None:
            return _compare_models(receipt, Path(original), lines)
        # Beside it, so that files can be links.
        with scratch_folder(receipt.root) as work:
            undone = undo_extension(receipt.root, work / "original", link=True, verify=False)
            lost = [name for name, reason in undone.differing.items() if "anew" not in reason]
            if lost:
                return "failed", f"not given back to the bit: {', '.join(lost[:5])}"
            return _compare_models(receipt, work / "original", lines)

    return _guard(name, compare)


def _compare_models(receipt: Receipt, original: Path, lines: tuple[str, ...]) -> tuple[_State, str]:
    """Run both models on old text, and compare what they say of old tokens."""
    kept = receipt.kept
    back = invert_kept(kept, receipt.facts["old_rows"])
    texts = _list_texts(receipt, original, lines, back)
    if not texts:
        return "skipped", "no old text whose tokens are all kept"
    try:
        model, missing_before = _load(original)
    except CheckpointError as error:
        return "skipped", f"the original cannot be run: {error.message}"
    head = model.get_output_embeddings()
    is_random = [name for name, item in model.named_parameters() if head is not None and item is head.weight]
    if random := sorted(missing_before & {*is_random}):
        return "skipped", f"not stored: {', '.join(random)}, which transformers makes up at random"
    try:
        before, has_logits = _run(model, texts)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        # Some need more than ids: X-MOD a language, others a second input.
        return "skipped", f"the original does not run on ids alone: {error}"
    del model, head  # both at once would be twice the memory
    model, missing_after = _load(receipt.root)
    lost = sorted(missing_after - missing_before)
    if lost:
        return "failed", f"not in the file, and made up while loading: {', '.join(lost[:5])}"
    after, _ = _run(model, [back[ids] for ids in texts])
    worst, scale = 0.0, 1.0
    for first, second in zip(before, after, strict=True):
        if has_logits:  # a head may have fewer rows than the input
            old = np.flatnonzero(back[: first.shape[-1]] >= 0)
            first, second = first[..., old], second[..., back[old]]
        known = np.isfinite(first)
        if not np.array_equal(known, np.isfinite(second)):
            return "failed", "numbers that are not finite in one model and not in the other"
        worst = max(worst, float(np.abs(first - second)[known].max(initial=0)))
        scale = max(scale, float(np.abs(first[known]).max(initial=0)))
    what = "logits of old tokens" if has_logits else "embeddings"
    detail = f"{what} differ by at most {worst:.2g} of {scale:.3g} on {len(texts)} texts"
    return ("ok" if worst <= TOLERANCE * scale else "failed"), detail


def _list_texts(receipt: Receipt, original: Path, lines: tuple[str, ...], back: Int64Array) -> list[Int64Array]:
    """Ids of the lines as the old tokenizer cuts them, and of random old tokens; all of them kept."""
    found: list[Int64Array] = []
    if lines:
        source = open_source(original, pattern=receipt.facts["options"].get("pattern"))
        for ids in source.tokenizer.encode_batch(list(lines[:8])):
            usable = ids[back[ids] >= 0].astype(np.int64)
            found += [usable[:_LONGEST]] if len(usable) else []
    choose = np.random.default_rng(0)
    old = np.flatnonzero((back >= 0) & receipt.old_used)
    if len(old):
        found += [choose.choice(old, 16) for _ in range(2)]
    return found


def _load(folder: Path) -> tuple[Any, set[str]]:
    """The model in its class, and the names of tensors its file lacks. Raises CheckpointError."""
    import torch
    import transformers

    hint = "verify with --no-reload"
    config = read_json(folder / "config.json")
    name = next(iter(config.get("architectures") or []), "AutoModel")
    factory = getattr(transformers, str(name), None)
    if factory is None:
        raise CheckpointError(f"config.json: transformers {transformers.__version__} has no {name}", hint)
    torch.manual_seed(0)  # what both files lack is made up alike
    with warnings.catch_warnings(), quiet(transformers, reports=True):
        warnings.simplefilter("ignore")
        step = "rejects config.json"
        try:
            reader = getattr(factory, "config_class", None) or transformers.AutoConfig
            settings = reader.from_pretrained(folder, local_files_only=True)
            step = f"cannot load it as {name}"
            model, info = factory.from_pretrained(
                folder, config=settings, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
        except Exception as error:  # each class checks its configuration in its own way
            said = " ".join(str(error).split()).replace(str(folder), folder.name)
            what = f"transformers {transformers.__version__} {step}: {type(error).__name__}: {said[:300]}"
            raise CheckpointError(what, hint) from error
    lacking = {*map(str, info["missing_keys"]), *map(str, info.get("mismatched_keys", []))}
    return model.eval(), lacking


def _run(model: Any, texts: list[Int64Array]) -> tuple[list[Any], bool]:
    """What the model gives for each text as float32, and whether these are logits."""
    import torch

    given, has_logits = [], False
    with torch.no_grad():
        for ids in texts:
            tokens = torch.from_numpy(np.ascontiguousarray(ids))[None]
            inputs: dict[str, torch.Tensor] = {"input_ids": tokens}
            if getattr(model.config, "is_encoder_decoder", False):
                inputs["decoder_input_ids"] = tokens
            outputs: Mapping[str, Any] = model(**inputs)
            has_logits = "logits" in outputs
            result = outputs["logits" if has_logits else "last_hidden_state"]
            given.append(result.float().numpy())
    return given, has_logits
