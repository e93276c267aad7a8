"""MkDocs hook: a page for every public name of the packages' ``__all__``, and its place in the navigation.

Nothing is imported: Griffe reads the sources. A new public name gets its page by itself.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[2]
#: The packages, and the modules outside ``__all__`` whose public functions a user imports.
PACKAGES = {"keras_crsae": ROOT, "crsae_onnx": ROOT / "export"}
MODULES = ("keras_crsae.sklearn", "crsae_onnx.convert", "crsae_onnx.validate", "crsae_onnx.runtime.cluster")
FOLDER = "reference"


@dataclass
class Namespace:
    """A package or module: its page, and the public names in it.

    Attributes:
        path: dotted name, ``keras_crsae.layers``.
        summary: first line of its docstring.
        names: public name -> (dotted name of where it is defined, first line of its docstring).
    """

    path: str
    summary: str
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def page(self) -> str:
        return f"{FOLDER}/{self.path}/index.md"


@cache
def load() -> griffe.ModulesCollection:
    """Both packages, read from their sources."""
    loader = griffe.GriffeLoader(search_paths=[str(path) for path in PACKAGES.values()], allow_inspection=False)
    for package in PACKAGES:
        loader.load(package)
    return loader.modules_collection


def find(path: str) -> griffe.Object | griffe.Alias:
    """The object at a dotted name, through re-exports; those of the other package as well.

    A name that is a module's and, by an import into the package, a function's is the function, as in Python.
    """
    package, _, rest = path.partition(".")
    found: Any = load()[package]
    for name in filter(None, rest.split(".")):
        parent, found = found, found.members[name]
        if found.is_alias and found.target_path != found.path:
            found = find(found.target_path)
    imported = parent.imports.get(name, path) if rest else path
    return find(imported) if imported not in (path, found.path) else found


def summary(found: griffe.Object | griffe.Alias) -> str:
    return found.docstring.value.strip().split("\n\n")[0].replace("\n", " ") if found.docstring else ""


def public_names(module: griffe.Object | griffe.Alias) -> list[str]:
    """``__all__``; of a module without one its public functions, classes, and attributes with a docstring."""
    if module.exports is not None:
        return sorted(str(name) for name in module.exports)
    return sorted(name for name, one in module.members.items() if not name.startswith("_") and not one.is_alias
                  and (one.is_function or one.is_class or one.is_attribute and one.docstring))


def namespaces() -> list[Namespace]:
    """All public namespaces, the packages' sub-packages behind them."""
    found: list[Namespace] = []

    def add(path: str) -> None:
        module = find(path)
        namespace = Namespace(path, summary(module))
        found.append(namespace)
        for name in public_names(module):
            one = find(f"{path}.{name}")
            if one.is_module and one.path == f"{path}.{name}":
                add(f"{path}.{name}")
            else:
                namespace.names[name] = (one.path, summary(one))

    for package in PACKAGES:
        add(package)
    for module in MODULES:
        add(module)
    return found


def pages() -> dict[str, str]:
    """{public dotted name: path of its page}; a name that two namespaces show has one page, a sub-package's."""
    places: dict[str, str] = {}
    for namespace in sorted(namespaces(), key=lambda one: (one.path in PACKAGES, one.path.count("."))):
        for name, (defined, _) in namespace.names.items():
            places.setdefault(defined, f"{FOLDER}/{namespace.path}/{name}.md")
    shown = {f"{one.path}.{name}": places[defined] for one in namespaces() for name, (defined, _) in one.names.items()}
    return shown | {one.path: one.page for one in namespaces()}


def texts() -> dict[str, str]:
    """{path of a page: its Markdown}."""
    places, written = pages(), {}
    for namespace in namespaces():
        rows = []
        for inner in namespaces():
            if inner.path.rpartition(".")[0] == namespace.path and inner.path not in MODULES:
                rows.append(f"| [`{inner.path.rpartition('.')[2]}`](../{inner.path}/index.md) | {inner.summary} |")
        for name, (defined, line) in namespace.names.items():
            page = places[f"{namespace.path}.{name}"]
            rows.append(f"| [`{name}`](../{page.removeprefix(FOLDER + '/')}) | {line.replace('|', '&#124;')} |")
            if page == f"{FOLDER}/{namespace.path}/{name}.md":
                hidden = isinstance(find(namespace.path).members[name], griffe.Module)  # by a module of the same name
                written[page] = f"::: {defined if hidden else f'{namespace.path}.{name}'}\n"
        table = "\n".join(["| name | |", "| --- | --- |", *rows])
        written[namespace.page] = f"# {namespace.path}\n\n{namespace.summary}\n\n{table}\n"
    rows = [f"| [`{one.path}`]({one.path}/index.md) | {one.summary} |" for one in namespaces()]
    written[f"{FOLDER}/index.md"] = "\n".join([
        "# Reference", "", "Every public name of both packages. `import keras_crsae as kc`; sub-packages load when "
        "they are first used.", "", "| namespace | |", "| --- | --- |", *rows, ""])
    return written


def navigation() -> list[Any]:
    """The reference's part of the navigation: a section for each namespace, its own page first."""
    places = pages()
    mine: dict[str, list[str]] = {one.path: [] for one in namespaces()}
    for page in dict.fromkeys(places.values()):
        namespace = page.split("/")[1]
        if page not in (one.page for one in namespaces()):
            mine[namespace].append(page)
    sections = {path: [f"{FOLDER}/{path}/index.md", *({Path(page).stem: page} for page in sorted(held))]
                for path, held in mine.items()}
    return [f"{FOLDER}/index.md", *({path.removeprefix("keras_crsae."): held} for path, held in sections.items())]


def benchmark_navigation() -> list[str]:
    """Pages of docs/benchmarks, in the order in which they are written."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.tables import PAGES
    finally:
        sys.path.remove(str(ROOT))
    return ["benchmarks/index.md", *(f"benchmarks/{name}.md" for name in PAGES)]


def on_config(config: Any) -> Any:
    filled = {"Reference": navigation(), "Benchmarks": benchmark_navigation()}
    config.nav = [{name: filled.get(name, value) for name, value in section.items()} for section in config.nav]
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for page, text in texts().items():
        files.append(File.generated(config, page, content=text))
    return files
