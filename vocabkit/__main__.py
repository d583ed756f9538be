"""`python -m vocabkit`: the command line, found by name because the wheel maps `cli` into this package."""

import runpy

runpy.run_module("vocabkit.cli", run_name="__main__", alter_sys=True)
