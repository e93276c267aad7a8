"""Model repositories: layout, versions, and a configuration that says what the file holds."""

import json
import re
import subprocess
import sys
import venv

import onnx
import pytest
from crsae_onnx import ModelFileError
from crsae_onnx.cli import main
from crsae_onnx.convert import convert
from crsae_onnx.file_format import container
from crsae_onnx.serving.triton_repository import config, write_repository

import keras_crsae as kc
from keras_crsae import zoo

TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(-?\d+)|([A-Za-z_]\w*)|([:{}\[\],]))')


def parsed(text):
    """A protobuf text as {name: [values]}; strict: anything else than fields, lists and messages is an error."""
    tokens, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        assert match, f"unexpected text at {text[at:at + 30]!r}"
        tokens.append(match.group().strip())
        at = match.end()
    tokens.append("}")
    made = _message(tokens)
    assert not tokens, f"text after the end: {tokens}"
    return made


def _message(tokens):
    made = {}
    while (name := tokens.pop(0)) != "}":
        assert re.fullmatch(r"[a-z_]+", name), f"no field: {name}"
        if tokens[0] == ":":
            tokens.pop(0)
        made.setdefault(name, []).extend(_values(tokens))
    return made


def _values(tokens):
    token = tokens.pop(0)
    if token == "{":
        return [_message(tokens)]
    if token == "[":
        values = []
        while tokens[0] != "]":
            values += _values(tokens)
            assert tokens[0] in (",", "]")
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        return values
    return [token.strip('"') if token.startswith('"') else int(token) if token.lstrip("-").isdigit() else token]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, seed=0)
    model.build((None, None, 3))
    early = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, tolerance=1e-3, seed=0)
    early.build((None, None, 1))
    return {"plain": convert(model, folder / "plain.onnx", inputs=("signal", "sigma"), about={"name": "My model (1)"}),
            "early": convert(early, folder / "early.onnx"),
            "spikes": convert(early, folder / "spikes.onnx", outputs=("spikes",), spikes=2.0),
            "sorter": zoo.path_of("spikes-single-channel", zoo.ENCODER),  # whitens inside; codes and spikes
            "images": zoo.path_of("denoise-gray", zoo.ENCODER), "model": model}


def test_the_layout_is_tritons_and_versions_are_kept(files, tmp_path, capsys):
    repository = tmp_path / "models"
    assert main(["serve-repo", str(repository), str(files["plain"]), str(files["early"])]) == 0
    assert f"{repository}/My-model-1/1/model.onnx" in capsys.readouterr().out
    made = sorted(p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file())
    assert made == ["My-model-1/1/model.onnx", "My-model-1/config.pbtxt", "README.md", "early/1/model.onnx",
                    "early/config.pbtxt"]
    assert (repository / "early/1/model.onnx").read_bytes() == files["early"].read_bytes()
    readme = (repository / "README.md").read_text()
    assert "tritonserver --model-repository=/models" in readme and "name: my-model-1" in readme
    assert write_repository(repository, [files["early"]]) == {"early": 1}
    other = convert(files["model"], tmp_path / "early.onnx")
    assert write_repository(repository, [other]) == {"early": 2}
    assert (repository / "early/2/model.onnx").read_bytes() == other.read_bytes()
    assert (repository / "early/1/model.onnx").read_bytes() == files["early"].read_bytes()


@pytest.mark.parametrize("name", ["plain", "early", "spikes", "sorter", "images"])
def test_the_configuration_says_what_the_file_takes_and_gives(files, name, tmp_path):
    write_repository(tmp_path, [files[name]], max_batch=16)
    text = next(tmp_path.glob("*/config.pbtxt")).read_text()
    made, proto = parsed(text), onnx.load(files[name])
    batched = name not in ("spikes", "sorter")
    assert made["platform"] == ["onnxruntime_onnx"] and made["max_batch_size"] == [16 if batched else 0]
    kinds = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}
    for side, tensors in (("input", proto.graph.input), ("output", proto.graph.output)):
        assert [t["name"][0] for t in made[side]] == [t.name for t in tensors]
        for written, tensor in zip(made[side], tensors, strict=True):
            dims = [d.dim_value or -1 for d in tensor.type.tensor_type.shape.dim][1 if batched else 0:]
            assert written["data_type"] == [kinds[tensor.type.tensor_type.elem_type]]
            if dims:
                assert written["dims"] == dims and "reshape" not in written
            else:  # a number a signal: Triton has no empty shapes
                assert written["dims"] == [1] and written["reshape"] == [{"shape": []}]
    assert ("dynamic_batching" in made) == (name in ("plain", "images"))
    warm = made["model_warmup"][0]
    assert [i["key"][0] for i in warm["inputs"]] == [t.name for t in proto.graph.input]
    assert made["version_policy"] == [{"latest": [{"num_versions": [1]}]}]


