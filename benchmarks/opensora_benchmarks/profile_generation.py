"""Where the time of the embedded model's generation goes, and how far it is from its matrix products alone.

python -m opensora_benchmarks.profile_generation [--threads 1] [--repeat 9] [--json FILE]

The floor is the time of NumPy's BLAS for all products of the generation (linear maps, attention, convolutions), each
on operands of the same shapes and layouts, which stay in the cache as all products of a shape follow each other. In the
order of the generation, every linear map with its own weights, the same products take longer: those are brought anew.
Backends, floor and order take turns in one process. Times of ops are taken in turns of their own, fused ops whole; what
the whole generation takes beyond them is Python around the ops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from opensora_core.interpose import WHOLE, Interposer
from opensora_core.ops import Ops

from .standing import clock_of, milliseconds, options_of, ratio, turns, write

PROMPT = "a red circle moves right on a blue background"
BACKENDS = ("numpy", "numba", "torch")
MADE_OF_PRODUCTS = ("attention", "attention_3d", "conv", "value_and_grad")
GROUPS = {
    "linear": "matmul", "matmul": "matmul", "conv": "matmul",
    "attention": "attention", "attention_3d": "attention",
    "layer_norm": "norms", "rms_norm": "norms", "group_norm": "norms", "group_norm_silu": "norms", "modulate": "norms",
    "gelu": "activations", "silu": "activations",
}  # fmt: skip
Clock = Callable[[], float]


class Stopwatch(Interposer):
    """Seconds in each group of ops."""

    def __init__(self, inner: Ops, clock: Clock) -> None:
        super().__init__(inner, WHOLE)
        self.clock, self.seconds = clock, Counter[str]()

    def run(self, op: str, args: tuple[Any, ...]) -> Any:
        """Do the op and add up its time."""
        plain, work = [self.unbox(x) for x in args], getattr(self.inner, op)
        start = self.clock()
        result = work(*plain)
        self.seconds[GROUPS.get(op, "other ops")] += self.clock() - start
        return result


class Products(Interposer):
    """Collects the operands of matrix products, and how often each pair of shapes meets."""

    def __init__(self, inner: Ops) -> None:
        super().__init__(inner, [op for op in WHOLE if op not in MADE_OF_PRODUCTS])
        self.operands: dict[Any, tuple[Any, Any]] = {}
        self.counts = Counter[Any]()
        self.sequence: list[tuple[Any, Any]] = []

    def run(self, op: str, args: tuple[Any, ...]) -> Any:
        """Do the op; remember a product."""
        if op in ("linear", "matmul"):
            a, b = self.unbox(args[0]), self.unbox(args[1])
            pair = (a.reshape(-1, a.shape[-1]), b.T) if op == "linear" else (a, b)
            key = tuple((x.shape, x.strides) for x in pair)
            first = self.operands.setdefault(key, pair)
            self.counts[key] += 1
            self.sequence.append((first[0], pair[1]) if op == "linear" else first)
        return super().run(op, args)

    def again(self) -> None:
        """All products, and nothing else."""
        import numpy as np

        for key, pair in self.operands.items():
            for _ in range(self.counts[key]):
                np.matmul(*pair)

    def in_order(self) -> None:
        """All products as they follow each other, linear maps with their own weights."""
        import numpy as np

        for pair in self.sequence:
            np.matmul(*pair)


def generation(backend: str | Ops, steps: int | None) -> Callable[[], Any]:
    """Return a function that makes one video."""
    from opensora_core import OpenSora

    model = OpenSora.from_pretrained(backend=backend)
    return lambda: model.generate_from_text(PROMPT, seed=0, num_inference_steps=steps)


def measure(repeat: int, threads: int, backends: Sequence[str] = BACKENDS, steps: int | None = None) -> dict[str, Any]:
    """Milliseconds and times over the floor by backend, and the groups of ops of each."""
    from opensora_core import get_backend

    clock = clock_of(threads)
    products = Products(get_backend("numpy"))
    generation(products, steps)()
    floors = {"floor": products.again, "in order": products.in_order}
    calls = {**floors, **{name: generation(name, steps) for name in backends}}
    for call in calls.values():  # compile
        call()
    seconds = turns(calls, repeat, clock)
    return {
        "products": sum(products.counts.values()),
        "milliseconds": milliseconds(seconds),
        "times_the_floor": {name: ratio(seconds, name, "floor") for name in backends},
        "times_the_products_in_order": {name: ratio(seconds, name, "in order") for name in backends},
        "groups_milliseconds": {name: _groups(name, calls[name], steps, repeat, clock) for name in backends},
    }


def _groups(backend: str, whole: Callable[[], Any], steps: int | None, repeat: int, clock: Clock) -> dict[str, float]:
    """Median milliseconds in each group of ops, most first; then Python's, by the whole run right before."""
    import numpy as np

    from opensora_core import get_backend

    watch = Stopwatch(get_backend(backend), clock)
    run, found = generation(watch, steps), []
    run()  # the first run is not counted
    for _ in range(max(2, repeat // 2)):
        start = clock()
        whole()
        taken = clock() - start
        watch.seconds.clear()
        run()
        found.append({**watch.seconds, "python": taken - watch.seconds.total()})
    typical = {group: round(1e3 * float(np.median([turn[group] for turn in found])), 2) for group in found[0]}
    return dict(sorted(typical.items(), key=lambda item: (item[0] == "python", -item[1])))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    about = "Where the time of the embedded model's generation goes."
    options = options_of("opensora_benchmarks.profile_generation", about, 9, arguments)
    if options is None:
        return
    found = measure(options.repeat, options.threads)
    took = found["milliseconds"]
    alone = f"{took['floor']:.0f} ms by shape, which is the floor, and {took['in order']:.0f} ms in order"
    print(f"{found['products']} products alone take {alone}")
    for name, groups in found["groups_milliseconds"].items():
        floor, order = (found[key][name]["median"] for key in ("times_the_floor", "times_the_products_in_order"))
        print(f"{name:6} {took[name]:6.0f} ms, {floor:.2f} of the floor, {order:.2f} of the order", end="   ")
        print(", ".join(f"{group} {part:.0f}" for group, part in groups.items()))
    write(options, "profile_generation", BACKENDS, found)


if __name__ == "__main__":
    main()
