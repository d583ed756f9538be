"""The folder of a run: what is in it, made and read; whether two runs are the same; and how one ended.

config.toml manifest.json     as every output folder
plan.json                     languages, epochs, steps, estimates
model.json                    the model's shape, and the encoding its data was prepared with
run.json                      what must be the same for the run to go on, and digests of the next two
tokenizer/                    a copy, so that a model is exported from this folder alone
new-rows.npy                  ids that an extension added, where the run starts from one
log.jsonl                     a line each for steps, evaluations, checkpoints, starts and stops
result.json                   how a finished run ended
checkpoints/                  see `checkpointing`

The JSON files are sealed (`core.records`).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, cast

import numpy as np

from vocabkit.checkpoints.receipt import fingerprint_extension
from vocabkit.core.arrays import Int64Array
from vocabkit.core.config import dump_toml, load_config
from vocabkit.core.errors import MissingExtra, OutputError, PretrainingError
from vocabkit.core.folders import (
    check_inputs,
    check_output,
    fingerprint_file,
    hold_folder,
    output_folder,
    write_manifest,
    write_text,
)
from vocabkit.core.pages import Chart, Series
from vocabkit.core.plots import Charted
from vocabkit.core.records import (
    Code,
    Digest,
    Name,
    check_digest,
    parse_record,
    read_sealed,
    write_sealed,
)
from vocabkit.pretraining.plan import RunPlan, count_samples
from vocabkit.pretraining.prepared import Encoding, PreparedCorpus
from vocabkit.pretraining.run_config import LENGTHS, LogSettings, ModelConfig, RunConfig

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 2
_DIGESTED = ("config", "tokenizer", "data", "checkpoint")
_NEW_ROWS = "new-rows.npy"
_ANEW = "start the run anew"

# --- Identity --------------------------------------------------------------------------------------
# What makes a run this run. The length of the run is among the keys, since the learning rate of every step
# follows from it: it may grow where the steps that are made would have been the same (`settle_length`).

_FREE = (
    "log.", "save.", "languages.allow_epochs", "languages.warn_epochs", "training.micro_rows",
    "training.compile", "training.head_rows", "training.fused_softmax",
    "training.activation_checkpointing", "training.deterministic",
)  # fmt: skip
"""Keys that may change between the processes of one run: they move no result, or by rounding alone."""


_LENGTH_KEYS = tuple(f"training.{name}" for name in LENGTHS)


def identify_run(config: RunConfig, corpus: PreparedCorpus, checkpoint: Path | None) -> dict[str, Any]:
    """Return what makes a run this run, as run.json holds it.

    `config`: the keys that change results, by dotted name; `tokenizer`, `data` and `checkpoint`: digests of
    what it reads, the last None for a run from scratch. Raises PretrainingError where the checkpoint is no
    folder of one.
    """
    return {
        "config": _list_fixed(config),
        "tokenizer": corpus.tokenizer_fingerprint,
        "data": corpus.fingerprint,
        "checkpoint": None if checkpoint is None else _fingerprint_checkpoint(checkpoint),
    }


def _list_fixed(config: RunConfig) -> dict[str, Any]:
    """The keys that change results, by dotted name."""
    keys = _flatten(config.model_dump(mode="json", exclude_none=True))
    return {name: value for name, value in keys.items() if not name.startswith(_FREE)}


def fingerprint_identity(identity: Mapping[str, Any]) -> dict[str, str | None]:
    """Return a digest of each part of an identity, None for a checkpoint that there is not."""
    text = json.dumps(identity["config"], sort_keys=True, ensure_ascii=False)
    return {**identity, "config": hashlib.blake2b(text.encode(), digest_size=20).hexdigest()}


def check_identity(plan: RunPlan, wanted: Mapping[str, Any]) -> None:
    """Raise PretrainingError naming what changed, unless the run in a plan's folder is the one asked for.

    It may be one of fewer steps. A run needs its checkpoint only to begin: one that goes on may leave it out.
    """
    run = plan.output
    assert run is not None
    held, (first, warmup, steps) = _read_identity(run), _read_length(run)
    one, two = held["config"], wanted["config"]
    # As many steps of warm-up are another share of another length.
    warmed = plan.steps != steps and two.get("optimizer.warmup") == _share_warmup(first, warmup, plan.steps)
    free = {"optimizer.warmup"} if warmed else set()
    free |= set(_LENGTH_KEYS) if plan.steps > steps else set()
    different = [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
    different = [name for name in different if name not in free]
    changed = [f"{name} was {one.get(name)!r}, now {two.get(name)!r}" for name in different]
    if plan.steps < steps and set(different) <= set(_LENGTH_KEYS):
        assert plan.corpus is not None
        raise PretrainingError(
            f"{run}: a run of {steps:,} steps, which cannot be made shorter: {'; '.join(changed)}",
            f"vocabkit pretrain {shlex.quote(str(run))} --data {shlex.quote(str(plan.corpus.folder))} "
            f"-o {shlex.quote(str(run))}  # goes on to its end; --force starts anew",
        )
    if held["tokenizer"] != wanted["tokenizer"]:
        changed.append("the data is prepared with another tokenizer")
    elif held["data"] != wanted["data"]:
        changed.append("the prepared data is another")
    if plan.checkpoint is not None and held["checkpoint"] != wanted["checkpoint"]:
        changed.append("the checkpoint to start from is another")
    if changed:
        raise PretrainingError(
            f"{run}: holds another run: {'; '.join(changed)}",
            "choose another -o, put the configuration back, or pass --force to start this run anew",
        )


def settle_length(plan: RunPlan) -> RunPlan:
    """Return the plan of a run that goes on, with the warm-up that it began with, in steps.

    `optimizer.warmup` is a share of the run: where that is longer than it was at first, the same number of
    steps is a smaller one. So the run is always the one that its config.toml describes.
    """
    run, settings = plan.output, plan.config.optimizer
    assert run is not None
    held, (first, warmup, steps) = _read_identity(run), _read_length(run)
    if plan.steps > steps or "longer" in held:
        if settings.warmup in (warmup, held["config"].get("optimizer.warmup")):
            share = _share_warmup(first, warmup, plan.steps)
            settings = settings.model_copy(update={"warmup": share})
        plan = replace(plan, config=plan.config.model_copy(update={"optimizer": settings}))
    return replace(plan, lengthens=steps if plan.steps > steps else None)


def _share_warmup(first: int, warmup: float, steps: int) -> float:
    """The steps of warm-up of a run of `first` as a share of one of `steps`."""
    return warmup if first == steps else round(warmup * first) / steps


def _read_length(run: Path) -> tuple[int, float, int]:
    """How many steps a run was to have at first and `optimizer.warmup` then, and how many it is to have now."""
    held = _read_identity(run)
    if "longer" in held:
        longer = held["longer"]
        return longer["first"], longer["warmup"], longer["steps"]
    planned: _PlanRecord = _read_typed(run / "plan.json", _PlanRecord)
    warmup = held["config"].get("optimizer.warmup", 0.0)
    return planned["steps"], float(warmup), planned["steps"]


def _fingerprint_checkpoint(folder: Path) -> str:
    """A digest of what a checkpoint says of itself, and of the sizes of its tensors' files.

    Hashing tens of gigabytes at every start would cost minutes.
    """
    if not (folder / "config.json").is_file():
        hint = "name a checkpoint folder, as `vocabkit extend` writes it"
        raise PretrainingError(f"{folder}: no config.json", hint)
    digest = hashlib.blake2b(digest_size=20)
    for path in (folder / "config.json", folder / "model.safetensors.index.json"):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    # Not the receipt's bytes: it hashes files that name places and times.
    digest.update((fingerprint_extension(folder) or "").encode())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = file.read(8)
            header += file.read(min(int.from_bytes(header, "little"), 1 << 26))
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + header)
    return digest.hexdigest()


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of tables in tables, by dotted names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


# --- Log -------------------------------------------------------------------------------------------
# One object a line, and the same figures to TensorBoard or Weights & Biases where asked. A line has `kind`
# (`started`, `resumed`, `step`, `evaluation`, `saved`, `stopped`) and `step`, the number of steps done.

_LOG = "log.jsonl"
_SINKS = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


def check_sinks(settings: LogSettings) -> None:
    """Raise MissingExtra when the configuration asks for a place to log to that is not installed."""
    for name in _SINKS:
        if getattr(settings, name):
            _import_sink(name)


def has_line(run: Path, kind: str, step: int) -> bool:
    """Return whether the log of a run has a line of a kind after a step."""
    return any((line["kind"], line["step"]) == (kind, step) for line in _read_log(run))


class RunLog:
    """The log of a run, open for more lines: those after `step` are forgotten.

    Every line is on disk when `write` returns to the caller.
    """

    def __init__(self, run: Path, settings: LogSettings, config: Mapping[str, Any], step: int) -> None:
        # A run that goes on from `step` makes the steps after it again; one line may be cut short by a kill.
        kept = [line for line in _read_log(run) if line["step"] <= step]
        write_text(run / _LOG, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        self._file = (run / _LOG).open("a", encoding="utf-8")
        self._board: Any = None
        self._wandb: Any = None
        if settings.tensorboard:
            # It forgets what was drawn from `purge_step` on; the line of `step` itself stays here too.
            board = _import_sink("tensorboard").SummaryWriter
            self._board = board(str(run / "tensorboard"), purge_step=step + 1)
        if settings.wandb:
            # One name for all processes of a run, so that they draw one line.
            name = hashlib.blake2b(str(run.resolve()).encode(), digest_size=8).hexdigest()
            begin = _import_sink("wandb").init
            self._wandb = begin(id=name, dir=str(run), name=run.name, config=dict(config), resume="allow")

    def write(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """Write a line; numbers in it, however deep, go to the other places by dotted names too."""
        line = json.dumps({"kind": kind, "step": step, **figures}, ensure_ascii=False)
        self._file.write(line + "\n")
        self._file.flush()
        if self._board is None and self._wandb is None:
            return
        flat = _flatten(figures, f"{kind}.").items()
        numbers = {key: float(n) for key, n in flat if isinstance(n, int | float) and not isinstance(n, bool)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name.replace(".", "/", 1), value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Close the file and the other places."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _read_log(run: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    text = (run / _LOG).read_text(encoding="utf-8", errors="replace") if (run / _LOG).is_file() else ""
    found = []
    for line in text.split("\n"):
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                found += [record] if type(record.get("step")) is int else []
    return found


def _import_sink(name: str) -> Any:
    try:
        return importlib.import_module(_SINKS[name])
    except ImportError as error:
        raise MissingExtra(f"log.{name} = true: {name} is not installed", f"pip install {name}") from error


# --- Run -------------------------------------------------------------------------------------------

GENERATION = "generation_config.json"
"""How the model that a run began with is sampled from: the run keeps it for `export`."""
RESULT = "result.json"
"""Its presence says that a run is finished."""


class _ModelRecord(TypedDict):
    model: ModelConfig
    encoding: Encoding


class _LanguageRecord(TypedDict):
    language: Code
    epochs: float
    share_of_rows: NotRequired[float]


class _SamplingRecord(TypedDict):
    languages: list[_LanguageRecord]


class _PlanRecord(TypedDict):
    steps: int
    rows_per_step: float
    sampling: _SamplingRecord


class _Longer(TypedDict):
    first: int
    warmup: float
    steps: int


class _Identity(TypedDict):
    config: Mapping[str, Any]
    tokenizer: str
    data: str
    checkpoint: str | None
    files: Mapping[Name, Digest]
    longer: NotRequired[_Longer]


class _Evaluated(TypedDict):
    comparable: str
    bytes: int
    lost: int
    languages: Mapping[Code, Mapping[str, Any]]


class _Dead(TypedDict):
    pieces: int
    never_input: int
    never_target: int


class _Ended(TypedDict):
    stopped: Literal["done", "signal", "nan"] | None
    steps: int
    loss: float | None
    skipped: int
    seconds: float
    evaluation: _Evaluated | None
    baseline: NotRequired[_Evaluated | None]
    message: str | None


class _Finished(_Ended):
    samples: int
    signal: int | None
    dead: _Dead | None


@dataclass(frozen=True, slots=True)
class Run(Charted):
    """A run: what it is, how far it came, and how it ended.

    `stopped`: `done`; `signal` (saved, and goes on when started again); `nan` (ten steps in a row were not
    finite; `message` says what to do); None while it is trained, and after a kill. `loss` is the moving average
    of nats per prediction over about the last 50 steps. `evaluation` is the last evaluation's `to_json()`,
    `baseline` that of the one before the first step, `dead` the group of all pieces of the dead-vocabulary
    report; None where there was none. `skipped` counts steps that were not finite, `seconds` is time spent
    training.

    `encoding` is `routed` where each language was cut with its own view of the vocabulary; `epochs` says by
    language how often its text is read over the whole run.
    """

    folder: Path
    config: RunConfig
    model: ModelConfig
    encoding: str
    epochs: Mapping[str, float]
    stopped: Literal["done", "signal", "nan"] | None = None
    steps: int = 0
    samples: int = 0
    loss: float | None = None
    skipped: int = 0
    seconds: float = 0.0
    evaluation: Mapping[str, Any] | None = None
    baseline: Mapping[str, Any] | None = None
    dead: Mapping[str, Any] | None = None
    signal: int | None = None
    message: str | None = None

    def charts(self) -> dict[str, Chart]:
        """Return the chart `loss`: nats a prediction against steps, of training and of held-out text."""
        kinds = {
            "step": "training, mean since the line before",
            "evaluation": "held-out text, mean over languages",
        }
        points: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for line in _read_log(self.folder):
            loss = line.get("loss")
            if line["kind"] in kinds and isinstance(loss, int | float) and math.isfinite(loss):
                points[line["kind"]].append((line["step"], loss))
        series = [
            Series(kinds[kind], [y for _, y in found], x=[x for x, _ in found])
            for kind, found in points.items()
        ]
        axis, said = "loss, nats a prediction", "Loss of training and of held-out text by step."
        return {"loss": Chart("lines", "Loss by step", said, series, unit="nats", axis=axis, across="step")}

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run from its folder. Raises PretrainingError where there is none."""
        run = Path(folder)
        if not is_run(run):
            hint = "name a folder written by `vocabkit pretrain`"
            raise PretrainingError(f"{run}: not the folder of a run", hint)
        check_run(run)
        config = load_config(RunConfig, run / "config.toml")
        held: _ModelRecord = _read_typed(run / "model.json", _ModelRecord)
        planned: _PlanRecord = _read_typed(run / "plan.json", _PlanRecord)
        epochs = {row["language"]: row["epochs"] for row in planned["sampling"]["languages"]}
        ended: dict[str, Any]
        if (run / RESULT).is_file():
            found = _read_typed(run / RESULT, _Finished)
            # Earlier versions did not evaluate before the first step.
            ended = {"baseline": None, **{name: found[name] for name in _ENDED if name in found}}
        else:
            ended = parse_record(_Ended, _read_end(run), run / _LOG, PretrainingError, _ANEW)
            ended["samples"] = count_samples(ended["steps"], planned["rows_per_step"])
        return cls(run, config, held["model"], held["encoding"], epochs, **ended)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Copy the run's folder, checkpoints and all. Raises `OutputError`."""
        check_inputs(Path(folder), [self.folder])
        with output_folder(folder, force=force) as work:
            shutil.copytree(self.folder, work, dirs_exist_ok=True)

    @property
    def tokenizer(self) -> Path:
        """The folder of the whole tokenizer."""
        return self.folder / "tokenizer"

    @property
    def exit_code(self) -> int:
        """0 when done, 1 when stopped by what is not finite, 128 + the signal's number when stopped by one."""
        if self.stopped == "signal":
            return 128 + (self.signal or 0)
        return 0 if self.stopped == "done" else 1

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language: how often it is read, and what its held-out text costs, before and after.

        The language that gained most comes first, one without a figure last. Of a run that was stopped before
        it was evaluated: the rows, tokens and bytes that were read. `epochs` is None while the run is not done.
        """
        if self.evaluation is None and self.steps:
            saved = [line for line in _read_log(self.folder) if line["kind"] == "saved"]
            read = {name: (saved[-1] if saved else {}).get(name) or {} for name in ("rows", "tokens", "bytes")}
            return [
                {"language": code} | {f"{name}_read": counted.get(code) for name, counted in read.items()}
                for code in self.epochs
            ]
        counts, figures, gains = ("rows", "bytes", "lost", "predicted"), ("loss", "bits_per_byte"), self.gains
        known = [code for code, gain in gains.items() if gain is not None]
        notes = {known[-1]: "gained least", known[0]: "gained most"} if len(known) > 1 else {}
        rows: list[dict[str, object]] = []
        for code, gained in gains.items():
            before, after = self._scores(self.baseline, code), self._scores(self.evaluation, code)
            row: dict[str, object] = {"language": code}
            row["epochs"] = self.epochs[code] if self.stopped == "done" else None  # those are of the whole run
            row |= {name: after.get(name) for name in counts}
            for name in figures:
                row |= {f"{name}_before": before.get(name), name: after.get(name)}
            said = [notes.get(code, ""), "worse than before" if gained is not None and gained < 0 else ""]
            rows.append(row | {"gained": gained, "note": ", ".join(filter(None, said))})
        return rows

    @property
    def gains(self) -> dict[str, float | None]:
        """What held-out text of each language costs less than before the first step, most gained first.

        Bits per byte for causal models, nats a prediction for masked ones; None, and last, where it was not
        scored before and after.
        """
        gains: dict[str, float | None] = {}
        for code in self.epochs:
            before, after = (self._scores(found, code) for found in (self.baseline, self.evaluation))
            name = "loss" if self._is_masked else "bits_per_byte"
            pair = before.get(name), after.get(name)
            gains[code] = None if None in pair else float(pair[0] or 0.0) - float(pair[1] or 0.0)

        def order(code: str) -> float:
            gain = gains[code]
            return math.inf if gain is None else -gain

        return {code: gains[code] for code in sorted(gains, key=order)}

    def describe_gain(self) -> str | None:
        """Return what held-out text costs before and after in a sentence; None where either is not known."""
        name = "loss" if self._is_masked else "bits_per_byte"
        known = [code for code, gain in self.gains.items() if gain is not None]
        if not known:
            return None
        before, after = (
            math.fsum(float(self._scores(found, code)[name]) for code in known) / len(known)
            for found in (self.baseline, self.evaluation)
        )
        unit = "nats a masked token" if self._is_masked else "bits per byte"
        of = f"mean of {len(known)} of {len(self.epochs)} languages"
        ends = f"; most gained {known[0]}, least {known[-1]}" if len(known) > 1 else ""
        return f"held-out text: {before:.4g} {unit} before, {after:.4g} after ({of}){ends}"

    @property
    def _is_masked(self) -> bool:
        return not self.model.causal

    @staticmethod
    def _scores(evaluation: Mapping[str, Any] | None, code: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (evaluation or {}).get("languages", {}).get(code, {})
        return found

    def to_frame(self) -> pd.DataFrame:
        """Return the log as a table: a row a step that has a line, by its number.

        The columns are the figures of training; `held_out_loss` and `held_out_bits_per_byte` are means over
        languages, and missing where nothing was evaluated.
        """
        import pandas as pd

        rows: dict[int, dict[str, object]] = {}
        for line in _read_log(self.folder):
            row = rows.setdefault(line["step"], {})
            if line["kind"] == "step":
                hidden = ("kind", "step", "steps", "languages")
                row |= {name: value for name, value in line.items() if name not in hidden}
            elif line["kind"] == "evaluation":
                row |= {f"held_out_{name}": line[name] for name in ("loss", "bits_per_byte")}
        kept = {step: row for step, row in rows.items() if row}
        return pd.DataFrame.from_dict(kept, orient="index").rename_axis("step").sort_index()


_DESCRIBED = ("folder", "config", "model", "encoding", "epochs")
_ENDED = tuple(field.name for field in fields(Run) if field.name not in _DESCRIBED)


def write_result(run: Run) -> None:
    """Write how a run ended into its folder: one that is finished answers from there without training."""
    write_sealed(run.folder / RESULT, {"schema": SCHEMA} | {name: getattr(run, name) for name in _ENDED})


def draw_loss(run: Run) -> bool:
    """Draw `curve.svg`. False without matplotlib."""
    try:
        run.plot("loss").save(run.folder / "curve.svg")
    except MissingExtra:
        return False
    return True


def _read_end(run: Path) -> dict[str, Any]:
    """How far a run came by its log, where it is not finished."""
    lines = _read_log(run)
    last = {line["kind"]: line for line in lines}
    step, steps = last.get("step", {}), lines[-1]["step"] if lines else 0
    ended = lines[-1] if lines and lines[-1]["kind"] == "stopped" else {}
    name = str(last.get("saved", {}).get("folder"))
    saved = run / "checkpoints" / name / "state.json" if re.fullmatch(r"step-\d+", name) else None
    return {
        "stopped": ended.get("why"),
        "message": ended.get("message"),
        "steps": steps,
        "loss": step.get("loss_smoothed"),
        "skipped": step.get("skipped", 0),
        "evaluation": _read_evaluation([line for line in lines if line["step"]]),
        "baseline": _read_evaluation([line for line in lines if not line["step"]]),
        "seconds": read_record(saved).get("seconds") if saved is not None and saved.is_file() else 0.0,
    }


def read_baseline(run: Path) -> dict[str, Any] | None:
    """Return the evaluation before the first step; None where there was none."""
    return _read_evaluation([line for line in _read_log(run) if not line["step"]])


def _read_evaluation(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The last evaluation of some lines of a log."""
    found = [line for line in lines if line["kind"] == "evaluation"]
    return {name: value for name, value in found[-1].items() if name not in ("kind", "step")} if found else None


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return (folder / "run.json").is_file()


