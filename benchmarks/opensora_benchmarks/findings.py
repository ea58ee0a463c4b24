"""What the standing measurements found, beside what was asked: a Markdown table of benchmarks/results/*.json.

python -m opensora_benchmarks.findings [--results FOLDER] [--write docs/benchmarks.md]

Prints the table; with --write it replaces the one between the marks in that file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora_core.errors import InvalidInputError

RESULTS = Path(__file__).parents[1] / "results"
MARKS = "<!-- what was found: python -m opensora_benchmarks.findings -->\n", "<!-- end of what was found -->\n"
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """A question, what was asked and what was found; bold is what falls short of it, and `reason` says why."""

    question: str
    asked: str
    found: str
    reason: str = ""

    def line(self, document: Document) -> str:
        """Of the table; the reason is told where something falls short."""
        about = _machine(document)
        threads = document["threads"] if "threads" in document else about["threads"].get("OMP_NUM_THREADS", "all")
        load = "unknown" if about["load"] is None else f"{about['load'][0]:.1f}"
        taken = f"{about['date']}, threads: {threads}, load {load}"
        found = f"{self.found}. {self.reason}" if self.reason and "**" in self.found else self.found
        return f"| {self.question} | {self.asked} | {found} | {taken} |"


def table(folder: Path = RESULTS) -> str:
    """The Markdown table of a folder's files. Raises InvalidInputError if one is missing."""
    lines, machines = ["| question | asked | found | taken |", "|---|---|---|---|"], dict[str, None]()
    for name, read in READERS.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            raise InvalidInputError(f"{path} is missing: python -m opensora_benchmarks.{name} --json {path}")
        document = json.loads(path.read_text("utf-8"))
        lines += [finding.line(document) for finding in read(document)]
        machines[f"{_machine(document)['processor']}, {_machine(document)['processors']} processors"] = None
    return "\n".join([*lines, "", f"Machine: {'; '.join(machines)}."]) + "\n"


def rewritten(page: str, new: str) -> str:
    """The page with the table between its marks replaced. Raises InvalidInputError if it has no marks."""
    before, start, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (start and end):
        raise InvalidInputError(f"the page lacks the marks {MARKS[0].strip()!r} and {MARKS[1].strip()!r}")
    return f"{before}{start}{new}{end}{after}"


def _machine(document: Document) -> Mapping[str, Any]:
    """What a document says of the machine, also one of `opensora bench run`."""
    found: Mapping[str, Any] = document["machine"] if "machine" in document else document["environment"]
    return found


def _listed(values: Mapping[str, float], met: Callable[[float], bool], form: str = "{:.2f}") -> str:
    """Numbers by name, bold where they fall short."""
    shown = {name: form.format(value) for name, value in values.items()}
    return ", ".join(f"{text if met(values[name]) else f'**{text}**'} ({name})" for name, text in shown.items())


def _dispatch(document: Document) -> Iterator[Finding]:
    found = []
    for name, by in document["backends"].items():
        worst = max(by["microseconds"], key=lambda op: by["microseconds"][op]["overhead"])
        most = {f"{name}, {worst}": by["microseconds"][worst]["overhead"]}
        found.append(_listed(most, lambda us, limit=by["limit"]: us <= limit, "{:.2f} µs"))
    limits = ", ".join(f"{by['limit']:g} µs on {name}" for name, by in document["backends"].items())
    yield Finding("what a call of an op costs beyond the call it makes, at most", f"≤ {limits}", "; ".join(found))


def _generation(document: Document) -> Iterator[Finding]:
    limits, floor = {"numpy": 2.0, "numba": 1.4}, document["times_the_floor"]
    found = [
        _listed({name: floor[name]["median"]}, lambda x, limit=limit: x <= limit) for name, limit in limits.items()
    ]
    took, order = document["milliseconds"], document["times_the_products_in_order"]["numba"]["median"]
    yield Finding(
        "the embedded model's generation of 30 steps over the time of its matrix products alone",
        ", ".join(f"≤ {limit:g} ({name})" for name, limit in limits.items()),
        ", ".join(found),
        "The floor repeats each product with the same operands, hot in the caches. The same products in the "
        "generation's own order, with each layer's own weights, take "
        f"{took['in order'] / took['floor']:.2f} times the floor already; Numba is at {order:.2f} of those.",
    )


