"""What `vocabkit pretrain` prints: the plan of a run, and the scores at its end. It computes nothing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocabkit.pretraining.plan import RunPlan
    from vocabkit.pretraining.run_config import ModelConfig
    from vocabkit.pretraining.run_folder import RunResult


def list_plan(plan: "RunPlan", model: "ModelConfig") -> list[dict[str, object]]:
    """One row a figure, then one a language."""
    from vocabkit.pretraining.plan import ASSUMED_MFU

    parameters, flops, memory = plan.parameters, plan.flops_per_token, plan.memory
    on_each = f"on each of {plan.world} devices" if plan.world > 1 else "on one device"
    seconds = None if plan.seconds is None else plan.seconds / 3600
    assumed = f"{plan.world} × {plan.device} at {100 * ASSUMED_MFU:.0f} % of its peak, assumed"
    shape = f"{model.layout}, {model.layers} × {model.width}, {model.vocabulary:,} ids"
    listed: list[tuple[str, str, object, str]] = [
        ("parameters", "body", parameters.body, shape),
        ("parameters", "embedding", parameters.embedding, "tied" if model.tied else "two matrices"),
        ("parameters", "total", parameters.total, ""),
        ("run", "steps", plan.steps, ""),
        ("run", "rows", plan.samples, ""),
        ("run", "tokens", plan.tokens, "of text, expected"),
        ("run", "bytes", plan.bytes, "of original text, expected"),
        ("FLOPs a token", "body", flops.body, "forward and backward"),
        ("FLOPs a token", "attention", flops.attention, "over whole rows"),
        ("FLOPs a token", "head", flops.head, "on predicted places alone"),
        ("FLOPs a token", "total", flops.total, ""),
        ("bytes of memory", "states", memory.states, f"{on_each}: weights, gradients, moments"),
        ("bytes of memory", "copies", memory.copies, "weights in the type of computation"),
        ("bytes of memory", "head", memory.head, "a chunk of logits, and the matrix's gradient"),
        ("bytes of memory", "activations", memory.activations, "of a micro-batch, estimated"),
        ("bytes of memory", "total", memory.total, "estimated"),
        ("time", "hours", seconds, "" if seconds is None else assumed),
    ]
    rows: list[dict[str, object]] = [
        dict(zip(("part", "name", "value", "note"), cells, strict=True)) for cells in listed
    ]
    for row in plan.languages.rows if plan.languages is not None else ():
        note = f"{100 * row.share:.3g} % of rows; has {row.rows:,} rows, {row.bytes:,} bytes"
        more = f"; {row.note}" if row.note else ""
        rows.append(
            {"part": "epochs", "name": row.language, "value": row.epochs, "note": note + more}
        )
    return rows


def list_scores(result: "RunResult", plan: "RunPlan") -> list[dict[str, object]]:
    """One row a language: how often it was planned to be read, and what its held-out text costs."""
    scores = (result.evaluation or {}).get("languages", {})
    planned = plan.languages.rows if plan.languages is not None else ()
    return [
        {
            "language": row.language,
            "epochs": row.epochs,
            **{
                name: scores.get(row.language, {}).get(name)
                for name in ("rows", "bytes", "predicted", "loss", "bits_per_byte")
            },
        }
        for row in planned
    ]


def tell_dead(result: "RunResult") -> str:
    """How many pieces a run never saw, in a sentence."""
    dead = dict(result.dead or {})
    pieces, never, target = dead["pieces"], dead["never_input"], dead["never_target"]
    return (
        f"of {pieces:,} pieces {never:,} were never seen and {target:,} never predicted: "
        f"{result.folder / 'dead-vocabulary.json'}"
    )
