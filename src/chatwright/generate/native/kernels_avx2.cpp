// The kernels for avx2.
#include "kernels.h"
#include "simd_avx2.h"
#define KERNELS avx2_kernels
#define KERNELS_NAME "avx2"
#include "kernels.inc"
