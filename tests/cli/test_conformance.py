"""opensora conformance: exit codes, documents and files."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from .conftest import Run, document

WRONG = "ops/silu/float32/values"


def test_a_right_backend_passes(opensora: Run) -> None:
    result = opensora("conformance", "numpy", "--level", "ops", "--only", "ops/silu", "--dtypes", "float32")
    assert result.exit_code == 0
    assert "ops/silu  pass    9" in result.stdout
    assert "PASS: numpy on cpu, level ops: 9 pass" in result.stdout


def test_a_wrong_one_fails_and_is_shown(opensora: Run, mine: str, tmp_path: Path) -> None:
    arguments = ("conformance", mine, "--level", "ops", "--only", "ops/silu", "--dtypes", "float32,float16")
    result = opensora(*arguments, "--junit", "out.xml", "--failures-only")
    assert result.exit_code == 1
    assert f"{WRONG}: error" in result.stdout
    assert f"    ops = get_backend('{mine}')" in result.stdout
    assert ET.parse(tmp_path / "out.xml").getroot().get("failures") == "2"
    data = document(opensora(*arguments, "--json"))
    assert [c["id"] for c in data["checks"] if c["status"] == "fail"] == [WRONG, WRONG.replace("32", "16")]
    (tmp_path / "known.txt").write_text(f"{WRONG} | twice\n{WRONG.replace('32', '16')} | twice\n")
    assert opensora(*arguments, "--xfail", "known.txt").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("numpi",), "did you mean 'numpy'?"),
        (("no_such_module:Ops",), "cannot be loaded"),
        (("numpy", "--level", "all"), "level='all' is not one of ops, blocks, model, train"),
        (("numpy", "--dtypes", "float8"), "dtype='float8'"),
        (("numpy", "--xfail", "absent.txt"), "absent.txt: No such file"),
        (("numpy", "--junit", "absent/out.xml"), "absent"),
        (("numpy", "--examples", "0"), "examples=0"),
        (("numpy", "--device", "cuda:0"), "runs on device 'cpu'"),
    ],
)
def test_bad_input_is_a_usage_error(opensora: Run, arguments: tuple[str, ...], complaint: str) -> None:
    result = opensora("conformance", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert json.loads(opensora("conformance", *arguments, "--json").stdout)["exit_code"] == 2
