#include "framework/io/tensor_file.hpp"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <string_view>

#include "framework/base/error.hpp"
#include "framework/io/mapped_file.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/torch_file.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;

std::string file_of_folder(const std::string& folder) {
  for (const char* name : {"model.safetensors", "pytorch_model.bin"}) {
    if (fs::is_regular_file(fs::path(folder) / name)) return fs::path(folder) / name;
  }
  throw CheckpointError(folder +
                        ": is a folder with neither model.safetensors nor "
                        "pytorch_model.bin");
}

/// What a file that is none of ours may be.
std::string guess(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs")) {
    return "is only a pointer of Git LFS; fetch the file itself with git lfs pull";
  }
  if (bytes.starts_with("<")) return "is a web page, not a file of weights; download it again";
  if (bytes.starts_with("\x1f\x8b")) return "is compressed with gzip; unpack it with gunzip";
  if (bytes.size() > 262 && bytes.substr(257, 5) == "ustar") {
    return "is a tar archive (torch.save of before 0.2 wrote such): save it again with a newer "
           "torch";
  }
  std::string first;
  for (const char byte : bytes.substr(0, 8)) first += fmt::format(" {:02x}", byte & 0xff);
  return "is no file of weights that is known (safetensors, or of torch.save); it begins with" +
         first;
}

}  // namespace

TensorFile read_tensors(const std::string& path, const std::string& select) {
  if (fs::is_directory(path)) return read_tensors(file_of_folder(path), select);
  const MappedFile file = map_file(path);
  if (file.size == 0) throw CheckpointError(path + ": is empty; copy or download it again");
  const std::string_view bytes{file.data.get(), file.size};
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06")) {
    return read_torch_zip(file, path, select);
  }
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5 &&
      (bytes.size() < 9 || bytes[8] != '{')) {
    return read_torch_legacy(file, path, select);
  }
  if (bytes.size() < 9 || bytes[8] != '{') throw CheckpointError(path + ": " + guess(bytes));
  if (!select.empty()) {
    throw CheckpointError(path + ": select: a safetensors file has no dict \"" + select +
                          "\", only tensors; leave select out");
  }
  return read_safetensors(file, path);
}

void write_tensors(const std::string& path, const TensorMap& tensors) {
  const std::string ending = fs::path(path).extension();
  if (ending == ".safetensors") return write_safetensors(path, tensors, {{"format", "pt"}});
  if (ending == ".pth" || ending == ".pt" || ending == ".bin") {
    return write_torch_file(path, tensors);
  }
  throw CheckpointError(path + ": ends with \"" + ending +
                        "\", expected .safetensors, .pth, .pt or .bin");
}

}  // namespace strata::io
