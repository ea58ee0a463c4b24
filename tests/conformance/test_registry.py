import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core import available_backends, get_backend, registry
from opensora_core.errors import InvalidInputError, MissingDependencyError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("OPENSORA_BACKEND", "OPENSORA_DEVICE", "OPENSORA_DTYPE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def without(monkeypatch):
    """Call it with the packages that shall seem not to be installed."""
    find = importlib.util.find_spec

    def hide(*packages):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in packages else find(name, *a))

    return hide


class Entry:
    """An installed package's entry point; counts how often it is asked for."""

    def __init__(self, name, value):
        self.name, self.value = name, value


@pytest.fixture
def entry_points(monkeypatch):
    asked = []

    def lookup(*, group):
        asked.append(group)
        return [
            Entry("stranger", "opensora_backends.numpy_ops:NumpyOps"),
            Entry("broken", "opensora_absent:AbsentOps"),
            Entry("numpy", "hijack:Ops"),
        ]

    monkeypatch.setattr(importlib.metadata, "entry_points", lookup)
    return asked


def test_backends_come_by_name_with_device_and_dtype():
    ops = get_backend("numpy", dtype="float64")
    assert (type(ops), ops.name, ops.device, ops.dtype) == (NumpyOps, "numpy", "cpu", "float64")
    assert isinstance(get_backend("torch"), TorchOps)
    assert get_backend("numpy") is not get_backend("numpy")


def test_auto_takes_the_best_one_present(without):
    without("torch")
    assert get_backend().name == "numba"
    assert "torch" not in available_backends()
    assert "numba" in available_backends()
    without("torch", "numba")
    assert get_backend().name == "numpy"
    assert not {"torch", "numba"} & set(available_backends())
    assert "numpy" in available_backends()


def test_auto_prefers_torch_where_it_is():
    assert get_backend("auto").name == "torch"
    assert {"numpy", "torch"} <= set(available_backends())


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_a_missing_package_names_the_extra(without, name):
    without(name)
    message = rf"'{name}' is not installed: pip install 'opensora-core\[{name}\]'"
    with pytest.raises(MissingDependencyError, match=message):
        get_backend(name)


def test_an_unknown_name_lists_the_known_ones():
    for ask in (get_backend, registry.missing_reason):
        with pytest.raises(InvalidInputError, match=r"no backend 'nunpy'; known: .*numpy, torch.*or 'module:Class'"):
            ask("nunpy")


@pytest.mark.parametrize(
    ("target", "complaint"),
    [("no.such.module:Ops", "no.such|No module"), ("math:Ops", "no attribute"), (":Ops", "module name"),
     ("math:pi", "derived from opensora_core.Ops"), ("math:sin", "derived from"), ("builtins:dict", "derived from")],
)  # fmt: skip
def test_a_target_that_is_no_backend_is_said(target, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        get_backend(target)


def test_a_backend_can_be_named_by_module_and_class():
    assert isinstance(get_backend("opensora_backends.numpy_ops:NumpyOps"), NumpyOps)


def test_an_unknown_dtype_lists_the_legal_ones():
    with pytest.raises(InvalidInputError, match="'fp16' is not one of float64, float32, bfloat16, float16"):
        get_backend("numpy", dtype="fp16")


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_a_device_the_host_does_not_have_is_refused(name):
    with pytest.raises(InvalidInputError, match=f"the {name} backend runs on device 'cpu', not 'cuda:0'"):
        get_backend(name, device="cuda:0")


def test_the_environment_fills_what_is_not_given(monkeypatch):
    monkeypatch.setenv("OPENSORA_BACKEND", "numpy")
    monkeypatch.setenv("OPENSORA_DTYPE", "bfloat16")
    assert (get_backend().name, get_backend().dtype) == ("numpy", "bfloat16")
    assert get_backend(dtype="float64").dtype == "float64"
    assert get_backend("torch").name == "torch"
    monkeypatch.setenv("OPENSORA_BACKEND", "auto")
    assert get_backend().name in ("torch", "numba", "numpy")
    monkeypatch.setenv("OPENSORA_BACKEND", "nonsense")
    with pytest.raises(InvalidInputError, match="nonsense"):
        get_backend()
    monkeypatch.setenv("OPENSORA_DEVICE", "tpu")
    with pytest.raises(InvalidInputError, match="not 'tpu'"):
        get_backend("numpy")


def test_installed_packages_are_asked_only_when_they_could_answer(entry_points):
    get_backend("numpy")
    assert entry_points == []
    assert isinstance(get_backend("stranger"), NumpyOps)
    assert set(entry_points) == {"opensora.backends"}
    assert "stranger" in available_backends()


def test_an_entry_point_that_cannot_be_loaded_is_not_available(entry_points):
    assert "broken" not in available_backends()
    assert "No module named 'opensora_absent'" in registry.missing_reason("broken")


STRANGE = """
from opensora_backends.numpy_ops import NumpyOps

class NoArguments(NumpyOps):
    def __init__(self):
        super().__init__()

class Raises(NumpyOps):
    def __init__(self, device, dtype):
        raise RuntimeError("no driver")

class Exits(NumpyOps):
    def __init__(self, device, dtype):
        raise SystemExit(0)

class SaysNothing(NumpyOps):
    def __init__(self, device, dtype):
        pass

class Needs(NumpyOps):
    def __init__(self, device, dtype):
        import no_such_framework.core
"""


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """Name of a module with the given text, of which nothing stays behind."""

    def write(text):
        monkeypatch.syspath_prepend(tmp_path)
        name = f"strange_{abs(hash(tmp_path))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("NoArguments", "cannot be made: TypeError: .*; its class must take device= and dtype="),
        ("Raises", "cannot be made: RuntimeError: no driver"),
        ("Exits", "cannot be made: SystemExit: 0"),
        ("SaysNothing", r"has no .device and no .dtype: its __init__ must call super\(\).__init__\(device, dtype\)"),
    ],
)
def test_a_backend_that_cannot_be_made_is_said(strange, name, complaint):
    target = f"{strange(STRANGE)}:{name}"
    with pytest.raises(InvalidInputError, match=f"^backend '{target}' {complaint}"):
        get_backend(target)


@pytest.mark.parametrize("text", ["import no_such_framework.core", STRANGE])
def test_a_framework_that_a_backend_imports_in_vain_is_named(strange, text):
    with pytest.raises(MissingDependencyError, match="needs the package 'no_such_framework', which is not") as caught:
        get_backend(f"{strange(text)}:Needs")
    assert caught.value.name == "no_such_framework"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import NAME.core", r"\(No module named"),
        ("1 +", r"\(SyntaxError: "),
        ("from numpy import no_such_name", r"\(ImportError: "),
        ("raise SystemExit(0)", r"\(SystemExit: 0\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_said(strange, text, complaint):
    module = strange("")
    strange(text.replace("NAME", module))
    with pytest.raises(InvalidInputError, match=f"^backend '{module}:Ops' cannot be loaded {complaint}"):
        get_backend(f"{module}:Ops")


def test_an_entry_point_cannot_take_a_built_in_name(entry_points):
    assert registry.backends()["numpy"] == registry.BUILTIN["numpy"]


def test_importing_asks_for_no_entry_points_and_loads_no_backend():
    code = (
        "import importlib.metadata, sys\n"
        "importlib.metadata.entry_points = None\n"
        "import opensora_core, opensora_core.registry\n"
        "assert not [m for m in sys.modules if m.startswith(('opensora_backends', 'torch', 'numba'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
