"""The documentation: its code runs and prints what it says, draws the pictures shown, and its links lead somewhere."""

import os
import pkgutil
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from pages import DOCS, PAGES, README, blocks, links, name, pictures, same_output

import dlfast as dl
from dlfast.cli import main

WITH_CODE = [page for page in [*PAGES, README] if any(block.language == "python" for block in blocks(page))]
KEEP = os.environ.get("DOCS_IMAGES")  # where `ci/docs --pictures` wants the pictures


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_code(page, tmp_path, monkeypatch, capsys):
    """Every block of Python in order, in an empty folder; a block of text behind one is what that prints."""
    if page.stem == "scikit-learn":
        pytest.importorskip("sklearn")
    if page.stem == "amp":
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    keep = Path(KEEP).resolve() if KEEP else None
    if pictures(page) or ".plot(" in page.read_text(encoding="utf-8"):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
        monkeypatch.setitem(matplotlib.rcParams, "svg.hashsalt", "dlfast")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    if page == README:  # its trainings are longer than a test needs
        fit = dl.train.fit
        monkeypatch.setattr(dl.train, "fit", lambda *args, **options: fit(*args, **{**options, "epochs": 1}))
    dl.manual_seed(0)
    _run(page, capsys)
    drawn = {path.name for path in Path("images").iterdir()}
    assert drawn == set(pictures(page)) & drawn, "a picture that the page does not show"
    for picture in drawn if keep else ():
        shutil.copy(f"images/{picture}", keep / picture)


def _run(page, capsys):
    namespace, printed = {"__name__": "__main__"}, None
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
            printed = capsys.readouterr().out
        elif block.language == "text" and printed is not None:
            assert same_output(block.code, printed), f"line {block.line}: printed was\n{printed}"
            printed = None


def test_pictures_are_drawn_by_the_pages_that_show_them():
    for page in PAGES:
        code = "".join(block.code for block in blocks(page) if block.language == "python")
        for picture in pictures(page):
            assert f"images/{picture}" in code, f"{name(page)}: {picture}"
    shown = {picture for page in PAGES for picture in pictures(page)}
    assert {path.name for path in (DOCS / "images").iterdir()} == shown


def test_pictures_are_small():
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 60_000, picture.name


@pytest.mark.parametrize("page", [*PAGES, README], ids=name)
def test_links_lead_somewhere(page):
    for target in links(page):
        assert (page.parent / target).exists(), target


def test_commands_have_the_options_that_the_pages_give_them():
    lines = [
        line
        for page in [*PAGES, README]
        for block in blocks(page)
        if block.language == "sh"
        for line in block.code.splitlines()
    ]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dlfast ")]
    assert len(commands) > 10
    for name_, *arguments in commands:
        with suppress(click.BadParameter):  # folders and files that are not there
            main.commands[name_].make_context(name_, arguments)


def test_reference_has_every_public_module():
    """Packages of `dlfast` and what `dlfast` imports; kernels and the command line are no part of the interface."""
    inner = {"kernels", "commands", "bench", "cli", "utils"}
    found = {module.name for module in pkgutil.iter_modules(dl.__path__[:1]) if module.ispkg}
    packages = {name for name in found if not name.startswith("_")} - inner
    pages_ = {path.stem for path in (DOCS / "api").glob("*.md")}
    assert packages | {"amp", "init", "memory", "autograd", "numba_kernels"} <= pages_


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as ci/docs builds them: any warning is an error."""
    for tool in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(tool, reason=f"the documentation is built with {tool} (the extra `docs`)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html", DOCS, folder]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_needs_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for loads in ('src="http', 'src="//', '<link rel="stylesheet" type="text/css" href="http', "@import"):
            assert loads not in text, f"{page.name}: {loads}"


def test_site_has_equations_and_links_to_the_reference(site):
    for page in DOCS.glob("notes/*.md"):
        text = (site / "notes" / f"{page.stem}.html").read_text(encoding="utf-8")
        assert "<math" in text, page.name
        assert 'href="../api/' in text, page.name
