// ptx:: instructions that move data: cp.async, ldmatrix.
#pragma once

namespace ptx {

// Bytes of a warp's or a thread's copy must be aligned to its size, or a GPU faults.
inline void check_aligned(const char* instruction, uintptr_t address, uintptr_t bytes) {
  char text[160];
  if (address % bytes)
    emulation::fail("%s: address %#zx is not aligned to %zu bytes, in %s", instruction, size_t(address), size_t(bytes),
                    emulation::describe(*emulation::machine.current, text));
}

inline void land(const emulation::Copy& c) {
  memcpy(c.target, c.source, size_t(c.bytes));
  memset(static_cast<char*>(c.target) + c.bytes, 0, size_t(c.filled - c.bytes));
}

// Copy BYTES (4, 8 or 16) from global to shared memory behind the thread's back; zeros if not `valid`.
template <int BYTES>
inline void cp_async(uint32_t target, const void* source, bool valid = true, int line = __builtin_LINE()) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
  auto& m = emulation::machine;
  m.current->place = {"cp.async", line};
  check_aligned("cp.async to shared memory", target, BYTES);
  check_aligned("cp.async from global memory", uintptr_t(source), BYTES);
  if (m.error[0]) return emulation::wait(emulation::READY, {"cp.async", line});
  emulation::Copy c{reinterpret_cast<void*>(uintptr_t(target)), source, valid ? BYTES : 0, BYTES};
  m.count.cp_async++;
  if (m.schedule & emulation::COPY_AT_ONCE) land(c);
  m.current->open.push_back(c);
}
inline void cp_async_commit() {
  auto& f = *emulation::machine.current;
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}
// Wait until at most N of the newest groups are under way.
template <int N>
inline void cp_async_wait() {
  auto& groups = emulation::machine.current->groups;
  while (groups.size() > size_t(N)) {
    if (!(emulation::machine.schedule & emulation::COPY_AT_ONCE))
      for (const auto& c : groups.front()) land(c);
    groups.erase(groups.begin());
  }
}

struct RowAddress {
  uint32_t address;
  uint32_t* out;
};

// Matrix m has its eight 16-byte rows at the addresses of lanes 8m..8m+7; lane l gets elements 2(l%4), +1 of row l/4.
template <int MATRICES, bool TRANSPOSED>
inline void execute_ldmatrix(void** records, unsigned) {
  auto& m = emulation::machine;
  m.count.ldmatrix++;
  for (int matrix = 0; matrix < MATRICES; matrix++) {
    const uint16_t* row[8];
    unsigned banks = 0;
    for (int r = 0; r < 8; r++) {
      const uint32_t a = static_cast<RowAddress*>(records[matrix * 8 + r])->address;
      check_aligned("ldmatrix", a, 16);
      if (m.error[0]) return;
      row[r] = reinterpret_cast<const uint16_t*>(uintptr_t(a));
      const unsigned bank = 1u << (a / 16 % 8);
      m.count.bank_conflicts += (banks & bank) != 0;
      banks |= bank;
    }
    for (int lane = 0; lane < 32; lane++) {
      const int i = lane / 4, j = lane % 4 * 2;
      const uint16_t low = TRANSPOSED ? row[j][i] : row[i][j], high = TRANSPOSED ? row[j + 1][i] : row[i][j + 1];
      static_cast<RowAddress*>(records[lane])->out[matrix] = low | uint32_t(high) << 16;
    }
  }
}

#define CUDA_EMULATION_LDMATRIX(name, n, transposed, text)                                            \
  inline void name(uint32_t (&r)[n], uint32_t address, int line = __builtin_LINE()) {                 \
    RowAddress record{address, r};                                                                    \
    emulation::warp_instruction(~0u, execute_ldmatrix<n, transposed>, &record, {text, line});         \
  }
CUDA_EMULATION_LDMATRIX(ldmatrix_x1, 1, false, "ldmatrix.x1")
CUDA_EMULATION_LDMATRIX(ldmatrix_x2, 2, false, "ldmatrix.x2")
CUDA_EMULATION_LDMATRIX(ldmatrix_x4, 4, false, "ldmatrix.x4")
CUDA_EMULATION_LDMATRIX(ldmatrix_x1_trans, 1, true, "ldmatrix.x1.trans")
CUDA_EMULATION_LDMATRIX(ldmatrix_x2_trans, 2, true, "ldmatrix.x2.trans")
CUDA_EMULATION_LDMATRIX(ldmatrix_x4_trans, 4, true, "ldmatrix.x4.trans")
#undef CUDA_EMULATION_LDMATRIX

}  // namespace ptx
