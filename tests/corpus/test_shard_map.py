import os
import subprocess
import sys
from pathlib import Path

import sentencepiece

WORDS = {"eng_Latn": "the dog sat on a mat and saw", "yor_Latn": "ajá náà jókòó lórí ẹní ó sì rí ológbò"}
PLAIN = """
from vocabkit.auditing.auditing import run_audit
from vocabkit.auditing.parallel_text import read_audit_text
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sources import open_corpus

corpus = open_corpus("corpus")
counted = count_corpus(corpus, "counts", CountOptions(workers=2))
audit = run_audit("plain.model", read_audit_text(corpus), resamples=0, workers=2)
print(len(counted.rows), len(audit.failures), __file__, __spec__)
"""


def test_a_plain_script_may_start_processes(tmp_path: Path) -> None:
    """A spawned process would run a script without a guard again, and fail where that starts processes."""
    (tmp_path / "corpus").mkdir()
    for code, words in WORDS.items():
        (tmp_path / "corpus" / f"{code}.txt").write_text(f"{words}\n" * 20, encoding="utf-8")
    with (tmp_path / "plain.model").open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(WORDS.values()),
            model_writer=model,
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    script = tmp_path / "plain.py"
    script.write_text(PLAIN, encoding="utf-8")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (run.stdout, run.returncode) == (f"2 0 {script} None\n", 0), run.stderr
