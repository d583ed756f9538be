"""Settings every test shares. Tests make what they need in-process; none reads a corpus or the network."""

from __future__ import annotations

import os

from hypothesis import settings

# The first example pays for loading tables, so a deadline would fail at random; `VOCABKIT_EXAMPLES=2000`
# searches deeper.
settings.register_profile(
    "vocabkit", deadline=None, max_examples=int(os.environ.get("VOCABKIT_EXAMPLES", "60"))
)
settings.load_profile("vocabkit")
