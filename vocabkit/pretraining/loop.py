"""A run from its first step to its last, or on from its newest checkpoint: what is done when.

After a step, in this order: agree whether to stop, log, evaluate, save. A run may be stopped after any step
and goes on bit for bit as if it had not been, on the same number of processes; on another number the same
samples are drawn, and sums differ in their last digits. The steps themselves are `trainer`'s.

A signal (SIGTERM, SIGUSR1, Ctrl-C) saves a checkpoint at the next step boundary, or between two batches of an
evaluation, and the process ends with 128 + its number, which schedulers read as stopped by it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vocabkit.core.errors import VocabkitError
from vocabkit.core.folders import hold_folder
from vocabkit.core.progress import Progress, Silent
from vocabkit.pretraining.batches import BatchMaker, Prefetcher
from vocabkit.pretraining.checkpointing import RunState, save_checkpoint
from vocabkit.pretraining.distributed import Agreement, Due, StopSignals, World, open_world
from vocabkit.pretraining.evaluation import evaluate, find_dead
from vocabkit.pretraining.order import Ledger
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.run_folder import (
    RunLog,
    RunResult,
    check_sinks,
    has_line,
    read_result,
    write_result,
)
from vocabkit.pretraining.run_start import RunStart, make_model, restore_run, start_run, tidy_run
from vocabkit.pretraining.trainer import Reading, Stopwatch, Trainer, settled_process

PATIENCE = 10
"""Steps in a row without a finite loss and gradient after which a run stops: it will not mend itself."""


def pretrain(
    config: RunConfig,
    data: str | Path,
    run: str | Path,
    *,
    checkpoint: str | Path | None = None,
    force: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Train a model on the rows in `data`, into the folder `run`.

    A run that is there already, of the same configuration and data, goes on from its newest checkpoint, and
    answers at once where it is finished; `force` starts it anew. `checkpoint` is the folder to start from; the
    shape in `[model]` otherwise. `device` is "cpu" or "cuda", by default CUDA where there is one. Started by
    torchrun on every rank alike. Raises PretrainingError, ConfigError, OutputError or MissingExtra for what
    the user can put right, before anything is trained where that is possible.
    """
    report = progress or Silent()
    with ExitStack() as stack:
        stack.enter_context(settled_process(deterministic=config.training.deterministic))
        world = stack.enter_context(open_world(device))
        signals = stack.enter_context(StopSignals())
        check_sinks(config.log)
        folder = Path(run)
        start = start_run(
            config, Path(data), folder, None if checkpoint is None else Path(checkpoint), world,
            force=force,
        )  # fmt: skip
        world.on_main(lambda: stack.enter_context(hold_folder(folder, folder, "training")))
        finished = world.on_main(lambda: read_result(folder))
        if finished is not None and finished.stopped == "done":
            return finished
        world.on_main(lambda: tidy_run(folder, start.config))
        return _Run(start, world, signals, report if world.main else Silent()).train()


@dataclass(slots=True)
class _Outcome:
    """How far a run has come to its end."""

    stopped: Literal["done", "signal", "nan"] = "done"
    signal: int | None = None
    message: str | None = None
    loss: float | None = None
    skipped: int = 0
    evaluation: dict[str, Any] | None = field(default=None)


