"""`register=NAME`: a version that MLflow's own server answers with, and that `predict` finds by its alias."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from command_line import depthbox
from local_cluster import free_port
from PIL import Image

from depthbox.inference.served import _load_pyfunc, servable
from depthbox.tracking.models import register_model

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = [
    *("data.train.images=train", "data.train.annotations=boxes_train.json", "data.val.images=val", "data.val.annotations=masks_val.json"),
    *("data.views.short_side=64", "data.views.max_side=96", "data.processes=0", "model.backbone=mobilenetv3_small_050", "model.weights=none"),
    *("model.channels=16", "model.head_depth=1", "model.mask_width=16", "schedule.steps=2", "batch_size=2", "depth.source=none", "launcher=local"),
    *("device=cpu", "schedule.precision=float32", "--json"),
]  # fmt: skip


@pytest.fixture(scope="module")
def registered(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder; its store is mlflow.db in it."""
    out = tmp_path_factory.mktemp("registered") / "run"
    answer = depthbox("train", "box_depth", f"data.root={data}", *WORDS, f"out={out}", "register=shapes")
    assert answer.status == 0, answer.err
    assert (answer.json["registered"], answer.json["champion"]) == ("models:/shapes/1", True)
    return out


@pytest.fixture(scope="module")
def shapes(trained: Path, store: str) -> str:
    """The model that sees something, as models:/good@champion of `store`."""
    run_id = json.loads((trained / "run.json").read_text())["run_id"]
    version = register_model("good", servable(trained / "model.safetensors"), uri=store, run_id=run_id)
    assert version.champion
    return "models:/good@champion"


def uri(run: Path) -> str:
    return f"sqlite:///{run / 'mlflow.db'}"


def test_the_same_command_again_makes_no_second_version_and_the_champion_stays(registered: Path, data: Path) -> None:
    words = ["train", "box_depth", f"data.root={data}", *WORDS, "register=shapes"]
    again = depthbox(*words, f"out={registered}")
    assert again.json["registered"] == "models:/shapes/1"
    other = depthbox(*words, f"out={registered.with_name('other')}", "seed=1", f"tracking.uri={uri(registered)}")
    assert (other.json["registered"], other.json["champion"]) == ("models:/shapes/2", False)


def test_nothing_in_a_version_is_a_pickle(registered: Path) -> None:
    servable, *_ = (registered / "mlartifacts").rglob("servable")
    files = [path for path in servable.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"MLmodel", "model.safetensors", "served.py"}
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    assert "depthbox.inference.served" in (servable / "MLmodel").read_text()


def test_predict_finds_a_version_by_alias_and_by_number(
    shapes: str, trained: Path, store: str, data: Path, tmp_path: Path
) -> None:
    found = {}
    for place in (str(trained), shapes, "models:/good/1"):
        out = tmp_path / str(len(found))
        words = ["--out", out, "score=0.1", "overlays=no", "device=cpu", f"tracking.uri={store}"]
        answer = depthbox("predict", place, data / "val", *words)
        assert answer.status == 0, answer.err
        assert "Downloading" not in answer.err
        found[place] = (out / "detections.json").read_text()
    assert len(set(found.values())) == 1 and len(found[shapes]) > 100
    wrong = depthbox("predict", "models:/good@rival", data / "val", "--out", tmp_path / "no", f"tracking.uri={store}")
    assert wrong.status == 1 and "models:/good@rival: no such model in" in wrong.fault


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["register="], "takes a name"),
        (["register=a/b"], "takes a name without"),
        (["register=a", "register=b"], "given twice"),
        (["register=a", "tracking.uri=none"], "a model is registered in a tracking store"),
    ],
)
def test_bad_names_are_refused_before_anything_is_trained(
    words: list[str], said: str, data: Path, tmp_path: Path
) -> None:
    answer = depthbox("train", "box_depth", f"data.root={data}", *WORDS, f"out={tmp_path / 'o'}", *words)
    assert answer.status == 2 and said in answer.fault
    assert not (tmp_path / "o").exists()


