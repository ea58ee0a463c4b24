// One fiber per CUDA thread, and the scheduler that runs a block of them to its end.
#pragma once
#include <sys/mman.h>
#include <ucontext.h>

namespace emulation {

enum State : uint8_t { READY, AT_BARRIER, AT_WARP, DONE };

struct Place {  // where a thread waits, or last waited
  const char* instruction = "its beginning";
  int line = 0;
};

struct Copy {  // one cp.async under way
  void* target;
  const void* source;
  int bytes, filled;  // `bytes` come from the source, zeros follow up to `filled`
};

struct Fiber {
  uint3 index;
  unsigned number, lane, warp;
  State state;
  bool started;
  Place place;
  jmp_buf resume;
  ucontext_t first;
  char* stack = nullptr;
  std::vector<Copy> open;                 // cp.async not yet committed
  std::vector<std::vector<Copy>> groups;  // committed, not yet waited for
};

struct Warp {
  unsigned arrived, mask;
  const char* instruction;
  void* record[32];  // what each lane hands to the instruction
};

struct Counters {  // in the order of opensora_kernels.emulation.module.COUNTERS
  uint64_t blocks, switches, barriers, warp_instructions, mma, ldmatrix, bank_conflicts, cp_async, shared_bytes;
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Fiber* current = nullptr;
  jmp_buf scheduler;
  void (*kernel)(void*) = nullptr;
  void* arguments = nullptr;
  uint3 block{};
  dim3 grid_size, block_size;
  char* shared = nullptr;
  size_t shared_size = 0, shared_used = 0;  // bytes up to the guard page; bytes asked for
  int schedule = 0;
  Counters count{};
  char error[512] = "";
};
static Machine machine;

// A schedule is a sum of these, and of a seed times 16.
enum Schedule {
  COPY_AT_ONCE = 1,    // cp.async lands when issued; otherwise as late as its wait allows
  SHUFFLED = 2,        // lanes and warps in random order
  RUN_ON = 4,          // a warp runs on until all its lanes wait; otherwise warps take turns
  LAST_FIRST = 8,      // the highest warp and the last block first
};

constexpr size_t STACK = 128 << 10, PAGE = 4096;

__attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  if (machine.error[0]) return;  // the first error is the cause
  va_list values;
  va_start(values, format);
  vsnprintf(machine.error, sizeof machine.error, format, values);
  va_end(values);
}

inline const char* describe(const Fiber& f, char (&text)[160]) {
  const uint3 b = machine.block;
  int n = snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)", f.index.x, f.index.y, f.index.z, b.x,
                   b.y, b.z);
  if (f.place.line) snprintf(text + n, sizeof text - n, ", line %d", f.place.line);
  return text;
}

// Give the CPU back; returns when the scheduler comes to this fiber again. Not inlined, as it calls _setjmp.
__attribute__((noinline)) inline void wait(State state, Place place) {
  machine.current->state = state;
  machine.current->place = place;
  if (!_setjmp(machine.current->resume)) _longjmp(machine.scheduler, 1);
}

inline void run_kernel() {
  machine.kernel(machine.arguments);
  machine.current->state = DONE;
  _longjmp(machine.scheduler, 1);
}

__attribute__((noinline)) inline void resume(Fiber& f) {
  machine.current = &f;
  machine.count.switches++;
  if (_setjmp(machine.scheduler)) return;  // every wait lands here
  if (f.started) _longjmp(f.resume, 1);
  f.started = true;
  getcontext(&f.first);
  f.first.uc_stack.ss_sp = f.stack + PAGE;
  f.first.uc_stack.ss_size = STACK;
  f.first.uc_link = nullptr;
  makecontext(&f.first, run_kernel, 0);
  setcontext(&f.first);
}

