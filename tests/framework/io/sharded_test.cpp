// Weights in several files beside an index: read as one, and refused when index and files disagree
// or the index reaches for what is not beside it.
#include "framework/io/sharded.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.hpp"
#include "framework/engine/checkpoint.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::io {
namespace {

using tests::TempDir;
using tests::write_file;

class Sharded : public testing::Test {
 protected:
  void SetUp() override {
    write_tensors(folder_ / "in/a.safetensors", {{"x", at::ones({2})}, {"z", at::arange(3)}});
    write_tensors(folder_ / "in/b.bin", {{"y", at::zeros({3})}});
    write_tensors(folder_ / "out.safetensors", {{"y", at::zeros({3})}});
  }
  static std::string map(const std::string& entries) {
    return R"({"metadata": {"total_size": 44}, "weight_map": {)" + entries + "}}";
  }
  /// What reading this index says, without the folder's path.
  std::string message(const std::string& index) {
    write_file(path_, index);
    try {
      return std::to_string(read_tensors(path_).tensors.size()) + " tensors";
    } catch (const CheckpointError& error) {
      std::string text = error.what();
      return text.starts_with(folder_ / "in/") ? text.substr((folder_ / "in/").size()) : text;
    }
  }

  TempDir folder_;
  const std::string path_ = folder_ / "in/model.safetensors.index.json";
  const std::string good_ = R"("x": "a.safetensors", "y": "b.bin", "z": "a.safetensors")";
  const std::string here_ = "model.safetensors.index.json: ";
};

TEST_F(Sharded, AreReadAsOne) {
  EXPECT_EQ(message(map(good_)), "3 tensors");
  EXPECT_EQ(shards_of(path_), (std::vector<std::string>{"a.safetensors", "b.bin"}));
  // As a folder, too, and as the weights of a tool.
  const TensorMap tensors = read_tensors(folder_ / "in").tensors;
  EXPECT_TRUE(at::equal(get(tensors, "z"), at::arange(3)));
  EXPECT_TRUE(at::equal(get(tensors, "y"), at::zeros({3})));
  EXPECT_EQ(engine::weights_of(folder_ / "in"), path_);
  EXPECT_THROW(read_tensors(path_, "state_dict"), CheckpointError);
}

TEST_F(Sharded, AFileOutsideOfTheFolderIsRefused) {
  for (const std::string file :
       {"../out.safetensors", "/etc/passwd", "sub/b.bin", "..", ".", "", "./a.safetensors",
        "a.safetensors/", "model.safetensors.index.json", "a\\u0000b"}) {
    const std::string text = message(map(R"("y": ")" + file + '"'));
    EXPECT_TRUE(text.starts_with(here_ + "tensor \"y\": is in no file of this folder, got \""))
        << file << ": " << text;
  }
  EXPECT_EQ(message(map(R"("y": 3)")), here_ + "tensor \"y\": is in no file of this folder, got 3");
  EXPECT_EQ(message(map(R"("y": ["b.bin"])")),
            here_ + "tensor \"y\": is in no file of this folder, got [\"b.bin\"]");
}

TEST_F(Sharded, IndexAndFilesMustAgree) {
  EXPECT_EQ(message(map(good_ + R"(, "v": "c.bin")")),
            here_ + "speaks of c.bin, which is not beside it; fetch that too");
  EXPECT_EQ(message(map(good_ + R"(, "v": "b.bin")")), here_ + "tensor \"v\" is not in b.bin");
  EXPECT_EQ(message(map(R"("x": "a.safetensors", "y": "b.bin")")),
            "a.safetensors: tensor \"z\" is not in the index, or in two files");
  EXPECT_EQ(message(map(R"("x": "a.safetensors", "y": "b.bin", "z": "b.bin")")),
            "a.safetensors: tensor \"z\" is in b.bin by the index");
  // In two files, whichever of them the index names.
  write_tensors(folder_ / "in/c.bin", {{"x", at::ones({2})}, {"v", at::ones({1})}});
  EXPECT_EQ(message(map(good_ + R"(, "v": "c.bin")")),
            "c.bin: tensor \"x\" is not in the index, or in two files");
  // A damaged file tells its own name.
  write_file(folder_ / "in/b.bin", "PK");
  EXPECT_TRUE(message(map(good_)).starts_with("b.bin: is no file of weights"));
}

TEST_F(Sharded, AnIndexThatIsNone) {
  const std::string no_map = here_ + "has no weight_map, which tells the file of each tensor";
  EXPECT_EQ(message("{}"), no_map);
  EXPECT_EQ(message(R"({"weight_map": 3})"), no_map);
  EXPECT_EQ(message(R"({"weight_map": {}})"), no_map);
  for (const std::string text : {"", "[]", "3", "{", R"({"weight_map": {"x": "a")", "\xff\xfe"}) {
    EXPECT_EQ(message(text), here_ + "the index is not a JSON object") << text;
  }
  EXPECT_EQ(message(map(good_ + R"(, "x": "b.bin")")), here_ + "the index names \"x\" twice");
  EXPECT_EQ(message(R"({"weight_map": )" + std::string(100'000, '[') + "}"),
            here_ + "the index is not a JSON object");
  const std::string deep = message(R"({"weight_map": {"x": )" + std::string(100'000, '[') +
                                   std::string(100'000, ']') + "}}");
  EXPECT_TRUE(deep.starts_with(here_ + "tensor \"x\": is in no file of this folder")) << deep;
  EXPECT_LT(deep.size(), 200u);
}

}  // namespace
}  // namespace strata::io
