#include "framework/ops/device.hpp"

#include <gtest/gtest.h>

#include "framework/base/error.hpp"
#include "framework/base/version.hpp"
#include "tests/support/message.hpp"

namespace strata::ops {
namespace {

std::string error_of(const std::string& text) {
  return tests::message_of([&] { device_from(text); });
}

TEST(Device, ReadsCpu) { EXPECT_EQ(device_from("cpu"), c10::Device(c10::kCPU)); }

TEST(Device, NamesWhatItTakes) {
  for (const char* text : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1 ", "CPU", ""}) {
    EXPECT_EQ(error_of(text),
              std::string("must be \"cpu\", \"cuda\" or \"cuda:K\", got \"") + text + "\"");
  }
}

TEST(Device, SaysWhatAGpuNeeds) {
  if (cuda_version() != "cpu") GTEST_SKIP() << "a build with CUDA";
  EXPECT_EQ(error_of("cuda:1"),
            "cannot use \"cuda:1\": this build has no CUDA; run tools/setup --gpu and build "
            "the cuda preset");
  EXPECT_EQ(gpu_count(), 0);
}

TEST(Device, CountsGpus_CUDA) {
  if (gpu_count() == 0) GTEST_SKIP() << "no GPU, or a build without CUDA";
  EXPECT_EQ(device_from("cuda"), c10::Device(c10::kCUDA, 0));
  EXPECT_TRUE(error_of("cuda:99").starts_with("no GPU for \"cuda:99\"; this machine has "));
}

}  // namespace
}  // namespace strata::ops