def read_origin(run: Path) -> str | None:
    """Return the fingerprint of the checkpoint that a run started from; None for a run from scratch."""
    return _read_identity(run)["checkpoint"]


def create_run(plan: RunPlan, identity: Mapping[str, Any], *, new_rows: Int64Array | None, force: bool) -> None:
    """Lay out a new run in `plan.output`, whole or not at all. With `force` one that is there is replaced.

    `new_rows` are the ids that an extension added. Raises OutputError where the folder holds something else.
    """
    run, corpus, config = plan.output, plan.corpus, plan.config
    assert run is not None
    assert corpus is not None
    if force and run.is_dir() and any(run.iterdir()) and not is_run(run):
        raise OutputError(f"{run}: is not the folder of a run", "choose another -o")
    check_output(run, [corpus.folder, plan.checkpoint], force=force)
    if is_run(run):
        with hold_folder(run, run, "training"):  # not from under another process
            pass
    model = {
        "schema": SCHEMA, "model": asdict(plan.model), "encoding": corpus.encoding,
        "languages": list(corpus.languages), "length": corpus.length, "tokenizer": corpus.tokenizer_fingerprint,
    }  # fmt: skip
    files = {"plan": _describe_plan(plan), "model": model}
    with output_folder(run, force=force) as folder:
        _write_config(folder, config)
        for name, data in files.items():
            write_sealed(folder / f"{name}.json", data)
        if new_rows is not None:
            np.save(folder / _NEW_ROWS, new_rows)
        shutil.copytree(corpus.tokenizer_folder, folder / "tokenizer")
        listed = [path for path in (folder / "tokenizer").rglob("*") if path.is_file()]
        if plan.checkpoint is not None and (plan.checkpoint / GENERATION).is_file():
            shutil.copyfile(plan.checkpoint / GENERATION, folder / GENERATION)
            listed.append(folder / GENERATION)
        listed += [folder / _NEW_ROWS] if new_rows is not None else []
        held = {path.relative_to(folder).as_posix(): fingerprint_file(path) for path in sorted(listed)}
        write_sealed(folder / "run.json", {"schema": SCHEMA, **identity, "files": held})
        _write_manifest(folder, config, identity)


