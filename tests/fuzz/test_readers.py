"""No damaged file crashes its reader, leads it out of its folder, or makes it take a gigabyte."""

from pathlib import Path

import pytest

from tests.fuzz.readers import READERS
from tests.fuzz.trials import run_trials

pytestmark = pytest.mark.slow


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(READERS))
def test_no_mutation_is_more_than_an_error(name: str, tmp_path: Path) -> None:
    wrong = run_trials(name, tmp_path, 500)
    assert not wrong, "\n".join(wrong[:20])