class _Run:
    """One process's part of a run, from its checkpoint (or nothing) to its end (or a stop)."""

    def __init__(
        self, start: RunStart, world: World, signals: StopSignals, report: Progress
    ) -> None:
        self.start, self.world, self.report = start, world, report
        self.config, self.corpus, self.steps = start.config, start.corpus, start.plan.steps
        self.trainer = Trainer(
            make_model(start),
            self.config,
            start.stages,
            len(self.corpus.languages),
            start.new_rows,
            world,
        )
        assert start.plan.languages is not None
        self.maker = BatchMaker(
            self.corpus, start.plan.languages.shares, self.config.data, self.config.training,
            causal=start.shape.causal, rank=world.rank, world=world.size,
        )  # fmt: skip
        self.ledger = Ledger(self.corpus, self.maker.order)
        self.seconds_before = 0.0
        self.done = restore_run(start, self.trainer, self.ledger, world)
        if start.state is not None:
            self.seconds_before = start.state.seconds
        self.watch = Stopwatch(start.plan.flops_per_token.total, start.plan.device, world)
        self.agreement = Agreement(world, signals, self.config.save.minutes)
        self.outcome = _Outcome()
        self.log: RunLog | None = None
        self.in_a_row = 0
        self._take(self.trainer.meter.read())

    def train(self) -> RunResult:
        """Make the steps that are left, and what comes after the last."""
        first = self.done
        with ExitStack() as stack:
            if self.world.main:
                config = self.config.model_dump(mode="json")
                self.log = RunLog(self.start.run, self.config.log, config, first)
                stack.callback(self.log.close)
            begun = {"world": self.world.size, "note": self.trainer.note}
            self._note("resumed" if first else "started", begun)
            self.report.start("training", self.steps, "steps")
            self.report.advance(first)
            stack.callback(self.report.finish)
            steps = stack.enter_context(
                Prefetcher(self.maker, first, self.steps, self.world.device)
            )
            if not self._obey(self.agreement.reach()) and not self._catch_up():
                for step in steps:
                    self.trainer.train_step(step)
                    self.done = step.number + 1
                    self.report.advance(1)
                    if self._after_step(steps.waited):
                        break
            if self.outcome.stopped == "done":
                self._evaluate()
            result = self._result()
            self._note("stopped", {"why": result.stopped, "message": result.message})
        if self.world.main and result.stopped == "done":
            write_result(result)
        self.world.barrier()
        return result

    def _after_step(self, waited: float) -> bool:
        """Log, evaluate and save where it is time; whether the run must stop here."""
        settings, last = self.config.log, self.done == self.steps
        due = self.agreement.reach()
        saving = due.save or last or self.done % self.config.save.every == 0
        if (self.done % settings.every == 0 or saving or due.signal) and self._log_step(waited):
            return True
        if self._obey(due):
            return True
        if self._is_evaluated():
            self._evaluate()
        # In a series of bad steps the checkpoint before it stays the newest, but for the run's last.
        if saving and self.outcome.stopped == "done" and (last or not self.in_a_row):
            self._save()
        return self.outcome.stopped != "done"

    def _is_evaluated(self) -> bool:
        """Whether an evaluation follows the last step done; that at the end is another matter."""
        every = self.config.log.evaluate_every
        return bool(every and self.done and self.done % every == 0 and self.done < self.steps)

    def _catch_up(self) -> bool:
        """Evaluate where a signal came before the process could; whether the run must stop again."""
        if self._is_evaluated() and not self.world.on_main(
            lambda: has_line(self.start.run, "evaluation", self.done)
        ):
            self._evaluate()
        return self.outcome.stopped != "done"

    def _obey(self, due: Due) -> bool:
        """Save and stop where a signal came; whether one did."""
        if not due.signal:
            return False
        self.outcome.stopped, self.outcome.signal = "signal", due.signal
        self._save()
        return True

    def _log_step(self, waited: float) -> bool:
        """Write a line; whether too many steps in a row were not finite."""
        reading = self.trainer.meter.read()
        figures = self.watch.describe(
            reading, self.corpus.languages, self.trainer.rate(self.done - 1),
            self.steps - self.done, waited,
        )  # fmt: skip
        self._note("step", figures)
        self._take(reading)
        if reading.longest < PATIENCE:
            return False
        self.outcome.stopped = "nan"
        self.outcome.message = (
            f"{reading.longest} steps in a row had a loss or gradient that is not finite, up to step "
            f"{self.done} at the latest; none of them changed the model. The last good checkpoint is kept: "
            f"lower optimizer.rate, or look at the data of samples before "
            f"{self.done * self.config.training.batch_rows:,}"
        )
        return True

    def _take(self, reading: Reading) -> None:
        self.outcome.loss, self.outcome.skipped = reading.smoothed, reading.skipped
        self.in_a_row = reading.in_a_row

    def _evaluate(self) -> None:
        training = self.config.training
        with self.watch.paused(), self.trainer.precision():
            found = evaluate(
                self.trainer.model,
                self.corpus,
                causal=self.start.shape.causal,
                rows=self.config.log.evaluate_rows,
                micro_rows=training.micro_rows,
                device=self.world.device,
                data=self.config.data,
                head_rows=training.head_rows,
                fused=training.fused_softmax,
                should_stop=lambda: bool(self.agreement.reach().signal),
            )
            self.trainer.release()
        if found is None:
            self._obey(self.agreement.reach())
            return
        self.outcome.evaluation = found.to_json()
        self._note("evaluation", self.outcome.evaluation)

    def _save(self) -> None:
        # Counting draws is the main rank's; the tensors and what was seen are everyone's.
        with self.watch.paused():
            samples = self.done * self.config.training.batch_rows
            rows, tokens, size = (
                self.ledger.count_until(samples) if self.world.main else ({}, {}, {})
            )
            state = RunState(
                self.done, self.steps, samples, self.world.size, rows, tokens, size,
                self.seconds_before + self.watch.seconds, self.start.identity.fingerprints(),
            )  # fmt: skip
            folder = save_checkpoint(
                self.start.run, self.trainer.tensors(), state, self.trainer.seen.arrays(),
                self.world, keep=self.config.save.keep,
            )  # fmt: skip
            self.agreement.note_saved()
        self._note("saved", {"folder": folder.name, "rows": rows, "tokens": tokens, "bytes": size})

    def _result(self) -> RunResult:
        outcome = self.outcome
        seen = self.trainer.seen.arrays()
        dead = self._report_dead(seen) if outcome.stopped == "done" else None
        return RunResult(
            self.start.run, outcome.stopped, self.done, self.done * self.config.training.batch_rows,
            outcome.loss, outcome.skipped, self.seconds_before + self.watch.seconds,
            outcome.evaluation, dead, outcome.signal, outcome.message,
        )  # fmt: skip

    def _report_dead(self, seen: dict[str, Any]) -> dict[str, Any] | None:
        if not self.world.main:
            return None
        try:
            report = find_dead(
                seen["input"], seen["target"], self.start.run / "tokenizer",
                reserved=self.corpus.special.reserved,
            )  # fmt: skip
        except VocabkitError as error:
            # A run of weeks must not end in an error because its tokenizer cannot be looked into.
            self._note("dead-vocabulary", {"error": error.message})
            return None
        report.save(self.start.run)
        return dict(report.rows()[0])

    def _note(self, kind: str, figures: Any) -> None:
        if self.log is not None:
            self.log.write(kind, self.done, figures)
