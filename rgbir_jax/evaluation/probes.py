"""What can be read out of a code: probes that predict the factors of an image from it.

A probe is trained on the images of some persons and scored on those of others. So it can succeed only if the code has
the factor in a form that holds for everybody. The person itself cannot be predicted so: it is learnt from some images
of everybody and scored on the others.

There are two probes. The linear one is ridge regression for numbers and linear discriminant analysis with equal priors
for kinds; its shrinkage is chosen on persons held out from its training. The other is a perceptron with one hidden
layer. The input of both is the first `COMPONENTS` principal components of the standardised code. They are computed from
all images without using the factors, and scaled by one number to a mean variance of 1.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.factors import Factor

COMPONENTS = 64
FOLDS = 4
SHRINKAGES = (0.1, 1.0, 10.0, 100.0)  # of the linear probes, relative to the mean variance of the components
HIDDEN = 32  # units of the perceptron

Code = Float[np.ndarray, "n _"]
Values = Int[np.ndarray, "_"] | Float[np.ndarray, "_ k"]
Fit = Callable[[Float[np.ndarray, "_ c"], Values, Float[np.ndarray, "_ c"]], Values]  # training x and y, x -> y
Linear = Callable[[float], Fit]  # by shrinkage


def probes(
    codes: Mapping[str, Code], factors: Mapping[str, Factor], person: Int[np.ndarray, "n"]
) -> dict[str, dict[str, dict[str, float]]]:
    """Predicts every factor from every code.

    It takes about a minute for 1,500 images, 30 factors and four codes on two CPU cores.

    Args:
        codes: codes of n images by name. The mean of a structure code over all positions is useless: its InstanceNorm
            makes it 0. `position_means` is a smaller form of it.
        factors: the factors of the images by name.
        person: the person in each image, whose images are all in the same fold.

    Returns:
        By code and factor: `score` of the linear probe and `mlp` of the perceptron, balanced accuracy for kinds and R²
        for numbers, over the held-out images of all folds; `chance`, the score of the best constant prediction, 1 / the
        number of kinds or 0. A factor that the images do not vary, or that fewer than `2 * FOLDS` persons show, is
        left out.

    Raises:
        UserError: if scikit-learn is missing.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UserError(f"probes need scikit-learn ({error}); pip install 'rgbir-jax[report]'.") from error
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    usable = {name: factor for name, factor in factors.items() if _varies(factor, person)}
    scores = {}
    bar = tqdm(total=len(codes) * len(usable), desc="probes", unit="factor", leave=False)
    with bar, threadpool_limits(1):  # the matrices are too small for several threads
        for code, values in codes.items():
            components = principal_components(values)
            scores[code] = {}
            for name, factor in usable.items():
                scores[code][name] = _probe(components[factor.shown], factor, person[factor.shown])
                bar.update()
    return scores


def position_means(s: Float[np.ndarray, "n h w c"], rows: int = 4, columns: int = 2) -> Float[np.ndarray, "n d"]:
    """Averages a structure code over the cells of a grid: d = rows * columns * c, or h * w * c if that is less."""
    rows, columns = min(rows, s.shape[1]), min(columns, s.shape[2])
    cells = [
        cell.mean(axis=(1, 2)) for band in np.array_split(s, rows, axis=1) for cell in np.array_split(band, columns, 2)
    ]
    return np.concatenate(cells, axis=1)


def principal_components(code: Code) -> Float[np.ndarray, "n c"]:
    """Returns the first principal components of a standardised code, with a mean variance of 1."""
    from sklearn.utils.extmath import randomized_svd

    x = standardised(code)
    u, s, _ = randomized_svd(x, min(COMPONENTS, *x.shape), random_state=0)
    components = u * s
    scale = np.sqrt(np.mean(components**2))
    return components / scale if scale > 0 else components


def standardised(code: Code) -> Float[np.ndarray, "n d"]:
    """Gives every dimension a mean of 0 and a standard deviation of 1; a constant dimension becomes 0."""
    x = code.astype(np.float64) - code.mean(axis=0, dtype=np.float64)
    deviation = x.std(axis=0)
    constant = deviation <= 1e-9 * np.abs(code).max(initial=0)
    return np.where(constant, 0, x / np.where(constant, 1, deviation))


def folds(person: Int[np.ndarray, "n"], *, split_persons: bool = False) -> Int[np.ndarray, "n"]:
    """Returns the fold of each image.

    Args:
        person: the person in each image.
        split_persons: whether the images of a person are spread over the folds instead of being in the same fold.
    """
    rng = np.random.default_rng(0)
    if not split_persons:
        people, place = np.unique(person, return_inverse=True)
        return (rng.permutation(len(people)) % FOLDS)[place]
    fold = np.zeros(len(person), np.int64)
    for one in np.unique(person):
        rows = np.flatnonzero(person == one)
        fold[rows] = (rng.permutation(len(rows)) + rng.integers(FOLDS)) % FOLDS
    return fold


