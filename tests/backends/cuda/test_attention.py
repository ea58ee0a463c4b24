"""Attention of the backend reaches our kernels with the right grids and strides; what they refuse is composed."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_backends.cuda_kernels import Kernels
from opensora_core.errors import InvalidInputError
from opensora_kernels.choice import TORCH, Choice
from opensora_kernels.cuda import attention, attention_layout
from tests.backends.cuda.fake import NUMPY, FakeCudaOps, close, fake_libraries, random


@pytest.mark.parametrize(
    ("pattern", "dtype", "head_dim", "kernel"),
    [
        ("temporal", "bfloat16", 72, "temporal_attention<__nv_bfloat16, 72, 16, "),
        ("temporal", "float32", 6, "temporal_attention_plain<float>"),
        ("spatial", "float16", 72, "flash_attention<__half, 72, "),
        ("full", "float32", 6, "flash_attention_plain<float, 1>"),
    ],
)
def test_video_tokens_attend_with_norm_and_rope_in_one_launch(ops, launches, pattern, dtype, head_dim, kernel):
    B, T, S, H = 2, 3, 5, 2
    qkv, qkv64 = random(ops, dtype, B, T, S, 3, H, head_dim)
    (q_norm, q64), (k_norm, k64) = (random(ops, dtype, head_dim, seed=s) for s in (1, 2))
    angles = np.arange({"temporal": T, "spatial": S, "full": T * S}[pattern])[:, None] * np.ones(head_dim // 2)
    cos, sin = np.cos(angles), np.sin(angles)
    tables = [ops.asarray(t.astype(np.float32)) for t in (cos, sin)]
    got = ops.attention_3d(qkv, pattern, q_norm, k_norm, *tables)
    close(ops, got, NUMPY.attention_3d(qkv64, pattern, q64, k64, cos, sin), dtype)
    assert [name.startswith(kernel) for name in launches] == [True]


@pytest.mark.parametrize("pattern", ["temporal", "spatial", "full"])
def test_weights_and_tables_of_one_number_or_row_broadcast(ops, pattern):
    """As NumPy's do; a kernel that took their shape for granted would read what lies behind them."""
    qkv, qkv64 = random(ops, "float32", 1, 2, 3, 3, 2, 6)
    weight, weight64 = random(ops, "float32", 1)
    table, table64 = random(ops, "float32", 1, 3)
    got = ops.attention_3d(qkv, pattern, weight, weight, table, table)
    close(ops, got, NUMPY.attention_3d(qkv64, pattern, weight64, weight64, table64, table64), "float32")


BAD_PREPARATION = [
    ({"cos": (3, 3)}, "cos without sin: give both or neither"),
    ({"sin": (3, 3)}, "sin without cos"),
    ({"cos": (3, 3), "sin": (3, 2)}, r"sin has shape \(3, 2\): expected \(3, 3\), or what broadcasts to it"),
    ({"cos": (2, 3), "sin": (2, 3)}, r"cos has shape \(2, 3\): expected \(3, 3\)"),
    ({"cos": (1, 3, 3), "sin": (3, 3)}, r"cos has shape \(1, 3, 3\)"),
    ({"q_norm": (5,)}, r"q_norm has shape \(5,\): expected \(6,\)"),
    ({"k_norm": (1, 6)}, r"k_norm has shape \(1, 6\): expected \(6,\)"),
]


