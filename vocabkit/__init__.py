"""vocabkit: multilingual tokeniser and vocabulary engineering, from word counts to a pretraining run.

    import vocabkit as vk

    counts = vk.count("corpus/", "counts/")
    fit = vk.fit("balanced-250k", counts, "tok/", vocabulary={"size": 64_000})
    audit = vk.audit(["tok/", "other/"], "ntrex/", "report/")
    audit.to_frame()

Each verb of the command line is a function of the same name: inputs first (paths or loaded objects), then
`output`, then settings by keyword, named as the command's options and as the keys of a preset. A result has
`save`, `load`, `to_frame` and a table for notebooks. What a user can put right is a `VocabkitError` with a
`hint`. Names are imported when they are first used: `import vocabkit` alone loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vocabkit.allocation.union import Allocation
    from vocabkit.auditing.comparison import Comparison
    from vocabkit.auditing.report import Audit
    from vocabkit.configurations.allocating import Allotment, SaturationReport
    from vocabkit.configurations.shared import Fit
    from vocabkit.core.errors import (
        CheckpointError,
        ConfigError,
        CorpusError,
        CountsError,
        FitError,
        MissingExtra,
        OutputError,
        PretrainingError,
        TokenizerError,
        TooFewPieces,
        VocabkitError,
        WorkerError,
    )
    from vocabkit.core.languages import Language, Panel
    from vocabkit.core.progress import Progress
    from vocabkit.core.results import Result
    from vocabkit.corpus.sample import Sample
    from vocabkit.corpus.sources import Corpus
    from vocabkit.corpus.word_counts import WordCounts
    from vocabkit.extension.compare_init import InitComparison
    from vocabkit.extension.extend import Extension
    from vocabkit.extension.undo import Undone
    from vocabkit.extension.verify import Verification
    from vocabkit.pretraining.exporting import Export
    from vocabkit.pretraining.plan import RunPlan
    from vocabkit.pretraining.prepared import PreparedCorpus
    from vocabkit.pretraining.run_folder import Run
    from vocabkit.verbs import (
        allocate,
        audit,
        compare,
        compare_init,
        count,
        diff,
        export,
        extend,
        fit,
        merge,
        open_corpus,
        open_tokenizer,
        prepare,
        pretrain,
        sample,
        show,
        undo,
        verify,
    )
    from vocabkit.vocabulary.adapters import Shown, Tokenizer
    from vocabkit.vocabulary.vocabulary import Difference, Vocabulary

__all__ = [
    "Allocation",
    "Allotment",
    "Audit",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "Corpus",
    "CorpusError",
    "CountsError",
    "Difference",
    "Export",
    "Extension",
    "Fit",
    "FitError",
    "InitComparison",
    "Language",
    "MissingExtra",
    "OutputError",
    "Panel",
    "PreparedCorpus",
    "PretrainingError",
    "Progress",
    "Result",
    "Run",
    "RunPlan",
    "Sample",
    "SaturationReport",
    "Shown",
    "Tokenizer",
    "TokenizerError",
    "TooFewPieces",
    "Undone",
    "Verification",
    "VocabkitError",
    "Vocabulary",
    "WordCounts",
    "WorkerError",
    "__version__",
    "allocate",
    "audit",
    "compare",
    "compare_init",
    "count",
    "diff",
    "export",
    "extend",
    "fit",
    "merge",
    "open_corpus",
    "open_tokenizer",
    "prepare",
    "pretrain",
    "sample",
    "show",
    "undo",
    "verify",
]

# Name → the module it is in; the imports above, for checkers, and this table are held equal by a test.
_HOMES = {
    "auditing.comparison": "Comparison",
    "auditing.report": "Audit",
    "allocation.union": "Allocation",
    "configurations.allocating": "Allotment SaturationReport",
    "configurations.shared": "Fit",
    "core.errors": (
        "CheckpointError ConfigError CorpusError CountsError FitError MissingExtra OutputError "
        "PretrainingError TokenizerError TooFewPieces VocabkitError WorkerError"
    ),
    "core.languages": "Language Panel",
    "core.progress": "Progress",
    "core.results": "Result",
    "corpus.sample": "Sample",
    "corpus.sources": "Corpus",
    "corpus.word_counts": "WordCounts",
    "extension.compare_init": "InitComparison",
    "extension.extend": "Extension",
    "extension.undo": "Undone",
    "extension.verify": "Verification",
    "pretraining.exporting": "Export",
    "pretraining.plan": "RunPlan",
    "pretraining.prepared": "PreparedCorpus",
    "pretraining.run_folder": "Run",
    "verbs": (
        "allocate audit compare compare_init count diff export extend fit merge open_corpus "
        "open_tokenizer prepare pretrain sample show undo verify"
    ),
    "vocabulary.adapters": "Shown Tokenizer",
    "vocabulary.vocabulary": "Difference Vocabulary",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names.split():
            found = getattr(import_module(f"vocabkit.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'vocabkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
