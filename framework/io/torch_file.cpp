#include "framework/io/torch_file.hpp"

#include <fmt/format.h>

#include <cstring>
#include <map>

#include "framework/base/error.hpp"
#include "framework/io/pickle.hpp"
#include "framework/io/state_dict.hpp"
#include "framework/io/zip.hpp"

namespace strata::io {
namespace {

using Kind = PickledValue::Kind;

std::string_view view_of(const MappedFile& file) { return {file.data.get(), file.size}; }

}  // namespace

TensorFile read_torch_zip(const MappedFile& file, const std::string& source,
                          const std::string& select) {
  const std::string_view bytes = view_of(file);
  const auto entries = read_zip_directory(bytes, source);
  const auto stored = [&](const std::string& name) -> const ZipEntry* {
    const auto found = entries.find(name);
    if (found == entries.end()) return nullptr;
    if (found->second.method != 0) {
      throw CheckpointError(
          fmt::format("{}: byte {}: zip entry \"{}\" is compressed (method {}); "
                      "torch.save does not compress: unpack and pack it again "
                      "with zip -0",
                      source, found->second.begin, name, found->second.method));
    }
    return &found->second;
  };
  std::string folder;
  bool any = false;
  for (const auto& [name, entry] : entries) {
    const std::string_view suffix = "data.pkl";
    if (!name.ends_with(suffix)) continue;
    const std::string before = name.substr(0, name.size() - suffix.size());
    if (!before.empty() && before.find('/') != before.size() - 1) continue;
    if (any) throw CheckpointError(source + ": the zip archive holds two data.pkl");
    any = true;
    folder = before;
  }
  if (!any) {
    throw CheckpointError(source + ": is a zip archive without data.pkl: not a file of torch.save");
  }
  if (const ZipEntry* order = stored(folder + "byteorder")) {
    if (bytes.substr(order->begin, order->size) != "little") {
      throw CheckpointError(source +
                            ": was written on a big-endian machine, which is not read here");
    }
  }
  const ZipEntry& root = *stored(folder + "data.pkl");
  check_crc(bytes, root, folder + "data.pkl", source);
  const Pickle pickle = read_pickle(bytes.substr(root.begin, root.size), 0, root.begin, source);
  const FindStorage find = [&](const PickledTensor& tensor) -> StorageBytes {
    const std::string name = folder + "data/" + std::string(tensor.storage);
    const ZipEntry* entry = stored(name);
    if (entry == nullptr) {
      throw CheckpointError(
          fmt::format("{}: byte {}: the zip archive has no entry \"{}\"", source, tensor.at, name));
    }
    return {entry->begin, entry->size};
  };
  return read_state_dict(pickle, file, source, find, select);
}

TensorFile read_torch_legacy(const MappedFile& file, const std::string& source,
                             const std::string& select) {
  const std::string_view bytes = view_of(file);
  const auto fail = [&](std::uint64_t at, const std::string& what) {
    throw CheckpointError(fmt::format("{}: byte {}: {}", source, at, what));
  };
  // Five pickles: a magic number, the version, the machine, the object, the keys of its storages.
  constexpr std::string_view kMagic{"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10};
  const Pickle magic = read_pickle(bytes, 0, 0, source);
  if (magic[magic.root].kind != Kind::bytes || magic[magic.root].text != kMagic) {
    fail(0, "is a pickle, but none of torch.save: its magic number is missing");
  }
  const Pickle version = read_pickle(bytes, magic.end, 0, source);
  if (version[version.root].kind != Kind::integer || version[version.root].number != 1001) {
    fail(magic.end, "has a version of the format other than 1001");
  }
  const Pickle machine = read_pickle(bytes, version.end, 0, source);
  const PickledValue* little = machine.find(machine[machine.root], "little_endian");
  if (little == nullptr || little->kind != Kind::boolean || little->number != 1) {
    fail(version.end, "was written on a big-endian machine, which is not read here");
  }
  const Pickle object = read_pickle(bytes, machine.end, 0, source);
  const Pickle keys = read_pickle(bytes, object.end, 0, source);

  // Then, in the order of the keys, the number of elements and the elements of each.
  std::map<std::string_view, std::int64_t> widths;
  for (const PickledTensor& tensor : object.tensors) {
    const auto width = static_cast<std::int64_t>(at::elementSize(tensor.storage_type));
    if (!widths.emplace(tensor.storage, width).second && widths[tensor.storage] != width) {
      fail(tensor.at, "two tensors see one storage as of different types");
    }
  }
  std::map<std::string_view, StorageBytes> storages;
  std::uint64_t at = keys.end;
  if (keys[keys.root].kind != Kind::sequence) fail(object.end, "the keys of storages are no list");
  for (const std::uint32_t index : keys[keys.root].items) {
    const PickledValue& key = keys[index];
    if (key.kind != Kind::text) fail(key.at, "the key of a storage is no text");
    const auto width = widths.find(key.text);
    if (width == widths.end()) {
      fail(key.at, fmt::format("storage \"{}\" belongs to no tensor", key.text.substr(0, 80)));
    }
    std::int64_t count = 0;
    if (bytes.size() - at < sizeof(count))
      fail(at, "the file is truncated before its last storage");
    std::memcpy(&count, bytes.data() + at, sizeof(count));
    at += sizeof(count);
    if (count < 0 || static_cast<std::uint64_t>(count) > (bytes.size() - at) / width->second) {
      fail(at - sizeof(count),
           fmt::format("storage \"{}\" is said to have {} elements of {} bytes, the file has {} "
                       "bytes left",
                       key.text.substr(0, 80), count, width->second, bytes.size() - at));
    }
    const std::uint64_t size = static_cast<std::uint64_t>(count) * width->second;
    if (!storages.emplace(key.text, StorageBytes{at, size}).second) {
      fail(key.at, fmt::format("storage \"{}\" is there twice", key.text.substr(0, 80)));
    }
    at += size;
  }
  const FindStorage find = [&](const PickledTensor& tensor) -> StorageBytes {
    const auto found = storages.find(tensor.storage);
    if (found == storages.end()) {
      fail(tensor.at, fmt::format("the file has no storage \"{}\"", tensor.storage.substr(0, 80)));
    }
    return found->second;
  };
  return read_state_dict(object, file, source, find, select);
}

}  // namespace strata::io
