#include "framework/io/sharded.hpp"

#include <filesystem>
#include <set>
#include <unordered_map>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/strict_json.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMaxIndex = 100'000'000;  // bytes, as of a safetensors header

[[noreturn]] void fail_index(const std::string& path, const std::string& what) {
  throw CheckpointError(path + ": " + what);
}

/// The name of the file by the name of the tensor.
using WeightMap = std::unordered_map<std::string, std::string>;

WeightMap read_index(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) fail_index(path, "cannot be read: " + error.message());
  if (size > kMaxIndex) fail_index(path, "is too large for an index of weights");
  const nlohmann::json index = parse_strict_json(read_text(path), path + ": the index");
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    fail_index(path, "has no weight_map, which tells the file of each tensor");
  }
  WeightMap files;
  for (const auto& [name, value] : map->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    // Files beside the index only: whoever wrote it has no say over other folders.
    if (file.empty() || fs::path(file).filename() != file || file == "." || file == ".." ||
        file.find('\0') != std::string::npos || is_index(file)) {
      fail_index(path, "tensor \"" + name + "\": is in no file of this folder, got " +
                           value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    }
    files.emplace(name, file);
  }
  return files;
}

}  // namespace

bool is_index(const std::string& path) { return path.ends_with(".index.json"); }

std::vector<std::string> shards_of(const std::string& path) {
  std::set<std::string> files;
  for (const auto& [name, file] : read_index(path)) files.insert(file);
  return {files.begin(), files.end()};
}

TensorFile read_sharded(const std::string& path) {
  WeightMap left = read_index(path);
  std::set<std::string> shards;
  for (const auto& [name, file] : left) shards.insert(file);
  TensorFile whole;
  for (const std::string& shard : shards) {
    const std::string file = fs::path(path).parent_path() / shard;
    if (!fs::exists(file)) {
      fail_index(path, "speaks of " + shard + ", which is not beside it; fetch that too");
    }
    TensorFile part = read_tensors(file);
    for (auto& [name, tensor] : part.tensors) {
      const auto found = left.find(name);
      if (found == left.end()) {
        fail_index(file, "tensor \"" + name + "\" is not in the index, or in two files");
      }
      if (found->second != shard) {
        fail_index(file, "tensor \"" + name + "\" is in " + found->second + " by the index");
      }
      left.erase(found);
      whole.tensors.emplace_back(name, std::move(tensor));
    }
    whole.metadata.merge(part.metadata);
  }
  if (!left.empty()) {
    const auto& [name, file] = *left.begin();
    fail_index(path, "tensor \"" + name + "\" is not in " + file);
  }
  return whole;
}

}  // namespace strata::io
