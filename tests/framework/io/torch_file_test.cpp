// Files written by the real torch (tests/data/weights/generate.py) are read to the last bit, and
// our own come back as they were.
#include "framework/io/torch_file.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "framework/base/error.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/tensor_file.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::io {
namespace {

using tests::TempDir;

std::string fixture_path(const std::string& name) {
  return STRATA_SOURCE_DIR "/tests/data/weights/" + name;
}

/// The rule of generate.py.
at::Tensor fill(at::IntArrayRef shape, std::int64_t k, at::ScalarType type = at::kFloat) {
  at::Tensor values = at::empty(shape, at::kLong);
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    std::int64_t value = (7 * i + k) % 17 - 8;
    if (type == at::kBool) value = ((value % 2) + 2) % 2;
    if (type == at::kByte || type == at::kUInt16 || type == at::kUInt32 || type == at::kUInt64) {
      value += 8;
    }
    values.data_ptr<std::int64_t>()[i] = value;
  }
  return values.to(at::isFloatingType(type) ? at::kFloat : at::kLong).to(type);
}

TensorMap all_types() {
  TensorMap state;
  const std::pair<const char*, at::ScalarType> types[] = {
      {"float32", at::kFloat},     {"float64", at::kDouble}, {"float16", at::kHalf},
      {"bfloat16", at::kBFloat16}, {"int64", at::kLong},     {"int32", at::kInt},
      {"int16", at::kShort},       {"int8", at::kChar},      {"uint8", at::kByte},
      {"bool", at::kBool}};
  std::int64_t k = 0;
  for (const auto& [name, type] : types) {
    state.emplace_back(std::string(name) + ".weight", fill({2, 3}, k++, type));
  }
  state.emplace_back("scalar", fill({}, 10));
  state.emplace_back("empty", fill({0, 4}, 11));
  return state;
}

void expect_bits(const at::Tensor& read, const at::Tensor& want, const std::string& name) {
  ASSERT_EQ(read.scalar_type(), want.scalar_type()) << name;
  ASSERT_EQ(read.sizes(), want.sizes()) << name;
  const at::Tensor a = read.contiguous(), b = want.contiguous();
  const auto bytes = static_cast<std::size_t>(a.numel() * a.element_size());
  EXPECT_TRUE(bytes == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), bytes) == 0) << name;
}

void expect_equal(const TensorMap& read, const TensorMap& want) {
  ASSERT_EQ(read.size(), want.size());
  for (const auto& [name, tensor] : want) expect_bits(get(read, name), tensor, name);
}

std::string message(const std::string& name, const std::string& select = "") {
  try {
    read_tensors(fixture_path(name), select);
  } catch (const CheckpointError& error) {
    return std::string(error.what()).substr(fixture_path(name).size());
  }
  return "read without an error";
}

class OfTorch : public testing::TestWithParam<const char*> {};

TEST_P(OfTorch, EveryTypeIsReadToTheBit) {
  const TensorFile file = read_tensors(fixture_path(GetParam()));
  expect_equal(file.tensors, all_types());
  EXPECT_EQ(file.picked, "");
}

INSTANTIATE_TEST_SUITE_P(Files, OfTorch,
                         testing::Values("zip.pth", "protocol4.pth", "protocol5.pth", "legacy.pth",
                                         "no_crc.pth", "library.safetensors"),
                         [](const auto& file) {
                           std::string name = file.param;
                           return name.replace(name.find('.'), 1, "_");
                         });

TEST(TorchFile, NewTypes) {
  const TensorMap tensors = read_tensors(fixture_path("new_types.pth")).tensors;
  expect_bits(get(tensors, "float8_e4m3fn"), fill({2, 3}, 0, at::kFloat8_e4m3fn), "e4m3fn");
  expect_bits(get(tensors, "float8_e5m2"), fill({2, 3}, 1, at::kFloat8_e5m2), "e5m2");
  expect_bits(get(tensors, "uint16"), fill({2, 3}, 2, at::kUInt16), "uint16");
  expect_bits(get(tensors, "uint32"), fill({2, 3}, 3, at::kUInt32), "uint32");
  expect_bits(get(tensors, "uint64"), fill({2, 3}, 4, at::kUInt64), "uint64");
}

TEST(TorchFile, SharedAndStridedStorages) {
  const at::Tensor base = fill({4, 6}, 0);
  for (const char* name : {"shared.pth", "shared_legacy.pth"}) {
    const TensorMap read = read_tensors(fixture_path(name)).tensors;
    expect_bits(get(read, "whole"), base, name);
    expect_bits(get(read, "tail"), base.narrow(0, 2, 2), name);
    expect_bits(get(read, "columns"), base.narrow(1, 1, 2), name);
    expect_bits(get(read, "transposed"), base.t(), name);
    expect_bits(get(read, "repeated"), base.narrow(1, 0, 1)[0].expand({5}), name);
    expect_bits(get(read, "images"), fill({1, 3, 2, 2}, 1), name);
    EXPECT_TRUE(get(read, "images").is_contiguous(at::MemoryFormat::ChannelsLast)) << name;
  }
  // Aligned in the file: used where it lies, so that what shares a storage still does.
  const TensorMap read = read_tensors(fixture_path("shared.pth")).tensors;
  get(read, "whole").fill_(5);
  EXPECT_EQ(get(read, "tail").max().item<float>(), 5);
  expect_bits(get(read_tensors(fixture_path("shared.pth")).tensors, "whole"), base,
              "the file itself");
}

