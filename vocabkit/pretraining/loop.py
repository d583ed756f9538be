"""A run from its first step to its last, or on from its newest checkpoint: train, log, evaluate, save.

A run may be stopped after any step and goes on bit for bit as if it had not been, on the same number of
processes; on another number the same samples are drawn, and sums differ in their last digits. What a step does
is `trainer`'s, what is decided before the first one `run_start`'s.

A signal (SIGTERM, SIGUSR1, Ctrl-C) saves a checkpoint at the next step boundary, or between two batches of an
evaluation, and the process ends with 128 + its number, which schedulers read as stopped by it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocabkit.checkpoints.receipt import read_kept
from vocabkit.core.arrays import Int64Array
from vocabkit.core.errors import PretrainingError, VocabkitError
from vocabkit.core.folders import hold_folder
from vocabkit.core.progress import Progress, Silent, tell
from vocabkit.pretraining.batches import BatchMaker, Ledger, Prefetcher
from vocabkit.pretraining.checkpointing import (
    RunState,
    explain_longer,
    find_checkpoint,
    list_checkpoints,
    list_overtaken,
    load_checkpoint,
    load_optimizer_state,
    load_seen,
    read_state,
    remove_unfinished,
    save_checkpoint,
    set_aside,
)
from vocabkit.pretraining.distributed import StopSignals, World, open_world
from vocabkit.pretraining.evaluation import evaluate, find_dead
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.plan import RunPlan, count_samples, estimate_mfu
from vocabkit.pretraining.run_config import count_level_steps
from vocabkit.pretraining.run_folder import (
    RESULT,
    Run,
    RunLog,
    check_identity,
    check_run,
    check_sinks,
    create_run,
    draw_loss,
    fingerprint_identity,
    has_line,
    identify_run,
    lengthen_run,
    read_baseline,
    read_new_rows,
    read_origin,
    update_run,
    write_result,
)
from vocabkit.pretraining.trainer import Trainer, plan_stages, require_new_rows, settled_process
from vocabkit.pretraining.transformers_format import load_model

_PATIENCE = 10
"""Steps in a row without a finite loss and gradient after which a run stops: it will not mend itself."""


def train_run(
    plan: RunPlan,
    *,
    force: bool = False,
    device: str | None = None,
    verify: bool = True,
    progress: Progress | None = None,
) -> Run:
    """Train by a plan that `run_start.make_plan` made of the same options, and return the run.

    With `verify` the rows and the checkpoint it goes on from are first held to their digests.

    Every rank calls. What it does, and what it raises, is said at `run_start.pretrain`.
    """
    config, folder = plan.config, plan.output
    if folder is None:
        raise ValueError("a plan without an output cannot be trained")
    with ExitStack() as stack:
        stack.enter_context(settled_process(deterministic=config.training.deterministic))
        world = stack.enter_context(open_world(device))
        signals = stack.enter_context(StopSignals())
        check_sinks(config.log)
        # Every rank has looked whether there is a run, before the first one lays it out.
        world.barrier()
        ended = (folder / RESULT).is_file() and plan.lengthens is None
        if verify and plan.corpus is not None and (force or not ended):
            world.on_all(partial(plan.corpus.check_digests, world.rank, world.size))
        identity, new_rows = _open_run(plan, world, force)
        # Every rank has read what the run is, before the first one changes it.
        world.barrier()
        world.on_main(lambda: stack.enter_context(hold_folder(folder, folder, "training")))
        if plan.lengthens is not None:
            world.on_main(lambda: _lengthen(plan, identity))
        finished = world.on_main(lambda: Run.load(folder) if (folder / RESULT).is_file() else None)
        if finished is not None:
            return finished
        # Only now: what another process is writing looks half written too.
        resumed = world.on_main(lambda: _find_resumed(plan))
        spared = _find_spared(plan)
        world.on_main(lambda: remove_unfinished(folder, config.save.keep, spared))
        world.on_main(lambda: update_run(plan))
        report = progress if world.main and progress is not None else Silent()
        return _Loop(plan, identity, new_rows, resumed, world, signals, report, verify).train()


class _Stop(Exception):
    """A run ends before its last step, by a signal or too many steps not finite: what its `Run` says of it."""


class _Loop:
    """One process's part of a run. `done` steps are done; `reading` is what the meter said last."""

    def __init__(
        self, plan: RunPlan, identity: Mapping[str, Any], new_rows: Tensor | None, resumed: Path | None,
        world: World, signals: StopSignals, report: Progress, verify: bool,
    ) -> None:  # fmt: skip
        assert plan.output is not None
        assert plan.corpus is not None
        assert plan.languages is not None
        self.plan, self.world, self.signals, self.report = plan, world, signals, report
        self.config, self.corpus, self.steps, self.run = plan.config, plan.corpus, plan.steps, plan.output
        self.epochs = {row.language: row.epochs for row in plan.languages.rows}
        self.fingerprints = fingerprint_identity(identity)
        begins_with = None if resumed is not None else plan.checkpoint
        seed = self.config.training.seed if resumed is None else None
        model = Model(plan.model, seed=seed) if begins_with is None else load_model(begins_with)
        stages = plan_stages(self.config.stages, self.steps)
        self.trainer = Trainer(model, self.config, stages, len(self.corpus.languages), new_rows, world)
        self.maker = BatchMaker(
            self.corpus, plan.languages.shares, self.config.data, self.config.training,
            causal=plan.model.causal, rank=world.rank, world=world.size, rows_per_step=plan.rows_per_step,
        )  # fmt: skip
        self.ledger = Ledger(self.corpus, self.maker.order)
        self.done, seconds = 0, 0.0
        if resumed is not None:
            load_checkpoint(resumed, self.trainer.tensors(), world, verify=verify)
            self.trainer.seen.load(load_seen(resumed))
            state = read_state(resumed)
            self.ledger.load(state.samples, state.rows, state.tokens, state.bytes)
            self.done, seconds = state.step, state.seconds
        elif begins_with is not None:
            load_optimizer_state(begins_with, self.trainer.optimizer, plan.model)
        self.spared = _find_spared(plan)
        self.clock, self.saved = _Clock(seconds), time.perf_counter()
        self.reading = self.trainer.meter.read()
        self.evaluation: dict[str, Any] | None = None
        self.baseline = world.on_main(lambda: read_baseline(self.run))
        self.log: RunLog | None = None

    def train(self) -> Run:
        """Make the steps that are left, and what comes after the last."""
        first, log, save = self.done, self.config.log, self.config.save
        ended: dict[str, Any] = {"stopped": "done"}
        with ExitStack() as stack:
            if self.world.main:
                self.log = RunLog(self.run, log, self.config.model_dump(mode="json"), first)
                stack.callback(self.log.close)
            begun = {"world": self.world.size, "note": self.trainer.note}
            self._note("resumed" if first else "started", begun)
            self.report.start("training", self.steps, "steps")
            self.report.advance(first)
            if first:
                tell(self.report, f"resumed at step {first:,}")
            stack.callback(self.report.finish)
            steps = stack.enter_context(Prefetcher(self.maker, first, self.steps, self.world.device))
            try:
                self._check_signals()
                # A signal may have come before the process before this one could evaluate.
                owed = self._is_evaluated()
                if owed and not self.world.on_main(lambda: has_line(self.run, "evaluation", first)):
                    self._evaluate()
                for step in steps:
                    self.trainer.train_step(step)
                    self.done = step.number + 1
                    self.report.advance(1)
                    signal, overdue = self._agree()
                    last = self.done == self.steps
                    saving = overdue or last or self.done % save.every == 0 or self.done == self.spared
                    if saving or signal or self.done % log.every == 0:
                        self._log_step(steps)
                    if signal:
                        raise _Stop({"stopped": "signal", "signal": signal})
                    if self._is_evaluated():
                        self._evaluate()
                    # In a series of bad steps the checkpoint before it stays the newest, but for the last.
                    if saving and (last or not self.reading.in_a_row):
                        self._save()
                self._evaluate()
            except _Stop as stop:
                ended = stop.args[0]
                if ended["stopped"] == "signal":
                    self._save()
            dead = self._report_dead() if ended["stopped"] == "done" else None
            run = Run(
                self.run, self.config, self.plan.model, self.corpus.encoding, self.epochs,
                steps=self.done, samples=self._samples(),
                loss=self.reading.smoothed, skipped=self.reading.skipped, dead=dead,
                seconds=self.clock.seconds, evaluation=self.evaluation, baseline=self.baseline, **ended,
            )  # fmt: skip
            self._note("stopped", {"why": run.stopped, "message": run.message})
        if self.world.main and run.stopped == "done":
            write_result(run)
        if self.world.main:
            draw_loss(run)
        self.world.barrier()
        return run

    def _samples(self) -> int:
        """Rows drawn in the steps that are done."""
        return count_samples(self.done, self.plan.rows_per_step)

    def _agree(self) -> tuple[int, bool]:
        """The signal that any rank received, 0 for none; and whether it is time to save.

        All ranks ask after the same step and hear the same; the main rank's clock is everyone's. They meet on
        the CPU: no GPU is waited for.
        """
        since = time.perf_counter() - self.saved
        overdue = self.world.main and since >= 60.0 * self.config.save.minutes
        signal, save = self.world.largest(self.signals.received or 0, int(overdue))
        return signal, bool(save)

    def _check_signals(self) -> None:
        signal, _ = self._agree()
        if signal:
            raise _Stop({"stopped": "signal", "signal": signal})

    def _is_evaluated(self) -> bool:
        """Whether an evaluation follows the last step done, or goes before the first.

        The one at the end is another matter.
        """
        every = self.config.log.evaluate_every
        return self.done < self.steps and (not self.done or bool(every and self.done % every == 0))

    def _log_step(self, steps: Prefetcher) -> None:
        """Write a line; stop the run when too many steps in a row were not finite.

        `loss` is a mean over the steps since the last line and their predictions, `loss_smoothed` its moving
        average over about 50 steps; `languages` mean nats of the language's predictions since the last line.
        `tokens_per_s` counts those that are not padding, over all ranks. `data_wait` is this rank's share of
        the time; `peak_memory_gb` that of its device, or of the process where there is none.
        """
        reading = self.reading = self.trainer.meter.read()
        spent = self.clock.lap()
        waited, steps.waited = steps.waited, 0.0
        speed = reading.tokens / spent
        flops = self.plan.flops_per_token.total
        left = (self.steps - self.done) * spent / reading.steps if reading.steps else None
        figures = {
            "steps": reading.steps,
            "loss": reading.loss,
            "loss_smoothed": reading.smoothed,
            "lr": self.trainer.learning_rate(self.done - 1),
            "grad_norm": reading.gradient_norm,
            "skipped": reading.skipped,
            "tokens_per_s": speed,
            "bytes_per_s": reading.bytes / spent,
            "mfu": estimate_mfu(flops, speed, self.plan.device, self.world.size),
            "data_wait": min(1.0, waited / spent),
            "peak_memory_gb": _peak_memory(self.world.device),
            "eta_s": left,
            "languages": dict(zip(self.corpus.languages, reading.language_losses, strict=True)),
        }
        self._note("step", figures)
        loss = "no finite loss" if reading.loss is None else f"loss {reading.loss:.3f}"
        tell(self.report, f"{loss}, {speed:,.0f} tokens/s", left)
        if reading.longest >= _PATIENCE:
            message = (
                f"{reading.longest} steps in a row had a loss or gradient that is not finite, up to step "
                f"{self.done} at the latest; none of them changed the model. The last good checkpoint is kept: "
                f"lower optimizer.rate, or look at the data of samples before "
                f"{self._samples():,}"
            )
            raise _Stop({"stopped": "nan", "message": message})

    def _evaluate(self) -> None:
        """Score held-out text; a signal between two batches stops the run."""
        training = self.config.training
        with self.clock.paused(), self.trainer.forward_only():
            found = evaluate(
                self.trainer.model, self.corpus, causal=self.plan.model.causal,
                rows=self.config.log.evaluate_rows, micro_rows=training.micro_rows,
                device=self.world.device, data=self.config.data, head_rows=training.head_rows,
                fused=training.fused_softmax, before_batch=self._check_signals,
            )  # fmt: skip
        figures = found.to_json()
        if self.done:
            self.evaluation = figures
        else:
            self.baseline = figures
        self._note("evaluation", figures)

    def _save(self) -> None:
        # Counting draws is the main rank's; the tensors and what was seen are everyone's.
        with self.clock.paused():
            samples = self._samples()
            rows, tokens, size = self.ledger.count_until(samples) if self.world.main else ({}, {}, {})
            state = RunState(
                self.done, self.steps, samples, self.world.size, rows, tokens, size,
                self.clock.seconds, self.fingerprints,
            )  # fmt: skip
            folder = save_checkpoint(
                self.run, self.trainer.tensors(), state, self.trainer.seen.arrays(), self.world,
                keep=self.config.save.keep, spared=self.spared,
            )  # fmt: skip
            self.saved = time.perf_counter()
        self._note("saved", {"folder": folder.name, "rows": rows, "tokens": tokens, "bytes": size})

    def _report_dead(self) -> dict[str, Any] | None:
        """Write which pieces were never seen; the main rank's group of all pieces."""
        seen = self.trainer.seen.arrays()
        if not self.world.main:
            return None
        try:
            reserved = self.corpus.special.reserved
            report = find_dead(seen["input"], seen["target"], self.run / "tokenizer", reserved=reserved)
        except VocabkitError as error:
            # A run of weeks must not end in an error because its tokenizer cannot be looked into.
            self._note("dead-vocabulary", {"error": error.message})
            return None
        report.save(self.run)
        return dict(report.to_rows()[0])

    def _note(self, kind: str, figures: Mapping[str, Any]) -> None:
        if self.log is not None:
            self.log.write(kind, self.done, figures)