inline void make_fibers(dim3 size) {
  unsigned threads = size.x * size.y * size.z, before = unsigned(machine.fibers.size());
  for (unsigned i = threads; i < before; i++) munmap(machine.fibers[i].stack, STACK + PAGE);
  machine.fibers.resize(threads);
  machine.warps.assign((threads + 31) / 32, Warp{});
  for (unsigned i = 0; i < threads; i++) {
    Fiber& f = machine.fibers[i];
    f.number = i, f.lane = i % 32, f.warp = i / 32;
    f.index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    if (f.stack) continue;
    f.stack = static_cast<char*>(mmap(nullptr, STACK + PAGE, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    mprotect(f.stack, PAGE, PROT_NONE);  // an overflow of the stack is a fault, not a corruption
  }
}

// Let every ready fiber run until it waits; true if any ran.
inline bool run_ready(std::vector<unsigned>& warps, std::vector<unsigned>& lanes, std::mt19937& random) {
  bool ran = false;
  if (machine.schedule & SHUFFLED) std::shuffle(warps.begin(), warps.end(), random);
  for (unsigned w : warps) {
    for (bool again = true; again;) {
      again = false;
      if (machine.schedule & SHUFFLED) std::shuffle(lanes.begin(), lanes.end(), random);
      for (unsigned lane : lanes) {
        unsigned i = w * 32 + lane;
        if (i >= machine.fibers.size() || machine.fibers[i].state != READY) continue;
        resume(machine.fibers[i]);
        ran = again = true;
        if (machine.error[0]) return false;
      }
      again = again && machine.schedule & RUN_ON;
    }
  }
  return ran;
}

// All live threads are at a barrier: let them pass, if it is the same one.
inline void pass_barrier() {
  const Fiber* first = nullptr;
  for (Fiber& f : machine.fibers) {
    if (f.state != AT_BARRIER) continue;
    if (!first) first = &f;
    if (f.place.line != first->place.line)
      fail("threads of block (%u,%u,%u) meet at different barriers: thread %u at line %d, thread %u at line %d",
           machine.block.x, machine.block.y, machine.block.z, first->number, first->place.line, f.number, f.place.line);
    f.state = READY;
  }
  machine.count.barriers++;
}

inline void report_deadlock(unsigned live, unsigned at_barrier) {
  for (const Fiber& f : machine.fibers) {
    if (f.state != AT_WARP) continue;
    char text[160];
    fail("deadlock: %s waits at %s for lanes %08x, of which %08x came; of %u live threads %u are at a barrier",
         describe(f, text), f.place.instruction, machine.warps[f.warp].mask, machine.warps[f.warp].arrived, live,
         at_barrier);
  }
}

inline void check_copies_done() {
  for (const Fiber& f : machine.fibers) {
    char text[160];
    if (!f.open.empty()) fail("%s ends with a cp.async not committed", describe(f, text));
    for (const auto& group : f.groups)
      if (!group.empty()) fail("%s ends with a cp.async not waited for", describe(f, text));
  }
}

inline void check_shared_end() {  // the few bytes between what was asked for and the guard page
  for (size_t i = machine.shared_used; i < machine.shared_size; i++)
    if (machine.shared[i] != char(0xff)) fail("byte %zu of %zu of shared memory was written", i, machine.shared_used);
}

inline void check_block_end() {
  check_copies_done();
  check_shared_end();
}

inline void run_block(std::mt19937& random) {
  std::vector<unsigned> warps(machine.warps.size()), lanes(32);
  for (unsigned i = 0; i < warps.size(); i++)
    warps[i] = machine.schedule & LAST_FIRST ? unsigned(warps.size()) - 1 - i : i;
  for (unsigned i = 0; i < 32; i++) lanes[i] = i;
  for (Fiber& f : machine.fibers) {
    f.state = READY, f.started = false, f.place = Place{};
    f.open.clear(), f.groups.clear();
  }
  for (Warp& w : machine.warps) w.arrived = 0;
  memset(machine.shared, 0xff, machine.shared_size);  // NaN in every float format
  machine.count.blocks++;
  while (!machine.error[0]) {
    bool ran = run_ready(warps, lanes, random);
    unsigned live = 0, at_barrier = 0;
    for (const Fiber& f : machine.fibers) live += f.state != DONE, at_barrier += f.state == AT_BARRIER;
    if (!live) return check_block_end();
    if (at_barrier == live)
      pass_barrier();
    else if (!ran)
      report_deadlock(live, at_barrier);
  }
}

}  // namespace emulation

#define threadIdx (emulation::machine.current->index)
#define blockIdx (emulation::machine.block)
#define blockDim (emulation::machine.block_size)
#define gridDim (emulation::machine.grid_size)
#define warpSize 32
