// What a kernel includes by this name on a GPU is all there from the start.
#pragma once
#include "cuda_emulation.hpp"
