"""Does tokenizer.json give the .model's ids? Every NTREX line of 40 languages, ours and the usual conversion.

Usage: python benchmarks/export.py TOK   (a folder that `vocabkit fit` wrote). Bar: 1 line in 1,000.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tokenizers
from measure import corpora, machine
from tokenizers import normalizers, pre_tokenizers

from vocabkit.core.languages import load_panel
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.sources import open_corpus
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Vocabulary


def usual_conversion(folder: Path) -> tokenizers.Tokenizer:
    """Return the tokenizer with its normaliser replaced by the customary one: Precompiled, strip, collapse."""
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    charsmap = Vocabulary.load(folder).normalizer.charsmap
    steps = [normalizers.Precompiled(charsmap)] if charsmap else []
    collapse = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Strip(), collapse])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.encode_special_tokens = True
    return backend


def main() -> None:
    """Print lines that differ by language, and seconds."""
    folder = Path(sys.argv[1])
    panel = load_panel("panels/panel-40")
    corpus = open_corpus(corpora() / "ntrex", panel=panel)
    model, ours = (
        open_tokenizer(folder / "tokenizer.model"),
        open_tokenizer(folder / "tokenizer.json"),
    )
    usual = usual_conversion(folder)
    lines, differs, usually = 0, {}, {}
    seconds = {"model": 0.0, "tokenizer.json": 0.0, "usual conversion": 0.0}
    for code in corpus.languages:
        (source,) = corpus.sources[code]
        texts = [text for batch in read_documents(source, "line", "text", Repairs()) for text in batch]
        start = time.process_time()
        wanted = [ids.tolist() for ids in model.encode_batch(texts)]
        seconds["model"] += time.process_time() - start
        start = time.process_time()
        found = [ids.tolist() for ids in ours.encode_batch(texts)]
        seconds["tokenizer.json"] += time.process_time() - start
        start = time.process_time()
        customary = [e.ids for e in usual.encode_batch(texts, add_special_tokens=False)]
        seconds["usual conversion"] += time.process_time() - start
        lines += len(texts)
        differs[code] = [i + 1 for i, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]]
        usually[code] = sum(a != b for a, b in zip(wanted, customary, strict=True))
    print(machine())
    print(f"{lines:,} lines")
    print(
        f"tokenizer.json: {sum(map(len, differs.values()))} differ",
        {c: d for c, d in differs.items() if d},
    )
    print(f"usual conversion: {sum(usually.values())} differ", {c: n for c, n in usually.items() if n})
    print("CPU seconds:", {name: round(value, 1) for name, value in seconds.items()})


if __name__ == "__main__":
    main()