@pytest.mark.parametrize("pattern", ["temporal", "spatial"])
@pytest.mark.parametrize(("given", "says"), BAD_PREPARATION)
def test_weights_and_tables_that_do_not_fit_are_named_before_a_kernel_reads_them(ops, launches, pattern, given, says):
    arrays = {name: ops.full(shape, 1.0) for name, shape in given.items()}
    with pytest.raises(InvalidInputError, match=f"attention_3d: .*{says}"):
        ops.attention_3d(ops.full((1, 3, 3, 3, 2, 6), 1.0), pattern, **arrays)
    assert launches == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_takes_arrays_as_they_lie_and_masks(ops, launches, dtype):
    packed, packed64 = random(ops, dtype, 2, 7, 3, 2, 8)  # [B, L, 3, H, D], as a layer gives it
    q, k, v = (ops.permute_dims(packed[:, :, i], (0, 2, 1, 3)) for i in range(3))
    q64, k64, v64 = (packed64[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    mask = np.arange(7)[None, None, None] < np.array([4, 0])[:, None, None, None]  # the second attends to nothing
    got = ops.attention(q, k, v, mask=ops.asarray(mask), scale=0.5)
    close(ops, got, NUMPY.attention(q64, k64, v64, mask=mask, scale=0.5), dtype)
    assert len(launches) == 1


@pytest.mark.parametrize("lead", [(5,), (2, 3), (2, 2, 3)])
def test_leading_axes_too_long_for_heads_are_none(ops, monkeypatch, lead):
    """A grid's second axis counts heads, and takes 65535: as if two were the most, no launch may have more."""
    monkeypatch.setattr(attention_layout, "MOST_ACROSS", 2)
    seen, launch = [], attention.launch
    monkeypatch.setattr(
        attention, "launch", lambda kernel, grid, *rest: (seen.append(grid), launch(kernel, grid, *rest))
    )
    (q, q64), (k, k64), (v, v64) = (random(ops, "float32", *lead, 3, 6, seed=s) for s in range(3))
    mask = np.random.default_rng(0).random((*lead, 3, 3)) < 0.7
    close(ops, ops.attention(q, k, v, ops.asarray(mask)), NUMPY.attention(q64, k64, v64, mask), "float32")
    assert [grid[1] for grid in seen] == [1]
    assert attention_layout.three((70000,)) == (70000, 1, 1)


def test_keys_behind_the_last_that_counts_are_not_read(ops, monkeypatch):
    """As a text's padding: of a mask of keys alone the kernel gets lengths too, and gaps stay gaps."""
    lengths, flash = [], attention.AttentionKernels._flash
    monkeypatch.setattr(attention.AttentionKernels, "_flash", lambda *a: (lengths.append(a[-1]), flash(*a))[1])
    (q, q64), (k, k64) = random(ops, "float32", 3, 2, 4, 6), random(ops, "float32", 3, 2, 5, 6, seed=1)
    mask = np.array([[1, 0, 1, 0, 0], [0] * 5, [1] * 5], bool)[:, None, None]
    want = NUMPY.attention(q64, k64, k64, mask)
    close(ops, ops.attention(q, k, k, ops.asarray(mask)), want, "float32")
    close(ops, ops.with_gradient("attention", (q, k, k, ops.asarray(mask), None))[0], want, "float32")
    assert [ops.to_numpy(n).tolist() for n in lengths] == [[3, 0, 5]] * 2
    ops.attention(q[:1], k, k, ops.asarray(mask[:1]))  # one for all samples that there are by k: a mask only
    assert lengths[2] is None


@pytest.mark.parametrize("how", ["reversed", "every other", "transposed", "read-only"])
def test_a_video_that_is_not_contiguous_is_read_right(ops, how):
    wide, wide64 = random(ops, "bfloat16", 1, 3, 4, 3, 2, 16)
    cut = {
        "reversed": lambda x: x[:, ::-1],
        "every other": lambda x: x[..., ::2],
        "transposed": lambda x: x.transpose(0, 2, 1, 3, 4, 5),
        "read-only": lambda x: x,
    }[how]
    qkv = cut(wide)
    qkv.flags.writeable = False
    close(ops, ops.attention_3d(qkv, "spatial"), NUMPY.attention_3d(cut(wide64), "spatial"), "bfloat16")


@pytest.mark.parametrize(("dtype", "head_dim"), [("float64", 8), ("float32", 300)])
def test_what_no_kernel_takes_is_composed(ops, launches, dtype, head_dim):
    q, q64 = random(ops, dtype, 1, 2, 3, head_dim)
    np.testing.assert_allclose(ops.to_numpy(ops.attention(q, q, q)), NUMPY.attention(q64, q64, q64), rtol=1e-5)
    assert not any("attention" in name for name in launches)


def test_without_kernels_everything_is_composed(monkeypatch, launches):
    monkeypatch.setenv("OPENSORA_CUDA_KERNELS", "none")
    ops = FakeCudaOps()
    q, q64 = random(ops, "float32", 1, 2, 3, 8)
    close(ops, ops.attention(q, q, q), NUMPY.attention(q64, q64, q64), "float32")
    assert not any("attention" in name for name in launches)


def test_strictly_a_refusal_is_an_error_with_its_reason(monkeypatch):
    monkeypatch.setenv("OPENSORA_CUDA_KERNELS", "strict")
    ops = FakeCudaOps()
    x = ops.full((1, 2, 3, 3, 1, 300), 1.0)
    with pytest.raises(
        InvalidInputError, match=r"no kernel serves attention_3d \(.*head dim 300 is outside 1..256.*=strict"
    ):
        ops.attention_3d(x, "spatial")


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("OPENSORA_CUDA_KERNELS", "fast")
    with pytest.raises(InvalidInputError, match="OPENSORA_CUDA_KERNELS='fast' is not one of auto, none, strict"):
        FakeCudaOps()


def test_an_old_gpu_computes_without_kernels(launches):
    old = type("Ops", (FakeCudaOps,), {"libraries": staticmethod(lambda: fake_libraries(arch=75))})()
    q, q64 = random(old, "float32", 1, 2, 3, 8)
    close(old, old.attention(q, q, q), NUMPY.attention(q64, q64, q64), "float32")
    assert not any("attention" in name for name in launches)


def test_long_wide_attention_is_handed_to_torch_and_comes_back(ops, launches, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(Kernels, "choose", lambda *a, **k: Choice(None, TORCH, "as if it were long"))
    q, q64 = random(ops, "bfloat16", 1, 2, 5, 8)
    got = ops.attention(q, q, q)
    assert (type(got), got.dtype) == (type(q), q.dtype)
    close(ops, got, NUMPY.attention(q64, q64, q64), "bfloat16")
    assert not any("attention" in name for name in launches)


def test_a_recorded_layer_launches_its_kernels_again(ops, launches):
    compiled = ops.compile(lambda qkv: ops.attention_3d(qkv, "temporal"))
    for seed in range(2):
        qkv, qkv64 = random(ops, "float32", 1, 3, 2, 3, 2, 6, seed=seed)
        close(ops, compiled(qkv), NUMPY.attention_3d(qkv64, "temporal"), "float32")
    assert len(launches) == 2  # of the rehearsal and the recording; replays do not pass the host


def test_a_kernel_that_does_not_compile_says_which_and_what_to_do(ops, monkeypatch):
    class CompileException(Exception):  # noqa: N818
        """As CuPy's."""

    def fail(**_):
        raise CompileException("kernel.cu(3): error: expected a ';'\n1 error detected")

    lib = fake_libraries()
    kernels = Kernels(type(lib)(lib.xp, lib.cublas, lib.erf, fail), 0)
    says = r"index_add<float> of index_add.cu does not compile for compute capability 9.0: kernel.cu\(3\).*=none"
    with pytest.raises(RuntimeError, match=says):
        kernels.get("index_add.cu", "index_add<float>")
