"""The pages of tasks and of their products."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from PIL import Image
from support import Project, run_to_end
from webclient import Browser, WebSite

from pipelet.statusdb import Reader
from pipelet.statusdb.browsing import Choice, children, task_page
from pipelet.storage import Tree
from pipelet.web.tracked import Tracked

MAKE = """\
x = get_input()
print("made", x)
secret = [1, x]
save_param(["secret"])
expose(["x"])
get_data_fn(".")
set_output([(x, number) for number in range(3)])
"""
USE = """\
x = get_input()
if x == ("Arthur", 2):
    raise ValueError("no <b>shrubbery</b>")
"""


class Shop(NamedTuple):
    """A prefix that was filled, and visitors of its pages."""

    prefix: Path
    site: WebSite
    ada: Browser
    make: str
    use: str
    places: dict[str, Path]

    def get(self, address: str, **headers: str):
        return self.ada.get(f"/p/knights/{address}", **headers)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with accounts, to be copied."""
    project = Project(tmp_path_factory.mktemp("filled")).write(make=MAKE, use=USE)
    run_to_end(project.pipeline("make -> use;", {"make": ["Lancelot", "Arthur"]}))
    WebSite(knights=project.prefix)
    return project.prefix


@pytest.fixture
def shop(filled: Path, tmp_path: Path) -> Shop:
    prefix = tmp_path / "prefix"
    shutil.copytree(filled, prefix)
    with Reader.open(str(prefix / ".sqlstatus")) as reader:
        keys = {row.segment: row for row in reader.instances()}
        tree = Tree(str(prefix))
        places = {
            task.text: Path(tree.task_dir(keys["make"].path, task.place or "", task.id, task.text, True))
            for task in reader.tasks(keys["make"].id)
        }
    site = WebSite()
    site.registry.tracked.append(Tracked("knights", str(prefix / ".sqlstatus"), str(prefix)))
    return Shop(prefix, site, site.browser("ada"), keys["make"].key[:12], keys["use"].key[:12], places)


def tasks(page: str) -> list[int]:
    """The tasks that a list shows, in its order."""
    return [int(number) for number in re.findall(r'name="task" value="(\d+)"', page)]


# -- the list ------------------------------------------------------------------------------------------------------


def test_the_tasks_of_an_instance(shop):
    page = shop.get(f"products/{shop.use}")
    assert page.status == 200
    assert tasks(page.text) == [3, 4, 5, 6, 7, 8]
    assert "5 done" in page.text
    assert "1 failed" in page.text
    assert f'href="/p/knights/products/{shop.use}?status=failed"' in page.text


def test_filter_search_and_order(shop):
    assert tasks(shop.get(f"products/{shop.use}?status=failed").text) == [8]
    assert tasks(shop.get(f"products/{shop.use}?search=lancelot_&sort=-id").text) == [5, 4, 3]
    assert tasks(shop.get(f"products/{shop.use}?search=7").text) == [7]
    assert tasks(shop.get(f"products/{shop.use}?search=%25").text) == []
    assert tasks(shop.get(f"products/{shop.use}?sort=-begun").text) == [8, 7, 6, 5, 4, 3]
    assert len(tasks(shop.get(f"products/{shop.use}?sort=duration&version=all").text)) == 6


@pytest.mark.parametrize(
    "query", ["status=x", "sort=x", "sort=--id", "version=x", "view=x", "after=x", "after=1:x", "before=:", "after=é:1"]
)
def test_a_query_that_is_none_of_ours_says_so(shop, query):
    assert shop.get(f"products/{shop.use}?{query}").status == 400


def test_an_unknown_version_says_so(shop):
    for key in ("AAAAAAAA", "A", "../x", "%00"):
        assert shop.get(f"products/{key}").status == 404


def test_a_gallery_shows_the_first_image_of_each_task(shop):
    (shop.places["Lancelot"] / "sub").mkdir()
    Image.new("RGB", (300, 200), (200, 0, 0)).save(shop.places["Lancelot"] / "sub" / "a b.png")
    (shop.places["Lancelot"] / "notes.txt").write_text("x")
    page = shop.get(f"products/{shop.make}?view=gallery").text
    assert '<img src="/p/knights/thumb/1/sub/a%20b.png"' in page
    assert page.count("no image") == 1
    answer = shop.get("thumb/1/sub/a%20b.png")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.body)).size == (240, 160)
    assert shop.get("thumb/1/sub/a%20b.png", If_None_Match=answer.headers["etag"]).status == 304


