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
# # Count once, fit many
#
# The sample (real text in 40 languages, about 1 MB, from installed packages) is counted once; two vocabularies
# of 4,000 pieces are fitted from the counts, and compared by tokens per word. The text is far too small to
# judge a vocabulary by: this shows the path and the objects on it.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import vocabkit as vk

work = Path(tempfile.mkdtemp())
vk.sample(work / "sample")

# %% [markdown]
# ## Counting
#
# A corpus is a folder with a file per language. Counting reads it once; everything below works on the counts.

# %%
counts = vk.count(work / "sample" / "text", work / "counts", workers=1)
counts.to_frame().set_index("language")[["documents", "words", "characters", "bytes"]]

# %%
yoruba = counts.languages["yor_Latn"]
words = pd.DataFrame(
    {"count": yoruba.train.count, "documents": yoruba.train.documents},
    index=list(yoruba.train.words),
)
words.sort_values("count", ascending=False).head(10)

# %% [markdown]
# Counts add up exactly, in any order, so shards can be counted apart and a new one added without the others.

# %%
again = counts + vk.WordCounts.from_texts({"yor_Latn": ["Ẹ kú àárọ̀"]})
assert again.totals["yor_Latn"].words == counts.totals["yor_Latn"].words + 3

# %% [markdown]
# ## Fitting
#
# `shared-250k` counts every language by the size of its text; `balanced-250k` raises shares to the power 0.3.
# The weight is how often each sentence of a language is counted.

# %%
fitted = {
    preset: vk.fit(preset, counts, work / preset, vocabulary={"size": 4_000})
    for preset in ("shared-250k", "balanced-250k")
}
table = fitted["balanced-250k"].to_frame().set_index("language")
table[["characters", "share", "target_share", "weight", "alphabet"]].sort_values("weight")

# %%
print("\n".join(fitted["balanced-250k"].warnings))

# %% [markdown]
# ## Looking at the result

# %%
tokenizer = vk.open_tokenizer(work / "balanced-250k")
(ids,) = tokenizer.encode_batch(["Gbogbo ènìyàn ni a bí ní òmìnira"])
[tokenizer.token_bytes(int(i)).decode(errors="replace") for i in ids]

# %%
vk.show(work / "balanced-250k", "Gbogbo ènìyàn")

# %%
audit = vk.audit([work / preset for preset in fitted], counts=counts, resamples=0, integrity=False, workers=1)
figures = audit.to_frame().query("metric == 'fertility' and scope == 'language'")
fertility = figures.pivot(index="name", columns="tokenizer", values="value")
fertility.sort_values("shared-250k", ascending=False).head(10)

# %% [markdown]
# Balancing moves tokens from the languages with most text to those with least. The check below holds it to
# that: of the ten languages with the fewest characters, most must need fewer tokens when balanced.

# %%
smallest = sorted(counts.totals, key=lambda code: counts.totals[code].characters)[:10]
better = (fertility.loc[smallest, "balanced-250k"] < fertility.loc[smallest, "shared-250k"]).sum()
assert better >= 6, fertility.loc[smallest]
