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

import vocabkit as vk

work = Path(tempfile.mkdtemp())
vk.sample(work / "sample")
counts = vk.count(work / "sample" / "text", work / "counts", workers=1)
for name, preset in {"shared": "shared-250k", "balanced": "balanced-250k"}.items():
    vk.fit(preset, counts, work / name, vocabulary={"size": 4_000})
tokenizers = [work / "shared", work / "balanced"]

# %% [markdown]
# ## The text first
#
# An audit reads lines as they are. It says whether line i is the same sentence in every language; the sample is
# not such a text, so there is no premium on it, and languages are compared by tokens per word.

# %%
text = work / "sample" / "text"
audit = vk.audit(tokenizers, text, work / "report", counts=counts, resamples=200, workers=1)
print(audit.origin["details"]["alignment"])

# %% [markdown]
# What looks wrong with the text is the first thing to read, because it decides which figures to believe.

# %%
pd.DataFrame(audit.warnings, columns=["language", "check", "share", "count", "total", "note"])

# %% [markdown]
# ## What a language pays
#
# The charts of the page are drawn here too, and saved for a paper with `.save("languages.pdf")`: tokens per
# word with both vocabularies, the dearest language first, with 95 % intervals.

# %%
audit.plot("languages")

# %% [markdown]
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
sentences = {
    "eng_Latn": ["All human beings are born free.", "Water is life.", "The children read books."],
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
}
(work / "parallel").mkdir()
for code, lines in sentences.items():
    (work / "parallel" / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
small = vk.audit(tokenizers, work / "parallel", aligned="yes", integrity=False, workers=1)
premium = small.to_frame().query("metric == 'premium'")
premium[["tokenizer", "name", "value", "low", "high", "n"]]

# %% [markdown]
# ## What the vocabulary is spent on
#
# A script's share of the pieces over its share of the text's characters: below 0.5 it got less than half of
# what its text would give it.

# %%
audit.plot("allocation")

# %%
allocation = figures.query("metric == 'allocation_characters'")
allocation.pivot(index="name", columns="tokenizer", values="value").sort_values("shared")

# %% [markdown]
# ## One against the other
#
# Both encode the same lines, so the change is paired.

# %%
compared = vk.compare(*tokenizers, text, max_regression="2%", resamples=200, workers=1)
compared.plot()

# %%
compared.to_frame().tail(10)

# %% [markdown]
# The same as a check: balancing must make the worst tenth of languages cheaper.

# %%
worst = overall.query("metric == 'fertility.bottom_decile'").set_index("tokenizer")["value"]
assert worst["balanced"] < worst["shared"], worst
asked = vk.audit(
    tokenizers,
    work / "parallel",
    require=["fertility.bottom_decile<20"],
    integrity=False,
    workers=1,
)
assert not asked.failed

# %% [markdown]
# ## The report
#
# One file that needs no network, and the figures beside it.

# %%
page = work / "report" / "report.html"
print(f"{page.name}: {page.stat().st_size:,} bytes")
