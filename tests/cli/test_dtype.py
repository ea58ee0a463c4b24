"""--dtype auto is resolved for the model that is loaded, and said."""

from __future__ import annotations

import json

from opensora_core import precision
from opensora_core.cli.checkup import check_dtype
from opensora_core.precision import Choice


def test_the_command_line_says_what_auto_took_for_the_model(opensora, tmp_path, monkeypatch):
    asked = []

    def choose(*given):
        asked.append(given)
        return Choice("bfloat16", "it is faster")

    monkeypatch.setattr(precision, "choose_dtype", choose)
    arguments = ("--backend", "torch", "--dtype", "auto", "--num-frames", 1, "--steps", 1, "--seed", 0)
    result = opensora("generate", "a red circle", "-o", tmp_path / "v.png", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["dtype"] == "bfloat16"
    assert document["notes"] == ["dtype: bfloat16, picked by --dtype auto: it is faster"]
    assert "note: dtype: bfloat16, picked by --dtype auto" in result.stderr
    assert asked == [("torch", "cpu", 128, 4)]  # the widths of the embedded model


def test_doctor_says_what_auto_is_for_both_widths(monkeypatch):
    monkeypatch.setattr(precision, "choose_dtype", lambda *given: Choice("float32", f"{given[2]} wide"))
    found = check_dtype()
    assert (found.name, found.status) == ("dtype", "ok")
    assert found.text == "--dtype auto is float32 at 128 channels (128 wide); float32 at 1152 channels (1152 wide)"