TEST(TorchFile, TorchScriptModulesBecomeDottedNames) {
  const TensorMap read = read_tensors(fixture_path("script.pt")).tensors;
  expect_equal(read, {{"visual.0.weight", fill({2, 2}, 0)},
                      {"visual.0.mean", fill({3}, 1)},
                      {"visual.1.weight", fill({2, 2}, 2)},
                      {"visual.1.mean", fill({3}, 3)},
                      {"logit_scale", fill({}, 4)},
                      {"proj", fill({2, 3}, 5, at::kHalf)}});
}

TEST(TorchFile, PicksTheWeightsOfACheckpoint) {
  for (const char* name : {"nested.pth", "nested_legacy.pth"}) {
    const TensorFile file = read_tensors(fixture_path(name));
    EXPECT_EQ(file.picked, "state_dict");
    EXPECT_EQ(file.others, std::vector<std::string>{"state_dict_ema"});
    expect_equal(file.tensors, {{"a.weight", fill({2, 2}, 0)}, {"a.mean", fill({3}, 1)}});
    expect_equal(read_tensors(fixture_path(name), "state_dict_ema").tensors,
                 {{"a.weight", fill({2, 2}, 2)}, {"a.mean", fill({3}, 3)}});
    EXPECT_EQ(get(read_tensors(fixture_path(name), "optimizer.state.0").tensors, "exp_avg").numel(),
              4);
    EXPECT_EQ(
        message(name, "state_dict_emma"),
        ": select: the file has no dict \"state_dict_emma\"; did you mean \"state_dict_ema\"?");
    EXPECT_EQ(message(name, "weights"),
              ": select: the file has no dict \"weights\"; it has \"state_dict\", "
              "\"state_dict_ema\", \"optimizer\"");
  }
  EXPECT_EQ(message("two.pth"),
            ": holds weights under \"generator\", \"critic\"; choose one with select");
  EXPECT_EQ(
      message("library.safetensors", "state_dict"),
      ": select: a safetensors file has no dict \"state_dict\", only tensors; leave select out");
}

TEST(TorchFile, CheckpointsOfMmengineWithTheirHistories) {
  const TensorFile file = read_tensors(fixture_path("mmengine.pth"));
  expect_equal(file.tensors, {{"backbone.weight", fill({2, 2}, 0)}});
  EXPECT_EQ(file.picked, "state_dict");
}

TEST(TorchFile, Parameters) {
  expect_equal(read_tensors(fixture_path("parameters.pth")).tensors,
               {{"plain", fill({2, 2}, 0)}, {"tagged", fill({2, 2}, 1)}});
}

TEST(TorchFile, WholePythonModulesAreRefusedByName) {
  EXPECT_EQ(
      message("module.pth"),
      ": byte 66: global \"__main__.Block\" is not among those that weights need; nothing in a "
      "weight file is executed, so it is refused; save only tensors, in Python: "
      "torch.save(model.state_dict(), PATH)");
}

TEST(TorchFile, WhatIsWrittenIsRead) {
  const TempDir dir;
  TensorMap state = all_types();
  for (const auto& [name, tensor] : read_tensors(fixture_path("new_types.pth")).tensors) {
    state.emplace_back(name, tensor);
  }
  state.emplace_back("complex", at::randn({3}, at::kComplexFloat));
  state.emplace_back("last", at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast));
  for (const char* name : {"w.pth", "w.safetensors"}) {
    write_tensors(dir / name, state);
    expect_equal(read_tensors(dir / name).tensors, state);
  }
  // Data begins at multiples of 64 bytes: no copy is made of it.
  const TensorMap read = read_tensors(dir / "w.pth").tensors;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(get(read, "last").data_ptr()) % 64, 0u);
  std::filesystem::rename(dir / "w.safetensors", dir / "folder/model.safetensors");
  expect_equal(read_tensors(dir.path() + "/folder").tensors, state);
  EXPECT_THROW(write_tensors(dir / "w.npz", state), CheckpointError);
  state.emplace_back("last", at::zeros({1}));
  EXPECT_THROW(write_tensors(dir / "w.pth", state), CheckpointError);
  expect_bits(get(read_tensors(dir / "w.pth").tensors, "last"), get(read, "last"), "the old file");
}

TEST(TensorFile, SaysWhatAFileIs) {
  const TempDir dir;
  const auto of = [&](const std::string& content) {
    tests::write_file(dir / "x", content);
    try {
      read_tensors(dir / "x");
    } catch (const CheckpointError& error) {
      return std::string(error.what()).substr((dir / "x").size());
    }
    return std::string("read without an error");
  };
  EXPECT_EQ(of(""), ": is empty; copy or download it again");
  EXPECT_EQ(of("version https://git-lfs.github.com/spec/v1\n"),
            ": is only a pointer of Git LFS; fetch the file itself with git lfs pull");
  EXPECT_EQ(of("<!DOCTYPE html>"), ": is a web page, not a file of weights; download it again");
  EXPECT_EQ(of("GGUF...."),
            ": is no file of weights that is known (safetensors, or of torch.save); "
            "it begins with 47 47 55 46 2e 2e 2e 2e");
  EXPECT_THROW(read_tensors(dir.path()), CheckpointError);
  EXPECT_THROW(read_tensors("/dev/null"), CheckpointError);
}

}  // namespace
}  // namespace strata::io
