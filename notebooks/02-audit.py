# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Audit before training
#
# Two vocabularies of 4,000 pieces are fitted on the sample (real text in 40 languages, about 1 MB, from
# installed packages) and audited: what each language pays, what the pieces are spent on, what is wrong with
# text and vocabulary. The text is far too small to judge a vocabulary by: this shows the path.

# %%
import tempfile
from pathlib import Path

import pandas as pd

from vocabkit.auditing.auditing import compare_tokenizers, run_audit
from vocabkit.auditing.parallel_text import read_audit_text, text_from_lines
from vocabkit.auditing.report import check_requirements
from vocabkit.configurations.tokenizer_folder import fit_vocabulary
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sample import write_sample
from vocabkit.corpus.sources import open_corpus

work = Path(tempfile.mkdtemp())
write_sample(work / "sample")
corpus = open_corpus(work / "sample" / "text")
count_corpus(corpus, work / "counts", CountOptions(workers=1))
presets = {"shared": "shared-250k", "balanced": "balanced-250k"}
for name, preset in presets.items():
    fit_vocabulary(preset, work / "counts", work / name, settings=["vocabulary.size=4_000"], workers=1)

# %% [markdown]
# ## The text first
#
# An audit reads lines as they are. It says whether line i is the same sentence in every language; the sample is
# not such a text, so there is no premium on it, and languages are compared by tokens per word.

# %%
text = read_audit_text(corpus)
print(text.alignment.note)

# %%
tokenizers = [work / name for name in presets]
audit = run_audit(tokenizers, text, counts=work / "counts", resamples=200, workers=1)

# %% [markdown]
# What looks wrong with the text is the first thing to read, because it decides which figures to believe.

# %%
pd.DataFrame(audit.warnings, columns=["language", "check", "share", "count", "total", "note"])

# %% [markdown]
# ## What a language pays
#
# Every figure is a row: metric, value, 95 % interval, unit, how it was aggregated, and a note where it is null.

# %%
figures = audit.to_frame()
fertility = figures.query("metric == 'fertility'")
fertility.sort_values("value", ascending=False)[["tokenizer", "name", "value", "low", "high", "n"]].head(10)

# %%
overall = figures.query("scope == 'overall' and metric.str.startswith('fertility')", engine="python")
overall.pivot(index="metric", columns="tokenizer", values="value")

# %% [markdown]
# ## Parallel text
#
# Where lines are aligned, a language's premium is what its sentences cost beside the same sentences in English.
# Three sentences show the idea, and why the interval matters.

# %%
parallel = text_from_lines(
    {
        "eng_Latn": [
            "All human beings are born free.",
            "Water is life.",
            "The children read books.",
        ],
        "deu_Latn": [
            "Alle Menschen sind frei geboren.",
            "Wasser ist Leben.",
            "Die Kinder lesen Bücher.",
        ],
        "spa_Latn": [
            "Todos los seres humanos nacen libres.",
            "El agua es vida.",
            "Los niños leen libros.",
        ],
    },
    aligned="yes",
)
small = run_audit(tokenizers, parallel, integrity=False, workers=1)
premium = small.to_frame().query("metric == 'premium'")
premium[["tokenizer", "name", "value", "low", "high", "n"]]

# %% [markdown]
# ## What the vocabulary is spent on
#
# A script's share of the pieces over its share of the text's characters: below 0.5 it got less than half of
# what its text would give it.

# %%
allocation = figures.query("metric == 'allocation_characters'")
allocation.pivot(index="name", columns="tokenizer", values="value").sort_values("shared")

# %% [markdown]
# ## One against the other
#
# Both encode the same lines, so the change is paired.

# %%
compared = compare_tokenizers(audit, "shared", "balanced", max_regression=0.02)
pd.DataFrame(compared.changes, columns=["language", "value", "low", "high", "n", "regressed"]).tail(10)

# %% [markdown]
# The same as a check: balancing must make the worst tenth of languages cheaper.

# %%
worst = overall.query("metric == 'fertility.bottom_decile'").set_index("tokenizer")["value"]
assert worst["balanced"] < worst["shared"], worst
[outcome.describe() for outcome in check_requirements(audit, ["fertility.bottom_decile<20"])]

# %% [markdown]
# ## The report
#
# One file that needs no network, and the figures beside it.

# %%
audit.save(work / "report")
page = work / "report" / "report.html"
print(f"{page.name}: {page.stat().st_size:,} bytes")