# -- pages of many -------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Reader:
    """A database of 500 tasks of one instance, made without running them."""
    import sqlite3

    from pipelet.schema import migrate

    path = tmp_path / "many"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, str(path))
    connection.executemany(
        "INSERT INTO task (id, instance, status, current, digest, text, parents, begun, ended, aside)"
        " VALUES (?, 1, ?, ?, x'00', ?, ?, ?, ?, 0)",
        [
            (n, 3 if n % 50 == 0 else 2, 0 if n % 100 == 7 else 1, f"in_{n}", f"[[{n % 7}]]", 1000.0 - n,
             None if n % 10 == 3 else 1000.0 - n + n * 37 % 101)
            for n in range(1, 501)
        ],
    )
    connection.execute(
        "INSERT INTO tally SELECT instance, status, count(*) FROM task WHERE current = 1 GROUP BY instance, status"
    )
    connection.close()
    reader = Reader.open(str(path))
    yield reader
    reader.close()


def walk(reader: Reader, choice: Choice, limit: int = 30) -> list[int]:
    """All tasks, page by page, there and back again."""
    pages = [task_page(reader, 1, choice, limit)]
    while (after := pages[-1].after) is not None:
        pages.append(task_page(reader, 1, choice, limit, after=after))
    assert pages[0].before is None
    back = pages[-1]
    for page in reversed(pages[:-1]):
        assert back.before is not None
        back = task_page(reader, 1, choice, limit, before=back.before)
        assert [task.id for task in back.tasks] == [task.id for task in page.tasks]
    assert back.before is None
    return [task.id for page in pages for task in page.tasks]


@pytest.mark.parametrize("chunk", [7, 20_000])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("sort", ["id", "begun", "duration"])
def test_every_order_goes_through_all_tasks_page_by_page(many, monkeypatch, sort, down, chunk):
    monkeypatch.setattr("pipelet.statusdb.browsing._CHUNK", chunk)
    rows = {task.id: task for task in task_page(many, 1, Choice(), 1000).tasks}
    assert len(rows) == 495

    def key(number):
        value = {"id": number, "begun": rows[number].begun, "duration": rows[number].seconds}[sort]
        missing = value is None
        return (missing != down, 0 if missing else value, number)

    assert walk(many, Choice(sort=sort, down=down)) == sorted(rows, key=key, reverse=down)


def test_older_versions_and_failures_and_a_search(many):
    assert walk(many, Choice(version="superseded"), 2) == [7, 107, 207, 307, 407]
    assert walk(many, Choice(status=3), 3) == list(range(50, 501, 50))
    assert walk(many, Choice(status=1), 3) == []
    assert walk(many, Choice(search="N_5"), 4) == [5, *range(50, 60), 500]


def test_a_search_that_takes_too_long_gives_what_it_has_and_goes_on_from_there(many, monkeypatch):
    monkeypatch.setattr("pipelet.statusdb.browsing._CHUNK", 50)
    first = task_page(many, 1, Choice(search="in_12"), 10, patience=0)
    assert first.gave_up
    assert [task.id for task in first.tasks] == [12]
    found, page = [task.id for task in first.tasks], first
    while page.after:
        page = task_page(many, 1, Choice(search="in_12"), 10, after=page.after, patience=0)
        found += [task.id for task in page.tasks]
    assert found == [12, *range(120, 130)]
    assert task_page(many, 1, Choice(sort="duration"), 10, patience=0).gave_up


def test_children_are_found_by_their_parents(many):
    found, whole = children(many, 3, [1], 1000, 5.0)
    assert whole
    assert [task.id for task, _ in found] == [n for n in range(1, 501) if n % 7 == 3 and n % 100 != 7]
    assert children(many, 3, [1], 10, 5.0)[1] is False


# -- one task ------------------------------------------------------------------------------------------------------


