"""Options of CRsAE: what is refused, and short forms."""

import pytest

from keras_crsae.models import crsae_options
from keras_crsae.problem import GammaPrior, Gaussian, Laplace, Poisson


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_sigma_rate_outside_of_0_and_1_is_refused(rate):
    with pytest.raises(ValueError, match="sigma_rate"):
        crsae_options.as_sigma_rate(rate)


def test_a_code_prior_and_another_shrinkage_are_refused():
    assert isinstance(crsae_options.as_code_prior(None, "soft", "nonnegative_soft"), Laplace)
    with pytest.raises(ValueError, match="give one of them"):
        crsae_options.as_code_prior(Laplace(), "nonnegative_soft", "soft")


def test_a_rate_prior_without_a_closed_form_is_refused_for_it():
    class Open(GammaPrior):
        def closed_form(self, *args, **kwargs):
            return None

    assert isinstance(crsae_options.as_rate_prior(Open(), "em", Gaussian()), Open)
    with pytest.raises(ValueError, match="closed_form"):
        crsae_options.as_rate_prior(Open(), "em_closed_form", Poisson())
