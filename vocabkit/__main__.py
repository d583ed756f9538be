"""`python -m vocabkit` and the `vocabkit` script: the command line, found by name since the wheel maps it in.

Ctrl-C is answered from here on, before the quarter of a second that loading the command line takes.
"""

import os
import signal


def stop_at_once(number: int, frame: object) -> None:
    """End the process with one line, before a command has begun or after it has ended."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def main() -> None:
    """Run the command line on the words of this process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # under nohup it is ignored, and stays so
        signal.signal(signal.SIGINT, stop_at_once)
    # Only now: what is loaded above is loaded unguarded.
    import runpy

    runpy.run_module("vocabkit.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
