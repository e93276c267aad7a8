"""The package gives the results that it gave before it was restructured (version 0.1, commit 638732e)."""

from pathlib import Path

import numpy as np
import pytest

from tests.reference.configurations import CONFIGURATIONS, EPOCHS, results

FILE = Path(__file__).parent / "reference" / "twelve_configurations.npz"
#: Largest difference, as a share of the stored array's largest absolute value.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    """"configuration/name of the result" -> array."""
    with np.load(FILE) as file:
        return dict(file)


def share(new: np.ndarray, old: np.ndarray) -> float:
    """Largest difference as a share of the largest stored value; infinite where NaNs stand in other places."""
    missing = np.isnan(old)
    if (np.isnan(new) != missing).any():
        return np.inf
    if missing.all():
        return 0.0
    new, old = (array[~missing].astype(np.float64) for array in (new, old))
    return float(np.abs(new - old).max() / max(1e-12, np.abs(old).max()))


def test_the_stored_configurations_are_those_that_are_tested(stored):
    assert {key.split("/")[0] for key in stored} == set(CONFIGURATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_results_are_those_before_the_restructuring(name, stored):
    expected = {key.split("/")[1]: value for key, value in stored.items() if key.startswith(f"{name}/")}
    found = results(name)
    assert set(found) == set(expected)
    for key, value in found.items():
        assert value.shape == expected[key].shape, key
        if key.startswith("code"):
            assert 0 < np.count_nonzero(value) < value.size, key
        if key.startswith("history"):
            assert value.shape == (EPOCHS,), key
    shares = {key: share(value, expected[key]) for key, value in found.items()}
    assert {key: value for key, value in shares.items() if value > TOLERANCE} == {}
