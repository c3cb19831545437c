"""Whole files of odd values are read or refused in words; `make fuzz` has twenty thousand more."""

from __future__ import annotations

import pytest

from tests.security.fuzz_readers import every_kind, read
from tests.security.odd_values import WRITERS, odd_copies

KINDS = every_kind()


@pytest.mark.parametrize("name", [name for name in KINDS if name.rpartition(".")[2] in WRITERS])
def test_odd_values_are_read_or_refused(name: str) -> None:
    copies = list(odd_copies(name, KINDS[name], 2, seed=1))
    for copy in copies:
        assert read(name, copy)


def test_copies_are_odd() -> None:
    taken = [list(odd_copies(name, content, 20, seed=0)) for name, content in KINDS.items()]
    for (name, content), copies in zip(KINDS.items(), taken, strict=True):
        assert bool(copies) == (name.rpartition(".")[2] in WRITERS)
        assert not copies or len(set(copies) - {content}) > len(copies) / 4
