"""What a shell offers when Tab is pressed: presets, panels, languages and the keys of `--set`.

Typer asks these functions while a shell waits, through the environment (`_VOCABKIT_COMPLETE`); `vocabkit
--install-completion` is what makes a shell do so. Whatever fails here offers nothing: a message would be typed
into the command. Where nothing is offered, shells offer files.
"""

import textwrap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

Offer = tuple[str, str]
"""What is offered, and a word on it that some shells show."""


def _list_presets(*kinds: str) -> list[Offer]:
    from vocabkit.core.config import list_presets

    found = [(one.name.partition("/"), one.title) for one in list_presets()]
    return [(name, title) for (kind, _, name), title in found if not kinds or kind in kinds]


def complete_fits(incomplete: str) -> list[Offer]:
    """The presets of `fit`."""
    return _choose(_list_presets("fit"), incomplete)


def complete_runs(incomplete: str) -> list[Offer]:
    """The presets of `pretrain`."""
    return _choose(_list_presets("pretrain"), incomplete)


def complete_presets(incomplete: str) -> list[Offer]:
    """The presets of every verb."""
    return _choose(_list_presets(), incomplete)


def complete_panels(incomplete: str) -> list[Offer]:
    """The panels that ship."""
    return _choose([(f"panels/{name}", title) for name, title in _list_presets("panels")], incomplete)


def complete_languages(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The code that goes on a list with commas: of the counts that are named, else of those worth offering."""
    from langcodes import Language

    before, comma, last = incomplete.rpartition(",")
    found = [code for code in _list_codes(ctx) if code.startswith(last) and code not in before.split(",")]
    names = (Language.get(code.replace("_", "-")).display_name() for code in found)
    return [(f"{before}{comma}{code}", name) for code, name in zip(found, names, strict=True)]


def _list_codes(ctx: typer.Context) -> Iterable[str]:
    from vocabkit.core.languages import list_known

    counts = ctx.params.get("counts")
    if isinstance(counts, str | Path):
        with suppress(Exception):  # not counts, or not yet
            from vocabkit.corpus.word_counts import read_index

            return sorted(read_index(Path(counts)))
    return list_known()


def complete_keys(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The keys of the preset that is named, else of all fits; behind `=` the words that a key takes."""
    found = {key.key: key for key in _list_keys(ctx)}
    key, equals, _ = incomplete.partition("=")
    if equals:
        words = found[key].type.split(" | ") if key in found else []
        words = ["true", "false"] if words == ["true or false"] else words if len(words) > 1 else []
        return _choose([(f"{key}={word}", "") for word in words], incomplete)
    # A list of tables is given whole.
    return _choose([(f"{key}=", one.meaning) for key, one in found.items() if "[]" not in key], incomplete)


def _list_keys(ctx: typer.Context) -> list[Any]:
    from vocabkit.configurations.settings import CONFIGURATIONS
    from vocabkit.core.config import list_keys
    from vocabkit.pretraining.run_config import RunConfig

    from .presets import read_preset

    # What stands in front of an option without a value yet was not given to its parameter.
    name = ctx.params.get("preset") or next(iter(ctx.args), None)
    if isinstance(name, str):
        with suppress(Exception):  # no preset, or a file that cannot be read
            config = read_preset(name)
            return [*list_keys(type(config), config)]
    models = [RunConfig] if ctx.info_name == "pretrain" else [*CONFIGURATIONS.values()]
    return [key for model in models for key in list_keys(model)]


def _choose(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Those that go on from what is typed; what is said of each is short, as a line is an offer."""
    return [
        (word, textwrap.shorten(said, 60, placeholder=" …"))
        for word, said in offers
        if word.startswith(incomplete)
    ]
