// A launch: check it as a GPU would, lay out shared memory, run block after block.
#pragma once

namespace emulation {

constexpr size_t SHARED_LIMIT = 227 << 10, ARENA = 256 << 10;  // bytes a block may have on sm_90; what is mapped for it

inline void check_launch(size_t shared) {
  const dim3 g = machine.grid_size, b = machine.block_size;
  if (!g.x || !g.y || !g.z || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
    fail("a grid of (%u, %u, %u) is outside 1..2147483647, 1..65535, 1..65535", g.x, g.y, g.z);
  if (!b.x || !b.y || !b.z || b.z > 64 || uint64_t(b.x) * b.y * b.z > 1024)
    fail("a block of (%u, %u, %u) is empty, deeper than 64 or has more than 1024 threads", b.x, b.y, b.z);
  if (shared > SHARED_LIMIT) fail("%zu bytes of shared memory; a block may have %zu", shared, SHARED_LIMIT);
}

// Below 4 GiB, so that the 32-bit shared addresses of PTX are real ones, and ending at a page that faults.
inline bool place_shared(size_t bytes) {
  static char* arena = nullptr;
  if (!arena) {
#ifdef MAP_32BIT
    void* p = mmap(nullptr, ARENA + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
#else
    void* p = mmap(reinterpret_cast<void*>(0x20000000), ARENA + PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
    if (p == MAP_FAILED || uintptr_t(p) + ARENA > 0xffffffffu) return false;
    arena = static_cast<char*>(p);
    mprotect(arena + ARENA, PAGE, PROT_NONE);
  }
  machine.shared_size = (bytes + 15) / 16 * 16;
  machine.shared = arena + ARENA - machine.shared_size;
  machine.shared_used = bytes;
  machine.count.shared_bytes = bytes;
  return true;
}

inline void run_blocks() {
  std::mt19937 random(unsigned(machine.schedule) >> 4);
  const dim3 g = machine.grid_size;
  const uint64_t blocks = uint64_t(g.x) * g.y * g.z;
  for (uint64_t i = 0; i < blocks && !machine.error[0]; i++) {
    const uint64_t n = machine.schedule & LAST_FIRST ? blocks - 1 - i : i;
    machine.block = {unsigned(n % g.x), unsigned(n / g.x % g.y), unsigned(n / g.x / g.y)};
    run_block(random);
  }
}

__attribute__((noinline)) inline void guarded_run() {
  FaultHandlers handlers;
  if (!_setjmp(after_fault)) run_blocks();
}

inline void launch(const unsigned* size, size_t shared, int schedule, void (*kernel)(void*), void* arguments) {
  machine.count = {};
  machine.error[0] = 0;
  machine.grid_size = dim3(size[0], size[1], size[2]);
  machine.block_size = dim3(size[3], size[4], size[5]);
  machine.schedule = schedule;
  machine.kernel = kernel, machine.arguments = arguments;
  check_launch(shared);
  if (machine.error[0]) return;
  if (!place_shared(shared)) return fail("no memory below 4 GiB for the emulated shared memory");
  make_fibers(machine.block_size);
  guarded_run();
}

}  // namespace emulation

#define DYN_SMEM(name) unsigned char* name = reinterpret_cast<unsigned char*>(emulation::machine.shared)
