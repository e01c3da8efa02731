// One OpenMP runtime for LibTorch and for us: two would fight over the cores.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <set>
#include <string>

TEST(Threads, OneOpenMpRuntimeIsMapped) {
  at::parallel_for(0, 1000, 1, [](std::int64_t, std::int64_t) {});
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> runtimes;
  for (std::string line; std::getline(maps, line);) {
    const auto slash = line.rfind('/');
    if (slash == std::string::npos) continue;
    const std::string file = line.substr(slash + 1);
    for (const char* name : {"libgomp", "libiomp", "libomp"}) {
      if (file.starts_with(name)) runtimes.insert(line.substr(line.find('/')));
    }
  }
  EXPECT_EQ(runtimes.size(), 1U) << testing::PrintToString(runtimes);
}

TEST(Threads, ParallelForUsesEveryThread) {
  std::atomic<int> chunks{0};
  at::parallel_for(0, 4096, 1, [&](std::int64_t, std::int64_t) { ++chunks; });
  EXPECT_EQ(chunks.load(), at::get_num_threads());
}
