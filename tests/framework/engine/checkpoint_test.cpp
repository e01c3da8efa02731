#include "framework/engine/checkpoint.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "tests/framework/engine/stub_run.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using tests::StubRun;
using tests::TempDir;

Checkpoint sample(double value, std::int64_t size = 8) {
  Checkpoint checkpoint;
  checkpoint.model = {{"a.weight", at::full({size}, value)}, {"a.count", at::ones({}, at::kLong)}};
  checkpoint.optimizer = {{"a.weight.exp_avg", at::full({size}, -value)}};
  checkpoint.state = "{}\n";
  checkpoint.config = "[train]\nsteps = 3\n";
  checkpoint.plugins = {"p.so"};
  return checkpoint;
}

std::size_t entries(const std::string& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(Checkpoints, ComeBackWhole) {
  const TempDir folder;
  const std::string path = write_checkpoint(folder.path(), 12, sample(0.5));
  EXPECT_EQ(path, folder / "step_12");
  EXPECT_EQ(entries(folder.path()), 1U);
  const Checkpoint back = read_checkpoint(path);
  EXPECT_TRUE(at::equal(get(back.model, "a.weight"), at::full({8}, 0.5)));
  EXPECT_TRUE(at::equal(get(back.optimizer, "a.weight.exp_avg"), at::full({8}, -0.5)));
  EXPECT_EQ(back.config, "[train]\nsteps = 3\n");
  EXPECT_EQ(back.plugins, (std::vector<std::string>{"p.so"}));
}

TEST(Checkpoints, TheNewestIsByNumber) {
  const TempDir folder;
  EXPECT_FALSE(newest_checkpoint(folder.path()));
  EXPECT_FALSE(newest_checkpoint(folder / "nowhere"));
  for (const std::int64_t step : {9, 100, 20}) write_checkpoint(folder.path(), step, sample(1));
  fs::create_directory(folder / "step_x");
  EXPECT_EQ(newest_checkpoint(folder.path()).value(), folder / "step_100");
}

TEST(Checkpoints, DamageIsSeenAndPassedOver) {
  const TempDir folder;
  write_checkpoint(folder.path(), 1, sample(1));
  write_checkpoint(folder.path(), 2, sample(2));
  const std::string file = folder / "step_2/model.safetensors";
  std::string bytes = read_text(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(file, bytes);
  EXPECT_EQ(check_checkpoint(folder / "step_2"),
            "model.safetensors is not what the manifest says (checksum)");
  EXPECT_EQ(newest_checkpoint(folder.path()).value(), folder / "step_1");
  EXPECT_THROW(read_checkpoint(folder / "step_2"), CheckpointError);
  bytes.pop_back();
  write_text(file, bytes);
  EXPECT_NE(check_checkpoint(folder / "step_2").find("bytes, the manifest says"),
            std::string::npos);
  fs::remove(file);
  EXPECT_EQ(check_checkpoint(folder / "step_2"), "model.safetensors is missing");
  fs::remove(folder / "step_2/manifest.json");
  EXPECT_EQ(check_checkpoint(folder / "step_2"), "has no manifest.json");
}

TEST(Checkpoints, OneOfTheSameStepIsReplaced) {
  const TempDir folder;
  write_checkpoint(folder.path(), 3, sample(1));
  write_checkpoint(folder.path(), 3, sample(2));
  EXPECT_TRUE(
      at::equal(get(read_checkpoint(folder / "step_3").model, "a.weight"), at::full({8}, 2.0)));
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(Checkpoints, WhatAKillLeftIsNoCheckpoint) {
  const TempDir folder;
  write_checkpoint(folder.path(), 3, sample(1));
  fs::copy(folder / "step_3", folder / ".step_4.partial");
  fs::remove(folder / ".step_4.partial/manifest.json");
  EXPECT_EQ(newest_checkpoint(folder.path()).value(), folder / "step_3");
  write_checkpoint(folder.path(), 4, sample(2));
  EXPECT_EQ(entries(folder.path()), 2U);
}

TEST(Checkpoints, WeightsOf) {
  const TempDir folder;
  EXPECT_THROW(weights_of(folder.path()), CheckpointError);
  EXPECT_THROW(weights_of(folder / "none"), CheckpointError);
  write_checkpoint(folder.path(), 1, sample(1));
  write_checkpoint(folder.path(), 2, sample(1));
  EXPECT_EQ(weights_of(folder.path()), folder / "step_2/model.safetensors");
  mark_best(folder.path(), 1);
  EXPECT_EQ(weights_of(folder.path()), folder / "step_1/model.safetensors");
  mark_best(folder.path(), 2);
  EXPECT_EQ(weights_of(folder.path()), folder / "step_2/model.safetensors");
  EXPECT_EQ(weights_of(folder / "step_1"), folder / "step_1/model.safetensors");
  EXPECT_EQ(checkpoint_of(folder / "step_1"), folder / "step_1");
  EXPECT_EQ(checkpoint_of(folder.path()), folder / "step_2");
  EXPECT_THROW(checkpoint_of(folder / "none"), CheckpointError);
}

/// A file system of 1 MiB.
class FullDisk {
 public:
  explicit FullDisk(const std::string& path) : path_(path) {
    fs::create_directories(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=1m") == 0;
    if (!mounted_) reason_ = std::strerror(errno);
  }
  ~FullDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& reason() const { return reason_; }

 private:
  std::string path_, reason_;
  bool mounted_ = false;
};

TEST(Checkpoints, AFullDiskKeepsTheOldOnes) {
  const TempDir folder;
  const std::string small = folder / "small";
  const FullDisk disk(small);
  if (!disk.mounted()) GTEST_SKIP() << "a small file system cannot be mounted: " << disk.reason();
  write_checkpoint(small, 1, sample(1));
  const std::string text =
      tests::message_of([&] { write_checkpoint(small, 2, sample(2, 1 << 20)); });
  EXPECT_TRUE(text.starts_with(small + "/step_2: the checkpoint could not be saved (")) << text;
  EXPECT_NE(text.find("No space left on device"), std::string::npos) << text;
  EXPECT_EQ(entries(small), 1U);
  EXPECT_EQ(check_checkpoint(small + "/step_1"), "");
}

TEST(WorkDir, AReadOnlyOneIsToldBeforeTraining) {
  const TempDir folder;
  const std::string locked = folder.path() + "/locked";
  const FullDisk disk(locked);
  if (::geteuid() == 0) {  // whom only a read-only file system keeps out
    const bool sealed =
        disk.mounted() && ::mount("", locked.c_str(), "", MS_REMOUNT | MS_RDONLY, "") == 0;
    if (!sealed) GTEST_SKIP() << "no read-only file system can be mounted: " << disk.reason();
  } else {
    ::chmod(locked.c_str(), 0555);
  }
  for (const std::string& path : {locked, locked + "/run"}) {
    const std::string text = tests::message_of([&] { StubRun(path).make().run(); });
    EXPECT_TRUE(text.starts_with(path + ": cannot be ")) << text;
  }
  EXPECT_EQ(entries(locked), 0U);
}

TEST(WorkDir, AFileInItsPlaceIsTold) {
  const TempDir folder;
  write_text(folder / "file", "mine");
  EXPECT_EQ(tests::message_of([&] { StubRun(folder / "file").make().run(); }),
            (folder / "file") + ": cannot be created: Not a directory");
  EXPECT_EQ(read_text(folder / "file"), "mine");
}

}  // namespace
}  // namespace strata::engine
