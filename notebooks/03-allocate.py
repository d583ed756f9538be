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
# # Who gets which token
#
# A budget of pieces is shared out among languages in different ways, and a shared vocabulary gets blocks of new
# tokens for tail languages. Everything comes from one counts folder; the sample (real text in 40 languages,
# about 1 MB, from installed packages) is far too small to judge a vocabulary by: this shows the path.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import vocabkit as vk

work = Path(tempfile.mkdtemp())
vk.sample(work / "sample")
counts = vk.count(work / "sample" / "text", work / "counts", workers=1)
chosen = ["eng_Latn", "deu_Latn", "rus_Cyrl", "tam_Taml", "amh_Ethi", "yor_Latn"]

# %% [markdown]
# ## Sizes before anything is fitted for good
#
# One run of the trainer a language gives its vocabulary at every size. A method puts a price on each next
# piece; the union of what it buys is the budget exactly. `lexicon` is a language's own vocabulary, `attributed`
# the pieces of the union that it uses most.

# %%
allotments = {
    method: vk.allocate(counts, budget=3_000, method=method, languages=chosen)
    for method in ("proportional", "exponent", "maxmin")
}
tables = {method: found.to_frame().set_index("language") for method, found in allotments.items()}
pd.concat({name: table[["lexicon", "attributed"]] for name, table in tables.items()}, axis=1)

# %% [markdown]
# What a piece is worth to each language falls along its curve; the mark is where `maxmin` stops. Charts are
# saved for a paper with `.save("curves.pdf")`.

# %%
allotments["maxmin"].plot("curves")

# %%
allotments["maxmin"].plot("change")

# %%
for table in tables.values():
    assert table["attributed"].sum() == tables["proportional"]["attributed"].sum()

# %% [markdown]
# ## Blocks for tail languages
#
# The shared pieces keep their ids and scores; each tail language gets pieces that the shared vocabulary lacks.

# %%
blocks = vk.fit(
    "two-stage-250k-12x50k",
    counts,
    work / "blocks",
    routed="yor_Latn",
    vocabulary={"size": 4_000},
    tail={
        "size": 100,
        "allow_fewer": True,
        "languages": ["amh_Ethi", "tam_Taml", "yor_Latn"],
    },
)
rows = blocks.to_frame().set_index("language")
rows.loc[
    ["eng_Latn", "amh_Ethi", "tam_Taml", "yor_Latn"],
    ["new_pieces", "base_tokens", "union_tokens", "change"],
]

# %%
vocabulary = vk.Vocabulary.load(work / "blocks")
pd.DataFrame([(b.name, b.start, b.stop) for b in vocabulary.blocks], columns=["block", "start", "stop"])

# %% [markdown]
# A routed view has the same ids, and uses the shared pieces and one block only.

# %%
union, routed = (vk.open_tokenizer(path) for path in (work / "blocks", work / "blocks/routed/yor_Latn"))
line = (work / "sample/text/yor_Latn.txt").read_text(encoding="utf-8").splitlines()[5]
yoruba = next(b for b in vocabulary.blocks if b.name == "yor_Latn")
ids = routed.encode_batch([line])[0]
assert all(i < 4_000 or yoruba.start <= i < yoruba.stop for i in ids.tolist())
print(line, len(union.encode_batch([line])[0]), len(ids))