def test_one_task(shop):
    page = shop.get("task/1").text
    assert "makephantom" in page
    assert "&#39;Lancelot&#39;" in page
    assert "secret" in page
    assert "made Lancelot" in page
    assert 'href="/p/knights/task/3"' in page
    assert 'action="/p/knights/do/rerun"' in page
    assert shop.get("task/99").status == shop.get("task/x").status == shop.get(f"task/{'9' * 30}").status == 404


def test_a_failed_task_shows_its_error_and_what_ran_before_it(shop):
    page = shop.get("task/8").text
    assert "no &lt;b&gt;shrubbery&lt;/b&gt;" in page
    assert "<b>shrubbery" not in page
    assert "What ran before it" in page
    assert 'href="/p/knights/task/2"' in page
    assert "do/rerun" not in page


def test_a_reader_sees_no_buttons_that_change_something(shop):
    guest = shop.site.browser("guest")
    page = guest.get("/p/knights/task/1")
    assert page.status == 200
    assert "/do/" not in page.text


def test_the_log_at_either_end(shop):
    (log,) = shop.prefix.glob("make_*/log/1.log")
    log.write_text("".join(f"<i>line {number}</i>\n" for number in range(100)))
    page = shop.get("task/1").text
    assert "&lt;i&gt;line 99&lt;/i&gt;" in page
    assert "line 10&" not in page
    assert "/p/knights/log_of/1" in page
    assert "&lt;i&gt;line 0&lt;/i&gt;" in shop.get("log_of/1").text
    log.unlink()
    assert shop.get("log_of/1").status == 404


def test_a_directory_that_is_gone_is_no_error(shop):
    shop.places["Lancelot"].rmdir()
    page = shop.get("task/1")
    assert page.status == 200
    assert "Its files are not on disk any more" in page.text
    assert "It left no files" not in page.text
    assert "Download all" not in page.text
    assert shop.get(f"products/{shop.make}?view=gallery").status == 200
    assert shop.get("file/1/").status == 404


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_folder_and_its_files(shop):
    place = shop.places["Lancelot"]
    (place / "sub").mkdir()
    (place / "sub" / "a.txt").write_text("first\nsecond\n")
    (place / "z.txt").write_text("")
    page = shop.get("file/1/").text
    assert 'href="/p/knights/file/1/sub"' in page
    page = shop.get("file/1/sub").text
    assert 'href="/p/knights/file/1/sub/a.txt"' in page
    page = shop.get("file/1/sub/a.txt").text
    assert "first\nsecond\n" in page
    assert 'href="/p/knights/raw/1/sub/a.txt?download=1"' in page


def test_previous_and_next_of_an_image_are_images(shop):
    for name in ("a.png", "b.txt", "c.png"):
        if name.endswith("png"):
            Image.new("RGB", (4, 4)).save(shop.places["Lancelot"] / name)
        else:
            (shop.places["Lancelot"] / name).write_text("x")
    page = shop.get("file/1/a.png").text
    assert re.search(r'rel="next" href="/p/knights/file/1/c.png"', page)
    assert 'rel="prev"' not in page
    assert re.search(r'rel="prev" href="/p/knights/file/1/a.png"', shop.get("file/1/b.txt").text)


@pytest.mark.parametrize("name", ["a b.txt", "é.txt", "a%2e.txt", "q?x#y.txt", "new\nline.txt", "<b>.txt", "'\".txt"])
def test_files_of_any_name_have_a_page(shop, name):
    (shop.places["Lancelot"] / name).write_text("what is in it")
    page = shop.get("task/1").text
    address = f"/p/knights/file/1/{quote(name)}"
    assert f'href="{address}"' in page
    assert "what is in it" in shop.ada.get(address).text
    assert "<b>" not in page


def test_a_name_that_is_no_utf8_has_a_page(shop):
    with open(os.fsencode(shop.places["Lancelot"]) + b"/\xe9t\xe9.txt", "w") as file:
        file.write("what is in it")
    assert 'href="/p/knights/file/1/%E9t%E9.txt"' in shop.get("task/1").text
    assert "what is in it" in shop.get("file/1/%E9t%E9.txt").text
    assert shop.get("raw/1/%E9t%E9.txt").body == b"what is in it"


