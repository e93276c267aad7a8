"""Every code block and command of the README and the guide runs, in document order, in one folder a file; the
examples of docstrings run each by itself.

A line ``print(...)  # -> text`` says what it prints; the text must come out. Commands of this package run in
process; those that install or run the whole project are checked to exist.
"""

import doctest
import importlib.util
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path for path in
         (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
#: Its example takes a minute; a test of the demo runs it.
NOT_QUICK = ("keras_crsae.demo.run",)
EXPECTED = re.compile(r"#\s*->\s*(.+)$", re.M)


def blocks(path):
    """(language, text) of the fenced blocks of a page."""
    return BLOCK.findall(path.read_text())


def commands(text):
    """The command lines of a shell block as word lists, comments and variables in front taken away."""
    made = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
    return [words for words in ([w for i, w in enumerate(line) if i or not re.match(r"\w+=", w)] for line in made)
            if words]


def run_python(text, name, namespace, capsys):
    """Run a block; what it says that it prints must be among what it printed, in that order."""
    capsys.readouterr()
    exec(compile(text, name, "exec"), namespace)  # noqa: S102  the repository's own documents
    printed = iter(capsys.readouterr().out.splitlines())
    for wanted in EXPECTED.findall(text):
        assert any(line.strip() == wanted.strip() for line in printed), f"{name}: nothing printed {wanted!r}"


def run_command(words):
    """Run a command of this package, or check that what it names is there."""
    from crsae_onnx.cli import main as crsae_onnx

    from keras_crsae.cli import main as keras_crsae

    own = {"keras-crsae": keras_crsae, "crsae-onnx": crsae_onnx}
    program, *arguments = Path(words[0]).name, *words[1:]
    if program in own and arguments != ["demo"]:
        assert own[program](arguments) == 0, f"{shlex.join(words)} failed"
    elif program == "keras-crsae":
        assert re.search(r"^demo:.*\n\t.*keras-crsae demo$", (ROOT / "Makefile").read_text(), re.M)
    elif program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
        assert {a for a in arguments if "=" not in a} <= targets, f"no such target: {shlex.join(words)}"
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = {e.strip() for a in arguments for e in "".join(re.findall(r"\[(.*?)\]", a)).split(",") if e}
        assert extras and extras <= set(project["optional-dependencies"]), f"no such extra: {shlex.join(words)}"
    elif program == "python" and arguments[0] == "-m":
        found = ROOT.joinpath(*arguments[1].split(".")).with_suffix(".py").is_file()
        assert found or arguments[1] in ("pytest", "venv"), f"no such module: {shlex.join(words)}"
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), f"no such script: {shlex.join(words)}"
    else:
        others = ("git", "cd", "ruff", "lint-imports", "pyright", "pre-commit")
        assert program in others, f"unknown: {shlex.join(words)}"


@pytest.mark.parametrize("name", PAGES)
def test_code_and_commands_of_a_page_run(name, tmp_path, monkeypatch, capsys):
    import keras

    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    namespace = {"__name__": "__main__"}
    for number, (language, text) in enumerate(blocks(PAGES[name])):
        assert language in ("python", "bash", "text"), f"{name}, block {number}: a language that nobody checks"
        if language == "python":
            run_python(text, f"{name}, block {number}", namespace, capsys)
        elif language == "bash":
            for words in commands(text):
                run_command(words)


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_somewhere(name):
    page = PAGES[name]
    for target in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text()):
        generated = target.startswith("reference/")
        assert not target or generated or (page.parent / target).exists(), f"{name} links to {target}, which is missing"


@pytest.fixture(scope="module")
def reference():
    """The hook that generates the reference."""
    pytest.importorskip("griffe", reason="mkdocstrings is not installed")
    spec = importlib.util.spec_from_file_location("reference_pages", ROOT / "docs" / "reference" / "_generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def public_names(path):
    """Dotted names of ``__all__`` (of what a module without one defines), those of sub-packages behind them."""
    module = importlib.import_module(path)
    defined = [n for n, one in vars(module).items() if getattr(one, "__module__", "") == path and n[0] != "_"]
    for name in getattr(module, "__all__", defined):
        yield f"{path}.{name}"
        if getattr(getattr(module, name), "__name__", "") == f"{path}.{name}":
            yield from public_names(f"{path}.{name}")


def test_every_public_name_has_a_page(reference):
    names = {*public_names("keras_crsae"), *public_names("crsae_onnx")}
    pages, texts = reference.pages(), reference.texts()
    assert sorted(names - set(pages)) == []
    assert all(pages[name] in texts for name in names)


def test_every_page_of_docs_has_its_place_in_the_navigation(reference):
    config = types.SimpleNamespace(nav=yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])

    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [leaf for one in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(one)]

    places = leaves(reference.on_config(config).nav)
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert len(places) == len(set(places)) and set(places) == written | set(reference.texts())


def test_the_guide_links_every_guide():
    guide = (ROOT / "docs" / "index.md").read_text()
    assert [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "index.md" and f"({p.name}" not in guide] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)], cwd=ROOT,
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    assert (tmp_path / "reference" / "keras_crsae.models" / "CRsAE.html").is_file()


def test_figures_are_small_and_shown():
    shown = "".join(path.read_text() for path in PAGES.values())
    for figure in (ROOT / "docs" / "figures").iterdir():
        assert figure.stat().st_size < 100_000 and f"figures/{figure.name}" in shown, figure.name


def test_a_wrong_command_or_output_would_be_noticed(capsys):
    for words in (["make", "nonsense"], ["pip", "install", "keras-crsae[nonsense]"], ["python", "no/script.py"],
                  ["nonsense"], ["crsae-onnx", "info", "missing.onnx"]):
        with pytest.raises(AssertionError):
            run_command(words)
    with pytest.raises(AssertionError, match="nothing printed"):
        run_python("print(1 + 1)  # -> 3", "page", {}, capsys)


def modules():
    """Names of all modules of both packages whose docstrings hold examples."""
    names = (m.name for root in ("keras_crsae", "crsae_onnx")
             for m in pkgutil.walk_packages(importlib.import_module(root).__path__, f"{root}."))
    return [name for name in names if name not in NOT_QUICK
            and ">>>" in Path(importlib.util.find_spec(name).origin).read_text()]


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings_stand_by_themselves(name, tmp_path, monkeypatch):
    """Pasted into a fresh session, in an empty folder: no name is given to them, not even their own module's."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    examples = [test for test in doctest.DocTestFinder().find(importlib.import_module(name), globs={}) if test.examples]
    report = []
    for number, test in enumerate(examples):
        folder = tmp_path / f"example {number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        runner.run(test, out=report.append)
    assert examples and not runner.failures, "".join(report)
