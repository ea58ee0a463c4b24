// CUDA C++ on the CPU: included before a kernel's source, it lets g++ compile that source as it stands.
//
// Every CUDA thread is a fiber on one CPU thread. Blocks run one after another; within a block, a fiber runs until it
// must wait: at a block barrier, or at an instruction that a whole warp executes together. docs/emulation.md tells what
// is emulated, what is checked and what is not.
#pragma once
#include <algorithm>
#include <cfloat>
#include <climits>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#define CUDA_EMULATION 1

#include "emulation/types.hpp"
#include "emulation/halves.hpp"
#include "emulation/math.hpp"
#include "emulation/fibers.hpp"
#include "emulation/faults.hpp"
#include "emulation/launch.hpp"
#include "emulation/warp.hpp"
#include "emulation/copies.hpp"
#include "emulation/tensor_cores.hpp"
#include "emulation/exports.hpp"
