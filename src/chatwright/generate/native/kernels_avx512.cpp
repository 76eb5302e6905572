// The kernels for avx512.
#include "kernels.h"
#include "simd_avx512.h"
#define KERNELS avx512_kernels
#define KERNELS_NAME "avx512"
#include "kernels.inc"
