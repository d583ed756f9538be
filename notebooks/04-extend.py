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
# # Extend a checkpoint, prove it, undo it
#
# A tiny checkpoint with random weights in XLM-R's layout gets a block of 100 tokens for each tail language.
# It knows nothing, so this shows what happens to a checkpoint, not how well it reads afterwards.

# %%
import tempfile
from pathlib import Path

import pandas as pd

from vocabkit.checkpoints.receipt import read_receipt
from vocabkit.configurations.tokenizer_folder import fit_vocabulary
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sample import write_sample
from vocabkit.corpus.sources import open_corpus
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.sample_checkpoint import write_sample_checkpoint
from vocabkit.extension.undo import undo_extension
from vocabkit.extension.verify import verify_extension
from vocabkit.vocabulary.tokenizers import open_tokenizer

work = Path(tempfile.mkdtemp())
write_sample(work / "sample")
count_corpus(open_corpus(work / "sample" / "text"), work / "counts", CountOptions(workers=1))

# %% [markdown]
# ## A vocabulary, and the same with blocks for the tail
#
# The second keeps every id of the first: this is what makes it an extension and not a replacement.

# %%
fit_vocabulary("shared-250k", work / "counts", work / "shared", settings=["vocabulary.size=2_000"])
fit_vocabulary(
    "two-stage-250k-12x50k",
    work / "counts",
    work / "blocks",
    settings=[
        "vocabulary.size=2_000",
        f"base={work / 'shared'}",
        "tail.size=100",
        "tail.allow_fewer=true",
    ],
)
write_sample_checkpoint(work / "model", work / "shared")

# %% [markdown]
# ## The plan
#
# Nothing is written yet: which tensors, what becomes of tokens, what it costs, which keys change.

# %%
plan = extend_checkpoint(work / "model", work / "blocks", pad_to_multiple_of=64)
pd.DataFrame(plan.to_rows()).set_index("part")

# %% [markdown]
# ## Extending and verifying
#
# New rows are the mean of the old rows that spell the token; new entries of the head's bias the mean of
# the old. The receipt says of each row which old rows it was made of.

# %%
done = extend_checkpoint(work / "model", work / "blocks", work / "extended", pad_to_multiple_of=64)
assert done.plan.mode == "extend"
checks = verify_extension(work / "extended", reload=False)
assert checks.passed
pd.DataFrame(checks.to_rows())

# %%
receipt = read_receipt(work / "extended")
offsets, ids = receipt.array("group0.offsets"), receipt.array("group0.ids")
old, new = open_tokenizer(work / "shared"), open_tokenizer(work / "blocks")
shown = []
for place in range(8):
    parts = ids[offsets[place] : offsets[place + 1]]
    spelling = [(old.token_bytes(int(part)) or b"").decode(errors="replace") for part in parts]
    token = new.token_bytes(old.size + place) or b""
    shown.append({"token": token.decode(errors="replace"), "made of": " + ".join(spelling)})
pd.DataFrame(shown)

# %% [markdown]
# ## Undoing
#
# The extended folder alone gives the original back, to the bit.

# %%
undone = undo_extension(work / "extended", work / "again")
assert not undone.differing
for path in (work / "model").iterdir():
    assert (work / "again" / path.name).read_bytes() == path.read_bytes()
