// Indices of weights in several files, beside two small files that are good.
#include <ATen/ATen.h>

#include <filesystem>

#include "framework/io/safetensors.hpp"
#include "framework/io/sharded.hpp"
#include "tests/fuzz/weights.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::fuzz {

int shards(const std::uint8_t* data, std::size_t size) {
  namespace fs = std::filesystem;
  static const strata::tests::TempDir dir;
  static const std::string index = [] {
    io::write_safetensors(dir / "a.safetensors", {{"x", at::arange(6, at::kFloat)}});
    io::write_safetensors(dir / "b.safetensors",
                          {{"y", at::arange(4, at::kLong)}, {"z", at::zeros({}, at::kDouble)}});
    fs::create_symlink(as_file("", 0), dir / "model.safetensors.index.json");
    return dir / "model.safetensors.index.json";
  }();
  as_file(data, size);
  try {
    for (const std::string& shard : io::shards_of(index)) {
      require(!shard.empty() && shard.find('/') == std::string::npos,
              "a file outside of the folder: " + shard);
    }
    const io::TensorFile whole = io::read_sharded(index);
    require(whole.tensors.size() == 1 || whole.tensors.size() == 2 || whole.tensors.size() == 3,
            "tensors of nowhere");
    use_all_bytes(whole);
  } catch (const UserError& error) {
    require(std::string(error.what()).starts_with(dir.path()),
            std::string("an error without its place: ") + error.what());
  }
  return 0;
}

}  // namespace strata::fuzz
