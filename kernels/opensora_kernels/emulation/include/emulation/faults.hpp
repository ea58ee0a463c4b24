// A guard page hit, or a trap of the UBSan build, becomes an error that names the thread, not the end of the process.
#pragma once
#include <dlfcn.h>

namespace emulation {

static jmp_buf after_fault;
static uintptr_t fault_offset;  // of the guilty instruction in this library, for addr2line; 0 if elsewhere

inline void on_fault(int signal, siginfo_t* info, void* context) {
  const auto* registers = static_cast<ucontext_t*>(context);
#if defined(__x86_64__)
  const auto at = uintptr_t(registers->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  const auto at = uintptr_t(registers->uc_mcontext.pc);
#else
  const uintptr_t at = 0;
#endif
  Dl_info here{}, guilty{};
  dladdr(reinterpret_cast<void*>(&on_fault), &here);
  fault_offset = dladdr(reinterpret_cast<void*>(at), &guilty) && guilty.dli_fbase == here.dli_fbase
                     ? at - uintptr_t(here.dli_fbase)
                     : 0;
  const bool trap = signal == SIGILL || signal == SIGTRAP;
  const Fiber& f = *machine.current;
  char text[160];
  if (trap)
    fail("undefined behaviour in %s, after %s", describe(f, text), f.place.instruction);
  else
    fail("memory fault at address %p in %s, after %s", info->si_addr, describe(f, text), f.place.instruction);
  _longjmp(after_fault, 1);
}

class FaultHandlers {  // in force while it lives
 public:
  FaultHandlers() {
    fault_offset = 0;
    stack_t own{};
    own.ss_sp = stack_, own.ss_size = sizeof stack_;
    sigaltstack(&own, &stack_before_);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    for (int i = 0; i < COUNT; i++) sigaction(SIGNALS[i], &action, &before_[i]);
  }
  ~FaultHandlers() {
    for (int i = 0; i < COUNT; i++) sigaction(SIGNALS[i], &before_[i], nullptr);
    sigaltstack(&stack_before_, nullptr);
  }
  FaultHandlers(const FaultHandlers&) = delete;

 private:
  static constexpr int COUNT = 5, SIGNALS[COUNT] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
  static inline char stack_[64 << 10];
  struct sigaction before_[COUNT];
  stack_t stack_before_{};
};

}  // namespace emulation
