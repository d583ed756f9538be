"""The processes of a run: how many there are, what they agree on, and which part of a model each holds.

One way for all: FSDP2 (`fully_shard`) when there is more than one process, nothing wrapped when there is one.
Started by `torchrun`, which sets RANK, WORLD_SIZE and LOCAL_RANK; this module starts no process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vocabkit.core.errors import PretrainingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """This process among those of the run. `control` is a group on the CPU, None in a world of one.

    What ranks agree on (a signal, a clock) goes over `control`: the GPU is not waited for.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def main(self) -> bool:
        """Whether this rank writes files and talks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor on the run's device over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, *numbers: int) -> list[int]:
        """Return the largest of each number over ranks."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        return cast(list[int], tensor.tolist())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def on_all(self, call: Callable[[], object]) -> None:
        """Call on every rank; where one fails all of them raise, and none waits for it for ever."""
        failure: Exception | None = None
        try:
            call()
        except Exception as error:
            failure = error
        (failed,) = self.largest(int(failure is not None))
        if failure is not None:
            raise failure
        if failed:
            raise PretrainingError("another process of this run failed", "look at what it says")

    def on_main(self, call: Callable[[], T]) -> T:
        """Call on the main rank; every rank returns its result, or raises its error.

        Without this, the other ranks of a run that the user must put right would wait for ever.
        """
        if self.size == 1:
            return call()
        answer: list[object] = [None, None]
        if self.main:
            try:
                answer[0] = call()
            except Exception as error:
                answer[1] = error
        dist.broadcast_object_list(answer, src=0, group=self.control)
        if answer[1] is not None:
            raise cast(Exception, answer[1])
        return cast(T, answer[0])


def world_is_open() -> bool:
    """Return whether torch knows of several processes."""
    return dist.is_available() and dist.is_initialized()


@contextmanager
def open_world(device: str | None = None) -> Iterator[World]:
    """Yield the world that `torchrun` described, or one process. A group opened here is closed at the end.

    `device` is "cpu" or "cuda"; by default CUDA where there is one. Raises PretrainingError when CUDA is asked
    for and absent.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise PretrainingError("device cuda: torch sees no GPU", "leave the device out, or say cpu")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 and not world_is_open():
        yield World(0, 1, torch.device(kind))
        return
    place = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else None
    if place is not None:
        torch.cuda.set_device(place)
    opened = not dist.is_initialized()
    if opened:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", device_id=place)
    try:
        if dist.get_world_size() == 1:
            yield World(0, 1, place or torch.device("cpu"))
        else:
            control = dist.new_group(backend="gloo")
            yield World(dist.get_rank(), dist.get_world_size(), place or torch.device("cpu"), control)
    finally:
        if opened:
            dist.destroy_process_group()


def shard_model(model: nn.Module, layers: nn.ModuleList, world: World, precision: str) -> None:
    """Share a model's parameters out over the ranks, layer by layer; a world of one is left as it is.

    The root, which holds the vocabulary's matrices, stays gathered from forward to backward: the loss, last
    in the one and first in the other, reads it in both.
    """
    if world.size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    narrow, wide = (torch.bfloat16, torch.float32) if precision == "bf16" else (None, None)
    # Casting inputs would reach into the batch, and round its weights.
    policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=wide, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def local_part(tensor: Tensor) -> Tensor:
    """Return this rank's shard of a tensor; the tensor itself where it is whole."""
    if world_is_open() and hasattr(tensor, "to_local"):
        return cast(Tensor, tensor.to_local())
    return tensor


def local_rows(rows: Tensor, total: int, world: World) -> Tensor:
    """Return those of a matrix's `rows`, of `total`, in this rank's shard, numbered from its first."""
    first, stop = _find_stretch(total, world.rank, world.size)
    inside = (rows >= first) & (rows < stop)
    return (rows[inside] - first).to(world.device)


def find_stretch(tensor: Tensor) -> tuple[int, int] | None:
    """Return where the rows of this rank's shard of a tensor start and stop; None where it is whole."""
    mesh = getattr(tensor, "device_mesh", None)
    return None if mesh is None else _find_stretch(len(tensor), mesh.get_local_rank(), mesh.size())


def fill_part(target: Tensor, whole: Tensor) -> None:
    """Copy this rank's rows of a whole tensor, on the CPU, into what may be a shard of it."""
    first, stop = find_stretch(target) or (0, None)
    local_part(target).copy_(whole if stop is None else whole[first:stop])


def _find_stretch(total: int, rank: int, size: int) -> tuple[int, int]:
    """The rows of a rank's shard: FSDP2 gives each the next of equal stretches, as torch.chunk does."""
    stretch = -(-total // size)
    return min(rank * stretch, total), min((rank + 1) * stretch, total)


# --- Signals ---------------------------------------------------------------------------------------
# What a scheduler sends before it takes a machine away (SIGTERM, SIGUSR1) and Ctrl-C (SIGINT) only set a flag:
# the loop obeys at the next step boundary, where a run can be saved. A second Ctrl-C means now.

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class StopSignals:
    """While the block runs, `received` is the number of the first stopping signal, or None.

    Handlers of before come back at the end. Python gives signals to the main thread alone: elsewhere the
    block changes nothing and `received` stays None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
