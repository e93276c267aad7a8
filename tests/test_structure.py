"""How the tree is built: no circle of imports, short files and functions, a test file for every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Package -> its folder, and the folder of its tests.
PACKAGES = {"keras_crsae": (ROOT / "keras_crsae", ROOT / "tests" / "keras_crsae"),
            "crsae_onnx": (ROOT / "export" / "crsae_onnx", ROOT / "tests" / "export")}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 12


def modules() -> dict[str, Path]:
    """Module name -> file, of both packages."""
    found = {}
    for package, (folder, _) in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(p for p in parts if p != "__init__")))] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it, function bodies included; not for type checkers alone."""
    tree, names = ast.parse(path.read_text()), set()
    hidden = {id(node) for block in ast.walk(tree) if isinstance(block, ast.If) and
              "TYPE_CHECKING" in ast.dump(block.test) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in MODULES else node.module
                      for a in node.names}
    return {name for name in names if name in MODULES}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in graph[module]:
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            groups.append(group)

    for module in graph:
        if module not in number:
            visit(module)
    return [sorted(group) for group in groups if len(group) > 1]


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(qualified name, definition) of every function and method."""
    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}{getattr(child, 'name', '')}"
            if isinstance(child, ast.FunctionDef):
                yield name, child
            yield from walk(child, f"{name}." if isinstance(child, ast.ClassDef | ast.FunctionDef) else prefix)
    yield from walk(ast.parse(path.read_text()), "")


def test_a_circle_is_noticed():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_modules_import_each_other_in_a_circle():
    assert circles({name: imports(path) for name, path in MODULES.items()}) == []


def test_crsae_onnx_never_imports_keras_crsae():
    there = {name: sorted(m for m in imports(path) if m.startswith("keras_crsae"))
             for name, path in MODULES.items() if name.startswith("crsae_onnx")}
    assert {name: found for name, found in there.items() if found} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_are_short(package):
    long = []
    for name, path in MODULES.items():
        if not name.startswith(package):
            continue
        lines = len(path.read_text().splitlines())
        if lines > LONGEST_FILE:
            long.append(f"{name}: {lines} lines")
        for function, node in functions(path):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            length = node.end_lineno - body[0].lineno + 1 + (node.body[0].lineno - node.lineno)
            if length > LONGEST_FUNCTION:
                long.append(f"{name}.{function}: {length} lines without its docstring")
            given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([a for a in given if a not in ("self", "cls")])
            # Constructors, Keras' own forms, and the door that takes all that may belong to a signal.
            wide = function.endswith("__init__") or function.rpartition(".")[2] in ("fit", "compile", "encode")
            if count > MOST_PARAMETERS and not wide:
                long.append(f"{name}.{function}: {count} parameters")
    assert long == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_its_test_file(package):
    folder, tests = PACKAGES[package]
    missing = []
    for name, path in MODULES.items():
        if not name.startswith(package) or path.name in ("__init__.py", "__main__.py"):
            continue
        inside = path.relative_to(folder)
        if not (tests / inside.parent / f"test_{inside.name.lstrip('_')}").exists():
            missing.append(name)
    assert missing == []


def unannotated(node: ast.FunctionDef) -> list[str]:
    """Parameters of a function without an annotation, and "return" where that has none."""
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs,
                 *(a for a in (given.vararg, given.kwarg) if a is not None)]
    missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return missing if node.returns is not None else [*missing, "return"]


def test_a_missing_annotation_is_noticed():
    source = "def f(a: int, b, *rest, c: int = 1, **more: int): ..."
    assert unannotated(ast.parse(source).body[0]) == ["b", "rest", "return"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_function_says_its_types(package):
    missing = {f"{name}.{function}": names for name, path in MODULES.items() if name.split(".")[0] == package
               for function, node in functions(path) if (names := unannotated(node))}
    assert missing == {}
