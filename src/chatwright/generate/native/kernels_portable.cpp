// The kernels for portable.
#include "kernels.h"
#include "simd_portable.h"
#define KERNELS portable_kernels
#define KERNELS_NAME "portable"
#include "kernels.inc"
