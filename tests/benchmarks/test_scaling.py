"""Curves of time and memory against tokens, in the page and as a picture."""

import io
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from opensora_benchmarks.report_html import html
from opensora_benchmarks.report_png import png
from opensora_benchmarks.scaling import scaling, scaling_plots
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
