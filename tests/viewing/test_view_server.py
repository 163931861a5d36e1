"""What the server gives away, and to whom."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import imagecodecs
import numpy as np
import pytest

from catnip2bids import Viewing, view
from catnip2bids.errors import UsageError
from catnip2bids.viewing.cell_points import annotation_files
from runs import Collector, level
from viewed import CELL_LAYERS, KO, RAW, ask, cohort, data_path, dataset, layers, own_dataset

__all__ = ["cohort", "dataset", "own_dataset"]


@pytest.fixture(scope="module")
def viewing(dataset: Path) -> Iterator[Viewing]:
    with view(dataset) as opened:
        yield opened


@pytest.fixture(scope="module")
def raw(viewing: Viewing) -> str:
    return data_path(viewing, layers(viewing)["image, cFos"])


def test_files_of_images_come_as_they_are(dataset: Path, viewing: Viewing, raw: str) -> None:
    for file in filter(Path.is_file, (dataset / f"{RAW}.ome.zarr").rglob("*")):
        answer = ask(viewing, raw + file.relative_to(dataset / f"{RAW}.ome.zarr").as_posix())
        assert (answer.status, answer.body) == (200, file.read_bytes())
        assert answer.headers["content-length"] == str(file.stat().st_size)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-20", slice(5, 21)),
        ("bytes=7-", slice(7, None)),
        ("bytes=-9", slice(-9, None)),
        ("bytes=3-99999999", slice(3, None)),
        ("bytes=-99999999", slice(0, None)),
    ],
)
def test_ranges(dataset: Path, viewing: Viewing, raw: str, asked: str, expected: slice) -> None:
    content = (dataset / f"{RAW}.ome.zarr/zarr.json").read_bytes()
    answer = ask(viewing, f"{raw}zarr.json", Range=asked)
    assert (answer.status, answer.body) == (206, content[expected])
    start, stop, _ = expected.indices(len(content))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=9-5", "bytes=-0"])
def test_ranges_that_are_empty(viewing: Viewing, raw: str, asked: str) -> None:
    answer = ask(viewing, f"{raw}zarr.json", Range=asked)
    assert answer.status == 416
    assert answer.headers["content-range"].startswith("bytes */")


@pytest.mark.parametrize("asked", ["bytes=a-b", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=" + "9" * 5000 + "-"])
def test_ranges_that_are_none_are_ignored(viewing: Viewing, raw: str, asked: str) -> None:
    assert ask(viewing, f"{raw}zarr.json", Range=asked).status == 200


def test_head_has_the_size_and_no_body(dataset: Path, viewing: Viewing, raw: str) -> None:
    answer = ask(viewing, f"{raw}zarr.json", "HEAD", Range="bytes=0-0")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str((dataset / f"{RAW}.ome.zarr/zarr.json").stat().st_size)
    assert ask(viewing, f"{raw}0/c/99/0/0", "HEAD").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "0/c/99/0/0",
        "",
        "0",
        "../zarr.json",
        "../../participants.tsv",
        "%2e%2e/%2e%2e/participants.tsv",
        "..%2f..%2fparticipants.tsv",
        "0/../../x",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "zarr.json%00",
        "\\..\\x",
    ],
)
def test_what_is_not_in_the_image_is_not_there(viewing: Viewing, raw: str, path: str) -> None:
    assert ask(viewing, raw + path).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "images",
        "images/99/zarr.json",
        "images/%C2%B2/zarr.json",
        "images/" + "9" * 5000 + "/zarr.json",
        "v/99",
        "v/99/",
        "v/0/x.js",
        "v/0/..%2f__init__.py",
        "regions/0/99/info",
        "regions/0/2/x",
        "cells",
        "cells/0/99/info",
        "cells/0/0/",
        "cells/0/0/x",
        "cells/0/0/../info",
        "cells/99/0/info",
        "thumbnails/99",
        "thumbnails/x",
        "events/99",
        "/",
        "/x/",
        "/favicon.ico",
    ],
)
def test_other_addresses_are_none(viewing: Viewing, path: str) -> None:
    assert ask(viewing, path).status == 404


def test_links_are_followed_only_inside_of_the_dataset(own_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    image = own_dataset / f"{RAW}.ome.zarr"
    (image / "outside").symlink_to(tmp_path / "secret")
    (image / "folder").symlink_to(tmp_path)
    (image / "circle").symlink_to(image / "circle")
    (image / "inside").symlink_to(own_dataset / "participants.tsv")
    os.mkfifo(image / "pipe")
    with view(own_dataset) as viewing:
        raw = data_path(viewing, layers(viewing)["image, cFos"])
        for name in ("outside", "folder/secret", "circle", "pipe"):
            assert ask(viewing, raw + name).status == 404, name
        assert ask(viewing, raw + "inside").body == (own_dataset / "participants.tsv").read_bytes()


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "127.0.0.1.example.org", "", "[", "10.0.0.1"])
def test_pages_from_elsewhere_get_nothing(viewing: Viewing, raw: str, host: str) -> None:
    assert ask(viewing, f"{raw}zarr.json", Host=host).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:8000", "[::1]:9"])
def test_addresses_in_answers_are_those_that_were_asked_for(viewing: Viewing, host: str) -> None:
    secret = urlsplit(viewing.list_url).path
    answer = ask(viewing, "v/0", Host=host)
    assert answer.status == 302
    assert answer.headers["location"].startswith(f"http://{host}{secret}v/0/#!http://{host}{secret}v/0/state.json")
    assert f'"http://{host}{secret}images/0/|zarr3:"'.encode() in ask(viewing, "v/0/state.json", Host=host).body


def test_who_does_not_know_the_secret_gets_nothing(viewing: Viewing) -> None:
    assert ask(viewing, "/").status == 404
    assert ask(viewing, "/guessed/v/0/").status == 404
    assert "access-control-allow-origin" not in ask(viewing, "").headers


def test_every_answer_keeps_the_browser_from_asking_elsewhere(viewing: Viewing, raw: str) -> None:
    for path in ("", "v/0/", f"{raw}zarr.json", "nothing"):
        headers = ask(viewing, path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


def test_other_methods_are_refused(viewing: Viewing, raw: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert ask(viewing, f"{raw}zarr.json", method).status == 501


def test_a_port_in_use_is_named(dataset: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use"):
            view(dataset, port=port)


def test_nobody_listens_when_it_is_closed(dataset: Path) -> None:
    with view(dataset) as viewing:
        port = viewing.port
        assert viewing.url == viewing.list_url  # two animals
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_cells_come_in_ranges_as_the_table_has_them(viewing: Viewing) -> None:
    cells = layers(viewing)[CELL_LAYERS[0]]
    path = cells["source"].removeprefix(viewing.list_url).partition("|")[0]
    files = annotation_files(viewing.scenes[0].cells[0].table)
    assert ask(viewing, f"{path}info").headers["content-type"] == "application/json"
    for name, content in files.items():
        answer = ask(viewing, path + name, Range="bytes=8-23")
        assert (answer.status, answer.body) == (206, content[8:24])


def test_a_table_of_cells_that_cannot_be_read_is_named(own_dataset: Path) -> None:
    collector = Collector()
    table = next(own_dataset.rglob(f"{KO}_desc-FRSTseg10000_cells.tsv.gz"))
    table.write_bytes(b"x")
    with view(own_dataset, progress=collector) as viewing:
        cells = layers(viewing)[CELL_LAYERS[0]]
        assert ask(viewing, cells["source"].removeprefix(viewing.list_url).partition("|")[0] + "info").status == 500
        assert ask(viewing, f"{data_path(viewing, layers(viewing)['image, cFos'])}zarr.json").status == 200
    assert any(str(table) in warning for warning in collector.warnings)


def test_missing_tables_and_links_out_of_the_dataset_are_named(own_dataset: Path, tmp_path: Path) -> None:
    collector = Collector()
    counted = next(own_dataset.rglob(f"{KO}_desc-FRSTseg10000_cells.tsv.gz"))
    uncounted = counted.with_name(counted.name.replace("_cells", "_uncounted"))
    counted.unlink()
    uncounted.rename(tmp_path / "elsewhere.tsv.gz")
    uncounted.symlink_to(tmp_path / "elsewhere.tsv.gz")
    with view(own_dataset, progress=collector) as viewing:
        assert not {*CELL_LAYERS[:2]} & layers(viewing).keys()
    warnings = "\n".join(collector.warnings)
    assert f"is not shown: {counted}: does not exist" in warnings
    assert f"is not shown: {uncounted}: is a link out of" in warnings


def test_the_list_has_a_picture_of_each_scene(dataset: Path, viewing: Viewing) -> None:
    page = ask(viewing, "").body.decode()
    for number in range(len(viewing.scenes)):
        assert f'src="thumbnails/{number}"' in page
        answer = ask(viewing, f"thumbnails/{number}")
        assert answer.headers["content-type"] == "image/webp"
        assert imagecodecs.webp_decode(answer.body).max() > 50
    pixels = imagecodecs.webp_decode(ask(viewing, "thumbnails/0").body)
    smallest = level(dataset / f"{RAW}.ome.zarr", 1)
    assert pixels.shape[:2] == smallest.shape[1:]
    middle = smallest[len(smallest) // 2].astype(float)
    assert np.corrcoef(middle.ravel(), pixels[..., 0].ravel())[0, 1] > 0.9


def test_pictures_of_heat_maps_have_their_colours(viewing: Viewing) -> None:
    scene = next(number for number, scene in enumerate(viewing.scenes) if "heat maps" in scene.title)
    red, green, blue = np.moveaxis(imagecodecs.webp_decode(ask(viewing, f"thumbnails/{scene}").body).astype(int), 2, 0)
    is_warm = red > 100
    assert is_warm.any()
    assert (red[is_warm] - blue[is_warm]).max() > 50
    assert (red[is_warm] >= green[is_warm] - 10).all()


def test_the_client_loads_the_search_of_names(viewing: Viewing) -> None:
    assert b'<script defer src="client.js"></script>' in ask(viewing, "v/0/").body
    assert ask(viewing, "v/0/client.js").headers["content-type"] == "text/javascript"