class _Clock:
    """Seconds of training, without evaluating and saving; `before` are those of the run's earlier processes."""

    def __init__(self, before: float) -> None:
        self._lap = time.perf_counter()
        self._start = self._lap - before

    @property
    def seconds(self) -> float:
        """Seconds spent training, over all the processes one after another."""
        return time.perf_counter() - self._start

    def lap(self) -> float:
        """Return the seconds of training since it was last asked."""
        before, self._lap = self._lap, time.perf_counter()
        return max(self._lap - before, 1e-9)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._lap += spent
            self._start += spent


def _peak_memory(device: torch.device) -> float | None:
    """Gigabytes (1e9 bytes) at most in use: allocated on a GPU, resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


# --- Opening a run ---------------------------------------------------------------------------------


def _open_run(plan: RunPlan, world: World, force: bool) -> tuple[dict[str, Any], Tensor | None]:
    """Find the run or lay it out; its identity and its new rows.

    Every rank calls. Raises what the user can put right; a run that is another is refused.
    """
    run, corpus = plan.output, plan.corpus
    assert run is not None
    assert corpus is not None
    identity = identify_run(plan.config, corpus, plan.checkpoint)
    rows: Int64Array | None = None
    if plan.goes_on:
        check_identity(plan, identity)
        check_run(run)
        rows = read_new_rows(run)
    elif plan.checkpoint is not None and (kept := read_kept(plan.checkpoint)) is not None:
        rows = np.flatnonzero(kept < 0)
        if len(rows) and rows[0] >= corpus.vocabulary:
            raise PretrainingError(
                f"{corpus.folder}: data of {corpus.vocabulary:,} ids, and the first id that the extension "
                f"added is {rows[0]:,}: it was prepared with the tokenizer of before",
                "prepare the corpus with the extended checkpoint's tokenizer",
            )
    new_rows = None if rows is None else torch.from_numpy(rows)
    require_new_rows(plan_stages(plan.config.stages, plan.steps), new_rows)
    if not plan.goes_on:
        world.on_main(lambda: create_run(plan, identity, new_rows=rows, force=force))
    return identity, new_rows


def _lengthen(plan: RunPlan, identity: Mapping[str, Any]) -> None:
    """Make the run longer, or raise: another process may have moved it since it was planned."""
    explain_longer(plan)
    lengthen_run(plan, identity)


def _find_spared(plan: RunPlan) -> int | None:
    """The step whose checkpoint stays however many follow: the last before a trapezoid falls; None for none."""
    settings, stages = plan.config.optimizer, plan_stages(plan.config.stages, plan.steps)
    ramp = round(settings.warmup * stages[0].stop)
    last = count_level_steps(settings, ramp, plan.steps)
    wanted = plan.config.save.before_decay and settings.schedule == "trapezoid" and len(stages) == 1
    return last if wanted and last < plan.steps else None


def _find_resumed(plan: RunPlan) -> Path | None:
    """The newest checkpoint of a run; None where it was stopped before its first, and for a new one.

    A longer one sets those aside first that it would not have come to.
    """
    run, checkpoint = plan.output, plan.checkpoint
    assert run is not None
    if not plan.goes_on:
        return None
    set_aside(run, list_overtaken(plan))
    if list_checkpoints(run):
        return find_checkpoint(run)
    if checkpoint is None and read_origin(run) is not None:
        raise PretrainingError(
            f"{run}: stopped before its first checkpoint, and starts from another model's",
            "pass the same --checkpoint again",
        )
    return None
