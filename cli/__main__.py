"""`python -m cli` in a checkout; `python -m vocabkit` runs this same module."""

from . import app

if __name__ == "__main__":
    app(prog_name="vocabkit")
