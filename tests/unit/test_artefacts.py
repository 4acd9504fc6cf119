"""A model's folder comes back as it was written, and nothing else is taken for one."""

import json
import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from chargewatch.artefacts.folder import ArtefactError, read_artefact, read_weights, write_artefact
from chargewatch.artefacts.weights import decode, encode
from tests.artefacts import GRAPH, HASH, manifest, weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artefact(tmp_path / "model", manifest(), GRAPH, weights())
    return tmp_path / "model"


def altered(folder: Path, **changed: object) -> None:
    """Changes fields of the manifest as someone would who can write the file."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def resealed(folder: Path, name: str, data: bytes) -> None:
    """Puts another file in place, with a manifest that names it."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    files[name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    altered(folder, files=files)


def test_what_was_written_comes_back(folder: Path) -> None:
    artefact = read_artefact(folder, HASH)
    assert artefact.graph == GRAPH
    assert artefact.manifest.model_version == "1.2.3"
    assert artefact.manifest.tensors == {"inlet.weight": (2, 3), "outlet.bias": (1,)}
    back = read_weights(folder, artefact.manifest)
    assert {name: array.tolist() for name, array in back.items()} == {
        name: array.tolist() for name, array in weights().items()
    }


def test_the_same_model_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_artefact(tmp_path / "again", manifest(), GRAPH, dict(reversed(weights().items())))
    for name in ("manifest.json", "model.onnx", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_model_for_other_features_is_refused(folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"made for other features .* train it anew"):
        read_artefact(folder, "0" * 64)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=f"{name}: No such file"):
        read_artefact(folder, HASH)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_links_and_devices_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(ArtefactError, match=name):
        read_artefact(folder, HASH)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ArtefactError, match="no plain file"):
        read_artefact(folder, HASH)


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(GRAPH[:-1] + b"!")
    with pytest.raises(ArtefactError, match="not the file that the manifest names"):
        read_artefact(folder, HASH)
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(data))
    resealed(folder, "model.onnx", GRAPH)
    with pytest.raises(ArtefactError, match="not the file that the manifest names"):
        read_weights(folder, read_artefact(folder, HASH).manifest)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"model.onnx": {"bytes": 1, "sha256": ""}},
        {"../model.onnx": {"bytes": 1, "sha256": ""}, "weights.safetensors": {"bytes": 1, "sha256": ""}},
        {
            "model.onnx": {"bytes": 1, "sha256": ""},
            "weights.safetensors": {"bytes": 1, "sha256": ""},
            "/etc/passwd": {"bytes": 1, "sha256": ""},
        },
    ],
)
def test_other_files_than_ours_are_refused(folder: Path, files: dict[str, object]) -> None:
    altered(folder, files=files)
    with pytest.raises(ArtefactError, match=r"must name exactly model\.onnx, weights\.safetensors"):
        read_artefact(folder, HASH)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", "[" * 100_000, '{"format": 1}', "\x00", '{"format": "1"}'],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        read_artefact(folder, HASH)


def test_a_manifest_of_another_format_or_with_more_fields_is_refused(folder: Path) -> None:
    altered(folder, surprise=1)
    with pytest.raises(ArtefactError, match="surprise"):
        read_artefact(folder, HASH)
    write_artefact(folder, manifest(format=2), GRAPH, weights())
    with pytest.raises(ArtefactError, match="format 2; this version reads 1"):
        read_artefact(folder, HASH)


@pytest.mark.parametrize(
    ("levels", "scores"),
    [
        ([1.0], [0.0]),
        ([1.0, 0.1], [0.0]),
        ([0.1, 1.0], [0.0, 1.0]),
        ([1.0, 0.1], [1.0, 0.0]),
        ([1.0, 0.0], [0.0, 1.0]),
        ([1.0, 0.1], [0.0, 1e999]),
    ],
)
def test_a_calibration_that_is_none_is_refused(
    folder: Path, levels: list[float], scores: list[float]
) -> None:
    altered(folder, strata=[{"name": "all", "sessions": 1, "levels": levels, "scores": scores}])
    with pytest.raises(ArtefactError, match=r"calibration|manifest"):
        read_artefact(folder, HASH)


def test_a_large_manifest_is_not_read(folder: Path) -> None:
    with (folder / "manifest.json").open("ab") as file:
        file.write(b" " * (1 << 20))
    with pytest.raises(ArtefactError, match="at most 1048576 are read"):
        read_artefact(folder, HASH)


# ------------------------------------------------------------------------------------------ weights


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
FOUR = np.array([1.0], np.float32).tobytes()


def test_weights_come_back() -> None:
    assert decode(safetensors({"w": ONE, "__metadata__": {"a": "b"}}, FOUR), {"w": (1,)}, "w").keys() == {"w"}
    assert decode(encode(weights()), {"inlet.weight": (2, 3), "outlet.bias": (1,)}, "w")["outlet.bias"] == 0.5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        safetensors({"w": ONE}, FOUR, length=2**63),
        safetensors({"w": ONE}, FOUR, length=10_000),
        safetensors(b"{" * 5_000),
        safetensors([ONE], FOUR),
        safetensors({"other": ONE}, FOUR),
        safetensors({}, FOUR),
        safetensors({"w": ONE, "more": ONE}, FOUR),
        safetensors({"w": 5}, FOUR),
        safetensors({"w": ONE | {"dtype": "F64"}}, FOUR * 2),
        safetensors({"w": ONE | {"shape": [2]}}, FOUR * 2),
        safetensors({"w": ONE | {"data_offsets": [0, 8]}}, FOUR),
        safetensors({"w": ONE | {"data_offsets": [4, 8]}}, FOUR),
        safetensors({"w": ONE | {"data_offsets": [-4, 0]}}, FOUR),
        safetensors({"w": ONE | {"data_offsets": [0.0, 4.0]}}, FOUR),
        safetensors({"w": ONE | {"data_offsets": None}}, FOUR),
        safetensors({"w": ONE}, np.array([np.nan], np.float32).tobytes()),
        safetensors({"w": ONE}, np.array([np.inf], np.float32).tobytes()),
    ],
)
def test_hostile_weights_are_refused(data: bytes) -> None:
    with pytest.raises(ArtefactError, match="w"):
        decode(data, {"w": (1,)}, "w")
