"""The site as it is built: whole, linked, searchable, and without a word to another host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

# Names of what an image or a document is written in; nobody asks them for anything.
NAMES = ("www.w3.org", "example.com", "hooks.example.com")  # the last two are nobody's (RFC 2606)
HERE = re.compile(r"(127\.0\.0\.1(:\d+)?|localhost(:\d+)?|…)\.?")
# In the theme's own scripts: what only browsers without ResizeObserver, pages with diagrams and sites with a repository would fetch.
THEME_SCRIPTS = {"unpkg.com", "api.github.com", "www.w3.org"}
_ADDRESS = re.compile(r"https?://([^/\s\"'`<>)\\,;&]+)")
_FETCHED = re.compile(r"(?:<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=|url\(|@import )[\"']?(?:https?:)?//([^/\s\"')>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by `mkdocs build --strict`: a link or an anchor that leads nowhere, or a page that stands nowhere, ends it."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", place]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    return place


def hosts(text: str) -> set[str]:
    return {host for host in _ADDRESS.findall(text) if not HERE.fullmatch(host)}


def test_no_page_and_no_style_fetches_from_another_host(site: Path) -> None:
    read = [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]
    assert len(read) > 20
    assert {path.name: found for path in read if (found := set(_FETCHED.findall(path.read_text())) - set(NAMES))} == {}


def test_no_page_names_another_host_but_the_names_of_formats(site: Path) -> None:
    found = {host for path in site.rglob("*.html") for host in hosts(path.read_text())}
    assert found <= {*NAMES}, found


def test_the_scripts_of_the_theme_name_no_host_that_we_do_not_know(site: Path) -> None:
    scripts = list((site / "assets" / "javascripts").glob("*.js"))
    assert scripts
    found = {host for path in scripts for host in re.findall(r"[\"'`]https?://([\w.-]+)", path.read_text())}
    assert found <= THEME_SCRIPTS, found
    assert not any('class="mermaid"' in path.read_text() for path in site.rglob("*.html"))


def test_a_fetch_would_be_seen() -> None:
    fetching = '<link rel="stylesheet" href="https://fonts.example/a.css"><script src="//cdn.example/x.js"></script>'
    assert _FETCHED.findall(fetching) == ["fonts.example", "cdn.example"]
    assert hosts("https://fonts.example/a and http://127.0.0.1:8765/") == {"fonts.example"}


def test_search_finds_every_page_without_a_server(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    places = {entry["location"].partition("#")[0] for entry in index["docs"]}
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    assert places == pages
    # From a directory a browser reads no JSON and starts no worker: the index is a script too, and so is what stands in for the worker.
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = {")
    assert "assets/iframe-worker.js" in (site / "index.html").read_text()
    assert (site / "assets" / "iframe-worker.js").exists()


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("reference/http.html", ("/v1/jobs/{job_id}/result", "urn:fumehood:problem:not-finished", "Idempotency-Key")),
        ("reference/command.html", ("fumehood run", "--dataset1", "fumehood datasets upload")),
        ("reference/python.html", ("Client.run", "ScriptError", "idempotency")),
        ("reference/settings.html", ("FUMEHOOD_LEASE_SECONDS", "wall_seconds", "3,600")),
        ("reference/outcomes.html", ("sandbox_error", "tenant", "urn:fumehood:problem:too-large")),
        ("reference/formats.html", ("application/vnd.apache.parquet", ".ndjson")),
        ("reference/packages.html", ("scikit-learn", "pandas")),
    ],
)
def test_a_page_of_the_reference_holds_what_the_code_says(site: Path, page: str, words: tuple[str, ...]) -> None:
    text = re.sub(r"<[^>]+>", "", (site / page).read_text())
    assert [word for word in words if word.lower() not in text.lower()] == []


def test_comments_for_the_tests_are_not_in_the_site(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert not re.search(r"<!-- (not run|ends with|generated)", path.read_text()), path
