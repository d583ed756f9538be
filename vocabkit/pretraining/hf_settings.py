"""A config.json read key by key; what no layout computes is refused with the file, the key and the value.

Which keys matter to which architecture is in `layouts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vocabkit.pretraining.errors import PretrainingError

__all__ = ["HfSettings"]


class HfSettings:
    """The keys of one config.json; `place` names the file in errors."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        self._data = data
        self._place = place

    def take(self, key: str, default: Any) -> Any:
        """A value, or what the class takes where it is absent."""
        return self._data.get(key, default)

    def take_id(self, key: str, default: int | None) -> int | None:
        """A token's id; the first where there are several."""
        value = self._data.get(key, default)
        if isinstance(value, list):
            value = value[0] if value else None
        return None if value is None else int(value)

    def take_shape(self) -> dict[str, int]:
        """The sizes that every architecture names alike. Raises `PretrainingError` where one is missing."""
        keys = {
            "vocabulary": "vocab_size",
            "width": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "feed_forward": "intermediate_size",
        }
        shape: dict[str, int] = {}
        for ours, theirs in keys.items():
            if not isinstance(self._data.get(theirs), int):
                raise self.refuse(theirs, "a whole number is needed")
            shape[ours] = self._data[theirs]
        return shape

    def require(self, key: str, expected: Any, *, default: Any) -> None:
        """Raise `PretrainingError` unless a key, where it is given, has the one value that is computed."""
        value = self._data.get(key, default)
        if value != expected and not (value is None and default is None):
            raise self.refuse(key, f"only {expected!r} can be trained")

    def take_theta(self) -> float:
        """The base of plain rotary positions, under its name of version 4 or 5 of transformers."""
        self._require_plain("rope_scaling", self._data.get("rope_scaling"))
        given = self._data.get("rope_parameters")
        self._require_plain("rope_parameters", given)
        self.require("partial_rotary_factor", 1.0, default=1.0)
        theta = (given or {}).get("rope_theta", self._data.get("rope_theta", 10_000.0))
        return float(theta)

    def take_thetas(self) -> tuple[float, float]:
        """The bases of global and of local layers of ModernBERT."""
        self._require_plain("rope_scaling", self._data.get("rope_scaling"))
        given = self._data.get("rope_parameters") or {}
        found = []
        for kind, old, default in (
            ("full_attention", "global_rope_theta", 160_000.0),
            ("sliding_attention", "local_rope_theta", 10_000.0),
        ):
            part = given.get(kind) or {}
            self._require_plain(f"rope_parameters.{kind}", part)
            theta = part.get("rope_theta", self._data.get(old, default))
            if theta is None:
                raise self.refuse(old, "a number is needed")
            found.append(float(theta))
        return found[0], found[1]

    def take_global_every(self, layers: int) -> int:
        """How many layers lie from one with global attention to the next, the first being one."""
        kinds = self._data.get("layer_types")
        if kinds is None:
            return int(self._data.get("global_attn_every_n_layers", 3))
        for every in range(1, layers + 1):
            if kinds == _alternate(layers, every):
                return every
        raise self.refuse("layer_types", "only global attention in every n-th layer can be trained")

    def refuse(self, key: str, reason: str) -> PretrainingError:
        """The error that says which key has which value, and what is wrong with it."""
        return PretrainingError(
            f"{self._place}: {key} = {self._data.get(key)!r}: {reason}",
            "train from scratch, with [model] in the preset, or start from another checkpoint",
        )

    def _require_plain(self, key: str, given: Mapping[str, Any] | None) -> None:
        rest = {name: value for name, value in (given or {}).items() if name != "rope_theta"}
        kind = rest.pop("rope_type", rest.pop("type", "default"))
        rest.pop("type", None)
        if kind != "default" or any(value is not None for value in rest.values()):
            raise PretrainingError(
                f"{self._place}: {key} = {given!r}: only plain rotary positions can be trained",
                "train from scratch, with [model] in the preset, or start from another checkpoint",
            )


def _alternate(layers: int, every: int) -> list[str]:
    return ["sliding_attention" if index % every else "full_attention" for index in range(layers)]
