"""What a GPU's library does, in order, held against a stand-in that notes it: nothing here needs a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from opensora_benchmarks.library_gpu import Cupy, TorchGpu


class Device:
    """Notes what is asked of it."""

    def __init__(self):
        self.notes = []

    def event(self, **options):
        number = sum(note.startswith("event") for note in self.notes)
        self.notes.append(f"event {number}")
        return SimpleNamespace(
            record=lambda: self.notes.append(f"record {number}"),
            synchronize=lambda: self.notes.append(f"synchronize {number}"),
            elapsed_time=lambda other: 2.5,
        )

    def buffer(self, size, dtype=None, device=None):
        self.notes.append(f"empty {size}")
        return SimpleNamespace(fill=lambda value: self.notes.append("fill"))


def torch_on(device):
    cuda = SimpleNamespace(
        get_device_properties=lambda name: SimpleNamespace(name="A card", L2_cache_size=300 * 2**20),
        Event=device.event,
        synchronize=lambda name: device.notes.append("wait"),
        reset_peak_memory_stats=lambda name: device.notes.append("reset"),
        memory_allocated=lambda name: 100,
        max_memory_allocated=lambda name: 180,
        mem_get_info=lambda name: (7, 10),
    )
    ops = SimpleNamespace(device="cuda:0", name="torch")
    return TorchGpu(ops, SimpleNamespace(cuda=cuda, empty=device.buffer, uint8="uint8"))


def cupy_on(device):
    cuda = SimpleNamespace(
        Device=lambda: SimpleNamespace(id=0),
        Event=device.event,
        get_elapsed_time=lambda start, end: 2.5,
        runtime=SimpleNamespace(
            getDeviceProperties=lambda number: {"name": b"A card", "l2CacheSize": 2**20}, memGetInfo=lambda: (7, 10)
        ),
    )
    return Cupy(SimpleNamespace(name="cuda"), SimpleNamespace(cuda=cuda, empty=device.buffer))


@pytest.mark.parametrize(("make", "flushed"), [(torch_on, 300 * 2**20), (cupy_on, 256 * 2**20)])
def test_a_call_is_timed_between_two_events_after_a_flush_of_the_second_level_cache(make, flushed):
    device = Device()
    library = make(device)
    library.flush()
    seconds, result = library.timed(lambda: device.notes.append("call") or "result")
    assert (seconds, result) == (pytest.approx(0.0025), "result")
    assert device.notes[:2] == [f"empty {flushed}", "fill"]
    assert device.notes[4:] == ["record 0", "call", "record 1", "synchronize 1"]
    assert (library.device_name, library.free_memory(), library.clock) == ("A card", 7, "device events")


def test_memory_of_a_call_is_what_it_adds():
    device = Device()
    found = torch_on(device).peak_memory(lambda: device.notes.append("call"))
    assert found == {"host": None, "device": 80}
    assert device.notes == ["wait", "reset", "call", "wait"]


def test_a_stream_is_kept_busy_by_many_flushes():
    device = Device()
    torch_on(device).delay()
    assert device.notes.count("fill") == 50
    assert np.unique(device.notes[1:]).tolist() == ["fill"]
