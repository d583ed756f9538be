"""Batches made ahead of the step that needs them, by one thread, and the time the loop waited for them.

One thread is enough: a row is copied and hashed, not tokenised. It makes exactly what `BatchMaker` makes, in
order; what is dropped when a run stops is made again when it resumes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import torch

from vocabkit.pretraining.batch import Batch
from vocabkit.pretraining.batches import BatchMaker

__all__ = ["Prefetcher", "Step"]

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """A rank's part of one step: its micro-batches, and Σ weights of the step over all ranks."""

    number: int
    batches: tuple[Batch, ...]
    weight: int


class Prefetcher:
    """Iterates over the steps `start` … `stop` − 1, their batches on `device`, `depth` steps ahead.

    `waited` is the seconds so far in which data was waited for: by the consumer here, and where there is a GPU,
    only when that had no work left from steps before. An error while making a batch is raised where its step is
    asked for. Close it, or use it in a `with` block; a step asked for afterwards is refused.
    """

    def __init__(
        self,
        maker: BatchMaker,
        start: int,
        stop: int,
        device: torch.device | str = "cpu",
        depth: int = 2,
    ) -> None:
        self.waited = 0.0
        self._maker, self._start, self._stop = maker, start, stop
        self._device = torch.device(device)
        self._made: queue.Queue[Step | BaseException] = queue.Queue(max(1, depth))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Step]:
        for _ in range(self._start, self._stop):
            yield self._take()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and wait for it; more than once does no harm."""
        self._closing.set()
        self._thread.join()

    def _take(self) -> Step:
        began = time.perf_counter()
        found = self._wait()
        # The loop runs ahead of a GPU, which starves only when nothing is queued for it any more.
        if self._device.type != "cuda" or torch.cuda.current_stream(self._device).query():
            self.waited += time.perf_counter() - began
        if isinstance(found, BaseException):
            self.close()
            raise found
        # From page-locked memory the copy is queued behind the GPU's work, and nothing waits for it.
        moved = tuple(batch.to(self._device, non_blocking=True) for batch in found.batches)
        return Step(found.number, moved, found.weight)

    def _wait(self) -> Step | BaseException:
        while not self._closing.is_set():
            try:
                return self._made.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        raise RuntimeError("the prefetcher is closed")

    def _work(self) -> None:
        try:
            if self._device.type == "cuda" and self._device.index is not None:
                # A thread's device is the first, where page-locked memory would open a context a rank.
                torch.cuda.set_device(self._device)
            for number in range(self._start, self._stop):
                if self._closing.is_set() or not self._put(self._make(number)):
                    return
        # Whatever went wrong here, the loop must hear of it: it would wait for ever.
        except BaseException as error:
            self._put(error)

    def _make(self, number: int) -> Step:
        maker = self._maker
        made = tuple(maker.make(number, micro) for micro in range(maker.micro_batches))
        if self._device.type == "cuda":
            made = tuple(batch.pin() for batch in made)
        return Step(number, made, maker.global_weight(number, made))

    def _put(self, item: Step | BaseException) -> bool:
        while not self._closing.is_set():
            try:
                self._made.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
