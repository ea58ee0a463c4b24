import json

from opensora_benchmarks import imports


def test_import_costs_are_measured_and_no_stage_loads_a_framework(capsys):
    imports.main(["--repeat", "1", "--json"])
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert list(stages) == list(imports.STAGES)
    assert all(row["frameworks"] == [] for row in stages.values())
    assert stages["import numpy"]["above_numpy"] == 0
    assert stages["OpenSora"]["seconds"] > 0


def test_a_loaded_framework_is_named(monkeypatch, capsys):
    monkeypatch.setattr(imports, "STAGES", {"import numpy": "sys.modules['torch.nn'] = sys"})
    imports.main(["--repeat", "1"])
    assert capsys.readouterr().out.splitlines()[1].endswith(" torch")
