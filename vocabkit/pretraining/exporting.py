"""A run's model as a folder that `AutoModelForMaskedLM` or `AutoModelForCausalLM` and `AutoTokenizer` load.

A run on routed shards was trained on every language's own view of one vocabulary: which view the exported
tokenizer takes must be said. How files are written is in `transformers_format`.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocabkit.core.errors import ConfigError, MissingExtra, PretrainingError, first_line
from vocabkit.core.folders import check_output, fingerprint_file, output_folder, scratch_folder, write_manifest
from vocabkit.core.languages import find_codes, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.results import Result
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.checkpointing import load_run_model, write_optimizer_state
from vocabkit.pretraining.model import VOCABULARY_PARAMETERS, Model
from vocabkit.pretraining.run_folder import GENERATION, Run
from vocabkit.pretraining.transformers_format import CLASSES, Precision, write_hf
from vocabkit.vocabulary.adapters import SentencePieceTokenizer, Tokenizer
from vocabkit.vocabulary.roles import complete_tokenizer, find_tokenizer_files
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import (
    SHARED,
    TEXT,
    Kind,
    Vocabulary,
    block_languages,
    route_vocabulary,
    score_symbol,
)

TOLERANCE = 1e-5
"""Largest difference of logits allowed, as a share of the largest logit."""


@dataclass(frozen=True, slots=True)
class Export(Result):
    """What was written: the class that loads it, the step it is of, and bytes.

    `parameters` counts a tied matrix once, and no rows of padding. `route`: the language whose view the
    tokenizer takes; None for the whole vocabulary's. `difference` from transformers' logits and `scale`, the
    largest logit, are None where they were not compared, and so are `texts`, how many were cut by AutoTokenizer
    and by what `prepare` cuts with, and `differing`, those with other ids. `no_tokenizer`: why AutoTokenizer
    will not open the folder, None where it will.
    """

    folder: Path
    class_name: str
    step: int
    parameters: int
    vocabulary: int
    dtype: Precision
    route: str | None
    bytes: int
    seconds: float
    difference: float | None
    scale: float | None
    texts: int | None
    differing: tuple[str, ...] | None
    no_tokenizer: str | None

    @property
    def passed(self) -> bool | None:
        """Whether all ids are the same, and logits within 1e-5 of the largest; None where not looked for."""
        if self.difference is None or self.scale is None:
            return None
        return self.difference <= TOLERANCE * self.scale and not self.differing

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row for a table."""
        names = ("step", "parameters", "vocabulary", "dtype", "route", "bytes", "difference", "scale", "texts")
        differing = None if self.differing is None else len(self.differing)
        row = {name: getattr(self, name) for name in names}
        return [{"class": self.class_name, **row, "differing": differing}]


