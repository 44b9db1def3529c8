"""Disentanglement, completeness and informativeness of codes (Eastwood and Williams, 2018)."""

import itertools
from collections.abc import Mapping

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from rgbir_jax.evaluation.factors import Factor
from rgbir_jax.evaluation.probes import FOLDS, Code, folds, standardised

RIDGE = 0.01  # relative to the total variance of the codes


def dci(codes: Mapping[str, Code], factors: Mapping[str, Factor], person: Int[np.ndarray, "n"]) -> dict:
    """Measures how the factors are distributed over the dimensions of the concatenated codes, and over the codes.

    One ridge regression predicts each factor from all codes: its numbers, or one indicator per kind. All dimensions are
    standardised, and all codes have the same total variance.

    - Informativeness I_j of factor j: R² on held-out persons, at least 0.
    - Importance R_ij of dimension i for factor j: its absolute weight, scaled so that the sum over i is I_j. The
      authors do not scale: then factors that cannot be predicted count as much as the others.
    - Disentanglement: 1 - the entropy of R_ij / sum_j R_ij to the base of the number of factors, 1 for a dimension
      that is important for one factor only; the mean over dimensions, weighted by sum_j R_ij.
    - Completeness: 1 - the entropy of R_ij / sum_i R_ij to the base of the number of dimensions, 1 for a factor that
      needs one dimension only; the mean over factors, weighted by I_j.
    - For whole codes the importance is I_j times the code's share: the variance of its part of the prediction, divided
      by the sum over the codes. It does not depend on the choice of axes within a code.

    Args:
        codes: codes of n images by name, at least two, such as `a` and `s`. Use at most about 2,000 images: the time
            grows with the cube of their number.
        factors: at least two factors that do not determine each other: `factors.independent`.
        person: the person in each image.

    Returns:
        `disentanglement`, `completeness` and `informativeness` (the mean over factors) of the dimensions;
        `codes`: `disentanglement`, `completeness` of whole codes, and `importance`, the sum over factors by code;
        `factors`: by factor `informativeness`, `completeness` over dimensions and `share` by code.
    """
    blocks = [standardised(code) / np.sqrt(code.shape[1]) for code in codes.values()]
    x = np.concatenate(blocks, axis=1)
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)])
    dual = _Dual(x @ x.T)
    informativeness, importance, share = [], [], []
    for factor in factors.values():
        rows, targets = np.flatnonzero(factor.shown), _targets(factor)
        informativeness.append(_held_out(dual, rows, targets, person[rows]))
        weights = x[rows].T @ dual.coefficients(rows, targets)
        scaled = np.abs(weights).sum(axis=1) * x.std(axis=0)
        importance.append(informativeness[-1] * _fractions(scaled))
        parts = [x[rows, a:b] @ weights[a:b] for a, b in itertools.pairwise(edges)]
        share.append(_fractions(np.array([part.var(axis=0).sum() for part in parts])))
    dimensions = np.stack(importance, axis=1)
    whole = np.stack(share, axis=1) * informativeness
    return {
        "disentanglement": _mean_purity(dimensions),
        "completeness": _mean_purity(dimensions.T),
        "informativeness": float(np.mean(informativeness)),
        "codes": {
            "disentanglement": _mean_purity(whole),
            "completeness": _mean_purity(whole.T),
            "importance": dict(zip(codes, whole.sum(axis=1).tolist(), strict=True)),
        },
        "factors": {
            name: {
                "informativeness": informativeness[j],
                "completeness": _mean_purity(dimensions[:, [j]].T),
                "share": dict(zip(codes, share[j].tolist(), strict=True)),
            }
            for j, name in enumerate(factors)
        },
    }


def _targets(factor: Factor) -> Float[np.ndarray, "m outputs"]:
    """Returns what a factor's regression predicts for the images that show it, centred."""
    values = factor.values[factor.shown]
    outputs = values[:, None] == np.unique(values) if factor.is_class else values / (values.std(axis=0) + 1e-12)
    return outputs - outputs.mean(axis=0)


class _Dual:
    """Ridge regressions in dual form. Factors that the same images show share a factorisation.

    Attributes:
        kernel: the products of the codes of all pairs of images.
    """

    def __init__(self, kernel: Float[np.ndarray, "n n"]):
        self.kernel = kernel
        self._factorised = {}

    def coefficients(
        self, rows: Int[np.ndarray, "m"], targets: Float[np.ndarray, "m outputs"]
    ) -> Float[np.ndarray, "m outputs"]:
        """Trains on some images. The weights are the sum over these of the coefficient times the code."""
        if rows.tobytes() not in self._factorised:
            kernel = self.kernel[np.ix_(rows, rows)]
            centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
            ridge = RIDGE * max(np.trace(centred), 1e-12)
            self._factorised[rows.tobytes()] = scipy.linalg.cho_factor(centred + ridge * np.eye(len(rows)))
        return scipy.linalg.cho_solve(self._factorised[rows.tobytes()], targets - targets.mean(axis=0))


def _held_out(
    dual: _Dual, rows: Int[np.ndarray, "m"], targets: Float[np.ndarray, "m outputs"], person: Int[np.ndarray, "m"]
) -> float:
    """Returns R² on held-out persons, at least 0."""
    fold, predicted = folds(person), np.zeros_like(targets)
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        coefficients = dual.coefficients(rows[train], targets[train])
        at_train = dual.kernel[np.ix_(rows[train], rows[train])] @ coefficients
        at_test = dual.kernel[np.ix_(rows[test], rows[train])] @ coefficients
        predicted[test] = at_test + (targets[train] - at_train).mean(axis=0)
    return float(max(0.0, 1 - np.sum((targets - predicted) ** 2) / np.sum(targets**2)))


def _fractions(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Scales values to a sum of 1; equal fractions if all are 0."""
    return values / values.sum() if values.sum() > 0 else np.full(len(values), 1 / len(values))


def _mean_purity(importance: Float[np.ndarray, "rows columns"]) -> float:
    """Returns the mean over rows, weighted by their sums, of 1 - the entropy of a row; 0 if all are 0."""
    total = importance.sum(axis=1, keepdims=True)
    fraction = importance / np.where(total > 0, total, 1)
    logarithm = np.log(np.where(fraction > 0, fraction, 1)) / np.log(importance.shape[1])
    purity = 1 + np.sum(fraction * logarithm, axis=1)
    return float(np.sum(purity * total[:, 0]) / total.sum()) if total.sum() > 0 else 0.0
