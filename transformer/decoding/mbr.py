"""Minimum-Bayes-risk decoding: of many samples, the one that agrees most with all of them.

The risk is one minus the mean chrF of a candidate with every sample, its own included (Eikema and Aziz 2020, "Is MAP
Decoding All You Need?"). chrF of two texts is sacreBLEU's, to rounding, but computed for all pairs at once.

Shape letters: K hypotheses of a sentence, V vocabulary (here the n-grams of one order).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = range(1, 7)
"""The lengths of the n-grams of characters."""
BETA = 2
"""Recall counts as much as precision times the square of this."""
Floats = NDArray[np.float64]


def mean_chrf(texts: Sequence[str]) -> list[float]:
    """Return the mean chrF, from 0 to 100, of each text with all of them, itself included."""
    different = list(dict.fromkeys(texts))
    place = {text: k for k, text in enumerate(different)}
    counts = np.bincount([place[text] for text in texts], minlength=len(different))
    mean_K = pairwise_chrf(different) @ counts / len(texts)
    return [float(mean_K[place[text]]) for text in texts]


def pairwise_chrf(texts: Sequence[str]) -> Floats:
    """Return the chrF (K, K), from 0 to 100, of each text (row) against each as its reference (column).

    As in sacreBLEU, blanks do not count, and an order counts only if both texts have n-grams of it.
    """
    plain = ["".join(text.split()) for text in texts]
    orders_KK, precision_KK, recall_KK = (np.zeros((len(texts), len(texts))) for _ in range(3))
    for order in ORDERS:
        matches_KK = _matches(plain, order)
        total_K = matches_KK.diagonal()
        both_KK = (total_K[:, None] > 0) & (total_K[None, :] > 0)
        orders_KK += both_KK
        precision_KK += np.divide(matches_KK, total_K[:, None], where=both_KK, out=np.zeros_like(matches_KK))
        recall_KK += np.divide(matches_KK, total_K[None, :], where=both_KK, out=np.zeros_like(matches_KK))
    weighted_KK = BETA**2 * precision_KK + recall_KK
    product_KK = (1 + BETA**2) * precision_KK * recall_KK
    mean_KK = np.divide(product_KK, weighted_KK, where=weighted_KK > 0, out=np.zeros_like(product_KK))
    return 100 * np.divide(mean_KK, orders_KK, where=orders_KK > 0, out=np.zeros_like(mean_KK))


def _matches(texts: Sequence[str], order: int) -> Floats:
    """Return how many n-grams of one order each two texts share (K, K); on the diagonal, how many a text has."""
    grams = [Counter(text[i : i + order] for i in range(len(text) - order + 1)) for text in texts]
    column: dict[str, int] = {}
    for each in grams:
        for gram in each:
            column.setdefault(gram, len(column))
    counts_KV = np.zeros((len(texts), len(column)), np.int32)
    for k, each in enumerate(grams):
        counts_KV[k, [column[gram] for gram in each]] = list(each.values())
    return np.stack([np.minimum(row_V, counts_KV).sum(1) for row_V in counts_KV]).astype(np.float64)