def test_the_warm_up_request_runs(files, tmp_path):
    import numpy as np
    import onnxruntime as ort

    for name in ("plain", "early", "spikes", "sorter", "images"):
        write_repository(tmp_path / name, [files[name]])
        made = parsed(next((tmp_path / name).glob("*/config.pbtxt")).read_text())
        feed = {}
        for tensor in made["model_warmup"][0]["inputs"]:
            dims = tensor["value"][0]["dims"]
            shape = dims if name in ("spikes", "sorter") else ([1] if tensor["key"] == ["sigma"] else [1, *dims])
            feed[tensor["key"][0]] = np.zeros(shape, np.float32)
        session = ort.InferenceSession(str(files[name]), providers=["CPUExecutionProvider"])
        assert all(np.isfinite(made).all() for made in session.run(None, feed))


def test_options_reach_the_configuration(files, tmp_path):
    write_repository(tmp_path, [files["plain"]], delay=0, device="gpu", instances=2, threads=3)
    made = parsed(next(tmp_path.glob("*/config.pbtxt")).read_text())
    assert made["instance_group"] == [{"count": [2], "kind": ["KIND_GPU"]}] and "dynamic_batching" not in made
    assert made["parameters"] == [{"key": ["intra_op_thread_count"], "value": [{"string_value": ["3"]}]}]


def test_a_page_of_the_user_s_own_stays_and_ours_is_renewed(files, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/README.md").write_text("My project")
    write_repository(tmp_path / "mine", [files["early"]])
    assert (tmp_path / "mine/README.md").read_text() == "My project"
    write_repository(tmp_path / "r", [files["early"]])
    write_repository(tmp_path / "r", [files["plain"]])
    text = (tmp_path / "r/README.md").read_text()
    assert "My-model-1, early" in text and "NVIDIA_TF32_OVERRIDE=0" in text
    content, facts = container.read(files["early"])
    digit = tmp_path / "3d.onnx"
    digit.write_bytes(container.pack(container.unpack(content)[0], {**facts, "name": "3D_model"}))
    write_repository(tmp_path / "d", [digit])
    assert "name: model-3d-model" in (tmp_path / "d/README.md").read_text()


def test_unfit_files_and_options_write_nothing(files, tmp_path, capsys):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(files["plain"].read_bytes()[:-3])
    target = tmp_path / "models"
    for wrong, error, words in ((dict(files=[bad]), ModelFileError, "damaged"), (dict(files=[]), ValueError, "No file"),
                                (dict(files=[files["plain"]] * 2), ValueError, "Two files"),
                                (dict(files=[files["plain"]], max_batch=0), ValueError, "max_batch"),
                                (dict(files=[files["plain"]], threads=0), ValueError, "threads"),
                                (dict(files=[files["plain"]], device="tpu"), ValueError, "device")):
        with pytest.raises(error, match=words):
            write_repository(target, **wrong)
    assert not target.exists()
    assert main(["serve-repo", str(target), str(bad)]) == 2 and "bad.onnx" in capsys.readouterr().err


SCHEMA = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
read = [text_format.Parse(open(path).read(), model_config_pb2.ModelConfig()) for path in sys.argv[1:]]
print(json.dumps([json_format.MessageToDict(config, preserving_proto_field_name=True) for config in read]))
"""


@pytest.mark.slow
def test_the_schema_of_nvidias_client_reads_each_configuration(files, tmp_path):
    """In an environment of its own: the client wants an older protobuf than TensorFlow's tools."""
    for name in ("plain", "early", "spikes", "sorter", "images"):
        write_repository(tmp_path / "models", [files[name]], threads=2)
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check",
                    "tritonclient[grpc]"], check=True, timeout=400)
    paths = sorted((tmp_path / "models").glob("*/config.pbtxt"))
    done = subprocess.run([python, "-c", SCHEMA, *map(str, paths)], check=True, capture_output=True, text=True)
    made = {config["name"]: config for config in json.loads(done.stdout)}
    assert sorted(made) == ["My-model-1", "denoise-gray", "early", "spikes", "spikes-single-channel"]
    for path in paths:
        ours, theirs = parsed(path.read_text()), made[path.parent.name]
        for side in ("input", "output"):
            assert [[t["name"][0], t["data_type"][0], [str(d) for d in t["dims"]]] for t in ours[side]] == \
                [[t["name"], t["data_type"], t["dims"]] for t in theirs[side]]
        assert theirs["parameters"]["intra_op_thread_count"]["string_value"] == "2"
        assert theirs["model_warmup"][0]["batch_size"] == 1
    assert made["denoise-gray"]["dynamic_batching"] == {"max_queue_delay_microseconds": "1000"}


def test_the_parser_is_strict():
    for text in ("name: ", 'name "a" }', "dims: [ 1 2 ]", "a: { b: 1", "1: 2"):
        with pytest.raises((AssertionError, IndexError)):
            parsed(text)
    assert config("x", dict(outputs=["code"], inputs=["signal"], rank=1, channels=1, filters=2, kernel_size=[3],
                           tolerance=None))
