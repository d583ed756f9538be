"""Every test of the audit has a cache of its own: none reads or writes the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from vocabkit.core.folders import find_user_cache


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Move the cache, but not the trainer's kernels, which take half a minute to compile."""
    kernels = os.environ.get("NUMBA_CACHE_DIR") or str(find_user_cache("kernels"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", kernels)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