@contextmanager
def served(model: str, store: str, folder: Path) -> Iterator[str]:
    """The address of `mlflow models serve` with this model, once it answers."""
    port = free_port()
    command = [sys.executable, *f"-m mlflow models serve -m {model} --env-manager local -p {port}".split()]
    env = {**os.environ, "MLFLOW_TRACKING_URI": store, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1",
           "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}  # fmt: skip
    env.pop("PYTHONPATH", None)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 400
        while not answers(address):
            assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def asked(address: str, pictures: list[bytes], **params: float) -> requests.Response:
    rows = [[base64.b64encode(picture).decode()] for picture in pictures]
    body = {"dataframe_split": {"columns": ["image"], "data": rows}} | ({"params": params} if params else {})
    return requests.post(f"{address}/invocations", json=body, timeout=120)


def test_queries_are_served_as_they_are_predicted(queries: Path, data: Path, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"image": [(data / "val" / f"{i:03d}.png").read_bytes() for i in range(2)]})
    rows = _load_pyfunc(str(queries / "model.safetensors")).predict(frame, {"score": 0.2})
    words = ["--out", tmp_path, "score=0.2", "overlays=no", "device=cpu"]
    assert depthbox("predict", queries, data / "val", *words).status == 0
    here = [row for row in json.loads((tmp_path / "detections.json").read_text()) if row["image_id"] <= 2]
    assert len(rows) == len(here) >= 2 and {row["image_id"] for row in rows} == {0, 1}


def test_pixels_are_served_as_label_maps(pixels: Path, streets: Path, tmp_path: Path) -> None:
    """The very file that `predict` writes, for every row, also through a window."""
    import pandas as pd

    frame = pd.DataFrame({"image": [(streets / f"val/photos/p_0{i}.png").read_bytes() for i in range(2)]})
    served = _load_pyfunc(str(pixels / "model.safetensors"))
    for window in (0, 32):
        rows = served.predict(frame, {"window": window})
        words = ["--out", tmp_path / str(window), "device=cpu", "overlays=no", f"window={window}"]
        assert depthbox("predict", pixels, streets / "val/photos", *words).status == 0
        wanted = [(tmp_path / f"{window}/label_maps/p_0{i}.png").read_bytes() for i in range(2)]
        assert [base64.b64decode(row["label_map"]) for row in rows] == wanted
        said = json.loads((tmp_path / str(window) / "label_maps.json").read_text())
        assert [row["shares"] for row in rows] == [one["shares"] for one in said["photos"][:2]]
    assert [row["image_id"] for row in json.loads(json.dumps(rows))] == [0, 1] and rows[0]["size"] == [48, 64]
    assert rows[0]["classes"][0] == {"id": 10, "name": "red", "colour": [255, 59, 48]}


@pytest.mark.slow
def test_a_version_of_pixels_takes_a_window(
    pixels: Path, streets: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow loads it, which checks what a request may say."""
    import mlflow.pyfunc
    import pandas as pd

    run_id = json.loads((pixels / "run.json").read_text())["run_id"]
    register_model("pixels", servable(pixels / "model.safetensors"), uri=store, run_id=run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    loaded = mlflow.pyfunc.load_model("models:/pixels@champion")
    frame = pd.DataFrame({"image": [(streets / "val/photos/p_00.png").read_bytes()]})
    (row,) = loaded.predict(frame, params={"window": 32})
    assert row["size"] == [48, 64] and "score" not in str(loaded.metadata.signature.params)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mlflow_serves_it(shapes: str, trained: Path, store: str, data: Path, tmp_path: Path) -> None:
    """A real server, a real request: bytes of a photo in, COCO results out; a file that is no picture is refused in words."""
    pictures = [(data / "val" / f"{i:03d}.png").read_bytes() for i in range(2)]
    with served(shapes, store, tmp_path) as address:
        answer, refused = asked(address, pictures, score=0.1), asked(address, [b"no picture"])
    assert answer.ok, answer.text
    predictions = answer.json()["predictions"]
    assert {row["image_id"] for row in predictions} == {0, 1}
    assert {row["category_id"] for row in predictions} <= {3, 7}
    assert all(row["segmentation"]["size"] == [64, 96] and row["score"] >= 0.1 for row in predictions)
    assert refused.status_code == 400 and "image 0: not an image of a known format" in refused.text
    wanted = tmp_path / "wanted"
    depthbox("predict", trained, data / "val", "--out", wanted, "score=0.1", "overlays=no", "device=cpu")
    here = [row for row in json.loads((wanted / "detections.json").read_text()) if row["image_id"] <= 2]
    assert len(here) == len(predictions)
    with Image.open(data / "val" / "000.png") as photo:
        assert photo.size == (96, 64)
