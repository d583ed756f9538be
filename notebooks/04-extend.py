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
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from safetensors.numpy import load_file
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

import vocabkit as vk

work = Path(tempfile.mkdtemp())
vk.sample(work / "sample")
counts = vk.count(work / "sample" / "text", work / "counts", workers=1)

# %% [markdown]
# ## A vocabulary, and the same with blocks for the tail
#
# The second keeps every id of the first: this is what makes it an extension and not a replacement.

# %%
vk.fit("shared-250k", counts, work / "shared", vocabulary={"size": 2_000})
vk.fit(
    "two-stage-250k-12x50k",
    counts,
    work / "blocks",
    base=work / "shared",
    vocabulary={"size": 2_000},
    tail={"size": 100, "allow_fewer": True},
)
config = XLMRobertaConfig(
    vocab_size=vk.open_tokenizer(work / "shared").size,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=130,
    type_vocab_size=1,
    bos_token_id=0,
    pad_token_id=1,
    eos_token_id=2,
)
XLMRobertaForMaskedLM(config).save_pretrained(work / "model")
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(work / "shared" / name, work / "model")

# %% [markdown]
# What the blocks are for: the tail's text takes fewer tokens, and no language's takes more. Chinese has no
# change, since 2,000 pieces leave some of its characters out.

# %%
compared = vk.compare(work / "shared", work / "blocks", work / "sample" / "text", resamples=200, workers=1)
assert all(change.value <= 0 for change in compared.changes if change.value is not None)
compared.plot()

# %% [markdown]
# ## The plan
#
# Nothing is written yet: which tensors, what becomes of tokens, what it costs, which keys change.

# %%
vk.extend(work / "model", work / "blocks", pad_to_multiple_of=64)

# %% [markdown]
# ## Extending and verifying
#
# New rows are the mean of the old rows that spell the token; new entries of the head's bias the mean of
# the old. The receipt says of each row which old rows it was made of.

# %%
done = vk.extend(work / "model", work / "blocks", work / "extended", pad_to_multiple_of=64)
assert done.plan.mode == "extend"
checks = vk.verify(work / "extended", reload=False)
assert checks.passed
checks.to_frame()

# %%
receipt = load_file(work / "extended" / "extension" / "rows.safetensors")
offsets, ids = receipt["group0.offsets"], receipt["group0.ids"]
old, new = (vk.open_tokenizer(work / name) for name in ("shared", "blocks"))
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
undone = vk.undo(work / "extended", work / "again")
assert not undone.differing
for path in (work / "model").iterdir():
    assert (work / "again" / path.name).read_bytes() == path.read_bytes()
