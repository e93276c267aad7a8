"""What is used of onnxruntime beyond its documentation: noticed here when a release changes it."""

import os
import subprocess
import sys
from types import SimpleNamespace

import onnxruntime as ort
import pytest
from crsae_onnx.runtime import onnxruntime_internals as internals


def test_usage_reports_are_switched_off_before_the_import():
    code = ("import os\nfrom crsae_onnx.runtime.onnxruntime_internals import import_onnxruntime\n"
            "import_onnxruntime()\nassert os.environ['ORT_DISABLE_TELEMETRY'] == '1'")
    without = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=without)


def test_a_missing_onnxruntime_is_named_with_its_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"keras-crsae\[runtime\]'.*runtime-cpu"):
        internals.import_onnxruntime()


def test_a_provider_that_fails_raises_and_prints_nothing(capfd):
    """``enable_fallback`` is still an argument, and still means that."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match="[Pp]rotobuf|[Mm]odel"):
        internals.create_session(ort, b"no model", options, [internals.CPU])
    assert "EP Error" not in capfd.readouterr().out


def test_a_missing_cuda_library_is_named(tmp_path):
    folder = tmp_path / "capi"
    folder.mkdir()
    package = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    assert "install onnxruntime-gpu" in internals.missing_provider_reason(package, internals.CUDA)
    file = "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"
    (folder / file).write_bytes(b"no library")
    assert file in internals.missing_provider_reason(package, internals.CUDA)
    assert "could not start" in internals.missing_provider_reason(package, "OtherProvider")


def test_of_cudas_errors_the_failure_alone_is_kept():
    """As onnxruntime 1.31 raises it on a machine whose GPU is hidden."""
    text = ("/src/cuda_call.cc:154 std::conditional_t<THRW, void, Status> CudaCall(ERRTYPE, int) [with ERRTYPE = "
            "cudaError; bool THRW = true] CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; "
            "hostname=vm ; file=/src/cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id);.")
    assert internals.failure_text(RuntimeError(text)) == "CUDA failure 100: no CUDA-capable device is detected"
    assert internals.failure_text(ValueError("two\n lines.")) == "two lines"


def test_the_libraries_that_pip_installed_are_loaded_once_and_quietly(capsys):
    """onnxruntime prints the libraries that it does not find: not on the user's page."""
    calls = []

    class Package:
        def preload_dlls(self):
            calls.append(1)
            print("Failed to load libcudnn")

    package = Package()
    internals.preload_cuda(package)
    internals.preload_cuda(package)
    assert calls == [1] and not capsys.readouterr().out
    internals.preload_cuda(object())  # a package without CUDA has no such function
