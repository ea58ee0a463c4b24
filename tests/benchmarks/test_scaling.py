"""Curves of time and memory against tokens, in the page and as a picture."""

import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from opensora_benchmarks import scaling as command
from opensora_benchmarks import standing
from opensora_benchmarks.curves import scaling, scaling_plots, slope, with_slope
from opensora_benchmarks.library import library
from opensora_benchmarks.report_html import html
from opensora_benchmarks.report_png import png
from opensora_benchmarks.suites import select
from tests.benchmarks.test_bench import document


def scaled():
    found = document([0.001, 0.0011], row={"case": "attention/scaling-256", "shape": {"tokens": 256}})
    longer = document([0.016, 0.0161], row={"case": "attention/scaling-1024", "shape": {"tokens": 1024}})
    found["results"] += longer["results"]
    return found


def test_rows_that_differ_in_tokens_make_a_curve():
    found = scaling(scaled(), "median_s")
    assert list(found) == ["attention/scaling"]
    (tokens, seconds) = np.transpose(found["attention/scaling"]["numpy"])
    assert tokens.tolist() == [256, 1024]
    np.testing.assert_allclose(seconds, [0.00105, 0.01605])
    assert scaling(scaled(), "peak")["attention/scaling"]["numpy"] == [(256, 1.0), (1024, 1.0)]
    assert scaling_plots(document([0.001])) == ""


def test_the_page_shows_them():
    page = html(scaled())
    assert "attention/scaling: time against tokens" in page
    plot = page.split("time against tokens</h2>")[1].split("</svg>")[0] + "</svg>"
    (line,) = ET.fromstring(plot).iter("polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.get("points").split())
    assert x0 < x1
    assert y0 > y1


def test_the_picture_has_a_panel_for_each_and_the_providers_colour():
    one, three = (Image.open(io.BytesIO(png(d))) for d in (document([0.001]), scaled()))
    assert three.height == 3 * one.height
    blue = np.asarray(three.convert("RGB")) == (0x3B, 0x6F, 0xB6)
    assert blue.all(-1).sum() > 100


def test_the_slope_is_the_power_of_the_tokens_where_a_call_itself_costs_little():
    curve = [(256, 1.0), *((n, 3e-9 * n**1.5) for n in (1024, 2048, 16384))]
    assert slope(curve) == pytest.approx(1.5)
    assert with_slope("numpy", curve) == "numpy: tokens^1.50"
    assert slope(curve[:2]) is None
    assert with_slope("numpy", curve[:2]) == "numpy"


@pytest.mark.parametrize(("pattern", "power"), [("attention/scaling-*", 2), ("attention_3d/*-scaling-*", 1)])
def test_the_cases_work_grows_with_the_square_or_with_one_axis_alone(pattern, power):
    for case in select(pattern):
        tokens = case.shape["tokens"]
        (same,) = (c for c in select(pattern) if c.id == case.id.replace(f"-{tokens}", "-256"))
        (flops, size), (fewer, smaller) = case.costs("float32"), same.costs("float32")
        assert flops / fewer == pytest.approx((tokens / 256) ** power, rel=0.01)
        assert size / smaller == pytest.approx(tokens / 256, rel=0.1)


def test_one_command_runs_them_and_writes_results_and_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(standing, "ran_again", lambda *_: False)
    monkeypatch.setattr(command, "BACKENDS", ("numpy",))
    monkeypatch.setattr(command, "RIVAL", "flash-attn")
    arguments = ["--pattern", "attention_3d/temporal-scaling-*", "--budget", "0.2"]
    command.main([*arguments, "--json", str(tmp_path / "s.json"), "--png", str(tmp_path / "s.png")])
    found = json.loads((tmp_path / "s.json").read_text())
    curves = scaling(found, "median_s")
    assert [tokens for tokens, _ in curves["attention_3d/temporal-scaling"]["numpy"]] == [256, 1024, 4096, 16384]
    assert found["growth"]["time"] == {name: {"numpy": round(slope(by["numpy"]), 2)} for name, by in curves.items()}
    assert "growth from 1024 tokens on: numpy: tokens^" in html(found)
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width > picture.height


def test_the_memory_of_a_library_that_returns_early_is_that_of_the_finished_call():
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones((2048, 2048))
    call = jax.jit(lambda: x @ x @ x)
    call()
    assert library("jax").peak_memory(call)["host"] >= 0.5 * x.nbytes
