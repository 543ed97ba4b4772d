"""Names of files that addresses do not take as they are: no UTF-8, percent signs, slashes that are none."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from support import Project
from webclient import WebSite

from pipelet.web.filenames import from_query, to_query

#: The last is a name in Latin-1.
NAMES = [b"a%2Fb", b"a%2fb", b"%", b"%41", b"a%25b", b"a%252Fb", b"a+b c&d=e;f", b"caf\xc3\xa9", b"caf\xe9"]


def _script(value: int) -> str:
    return (
        "import os\nfrom PIL import Image\n"
        f"names = {NAMES!r}\n"
        "for name in names:\n"
        "    path = os.path.join(os.fsencode(get_data_fn('.')), name + b'.png')\n"
        "    with open(path, 'wb') as file:\n"
        f"        Image.new('RGB', (4, 4), ({value}, 0, 0)).save(file, 'PNG')\n"
        "for count in range(201):\n"
        "    folder = os.fsencode(get_data_fn('many'))\n"
        "    os.makedirs(folder, exist_ok=True)\n"
        "    open(os.path.join(folder, b'%03d%%41\\xe9.txt' % count), 'wb').close()\n"
    )


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("names"))
    for value in (10, 200):
        project.write(a=_script(value))
        project.run(project.pipeline("a;"))
    return project.prefix


@pytest.fixture
def ada(prefix: Path):
    return WebSite(den=prefix).browser("ada")


def _links(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'(?:href|src)="([^"]*)"', page)]


def test_a_name_in_a_query_comes_back():
    for name in map(os.fsdecode, NAMES):
        told = to_query(name)
        assert from_query(told) == name
        told.encode()
    assert to_query("plain/name é.png") == "plain/name é.png"
    assert from_query("50%.txt") == "50%.txt"
    assert from_query("%2e%2e%2f%00") == "%2e%2e%2f%00"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_task_leads_to_each_of_its_files(ada, name):
    links = [link for link in _links(ada.get("/p/den/task/2").text) if link.startswith("/p/den/file/2/")]
    address = f"/p/den/file/2/{quote(name + b'.png')}"
    assert address in links
    for page in ("file", "raw", "thumb"):
        assert ada.get(address.replace("/file/", f"/{page}/")).status == 200


def test_the_signs_of_a_slash_still_stand_for_one(ada):
    assert ada.get("/p/den/raw/2/many%252F000%2541%E9.txt").status == 200
    assert ada.get("/p/den/raw/2/x%252F..%252Fmany").status == 403


def test_a_long_folder_goes_on_after_any_name(ada):
    (later,) = [link for link in _links(ada.get("/p/den/file/2/many").text) if "after=" in link]
    page = ada.get(later)
    assert page.status == 200
    assert "200%41" in page.text
    assert "199%41" not in page.text


def test_differences_are_drawn_whatever_the_name(ada):
    page = ada.get("/p/den/").text
    keys = sorted(set(re.findall(r"/p/den/products/(\w+)", page)))
    links = _links(ada.get(f"/p/den/compare?a={keys[0]}&b={keys[1]}&view=difference").text)
    drawn = [link for link in links if "/difference?" in link]
    assert len(drawn) == len(NAMES)
    for link in drawn:
        answer = ada.get(link)
        assert answer.status == 200, link
        assert answer.headers["content-type"] == "image/png"


def test_one_file_of_a_comparison_is_chosen_whatever_its_name(ada, prefix):
    for folder in prefix.glob("a_*/data"):
        for name in NAMES:
            (folder / os.fsdecode(name + b".txt")).write_text(folder.parent.name)
    page = ada.get("/p/den/").text
    keys = sorted(set(re.findall(r"/p/den/products/(\w+)", page)))
    listed = ada.get(f"/p/den/compare?a={keys[0]}&b={keys[1]}").text
    links = [link for link in _links(listed) if "file=" in link and ".txt" in link]
    assert len(links) == len(NAMES)
    for link in links:
        answer = ada.get(link)
        assert answer.status == 200, link
        assert all(folder.name in answer.text for folder in prefix.glob("a_*")), link


@pytest.mark.parametrize("page", ["raw", "thumb"])
def test_a_link_that_leads_nowhere_is_not_there(ada, prefix, page):
    for folder in prefix.glob("a_*/data"):
        if not (folder / "gone.png").is_symlink():
            (folder / "gone.png").symlink_to("nowhere.png")
    assert ada.get(f"/p/den/{page}/1/gone.png").status == 404
    assert ada.get("/p/den/file/1/gone.png").status == 200
