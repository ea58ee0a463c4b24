"""Threads: how many, who shares what, and what else runs in the process."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.testing.conformance import require

require("numba")
from opensora_backends.numba_ops import NumbaOps  # noqa: E402
from opensora_kernels.cpu import activations, compiled, threads  # noqa: E402

X = np.random.default_rng(0).standard_normal((300, 1100)).astype("f4")
IN_A_PROCESS = """
import os, sys
from pathlib import Path
import numpy as np
from opensora_core import get_backend
kept = Path(os.environ["NUMBA_CACHE_DIR"])
ops = get_backend("numba")
assert not list(kept.rglob("*.nb?")), "something was compiled before it was called"
x = np.linspace(-3, 3, 1 << 18).astype("f4")
here = ops.silu(x).tobytes()
assert list(kept.rglob("*silu*.nbi")), "nothing was kept"
child = os.fork()
if child == 0:
    os._exit(0 if ops.silu(x).tobytes() == here else 1)
assert os.waitpid(child, 0)[1] == 0
assert not [m for m in sys.modules if m.startswith("numba.np.ufunc.workqueue")]
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_number_comes_from_the_argument_the_environment_or_the_machine(monkeypatch):
    assert NumbaOps().threads == len(os.sched_getaffinity(0))
    for name, text, number in (
        ("OMP_NUM_THREADS", "5,2", 5),
        ("NUMBA_NUM_THREADS", "4", 4),
        ("OPENSORA_THREADS", "3", 3),
    ):
        monkeypatch.setenv(name, text)
        assert get_backend("numba").threads == number
    assert NumbaOps(threads=2).threads == 2


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_a_number_of_threads_that_is_none_is_said(monkeypatch, text):
    monkeypatch.setenv("OPENSORA_THREADS", text)
    with pytest.raises(InvalidInputError, match=f"OPENSORA_THREADS='{text}' must be a whole number of at least 1"):
        get_backend("numba")
    with pytest.raises(InvalidInputError, match="threads=0 must be a whole number of at least 1"):
        NumbaOps(threads=0)


@given(count=st.integers(1, 5), rows=st.integers(0, 9), large=st.booleans())
def test_every_row_is_done_once(count, rows, large):
    done = []
    threads.share_rows(count, lambda first, last: done.extend(range(first, last)), rows, threads.GRAIN * 9 * large)
    assert sorted(done) == list(range(rows))


@pytest.mark.parametrize("here", [True, False])
def test_an_error_in_any_thread_is_raised(here):
    caller, others = threading.get_ident(), threading.Event()

    def kernel(first, last):
        if (threading.get_ident() == caller) == here:
            others.set()
            raise MemoryError(f"rows from {first}")
        assert others.wait(10)

    with pytest.raises(MemoryError, match="rows from "):
        threads.share_rows(2, kernel, 10, 1 << 20)


def test_who_is_held_up_leaves_the_rest_to_the_others():
    caller, done, rest = threading.get_ident(), {}, threading.Event()

    def kernel(first, last):
        done[first] = threading.get_ident()
        if threading.get_ident() != caller:
            assert rest.wait(10)
        elif list(done.values()).count(caller) == 7:
            rest.set()

    threads.share_rows(2, kernel, 8, 1 << 20)
    assert sorted(done) == list(range(8))
    assert list(done.values()).count(caller) >= 7


def test_many_threads_may_call_at_once():
    alone = activations.silu(X)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: activations.silu(X, 3), range(8)):
            assert result.tobytes() == alone.tobytes()


def test_machine_code_is_made_at_the_first_call_kept_where_told_and_survives_a_fork(tmp_path):
    settings = {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path), "OPENSORA_THREADS": "2"}
    subprocess.run([sys.executable, "-c", IN_A_PROCESS], env={**os.environ, **settings}, check=True, timeout=100)


def test_where_no_folder_can_be_written_kernels_are_compiled_all_the_same(monkeypatch):
    real = compiled.numba.njit

    def njit(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'double': no locator available for file")
        return real(*args, **options)

    monkeypatch.setattr(compiled.numba, "njit", njit)

    @compiled.compiled(compiled.STRICT)
    def double(x):
        return x + x

    assert double(21) == 42


def test_one_compilation_serves_writable_and_read_only_arrays():
    for x in (X.copy(), compiled.frozen(X, X.shape, X.dtype), X[::-1], X[:, ::2]):
        activations.silu(x)
    kinds = [signature for signature in activations._silu.signatures if "float32" in str(signature)]
    assert len(kinds) == 1


def test_the_kernels_import_no_backend():
    for path in Path(activations.__file__).parent.glob("*.py"):
        assert "opensora_" not in path.read_text()