def _abstraction(document: Document) -> Iterator[Finding]:
    share = document["rows"]["torch guided, wide"]["share_of_products"]
    questions = {
        "torch forward": ("time of plain PyTorch over that of this library: a prediction", 1.0, ""),
        "torch guided": (
            "the same: steps with classifier-free guidance", 1.15,
            f"With little text, projecting it once saves little: at the wide size products, which both sides do alike, "
            f"take {share:.0%} of the time of our ops.",
        ),
        "numpy spatial block": ("time of hand-written NumPy over that of this library: a spatial block", 1.0, ""),
        "numpy temporal block": ("the same: a temporal block", 1.0, ""),
    }  # fmt: skip
    for key, (question, least, reason) in questions.items():
        rows = {name.partition(", ")[2]: row for name, row in document["rows"].items() if name.startswith(key)}
        values = {name: row["faster"]["median"] for name, row in rows.items()}
        yield Finding(question, f"≥ {least:g}", _listed(values, lambda x, least=least: x >= least), reason)


def _long_attention(document: Document) -> Iterator[Finding]:
    at = document["tokens"]["4096"]
    peaks = at["peak_megabytes"]
    found = _listed({"times as fast": at["faster_than_all_at_once"]["numpy"]["median"]}, lambda x: x >= 1.5)
    memory = f"{peaks['numpy']:g} MB in place of {peaks['all at once']:g} MB"
    yield Finding(
        "attention of 4096 tokens on NumPy: by blocks beside all logits at once", "≥ 1.5", f"{found}, {memory}"
    )


def _scaling(document: Document) -> Iterator[Finding]:
    for measure, cases in document["growth"].items():
        for name in ("temporal", "spatial"):
            by = cases[f"attention_3d/{name}-scaling"]
            values = {provider: power for provider, power in by.items() if power is not None}
            yield Finding(
                f"{name} attention: {measure} grows with tokens to the power of",
                "1, met up to 1.15",
                _listed(values, lambda x: x <= 1.15),
                "From 4096 to 16384 tokens it grows more than before; that is not explained yet.",
            )


def _vae_tiling(document: Document) -> Iterator[Finding]:
    limits = document["limits"]
    for name, autoencoder in document["autoencoders"].items():
        found = []
        for backend, by in autoencoder["backends"].items():
            ways = by["of_the_whole"]
            best = min(ways, key=lambda way: (ways[way]["memory"] > limits["memory"], ways[way]["time"]["median"]))
            memory = _listed({"memory": ways[best]["memory"]}, lambda x: x <= limits["memory"])
            time = _listed({"time": ways[best]["time"]["median"]}, lambda x: x <= limits["time"])
            found.append(f"{memory}, {time}: {backend}, {best}")
        asked = f"memory ≤ {limits['memory']:g}, time ≤ {limits['time']:g}"
        yield Finding(f"{name}: decoding in parts over decoding the whole", asked, "; ".join(found))


def _precision(document: Document) -> Iterator[Finding]:
    for name, case in document["cases"].items():
        gains = {way: gain["median"] for way, gain in case["faster_than_float32"].items()}
        size = {"step": "a step of the embedded model", "pair": "its blocks", "wide pair": "blocks as wide as XL/2"}[
            name
        ]
        yield Finding(f"{size}: times as fast as float32 on Torch", "the gain, told", _listed(gains, lambda x: True))


def _step_caching(document: Document) -> Iterator[Finding]:
    found = []
    for name, error in document["errors"].items():
        if name.startswith("step_cache"):
            gains = ", ".join(f"{by['faster'][name]['median']:.2f} on {b}" for b, by in document["speed"].items())
            found.append(f"{name}: {gains}, {error['psnr']['median']:.1f} dB")
    asked = "a measured curve of speed and error"
    yield Finding("step caching: times as fast, and median PSNR to all steps", asked, "; ".join(found))


READERS: dict[str, Callable[[Document], Iterator[Finding]]] = {
    "dispatch": _dispatch,
    "profile_generation": _generation,
    "abstraction": _abstraction,
    "long_attention": _long_attention,
    "scaling": _scaling,
    "vae_tiling": _vae_tiling,
    "precision": _precision,
    "step_caching": _step_caching,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(description="Tell what the standing measurements found.")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the files (default benchmarks/results)"
    )
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args(arguments)
    new = table(options.results)
    print(new, end="")
    if options.write:
        from opensora_core.serialization.atomic import atomic_file

        page = rewritten(options.write.read_text("utf-8"), new)
        with atomic_file(options.write) as temporary:
            temporary.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
