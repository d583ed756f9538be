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
import tempfile
from pathlib import Path

import pandas as pd

from vocabkit.configurations.tokenizer_folder import fit_vocabulary
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sample import write_sample
from vocabkit.corpus.sources import open_corpus
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.sample_checkpoint import write_sample_checkpoint
from vocabkit.pretraining.exporting import export_run
from vocabkit.pretraining.loop import train_run
from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus
from vocabkit.pretraining.run_start import make_plan

work = Path(tempfile.mkdtemp())
write_sample(work / "sample")
corpus = open_corpus(work / "sample" / "text")
count_corpus(corpus, work / "counts", CountOptions(workers=1))

# %% [markdown]
# ## A checkpoint with new rows

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
extended = extend_checkpoint(work / "model", work / "blocks", work / "extended", pad_to_multiple_of=64)
# %% [markdown]
# ## Prepare
#
# Text is cut into tokens once and packed into full rows, language by language. A tenth of the documents is held
# out here, since the sample is small.

# %%
options = PrepareOptions(length=128, held_out=0.1, workers=1)
report = prepare_corpus(corpus, work / "blocks", work / "shards", options)
columns = ["language", "documents", "bytes", "tokens", "rows", "efficiency", "bytes_per_token"]
pd.DataFrame([{name: getattr(row, name) for name in columns} for row in report.rows]).sort_values(
    "bytes_per_token"
).set_index("language").head(8)

# %% [markdown]
# ## What the run will do
#
# The preset `continue` trains the new rows first, then the vocabulary's matrix, then all of it. A language is
# drawn by its bytes raised to 0.3, and `epochs` says how often its text is read.

# %%
plan = make_plan(
    "continue",
    work / "shards",
    work / "run",
    checkpoint=work / "extended",
    settings=[
        "training.steps=40",
        "training.batch_rows=16",
        "training.precision=fp32",
        "training.compile=false",
        "optimizer.rate=2e-3",
        "log.every=4",
        "log.evaluate_every=20",
        "log.evaluate_rows=4",
    ],
)
drawn = pd.DataFrame(plan.languages.to_rows()).set_index("language")
drawn.sort_values("epochs", ascending=False)[["rows", "bytes", "share", "epochs"]].head(8)

# %% [markdown]
# ## Train
#
# Calling it again would find a finished run; a run that was stopped goes on from its newest checkpoint.

# %%
run = train_run(plan)
assert run.stopped == "done"
steps = run.to_frame()
assert steps["loss"].iloc[-1] < steps["loss"].iloc[0]
steps[["loss", "lr", "grad_norm", "tokens_per_s", "bytes_per_s", "data_wait"]].round(4)

# %% [markdown]
# ## What it learnt of held-out text
#
# Nats per masked token, by language. They compare runs with one vocabulary; across vocabularies they mean
# nothing. Of causal models there are bits per byte as well, which do compare.

# %%
scores = pd.DataFrame(run.evaluation["languages"].values()).set_index("language")
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
exported = export_run(work / "run", work / "hf", verify=True)
assert exported.passed
print(exported.class_name, f"largest difference of logits {exported.difference:.1e}")

# %%
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained(work / "hf")
tokenizer = AutoTokenizer.from_pretrained(work / "hf")
print(model(**tokenizer("Ẹ káàárọ̀", return_tensors="pt")).logits.shape)
