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
# # From a vocabulary to a trained model
#
# A tiny checkpoint gets a block of 100 tokens for each tail language, text is prepared with the new vocabulary,
# the new rows are trained first and then all of the model, and the result is exported for transformers. A few
# seconds on a CPU: it shows the path and what is reported on it, not a model.

# %%
import json
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

import vocabkit as vk

work = Path(tempfile.mkdtemp())
vk.sample(work / "sample")
counts = vk.count(work / "sample" / "text", work / "counts", workers=1)

# %% [markdown]
# ## A checkpoint with new rows

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
vk.extend(work / "model", work / "blocks", work / "extended", pad_to_multiple_of=64)

# %% [markdown]
# ## Prepare
#
# Text is cut into tokens once and packed into full rows, language by language. A tenth of the documents is held
# out here, since the sample is small.

# %%
shards = vk.prepare(
    work / "sample" / "text", work / "blocks", work / "shards", length=128, held_out=0.1, workers=1
)
columns = ["documents", "bytes", "tokens", "rows", "efficiency", "bytes_per_token"]
shards.to_frame().set_index("language")[columns].sort_values("bytes_per_token").head(8)

# %% [markdown]
# ## What the run will do
#
# The preset `continue` trains the new rows first, then the vocabulary's matrix, then all of it. A language is
# drawn by its bytes raised to 0.3, and `epochs` says how often its text is read.

# %%
settings = {
    "checkpoint": work / "extended",
    "training": {"steps": 40, "batch_rows": 16, "precision": "fp32", "compile": False},
    "optimizer": {"rate": 2e-3},
    "log": {"every": 4, "evaluate_every": 20, "evaluate_rows": 4},
}
plan = vk.pretrain("continue", shards, **settings)
drawn = pd.DataFrame(plan.languages.to_rows()).set_index("language")
drawn.sort_values("epochs", ascending=False)[["rows", "bytes", "share_of_rows", "epochs"]].head(8)

# %% [markdown]
# ## Train
#
# Calling it again would find a finished run; a run that was stopped goes on from its newest checkpoint.

# %%
result = vk.pretrain("continue", shards, work / "run", **settings)
assert result.stopped == "done"
lines = [json.loads(line) for line in (work / "run" / "log.jsonl").read_text().splitlines()]
steps = pd.DataFrame([line for line in lines if line["kind"] == "step"]).set_index("step")
assert steps["loss"].iloc[-1] < steps["loss"].iloc[0]
steps[["loss", "lr", "grad_norm", "tokens_per_s", "bytes_per_s", "data_wait"]].round(4)

# %%
result.plot("loss")

# %% [markdown]
# ## What it learnt of held-out text
#
# Nats per masked token, by language. They compare runs with one vocabulary; across vocabularies they mean
# nothing. Of causal models there are bits per byte as well, which do compare.

# %%
scores = pd.DataFrame(result.evaluation["languages"].values()).set_index("language")
scores.sort_values("loss")[["tail", "rows", "bytes", "predicted", "loss"]].head(8)

# %% [markdown]
# ## Dead vocabulary
#
# Pieces that were never seen kept the rows they began with. After 640 rows there are many.

# %%
dead = json.loads((work / "run" / "dead-vocabulary.json").read_text(encoding="utf-8"))
shown = ["scope", "name", "pieces", "never_input", "never_input_share", "never_target_share"]
pd.DataFrame(dead["groups"])[shown].head(14)

# %% [markdown]
# ## Export
#
# What transformers computes from the folder is compared with what was trained.

# %%
exported = vk.export(result, work / "hf", verify=True)
assert exported.passed
print(exported.class_name, f"largest difference of logits {exported.difference:.1e}")

# %%
model = AutoModelForMaskedLM.from_pretrained(work / "hf")
tokenizer = AutoTokenizer.from_pretrained(work / "hf")
print(model(**tokenizer("Ẹ káàárọ̀", return_tensors="pt")).logits.shape)