def test_the_bytes_also_a_part_of_them(shop):
    (shop.places["Lancelot"] / "a.bin").write_bytes(bytes(range(256)) * 100)
    whole = shop.get("raw/1/a.bin")
    assert whole.body == bytes(range(256)) * 100
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-length"] == "25600"
    part = shop.get("raw/1/a.bin", Range="bytes=250-259")
    assert part.status == 206
    assert part.body == bytes(range(250, 256)) + bytes(range(4))
    assert part.headers["content-range"] == "bytes 250-259/25600"
    assert shop.get("raw/1/a.bin", Range="bytes=99999-").status == 416
    assert shop.get("raw/1/a.bin", Range="bytes=" + ",".join(["0-"] * 50)).status == 200
    head = shop.ada.request("HEAD", "/p/knights/raw/1/a.bin")
    assert (head.status, head.headers["content-length"]) == (200, "25600")


def test_a_text_is_sent_as_it_is(shop):
    (shop.places["Lancelot"] / "a.txt").write_bytes("é".encode("latin-1") * 10)
    answer = shop.get("raw/1/a.txt")
    assert answer.body == b"\xe9" * 10
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("size", ["", "huge"])
def test_a_thumbnail_of_what_is_no_picture(shop, size):
    (shop.places["Lancelot"] / "a.txt").write_text("x")
    assert shop.get("thumb/1/a.txt").status == 404
    assert shop.get(f"thumb/1/a.txt?size={size}").status == 400


# -- archives ------------------------------------------------------------------------------------------------------


def test_an_archive_of_some_tasks(shop):
    (shop.places["Lancelot"] / "sub").mkdir()
    (shop.places["Lancelot"] / "sub" / "a.txt").write_text("a")
    (shop.places["Arthur"] / "b.txt").write_text("bb")
    page = shop.get("zip?task=1&task=2").text
    assert "<dd>2</dd>" in page
    assert "3\xa0B" in page
    (address,) = re.findall(r'class="button primary" href="([^"]+)"', page)
    answer = shop.ada.get(address.replace("&amp;", "&"))
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        names = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        assert names["1_Lancelot/sub/a.txt"] == b"a"
        assert names["2_Arthur/b.txt"] == b"bb"
        assert b"2 files of 2 tasks" in archive.read("MANIFEST.txt")
    alone = shop.ada.get(re.sub(r"[?&;]+task=2", "", address.replace("&amp;", "&")))
    with zipfile.ZipFile(io.BytesIO(alone.body)) as archive:
        assert b"1 file of 1 task:" in archive.read("MANIFEST.txt")


def test_an_archive_of_a_page(shop):
    assert "<dd>2</dd>" in shop.get("zip?page=1,2&task=1").text
    for query in ("", "?page=", "?task="):
        assert shop.get(f"zip{query}").status == 400
    assert shop.get("zip?task=99").status == shop.get("zip?page=1,x").status == 404
    assert shop.get("zip?page=" + ",".join(map(str, range(300)))).status == 400


def test_the_head_of_an_archive_makes_none(shop):
    assert shop.ada.request("HEAD", "/p/knights/zip?task=1&go=1").body == b""


# -- scale ---------------------------------------------------------------------------------------------------------


def test_large_values_are_not_read_for_a_page(shop):
    import sqlite3

    connection = sqlite3.connect(shop.prefix / ".sqlstatus")
    import msgpack

    large = msgpack.packb([pickle.dumps(b"x" * (9 << 20))])
    connection.execute("UPDATE task SET output = ? WHERE id = 1", (large,))
    middle = msgpack.packb([pickle.dumps(list(range(100_000)))])
    connection.execute("UPDATE task SET output = ? WHERE id = 2", (middle,))
    connection.commit()
    connection.close()
    assert "Too large to be shown: 9.44" in shop.get("task/1").text
    page = shop.get("task/2").text
    assert "99,800" not in page
    assert "more" in page
    assert len(page) < 200_000
    assert json.dumps("100,000")[1:-1] in page


def test_the_number_of_a_relative_is_not_passed_off_as_its_input(shop):
    page = shop.get("task/1").text
    kin = page.split("What was made of its output", 1)[1]
    assert re.search(r'<th class="num">Task</th><th>Input</th>', kin)
    assert re.search(r'task/3">3</a></td>\s*<td class="wrap">Lancelot_0</td>', kin)
    assert re.search(r"<h1>Task 1 <span[^>]*>Lancelot</span>", page)
