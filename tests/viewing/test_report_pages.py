"""The report as the viewer serves it, and what its links and the command open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from catnip2bids import report, view
from catnip2bids.errors import UsageError
from viewed import KO, RAW, Answer, ask, cohort, dataset, layers, own_dataset, tiff_dataset

__all__ = ["cohort", "dataset", "own_dataset", "tiff_dataset"]

IMAGE = f"{KO}_SPIM.ome.zarr"
HEATMAP = f"{KO}_space-CATNIP_desc-heatmap15000_SPIM.ome.zarr"


@pytest.fixture(scope="module")
def reported(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a report."""
    copy = Path(shutil.copytree(dataset, tmp_path_factory.mktemp("reported") / "dataset"))
    report(copy)
    return copy


def state_behind(answer: Answer, root: str) -> str:
    """Return the path of the state that an answer leads to."""
    assert answer.status == 302
    page, _, state = answer.headers["location"].partition("#!")
    assert page.startswith(root)
    return state.removeprefix(root)


def test_the_list_of_scenes_leads_to_the_report(reported: Path, own_dataset: Path) -> None:
    with view(reported) as viewing:
        assert 'href="report/index.html"' in ask(viewing, "").body.decode()
        answer = ask(viewing, "report/index.html")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        sample = ask(viewing, f"report/{KO}.html").body
    on_disk = (reported / f"docs/report/{KO}.html").read_bytes()
    assert sample.replace(b'\n<meta name="catnip2bids-viewer" content="../">', b"", 1) == on_disk
    with view(own_dataset) as viewing:
        assert "report/" not in ask(viewing, "").body.decode()
        assert ask(viewing, "report/index.html").status == 404


def test_pages_of_the_report_may_load_nothing(reported: Path) -> None:
    with view(reported) as viewing:
        policy = ask(viewing, "report/index.html").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.parametrize(
    "name", ["verification.json", "x.html", "", "..%2findex.html", "sub-x.html", "sub-1/../index.html"]
)
def test_nothing_else_is_served_as_a_report(reported: Path, name: str) -> None:
    with view(reported) as viewing:
        assert ask(viewing, f"report/{name}").status == 404


def test_a_report_that_is_a_link_out_of_the_dataset_is_not_served(own_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>secret</title>")
    (own_dataset / "docs/report").mkdir(parents=True, exist_ok=True)
    (own_dataset / "docs/report/index.html").symlink_to(tmp_path / "index.html")
    with view(own_dataset) as viewing:
        assert ask(viewing, "report/index.html").status == 404


def test_a_place_is_opened_where_it_is(dataset: Path) -> None:
    with view(dataset) as viewing:
        path = state_behind(ask(viewing, f"open/{IMAGE}/27,60,10"), viewing.list_url)
        found = json.loads(ask(viewing, path).body)
        whole = json.loads(ask(viewing, state_behind(ask(viewing, f"open/{IMAGE}"), viewing.list_url)).body)
        middle = json.loads(ask(viewing, "v/0/state.json").body)
    assert found["position"] == [27, 60, 10]
    assert whole == middle
    assert found | {"position": middle["position"]} == middle


def test_an_image_that_is_hidden_at_first_is_shown_where_it_is_asked_for(dataset: Path) -> None:
    with view(dataset) as viewing:
        path = state_behind(ask(viewing, f"open/{HEATMAP}"), viewing.list_url)
        heat = json.loads(ask(viewing, path).body)["layers"]
        path = state_behind(ask(viewing, f"open/{KO}_desc-FRST_SPIM.ome.zarr"), viewing.list_url)
        native = json.loads(ask(viewing, path).body)["layers"]
    assert [layer["name"] for layer in heat if layer["visible"]] == ["heat map, threshold 15000"]
    visible = [layer["name"] for layer in native if layer["visible"]]
    assert {"image, cFos", "cell filter (FRST)", "atlas regions"} <= set(visible)


@pytest.mark.parametrize(
    "path",
    [
        "open",
        "open/x",
        f"open/{IMAGE}/1,2",
        f"open/{IMAGE}/1,2,3,4",
        f"open/{IMAGE}/1,2,%0d%0aX:y",
        f"open/{IMAGE}/1,2,3/4",
        "v/0/0/x.json",
        "v/0/99/state.json",
        "v/99/0/state.json",
        "v/0/0/-1,2,3.json",
    ],
)
def test_other_places_are_none(dataset: Path, path: str) -> None:
    with view(dataset) as viewing:
        assert ask(viewing, path).status == 404


def test_the_command_opens_a_place(dataset: Path) -> None:
    for image in (IMAGE, f"{RAW}.ome.zarr", str(dataset / f"{RAW}.ome.zarr/")):
        with view(dataset, image=image, position=(27, 60, 10)) as viewing:
            path = urlsplit(viewing.url).path
            assert state_behind(ask(viewing, path), viewing.list_url) == "v/0/0/27,60,10.json"
    with view(dataset, image=IMAGE) as viewing:
        assert state_behind(ask(viewing, urlsplit(viewing.url).path), viewing.list_url) == "v/0/0/state.json"
    for image in (IMAGE, f"{KO}_desc-FRST_SPIM.ome.zarr", HEATMAP):
        with view(dataset, image=image) as viewing:
            assert viewing.napari_command.endswith(f"/{image}")
    with view(dataset / f"{RAW}.ome.zarr", position=(71, 79, 23)) as viewing:
        assert state_behind(ask(viewing, urlsplit(viewing.url).path), viewing.list_url) == "v/0/0/71,79,23.json"


def test_a_place_that_is_not_there_is_refused(dataset: Path) -> None:
    refused = {
        "has several samples; say which image the position is in: --image": {"position": (1, 2, 3)},
        "--image x: is not an image of": {"image": "x"},
        "--position 72 0 0: is outside of .*, which has 72 x 80 x 24 voxels": {"image": IMAGE, "position": (72, 0, 0)},
        "--position 0 -1 0: is outside of": {"image": IMAGE, "position": (0, -1, 0)},
    }
    for words, place in refused.items():
        with pytest.raises(UsageError, match=words):
            view(dataset, **place)  # type: ignore[arg-type]  # one dictionary for both


def test_surfaces_are_served_for_labels_of_ome_zarr(dataset: Path, tiff_dataset: Path) -> None:
    with view(dataset) as viewing:
        atlas = layers(viewing)["atlas regions"]
        path = atlas["source"][2].removeprefix(viewing.list_url).partition("|")[0]
        assert json.loads(ask(viewing, f"{path}info").body)["@type"] == "neuroglancer_multilod_draco"
        shard = ask(viewing, f"{path}0.shard", Range="bytes=0-15")
        assert (shard.status, len(shard.body)) == (206, 16)
        for other in ("x", "", "0.shard/"):
            assert ask(viewing, f"{path}{other}").status == 404
        assert ask(viewing, "surfaces/0/0/info").status == 404  # the image
        assert ask(viewing, "surfaces/0/99/info").status == 404
    with view(tiff_dataset) as viewing:
        assert len(layers(viewing)["atlas regions"]["source"]) == 2
