"""Duplicates and overlap are found from hashes on disk as from lists in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transformer.data import digests
from transformer.data.digests import Digests


@pytest.mark.parametrize(("most", "block"), [(1 << 21, 1 << 18), (100, 64), (7, 13)])
def test_parts_and_blocks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, block: int
) -> None:
    monkeypatch.setattr(digests, "MOST", most)
    monkeypatch.setattr(digests, "BLOCK", block)
    rng = np.random.default_rng(1)
    hashes = rng.integers(-(2**62), 2**62, 20)[rng.integers(0, 20, (500, 2))]
    others = {int(hashes[3, 0]), int(hashes[400, 1]), 5}
    with Digests(tmp_path) as kept:
        for part in np.array_split(hashes, 9):
            kept.add(part.view(np.uint64))
        first, known = kept.first(), kept.known(others)
    seen: set[tuple[int, int]] = set()
    pairs = [(int(a), int(b)) for a, b in hashes]
    expected = [pair not in seen and not seen.add(pair) for pair in pairs]  # type: ignore[func-returns-value]
    assert first.tolist() == expected
    assert known.tolist() == [bool(set(pair) & others) for pair in pairs]
    assert 0 < sum(known) < 500
    assert list(tmp_path.iterdir()) == []


def test_no_pairs_have_no_duplicates(tmp_path: Path) -> None:
    with Digests(tmp_path) as kept:
        assert (kept.first().tolist(), kept.known({1}).tolist()) == ([], [])
