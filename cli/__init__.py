"""The command line: parse, call the library once, print. `app` is what the `vocabkit` script runs.

Installed as `vocabkit.cli`, run from a checkout as `cli`: siblings are therefore imported
relatively. The library is imported inside functions, so that `--help` loads nothing heavy.
"""

from .main import app

__all__ = ["app"]
