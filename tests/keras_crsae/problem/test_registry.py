"""A name becomes an object in one place, and an object a name again where that says all."""

import keras
import pytest

from keras_crsae.problem import Exponential, GammaPrior, Laplace, code_priors, likelihoods, measurements, rate_priors
from keras_crsae.problem.registry import Registry
from keras_crsae.solvers import base as solvers

REGISTRIES = {"code prior": code_priors.registry, "likelihood": likelihoods.registry,
              "measurement": measurements.registry, "prior of lambda": rate_priors.registry,
              "solver": solvers.registry}


class Kind:
    def __init__(self, size=1):
        self.size = size

    def get_config(self):
        return {"size": self.size}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.fixture
def registry():
    registry = Registry("kind", Kind, default="small")

    @registry.register("small")
    class Small(Kind):
        pass

    @registry.register("needs")
    class Needs(Kind):
        def __init__(self, size):
            super().__init__(size)

    return registry


def test_objects_names_configs_and_none_are_accepted(registry):
    small = registry.get("small")
    assert registry.get(small) is small and type(registry.get(None)) is type(small)
    config = keras.saving.serialize_keras_object(registry.class_of("small")(size=7))
    assert registry.get(config).size == 7
    assert registry.names() == ("needs", "small")


def test_a_name_is_stored_where_it_says_all(registry):
    cls = registry.class_of("small")
    assert registry.serialize(cls()) == "small" and registry.name_of(cls(size=2)) is None
    assert registry.get(registry.serialize(cls(size=2))).size == 2
    assert registry.name_of(registry.class_of("needs")(3)) is None


@pytest.mark.parametrize("wrong", ["large", 3, object(), Laplace()], ids=["name", "number", "object", "other kind"])
def test_anything_else_is_refused_with_the_names(registry, wrong):
    with pytest.raises(ValueError, match=r"Expected a kind.*\['needs', 'small'\].*Received"):
        registry.get(wrong)


def test_a_class_with_arguments_is_no_name(registry):
    with pytest.raises(ValueError, match="'needs' needs arguments: give an object, Needs"):
        registry.get("needs")


def test_names_are_unique_but_a_cell_may_run_twice(registry):
    first = registry.class_of("small")
    with pytest.raises(ValueError, match="registered already"):
        registry.register("small")(Kind)
    again = type(first.__name__, (Kind,), {"__module__": first.__module__, "__qualname__": first.__qualname__})
    assert registry.register("small")(again) is registry.class_of("small")


def test_only_classes_of_the_kind_are_registered(registry):
    with pytest.raises(TypeError, match="must derive from Kind"):
        registry.register("other")(int)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_registered_class_has_a_docstring_with_an_example_and_is_known_to_keras(kind):
    registry = REGISTRIES[kind]
    assert registry.kind == kind and registry.default in registry.names()
    for name in registry.names():
        cls = registry.class_of(name)
        if cls.__module__.startswith("keras_crsae"):
            assert ">>>" in cls.__doc__ and keras.saving.get_registered_name(cls) == f"keras_crsae>{cls.__name__}"


def test_the_short_form_and_the_prior_must_agree():
    import keras_crsae as kc

    assert isinstance(kc.CRsAE(2, 5, shrinkage="soft", code_prior="soft").code_prior, Laplace)
    assert isinstance(kc.CRsAE(2, 5).code_prior, Exponential)
    assert isinstance(kc.CRsAE(2, 5, code_prior=Laplace()).code_prior, Laplace)
    with pytest.raises(ValueError, match="`shrinkage` is a short form of `code_prior`"):
        kc.CRsAE(2, 5, shrinkage="soft", code_prior="nonnegative_soft")
    assert isinstance(rate_priors.get(None), GammaPrior)


def test_objects_show_their_arguments():
    from keras_crsae.problem import Laplace, Poisson, SignedByFilter

    assert [repr(o) for o in (Laplace(), Poisson(exposure=2.0), SignedByFilter([1, -1]))] == [
        "Laplace()", "Poisson(exposure=2.0)", "SignedByFilter(signs=[1, -1])"]
