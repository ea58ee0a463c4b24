// What threads do together: barriers, and the instructions of a warp.
#pragma once

namespace emulation {

// Lanes named in `mask` hand in a record each; the last one to arrive executes the instruction for all of them.
inline void warp_instruction(unsigned mask, void (*execute)(void**, unsigned), void* record, Place place) {
  Fiber& f = *machine.current;
  Warp& w = machine.warps[f.warp];
  char text[160];
  f.place = place;
  if (!(mask >> f.lane & 1)) {
    fail("%s executes %s with mask %08x, which does not name its lane %u", describe(f, text), place.instruction, mask,
         f.lane);
    return wait(AT_WARP, place);
  }
  if (w.arrived && (strcmp(w.instruction, place.instruction) || w.mask != mask)) {
    fail("%s is at %s with mask %08x while other lanes of its warp are at %s with mask %08x", describe(f, text),
         place.instruction, mask, w.instruction, w.mask);
    return wait(AT_WARP, place);
  }
  w.instruction = place.instruction, w.mask = mask, w.record[f.lane] = record, w.arrived |= 1u << f.lane;
  if (w.arrived != mask) return wait(AT_WARP, place);
  machine.count.warp_instructions++;
  w.arrived = 0;
  execute(w.record, mask);
  const unsigned first = f.warp * 32, end = std::min<unsigned>(first + 32, unsigned(machine.fibers.size()));
  for (unsigned i = first; i < end; i++)
    if (mask >> (i - first) & 1) machine.fibers[i].state = READY;
  if (machine.error[0]) wait(READY, place);
}

template <class T>
struct Shuffle {
  T value;
  int source;
};

template <class T>
void execute_shuffle(void** records, unsigned mask) {
  T before[32];
  for (int lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) before[lane] = static_cast<Shuffle<T>*>(records[lane])->value;
  for (int lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    auto* r = static_cast<Shuffle<T>*>(records[lane]);
    if (mask >> r->source & 1)
      r->value = before[r->source];
    else
      fail("lane %d shuffles from lane %d, which the mask %08x does not name", lane, r->source, mask);
  }
}

template <class T>
inline T shuffle(unsigned mask, T value, int source, Place place) {
  Shuffle<T> r{value, source};
  warp_instruction(mask, execute_shuffle<T>, &r, place);
  return r.value;
}

struct Vote {
  int predicate;
  unsigned result;
};
inline void execute_vote(void** records, unsigned mask) {
  unsigned result = 0;
  for (int lane = 0; lane < 32; lane++)
    if ((mask >> lane & 1) && static_cast<Vote*>(records[lane])->predicate) result |= 1u << lane;
  for (int lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) static_cast<Vote*>(records[lane])->result = result;
}
inline unsigned vote(unsigned mask, int predicate, Place place) {
  Vote v{predicate, 0};
  warp_instruction(mask, execute_vote, &v, place);
  return v.result;
}

}  // namespace emulation

inline void __syncthreads(int line = __builtin_LINE()) { emulation::wait(emulation::AT_BARRIER, {"__syncthreads", line}); }
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
  emulation::warp_instruction(mask, [](void**, unsigned) {}, nullptr, {"__syncwarp", line});
}

template <class T>
inline T __shfl_sync(unsigned mask, T v, int source, int width = 32, int line = __builtin_LINE()) {
  int lane = int(emulation::machine.current->lane);
  return emulation::shuffle(mask, v, (lane & ~(width - 1)) | (source & (width - 1)), {"__shfl_sync", line});
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, int line = __builtin_LINE()) {
  int lane = int(emulation::machine.current->lane), source = lane ^ bits;
  source = (source & ~(width - 1)) > (lane & ~(width - 1)) ? lane : source;  // beyond the segment: one's own value
  return emulation::shuffle(mask, v, source, {"__shfl_xor_sync", line});
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T v, int delta, int width = 32, int line = __builtin_LINE()) {
  int lane = int(emulation::machine.current->lane);
  int source = (lane & (width - 1)) + delta < width ? lane + delta : lane;
  return emulation::shuffle(mask, v, source, {"__shfl_down_sync", line});
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T v, int delta, int width = 32, int line = __builtin_LINE()) {
  int lane = int(emulation::machine.current->lane);
  int source = (lane & (width - 1)) >= delta ? lane - delta : lane;
  return emulation::shuffle(mask, v, source, {"__shfl_up_sync", line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return emulation::vote(mask, predicate, {"__ballot_sync", line});
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return emulation::vote(mask, predicate, {"__any_sync", line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return emulation::vote(mask, predicate, {"__all_sync", line}) == mask;
}
inline size_t __cvta_generic_to_shared(const void* p) { return size_t(p); }  // shared memory lies below 4 GiB
