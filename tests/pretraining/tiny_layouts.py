"""Tiny models of the three layouts, and batches of documents packed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.run_config import ModelConfig

VOCABULARY = 100
TINY = {
    "xlmr": ModelConfig("xlmr", VOCABULARY, 32, 3, 4, 48, max_length=40, initial_deviation=0.2),
    "modern": ModelConfig(
        "modern", VOCABULARY, 32, 5, 4, 48, max_length=40, initial_deviation=0.2, local_window=8
    ),
    "llama": ModelConfig(
        "llama", VOCABULARY, 32, 3, 4, 48, max_length=40, initial_deviation=0.2, kv_heads=2,
        rope_theta=10_000.0,
    ),
}  # fmt: skip
LAYOUTS = sorted(TINY)


def draw_model(layout: str, seed: int = 0, **changes: object) -> Model:
    """A model whose every parameter matters: biases and norms are drawn too, padding stays zero."""
    model = Model(replace(TINY[layout], **changes), seed=seed)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.1, generator=generator))
        for table in (model.table, model.output_table, model.output_bias):
            if table is not None:
                table[model.config.vocabulary :] = 0.0
    return model


def draw_documents(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def pack(rows: Sequence[Sequence[Sequence[int]]], length: int, pad: int = 1) -> Batch:
    """Each row's documents end to end, padding after them; three places a row are asked for."""
    ids: list[int] = []
    documents: list[int] = []
    positions: list[int] = []
    starts: list[int] = []
    number = 0
    for row in rows:
        used = sum(map(len, row))
        for document in (*row, [pad] * (length - used)):
            if not document:
                continue
            starts.append(len(ids))
            ids.extend(document)
            documents.extend([number] * len(document))
            positions.extend(range(len(document)))
            number += 1
    total = len(ids)
    boundaries = starts + [total] * (len(rows) * (length // 2 + 1) + 1 - len(starts))
    generator = torch.Generator().manual_seed(9)
    chosen = torch.randint(0, total, (3 * len(rows),), generator=generator)
    weights = torch.ones(len(chosen))
    weights[1] = 0.0
    return Batch(
        ids=torch.tensor(ids, dtype=torch.int32),
        documents=torch.tensor(documents, dtype=torch.int32),
        positions=torch.tensor(positions, dtype=torch.int32),
        boundaries=torch.tensor(boundaries, dtype=torch.int32),
        chosen=chosen,
        targets=torch.randint(0, VOCABULARY, (len(chosen),), generator=generator),
        weights=weights,
        languages=torch.zeros(len(chosen), dtype=torch.int32),
        row_languages=torch.zeros(len(rows), dtype=torch.int32),
        row_bytes=torch.zeros(len(rows), dtype=torch.int32),
        length=length,
        tokens=sum(len(document) for row in rows for document in row),
    )