def score(values: Values, predicted: Values) -> float:
    """Returns the balanced accuracy of kinds (one axis), or R² over all columns of numbers (two axes)."""
    if values.ndim == 1:
        return float(np.mean([np.mean(predicted[values == kind] == kind) for kind in np.unique(values)]))
    return float(1 - np.sum((values - predicted) ** 2) / np.sum((values - values.mean(axis=0)) ** 2))


def _varies(factor: Factor, person: Int[np.ndarray, "n"]) -> bool:
    shown = factor.values[factor.shown]
    return len(np.unique(shown, axis=0)) > 1 and len(np.unique(person[factor.shown])) >= 2 * FOLDS


def _probe(x: Float[np.ndarray, "m c"], factor: Factor, person: Int[np.ndarray, "m"]) -> dict[str, float]:
    """Scores both probes of a factor on the images that show it."""
    y = factor.values[factor.shown]
    fold = folds(person, split_persons=factor.of_person)
    fit, perceptron = (_discriminant, _classifier) if factor.is_class else (_ridge, _regressor)
    linear = lambda shrinkage: partial(fit, shrinkage=shrinkage)
    predicted, predicted_by_perceptron = np.zeros_like(y), np.zeros_like(y)
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        shrunk = linear(_best_shrinkage(linear, x[train], y[train], fold[train]))
        predicted[test] = _fitted(shrunk, x[train], y[train], x[test])
        predicted_by_perceptron[test] = _fitted(perceptron, x[train], y[train], x[test])
    chance = 1 / len(np.unique(y)) if factor.is_class else 0.0
    return {"score": score(y, predicted), "chance": chance, "mlp": score(y, predicted_by_perceptron)}


def _best_shrinkage(linear: Linear, x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> float:
    """Returns the shrinkage with the best score when each of the given folds is held out in turn."""

    def held_out(shrinkage: float) -> float:
        predicted = np.zeros_like(y)
        for held in np.unique(fold):
            train, test = fold != held, fold == held
            predicted[test] = _fitted(linear(shrinkage), x[train], y[train], x[test])
        return score(y, predicted)

    return max(SHRINKAGES, key=held_out)


def _fitted(fit: Fit, x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Predicts the values of unseen images. If all training values are the same, there is nothing to fit."""
    return fit(x, y, unseen) if (y != y[0]).any() else np.repeat(y[:1], len(unseen), axis=0)


def _ridge(x: np.ndarray, y: np.ndarray, unseen: np.ndarray, shrinkage: float) -> np.ndarray:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x = x - mean_x
    weights = np.linalg.solve(x.T @ x + shrinkage * len(x) * np.eye(x.shape[1]), x.T @ (y - mean_y))
    return (unseen - mean_x) @ weights + mean_y


def _discriminant(x: np.ndarray, y: np.ndarray, unseen: np.ndarray, shrinkage: float) -> np.ndarray:
    kinds, place = np.unique(y, return_inverse=True)
    means = np.stack([x[place == kind].mean(axis=0) for kind in range(len(kinds))])
    within = x - means[place]
    covariance = within.T @ within / len(x) + shrinkage * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, means.T)
    return kinds[np.argmax(unseen @ weights - np.einsum("kc,ck->k", means, weights) / 2, axis=1)]


def _classifier(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    from sklearn.neural_network import MLPClassifier

    model = _trained(MLPClassifier(**_PERCEPTRON), x, y)
    kinds, prior = np.unique(y, return_counts=True)
    return kinds[np.argmax(np.asarray(model.predict_proba(unseen)) / prior, axis=1)]


def _regressor(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    from sklearn.neural_network import MLPRegressor

    mean, deviation = y.mean(axis=0), y.std(axis=0) + 1e-12
    target = ((y - mean) / deviation).squeeze(axis=1) if y.shape[1] == 1 else (y - mean) / deviation
    model = _trained(MLPRegressor(**_PERCEPTRON), x, target)
    return np.reshape(model.predict(unseen), (len(unseen), -1)) * deviation + mean


_PERCEPTRON = {
    "hidden_layer_sizes": (HIDDEN,),
    "alpha": 1.0,
    "batch_size": 128,
    "learning_rate_init": 1e-2,
    "max_iter": 20,
    "random_state": 0,
}


def _trained(model, x: np.ndarray, y: np.ndarray):
    """Trains a perceptron for a fixed number of epochs: it cannot choose when to stop by images of other persons."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.set_params(batch_size=min(_PERCEPTRON["batch_size"], len(x))).fit(x, y)