def export_run(
    run: str | Path | Run,
    output: str | Path,
    *,
    route: str | None = None,
    union: bool = False,
    step: int | None = None,
    dtype: Precision = "fp32",
    optimizer: bool = False,
    verify: bool | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Write the model of a run's newest checkpoint, or of that at `step`, as transformers reads it.

    `route` (a language's code) or `union` must be said where the shards were routed. The checkpoint is held to
    its digests, unless `verify` is False. With `verify` logits and ids are compared too, before anything
    appears at `output`; a difference is for the caller to judge. `optimizer` adds the optimiser's moments, so
    that a run from this folder, extended or not, goes on with them. Raises `PretrainingError`, `ConfigError`,
    `OutputError`, and `MissingExtra` where `verify` finds no transformers.

    >>> export_run("run/", "hf/", verify=True).passed  # doctest: +SKIP
    True
    """
    began = time.perf_counter()
    target, source = Path(output), run.folder if isinstance(run, Run) else Path(run)
    run = run if isinstance(run, Run) else Run.load(source)
    check_output(target, [source], force=force)
    config = run.model
    command = f"vocabkit export {shlex.quote(str(source))} -o {shlex.quote(str(target))}"
    view = _choose_view(run, route, union, command)
    steps = progress or Silent()
    steps.start("read the checkpoint")
    model, found = load_run_model(run, step, verify=verify is not False)
    steps.finish()
    difference, scale, texts, differing = None, None, None, None
    with output_folder(target, force=force) as work:
        if dtype == "bf16":
            # What was written is what is compared below.
            for parameter in model.parameters():
                parameter.data = parameter.data.bfloat16().float()
        steps.start("write the model")
        with _open_view(run.tokenizer, view) as tokenizer:
            write_hf(model, work, tokenizer, dtype=dtype)
            # What will not open is said, and no error: the model is whole.
            with scratch_folder() as trial:
                no_tokenizer = complete_tokenizer(tokenizer, trial)
            if verify:
                steps.start("compare ids of text")
                texts, differing = _compare_ids(tokenizer, work)
                steps.finish()
        if (run.folder / GENERATION).is_file():
            shutil.copyfile(run.folder / GENERATION, work / GENERATION)
        if optimizer:
            write_optimizer_state(run, work, found)
        steps.finish()
        if verify:
            steps.start("compare logits")
            difference, scale = _compare_logits(model, work)
            steps.finish()
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        details: dict[str, object] = {"layout": config.layout, "encoding": run.encoding}
        details |= {"difference": difference, "scale": scale, "texts": texts, "differing": differing}
        write_manifest(
            work,
            config={"route": view, "step": found, "dtype": dtype},
            inputs={"run": fingerprint_file(source / "run.json")},
            seconds={"all": time.perf_counter() - began},
            details=details,
        )
    spare = config.rows - config.vocabulary
    parameters = sum(
        value.numel() - (spare * value[0].numel() if name in VOCABULARY_PARAMETERS else 0)
        for name, value in model.named_parameters()
    )
    return Export(
        target, CLASSES[config.layout], found, parameters, config.vocabulary, dtype, view, size,
        time.perf_counter() - began, difference, scale, texts, differing, no_tokenizer,
    )  # fmt: skip


def _choose_view(run: Run, route: str | None, union: bool, command: str) -> str | None:
    """The block's name whose view is exported, None for the whole vocabulary."""
    if route is not None and union:
        raise ConfigError("--route and --union: say one of them", command)
    if run.encoding != "routed":
        if route is None:
            return None
        raise ConfigError(f"--route {route}: the model was trained on the whole vocabulary's encoding", command)
    if union:
        return None
    blocks = block_languages(Vocabulary.load(run.tokenizer))
    if route is None:
        raise ConfigError(
            "the model was trained on routed shards: say whose encoding the tokenizer takes",
            f"{command} --route CODE  # or --union; blocks are {', '.join(blocks)}",
        )
    if route == SHARED:
        return SHARED
    for names in (blocks, run.epochs):
        if find_codes(route, names):
            code = resolve_code(route, names)
            return code if code in blocks else SHARED
    raise ConfigError(
        f"--route {route}: no block of that name, and no language of this run",
        f"blocks are {', '.join(blocks)}; any other language of the run takes the shared one",
    )


@contextmanager
def _open_view(tokenizer: Path, view: str | None) -> Iterator[Path]:
    """The tokenizer's folder, or a passing one with a language's view of it."""
    with scratch_folder() as folder:
        if view is not None:
            route_vocabulary(Vocabulary.load(tokenizer), view).save(folder)
        yield tokenizer if view is None else folder


# --- Comparison with transformers ------------------------------------------------------------------
# Logits, and the ids of text: neither speed nor gradients.

_TEXT = "Ẹ káàárọ̀. Habari za asubuhi? Good morning! 2,026"
_ROWS, _LENGTH = 4, 64


def _compare_logits(model: Model, folder: Path) -> tuple[float, float]:
    """Load a folder with transformers; the largest difference of logits from a model's, and the largest logit.

    Both run in fp32 on the CPU, on rows without padding: ids drawn from the whole tokenizer, between its begin
    and end, and the tokenizer's own ids of a sentence. Raises `MissingExtra` without transformers, and
    `PretrainingError` where a class there cannot open the folder, finds tensors missing or too many, or the
    tokenizer has ids that the model has not.
    """
    config = model.config
    peer, tokenizer = _open_peer(folder, causal=config.causal)
    size = len(tokenizer)
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
    difference, scale = 0.0, 0.0
    for ids in (drawn, sentence):
        with torch.no_grad():
            ours = model.logits(_lay_out_rows(ids))
            theirs: Tensor = peer(input_ids=ids).logits.flatten(0, 1)
        difference = max(difference, float((ours - theirs).abs().max()))
        scale = max(scale, float(theirs.abs().max()))
    return difference, scale


# White space of every kind, scripts with and without spaces, marks, half-width letters, numbers, addresses.
_LINES = (
    _TEXT, "", " ", "  two  spaces   and four    of them ", "a\tb\n\nc\r\nd\u00a0e\u3000f\u2028g", "\n", "\t x",
    "user@example.org <sep> (see https://example.org/a_b?c=1&d=2#e) 'it''s' -- \"so\"…", "▁ typed▁▁twice ▁",
    "1234567 3.14159 ½ ① ² Ⅳ ﬁle ＡＢＣ ｶﾞ e\u0301 o\u0323\u0301 İ ß ǆ ≯ >\u0338", "0 00 000 0000 00000 000000",
    "Пустая строка не пуста. Καλημέρα. שלום. مرحبا، العالم!", "नमस्ते दुनिया। ສະບາຍດີ ชาวโลก မင်္ဂလာပါ ሰላም ආයුබෝවන්",
    "東京都に住んでいる。你好，世界！안녕 하세요",
    "\U0001f1f3\U0001f1ec \U0001f469\u200d\U0001f467\u200b\ufeff x",
    "def f(x):\n    return {\n\t'a': x ** 2}  # done",
)  # fmt: skip
_DRAWN, _DRAWN_IDS = 256, 12
_SYMBOLS = 512
_TIE = 1e-3


def _compare_ids(tokenizer: Path, folder: Path) -> tuple[int, tuple[str, ...]]:
    """Return how many texts AutoTokenizer has cut, and those whose ids are not those that training had.

    The texts are fixed lines, each user-defined symbol in places where it is easily lost, and runs of tokens
    drawn from the whole vocabulary. Special tokens typed in a text are left out: they mean themselves to
    AutoTokenizer, and are text here. Raises `MissingExtra`, `PretrainingError` as `_open_peer`.
    """
    files = find_tokenizer_files(tokenizer)
    ours, peer = open_tokenizer(files.file), _open_tokenizer(folder)
    names = [name for name in peer.all_special_tokens if name]
    texts = [text for text in _draw_texts(ours) if not any(name in text for name in names)]
    wanted = [ids.tolist() for ids in ours.encode_batch(texts)]
    found = [peer(text, add_special_tokens=False)["input_ids"] for text in texts]
    rows = zip(texts, wanted, found, strict=True)
    return len(texts), tuple(text for text, a, b in rows if a != b and not _is_tie(ours, a, b))


def _draw_texts(tokenizer: Tokenizer) -> list[str]:
    kinds = tokenizer.kinds
    held = [index for index, kind in enumerate(kinds) if kind in TEXT]
    user = [index for index in held if kinds[index] is Kind.USER][:_SYMBOLS]
    texts = list(_LINES)
    for symbol in ((tokenizer.token_bytes(index) or b"").decode() for index in user):
        texts += [
            symbol,
            f"{symbol} a",
            f"a{symbol}b {symbol} c{symbol}{symbol} {symbol}",
            f" {symbol}{symbol} ",
        ]
    drawn = np.random.default_rng(0).choice(np.array(held or [0]), (_DRAWN, _DRAWN_IDS))
    # Not every run of tokens is text: what is cut of a character is left out.
    texts += [tokenizer.decode_bytes(row).decode(errors="ignore") for row in drawn if held]
    return texts


def _is_tie(tokenizer: Tokenizer, one: list[int], two: list[int]) -> bool:
    """Whether two cuts of a text have the same score, so that the last bit of a sum decides."""
    if not isinstance(tokenizer, SentencePieceTokenizer) or tokenizer.vocabulary.model != "unigram":
        return False
    kinds, vocabulary = tokenizer.kinds, tokenizer.vocabulary
    others = [sorted(index for index in ids if kinds[index] not in TEXT) for ids in (one, two)]
    sums = [0.0, 0.0]
    for place, ids in enumerate((one, two)):
        for index in ids:
            user = kinds[index] is Kind.USER
            score = score_symbol(vocabulary.pieces[index]) if user else float(vocabulary.scores[index])
            sums[place] += score if kinds[index] in TEXT else 0.0
    same_text = tokenizer.decode_bytes(one) == tokenizer.decode_bytes(two)
    return same_text and others[0] == others[1] and abs(sums[0] - sums[1]) < _TIE


def _lay_out_rows(ids: Tensor) -> Batch:
    """Rows [rows, length] of ids as a batch of one document each, that asks for no prediction."""
    rows, length = ids.shape
    none = torch.zeros(0, dtype=torch.int64)
    return Batch(
        ids=ids.flatten().int(),
        documents=torch.arange(rows, dtype=torch.int32).repeat_interleave(length),
        positions=torch.arange(length, dtype=torch.int32).repeat(rows),
        boundaries=torch.arange(rows + 1, dtype=torch.int32) * length,
        chosen=none, targets=none, weights=none.float(), languages=none.int(),
        row_languages=torch.zeros(rows, dtype=torch.int32), row_bytes=torch.zeros(rows, dtype=torch.int32),
        length=length, tokens=rows * length,
    )  # fmt: skip


def _open_peer(folder: Path, *, causal: bool) -> tuple[Any, Any]:
    with _load_quietly(folder) as transformers:
        factory: Any = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
        peer, found = factory.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    wrong = sorted(map(str, (*found["missing_keys"], *found["unexpected_keys"])))
    if wrong:
        raise PretrainingError(
            f"{folder}: {len(wrong)} tensors are missing or too many, {wrong[0]} among them",
            "export the run again: vocabkit export RUN -o DIR --force",
        )
    return peer.eval(), _open_tokenizer(folder)


def _open_tokenizer(folder: Path) -> Any:
    with _load_quietly(folder) as transformers:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


@contextmanager
def _load_quietly(folder: Path) -> Iterator[Any]:
    """Give transformers, without its bars. Raises `MissingExtra`, and `PretrainingError` for its errors."""
    try:
        import transformers
    except ImportError as error:
        said = f"comparing with transformers needs it: {error}"
        raise MissingExtra(said, "pip install 'vocabkit[torch,hf]'") from error
    bars: Any = transformers.utils.logging
    was_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield transformers
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise PretrainingError(
            f"{folder}: transformers cannot open it: {first_line(error)}",
            "update it: pip install -U 'vocabkit[torch,hf]'; or export the run again",
        ) from error
    finally:
        if was_on:
            bars.enable_progress_bar()
