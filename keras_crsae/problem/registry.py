"""Names of likelihoods, priors, measurements and solvers: the one place where a name becomes an object.

A registry holds classes of one kind. Whatever takes "an object or its name" calls ``get``; no other code compares
names. What an object can do it declares itself, by the attributes of its base class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import keras

Kind = TypeVar("Kind")
Registered = TypeVar("Registered")


class Configured:
    """What the kinds have in common: ``get_config`` says all, for saving and for ``repr``."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as Keras stores them."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_config().items())})"


class Registry(Generic[Kind]):
    """Classes of one kind by their names.

    Args:
        kind: what the classes are, in words, for messages.
        base: class that all of them derive from.
        default: name that stands for None; None: an object or a name must be given.

    Example:
        >>> from keras_crsae.problem import code_priors
        >>> code_priors.get("soft").signed, "soft" in code_priors.names()
        (True, True)
    """

    def __init__(self, kind: str, base: type[Kind], default: str | None = None) -> None:
        self.kind, self.base, self.default = kind, base, default
        self._classes: dict[str, type[Kind]] = {}

    def register(self, name: str) -> Callable[[type[Registered]], type[Registered]]:
        """Class decorator: makes ``name`` stand for the class, also in saved models.

        The class is registered with Keras too, where it is not yet, so that its objects can be saved.

        Args:
            name: short name, unique among classes of this kind. A class of the same module and name may be
                registered again, as a notebook does that runs a cell twice.

        Raises:
            ValueError: another class has the name.
            TypeError: the class does not derive from the base class of its kind.
        """
        def decorate(cls: type[Registered]) -> type[Registered]:
            registered: type[Any] = cls
            if not issubclass(registered, self.base):
                raise TypeError(f"A {self.kind} must derive from {self.base.__name__}. Received: {cls!r}")
            before = self._classes.get(name)
            if before is not None and (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"The {self.kind} {name!r} is registered already: {before!r}. Choose another name.")
            if keras.saving.get_registered_name(cls) == cls.__name__:
                keras.saving.register_keras_serializable(package=cls.__module__.split(".")[0])(cls)
            self._classes[name] = registered
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """Registered names, sorted."""
        return tuple(sorted(self._classes))

    def class_of(self, name: str) -> type[Kind]:
        """The class that is registered under ``name``; KeyError where there is none."""
        return self._classes[name]

    def get(self, spec: Kind | str | dict[str, Any] | None = None) -> Kind:
        """The object that ``spec`` stands for.

        Args:
            spec: an object of this kind, a registered name, a Keras config of one, or None (the default).

        Raises:
            ValueError: no such name, an object of another kind, or a name whose class needs arguments.
        """
        if spec is None and self.default is not None:
            spec = self.default
        if isinstance(spec, str) and spec in self._classes:
            try:
                return self._classes[spec]()
            except TypeError as error:
                raise ValueError(f"The {self.kind} {spec!r} needs arguments: give an object, "
                                 f"{self._classes[spec].__name__}(...).") from error
        value: Any = keras.saving.deserialize_keras_object(spec) if isinstance(spec, dict) else spec
        if isinstance(value, self.base):
            return value
        raise ValueError(f"Expected a {self.kind}: an object of class {self.base.__name__}, or one of the names "
                         f"{list(self.names())}. Received: {spec!r}. A class of your own gets a name by the decorator "
                         f"`register` of this kind, and must be registered before a model that holds it is loaded.")

    def name_of(self, value: Kind) -> str | None:
        """Registered name that stands for an object equal to ``value``; None where there is none."""
        for name, cls in self._classes.items():
            if type(value) is cls:
                try:
                    return name if _config(cls()) == _config(value) else None
                except TypeError:  # the class needs arguments
                    return None
        return None

    def serialize(self, value: Kind) -> str | dict[str, Any]:
        """What ``get`` makes an equal object of: its name where that says all, else its Keras config."""
        name = self.name_of(value)
        return keras.saving.serialize_keras_object(value) if name is None else name


def _config(value: Any) -> dict[str, Any]:
    return value.get_config()