def lengthen_run(plan: RunPlan, identity: Mapping[str, Any]) -> None:
    """Make the run in `plan.output` one of `plan.steps` steps: what it is, and no longer finished.

    run.json decides; `update_run` follows it, also where a process was killed between the two.
    """
    run = plan.output
    assert run is not None
    held, (first, warmup, _) = _read_identity(run), _read_length(run)
    now = {**identity, "checkpoint": held["checkpoint"], "files": held["files"]}
    (run / RESULT).unlink(missing_ok=True)
    longer = {"first": first, "warmup": warmup, "steps": plan.steps}
    write_sealed(run / "run.json", {"schema": SCHEMA, **now, "longer": longer})
    _write_manifest(run, plan.config, now)


def update_run(plan: RunPlan) -> None:
    """Write the resolved configuration over the one before where free keys changed; a longer run's plan too."""
    run = plan.output
    assert run is not None
    _write_config(run, plan.config)
    planned: _PlanRecord = _read_typed(run / "plan.json", _PlanRecord)
    if planned["steps"] != plan.steps:
        write_sealed(run / "plan.json", _describe_plan(plan))


def is_drawn_alike(plan: RunPlan) -> bool:
    """Return whether the run in a plan's folder draws its samples as the plan does, as far as it goes."""
    assert plan.output is not None
    assert plan.languages is not None
    planned: _PlanRecord = _read_typed(plan.output / "plan.json", _PlanRecord)
    shares = [row.get("share_of_rows") for row in planned["sampling"]["languages"]]
    now = [row.share_of_rows for row in plan.languages.rows]
    return (shares, planned["rows_per_step"]) == (now, plan.rows_per_step)


