#include "framework/io/safetensors.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/strict_json.hpp"

namespace strata::io {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::size_t kAlignment = 64;

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr std::array kTypes{
    TypeName{"F64", at::kDouble},  TypeName{"F32", at::kFloat},  TypeName{"F16", at::kHalf},
    TypeName{"BF16", at::kBFloat16}, TypeName{"I64", at::kLong}, TypeName{"I32", at::kInt},
    TypeName{"I16", at::kShort},   TypeName{"I8", at::kChar},    TypeName{"U8", at::kByte},
    TypeName{"BOOL", at::kBool},   TypeName{"U16", at::kUInt16}, TypeName{"U32", at::kUInt32},
    TypeName{"U64", at::kUInt64},  TypeName{"C64", at::kComplexFloat},
    TypeName{"F8_E4M3", at::kFloat8_e4m3fn}, TypeName{"F8_E5M2", at::kFloat8_e5m2}};

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw CheckpointError(path + ": " + what);
}

struct Record {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

Record parse_record(const std::string& path, const std::string& name, const nlohmann::json& entry) {
  auto bad = [&](const std::string& what) { fail(path, "tensor \"" + name + "\": " + what); };
  Record record;
  record.name = name;
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !entry["shape"].is_array() || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2) {
    bad("needs dtype, shape and two data_offsets");
  }
  const std::string type = entry["dtype"];
  const auto* known = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const TypeName& t) { return type == t.name; });
  if (known == kTypes.end()) bad("has an unsupported dtype, got \"" + type + "\"");
  record.type = known->type;
  if (entry["shape"].size() > 16) bad("has more than 16 dimensions");
  std::uint64_t bytes = at::elementSize(record.type);
  std::uint64_t stride = bytes;  // of the first dimension: large for an empty tensor as well
  for (const auto& extent : entry["shape"]) {
    if (!extent.is_number_unsigned()) bad("has a shape that is not made of counts");
    const std::uint64_t n = extent;
    if (n != 0 && stride > (std::uint64_t{1} << 50) / n) bad("has an impossible shape");
    stride *= std::max<std::uint64_t>(n, 1);
    bytes *= n;
    record.shape.push_back(static_cast<std::int64_t>(n));
  }
  for (const auto& offset : entry["data_offsets"]) {
    if (!offset.is_number_unsigned()) bad("has data_offsets that are not counts");
  }
  record.begin = entry["data_offsets"][0];
  record.end = entry["data_offsets"][1];
  if (record.end < record.begin || record.end - record.begin != bytes) {
    bad(fmt::format("needs {} bytes, its data_offsets are [{}, {}]", bytes, record.begin,
                    record.end));
  }
  return record;
}

}  // namespace

TensorFile read_safetensors(const std::string& path) {
  return read_safetensors(map_file(path), path);
}

TensorFile read_safetensors(const MappedFile& mapped, const std::string& path) {
  const auto& [mapping, size] = mapped;
  if (size < 8) fail(path, fmt::format("is too short for a safetensors file, {} bytes", size));
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, mapping.get(), 8);
  if (header_size > kMaxHeader || header_size > size - 8) {
    fail(path, fmt::format("says its header has {} bytes, the file has {}: it is truncated or not a "
                           "safetensors file",
                           header_size, size));
  }
  char* data = mapping.get() + 8 + header_size;
  const std::uint64_t data_size = size - 8 - header_size;
  const nlohmann::json header =
      parse_strict_json({mapping.get() + 8, header_size}, path + ": the header");

  TensorFile file;
  std::vector<Record> records;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      records.push_back(parse_record(path, name, entry));
      continue;
    }
    if (!entry.is_object()) fail(path, "the metadata is not a JSON object");
    for (const auto& [key, text] : entry.items()) {
      if (!text.is_string()) fail(path, "metadata \"" + key + "\" is not a string");
      file.metadata[key] = text;
    }
  }
  std::sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t reached = 0;
  for (const Record& record : records) {
    if (record.begin != reached) {
      fail(path, fmt::format("tensor \"{}\" begins at {}, the one before ends at {}", record.name,
                             record.begin, reached));
    }
    reached = record.end;
  }
  if (reached != data_size) {
    fail(path, fmt::format("has {} bytes of data, its header speaks of {}: it is truncated or "
                           "damaged",
                           data_size, reached));
  }
  for (const Record& record : records) {
    char* begin = data + record.begin;
    at::Tensor tensor;
    if (record.begin == record.end) {
      tensor = at::empty(record.shape, record.type);
    } else {
      const auto options = at::TensorOptions().dtype(record.type);
      tensor = at::from_blob(begin, record.shape, [keep = mapped.data](void*) {}, options);
      // Files of other writers need not be aligned.
      if (reinterpret_cast<std::uintptr_t>(begin) % at::elementSize(record.type) != 0) {
        tensor = at::empty(record.shape, options);
        std::memcpy(tensor.data_ptr(), begin, record.end - record.begin);
      }
    }
    file.tensors.emplace_back(record.name, std::move(tensor));
  }
  return file;
}

void write_safetensors(const std::string& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Wide types first, so that every tensor is aligned without holes.
  std::vector<std::pair<std::string, at::Tensor>> ordered(tensors.begin(), tensors.end());
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : ordered) {
    const at::ScalarType type = tensor.scalar_type();
    const auto* known = std::find_if(kTypes.begin(), kTypes.end(),
                                     [&](const TypeName& t) { return t.type == type; });
    if (known == kTypes.end() || header.contains(name)) {
      fail(path, "tensor \"" + name + "\" cannot be stored (its type, or a second of that name)");
    }
    const std::uint64_t bytes = tensor.numel() * tensor.element_size();
    header[name] = {{"dtype", known->name},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((kAlignment - (8 + text.size()) % kAlignment) % kAlignment, ' ');
  const std::uint64_t header_size = text.size();

  try {
    write_whole(path, [&](const Put& put) {
      put(&header_size, 8);
      put(text.data(), text.size());
      for (const auto& [name, tensor] : ordered) {
        const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
        put(plain.data_ptr(), plain.numel() * plain.element_size());
      }
    });
  } catch (const UserError& error) {
    throw CheckpointError(error.what());
  }
}

}  // namespace strata::io
