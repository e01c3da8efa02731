#include "framework/io/tensor_file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <string_view>

#include "framework/base/error.hpp"
#include "framework/io/mapped_file.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/sharded.hpp"
#include "framework/io/torch_file.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;

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

void refuse_select(const std::string& path, const std::string& select, const char* what) {
  if (select.empty()) return;
  throw CheckpointError(fmt::format(
      "{}: select: {} has no dict \"{}\", only tensors; leave select out", path, what, select));
}

}  // namespace

std::optional<std::string> weights_in(const std::string& folder) {
  for (const char* name : kHubFiles) {
    if (const fs::path file = fs::path(folder) / name; fs::is_regular_file(file)) return file;
  }
  return std::nullopt;
}

TensorFile read_tensors(const std::string& path, const std::string& select) {
  if (fs::is_directory(path)) {
    if (const auto file = weights_in(path)) return read_tensors(*file, select);
    throw CheckpointError(
        fmt::format("{}: is a folder with none of {}", path, fmt::join(kHubFiles, ", ")));
  }
  if (is_index(path)) {
    refuse_select(path, select, "an index of files");
    return read_sharded(path);
  }
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
  refuse_select(path, select, "a safetensors file");
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
