"""Stop signals set a flag, and a second Ctrl-C means now."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from vocabkit.pretraining.distributed import STOPPING, StopSignals


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_remembered_and_handlers_come_back(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == number
    assert signal.getsignal(number) == before


def test_a_second_interrupt_stops_at_once() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_outside_the_main_thread_nothing_is_changed() -> None:
    found: list[object] = []

    def work() -> None:
        with StopSignals() as signals:
            found.append((signals.received, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, before)]
