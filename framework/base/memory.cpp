#include "framework/base/memory.hpp"

#include <malloc.h>

namespace strata {

void keep_freed_memory() {
#if defined(__GLIBC__)
  // 32 MiB is the most that glibc takes for this; larger blocks still come and go by mmap.
  constexpr int kMmapThreshold = 32 << 20;
  constexpr int kTrimThreshold = 1 << 30;
  ::mallopt(M_MMAP_THRESHOLD, kMmapThreshold);
  ::mallopt(M_TRIM_THRESHOLD, kTrimThreshold);
  // Batches are made by loader threads and freed by the one that trains: with an arena a thread,
  // what one of them freed would be of no use to another (100 MiB of HRNet-W18's growth).
  ::mallopt(M_ARENA_MAX, 1);
#endif
}

}  // namespace strata