def _describe_plan(plan: RunPlan) -> dict[str, Any]:
    return {"schema": SCHEMA, **plan.to_json()}


def _write_config(run: Path, config: RunConfig) -> None:
    write_text(run / "config.toml", dump_toml(config, "The resolved configuration of this run."))


def _write_manifest(run: Path, config: RunConfig, identity: Mapping[str, Any]) -> None:
    digests = {key: fingerprint_identity(identity)[key] for key in _DIGESTED}
    inputs = {key: value for key, value in digests.items() if value is not None}
    write_manifest(run, config=config.model_dump(mode="json"), inputs=inputs, seed=config.training.seed)


def read_new_rows(run: Path) -> Int64Array | None:
    """Return the ids, int64, that the extension added which the run started from; None where it had none."""
    path = run / _NEW_ROWS
    if not path.is_file():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as error:  # a header is read as an expression of Python, which fails in many ways
        raise PretrainingError(f"{path}: cannot be read: {error}", _ANEW) from error
    if found.dtype != np.int64 or found.ndim != 1:
        what = f"holds {found.dtype} {list(found.shape)}, expected int64 in a row"
        raise PretrainingError(f"{path}: {what}", _ANEW)
    return cast(Int64Array, found)


def check_run(run: Path) -> None:
    """Raise PretrainingError where a file that a run was made of is not as it was written.

    Looked at are the tokenizer and the new rows, by their digests, and what of config.toml may not change.
    """
    identity = _read_identity(run)
    for name, digest in identity["files"].items():
        check_digest(run / name, digest, PretrainingError, _ANEW)
    have = {path.relative_to(run).as_posix() for path in (run / "tokenizer").rglob("*") if path.is_file()}
    have |= {_NEW_ROWS} if (run / _NEW_ROWS).is_file() else set()
    if extra := sorted(have - identity["files"].keys()):
        raise PretrainingError(f"{run / extra[0]}: is none of the run's files", "remove it")
    held, said = _list_fixed(load_config(RunConfig, run / "config.toml")), identity["config"]
    # A process that made the run longer may have been killed before it wrote these.
    late = (*_LENGTH_KEYS, "optimizer.warmup") if "longer" in identity else ()
    for name in sorted(held.keys() | said.keys()):
        if held.get(name) != said.get(name) and name not in late:
            what = f"{name} is {held.get(name)!r}, and the run was started with {said.get(name)!r}"
            raise PretrainingError(f"{run / 'config.toml'}: {what}", "put it back")


def _read_identity(run: Path) -> _Identity:
    found: _Identity = _read_typed(run / "run.json", _Identity)
    return found


def _read_typed(path: Path, kind: Any) -> Any:
    return parse_record(kind, read_record(path), path, PretrainingError, _ANEW)


def read_record(path: Path) -> dict[str, Any]:
    """Return the object in a sealed file of a run. Raises PretrainingError for one changed since."""
    return read_sealed(path, PretrainingError, _ANEW, SCHEMA)
