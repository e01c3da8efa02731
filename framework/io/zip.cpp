#include "framework/io/zip.hpp"

#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "framework/base/error.hpp"

namespace strata::io {
namespace {

constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                        kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr std::uint64_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56,
                        kLocator64Size = 20, kMaxComment = 65535;
constexpr std::uint64_t kMaxEntries = 1'000'000;
constexpr std::uint64_t kZipAlignment = 64;
constexpr std::uint16_t kEncrypted = 1, kExtra64 = 1;
constexpr std::uint32_t kSee64 = 0xffffffff;

/// Little-endian numbers of a file, none of them outside of it.
class ZipBytes {
 public:
  ZipBytes(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  [[noreturn]] void fail(std::uint64_t at, const std::string& what) const {
    throw CheckpointError(fmt::format("{}: byte {}: {}", source_, at, what));
  }
  void need(std::uint64_t at, std::uint64_t size, const char* what) const {
    if (at > bytes_.size() || size > bytes_.size() - at) {
      fail(at, fmt::format("{} reaches beyond the end of the file ({} bytes): it is truncated or "
                           "damaged",
                           what, bytes_.size()));
    }
  }
  template <class T>
  T number(std::uint64_t at, const char* what) const {
    need(at, sizeof(T), what);
    T value{};
    std::memcpy(&value, bytes_.data() + at, sizeof(T));
    return value;
  }
  std::string_view text(std::uint64_t at, std::uint64_t size, const char* what) const {
    need(at, size, what);
    return bytes_.substr(at, size);
  }
  std::uint64_t size() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  const std::string& source_;
};

struct Directory {
  std::uint64_t begin = 0, size = 0, count = 0;
  std::uint64_t limit = 0;  // entries end before it
};

Directory find_directory(const ZipBytes& file) {
  if (file.size() < kEndSize) file.fail(0, "the zip archive is truncated: it has no directory");
  std::uint64_t end = file.size() - kEndSize;
  const std::uint64_t last = end > kMaxComment ? end - kMaxComment : 0;
  while (file.number<std::uint32_t>(end, "the end record") != kEnd ||
         file.number<std::uint16_t>(end + 20, "the end record") != file.size() - end - kEndSize) {
    if (end == last) {
      file.fail(file.size(), "the zip archive ends without its directory: the file is truncated");
    }
    --end;
  }
  const auto u16 = [&](std::uint64_t at) {
    return file.number<std::uint16_t>(at, "the end record");
  };
  const auto u32 = [&](std::uint64_t at) {
    return file.number<std::uint32_t>(at, "the end record");
  };
  const auto u64 = [&](std::uint64_t at) {
    return file.number<std::uint64_t>(at, "the end record");
  };
  if (u16(end + 4) != 0 || u16(end + 6) != 0 || u16(end + 8) != u16(end + 10)) {
    file.fail(end, "the zip archive is one part of several, or damaged");
  }
  Directory directory{u32(end + 16), u32(end + 12), u16(end + 10), end};
  if (end >= kLocator64Size && u32(end - kLocator64Size) == kLocator64) {
    const std::uint64_t at = u64(end - kLocator64Size + 8);
    file.need(at, kEnd64Size, "the zip64 end record");
    if (u32(at) != kEnd64) file.fail(at, "the zip64 end record is damaged");
    directory = {u64(at + 48), u64(at + 40), u64(at + 32), at};
  }
  if (directory.size > directory.limit || directory.begin > directory.limit - directory.size) {
    file.fail(end, fmt::format("the directory of the zip archive is said to be {} bytes at {}, the "
                               "file has {}",
                               directory.size, directory.begin, file.size()));
  }
  if (directory.count > kMaxEntries || directory.count * kCentralSize > directory.size) {
    file.fail(end, fmt::format("the directory of the zip archive is said to have {} entries in {} "
                               "bytes",
                               directory.count, directory.size));
  }
  directory.limit = directory.begin;
  return directory;
}

// Sizes and place of an entry that do not fit into 32 bits are in its extra field, in this order.
void read_extra64(const ZipBytes& file, std::uint64_t at, std::uint64_t end,
                  std::initializer_list<std::uint64_t*> values) {
  while (at + 4 <= end) {
    const auto id = file.number<std::uint16_t>(at, "an extra field");
    const std::uint64_t size = file.number<std::uint16_t>(at + 2, "an extra field");
    at += 4;
    if (size > end - at) file.fail(at, "an extra field of the zip archive is damaged");
    if (id == kExtra64) {
      const std::uint64_t stop = at + size;
      for (std::uint64_t* value : values) {
        if (*value != kSee64) continue;
        if (at + 8 > stop) file.fail(at, "a zip64 field of the zip archive is too short");
        *value = file.number<std::uint64_t>(at, "an extra field");
        at += 8;
      }
      return;
    }
    at += size;
  }
}

}  // namespace

std::map<std::string, ZipEntry, std::less<>> read_zip_directory(std::string_view bytes,
                                                                const std::string& source) {
  const ZipBytes file(bytes, source);
  const Directory directory = find_directory(file);
  std::map<std::string, ZipEntry, std::less<>> entries;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
  std::uint64_t at = directory.begin;
  const std::uint64_t stop = directory.begin + directory.size;
  for (std::uint64_t n = 0; n < directory.count; ++n) {
    const auto u16 = [&](std::uint64_t p) {
      return file.number<std::uint16_t>(p, "the directory");
    };
    const auto u32 = [&](std::uint64_t p) {
      return file.number<std::uint32_t>(p, "the directory");
    };
    if (stop - at < kCentralSize || u32(at) != kCentral) {
      file.fail(at, fmt::format("entry {} of the zip directory is damaged", n));
    }
    const std::uint64_t name_size = u16(at + 28), extra_size = u16(at + 30);
    const std::uint64_t whole = kCentralSize + name_size + extra_size + u16(at + 32);
    if (whole > stop - at)
      file.fail(at, fmt::format("entry {} of the zip directory is cut short", n));
    const std::string name(file.text(at + kCentralSize, name_size, "the directory"));
    std::uint64_t packed = u32(at + 20), unpacked = u32(at + 24), local = u32(at + 42);
    read_extra64(file, at + kCentralSize + name_size, at + kCentralSize + name_size + extra_size,
                 {&unpacked, &packed, &local});
    const auto bad = [&](std::uint64_t where, const std::string& what) {
      file.fail(where, "zip entry \"" + name + "\" " + what);
    };
    if ((u16(at + 8) & kEncrypted) != 0) bad(at, "is encrypted");
    const int method = u16(at + 10);
    if (method == 0 && packed != unpacked) {
      bad(at, fmt::format("is stored, but has {} bytes for {}", packed, unpacked));
    }
    if (local > directory.limit || directory.limit - local < kLocalSize ||
        file.number<std::uint32_t>(local, "an entry") != kLocal) {
      bad(at, fmt::format("is said to begin at {}, where none does", local));
    }
    const std::uint64_t own_name = file.number<std::uint16_t>(local + 26, "an entry");
    const std::uint64_t begin =
        local + kLocalSize + own_name + file.number<std::uint16_t>(local + 28, "an entry");
    if (begin > directory.limit || packed > directory.limit - begin) {
      bad(local, fmt::format("is said to have {} bytes at {}, the entries end at {}", packed, begin,
                             directory.limit));
    }
    if (file.text(local + kLocalSize, own_name, "an entry") != name) {
      bad(local, "has another name in its own header");
    }
    if (!entries.emplace(name, ZipEntry{begin, packed, u32(at + 16), method}).second) {
      bad(at, "is there twice");
    }
    taken.emplace_back(local, begin + packed);
    at += whole;
  }
  std::sort(taken.begin(), taken.end());
  for (std::size_t i = 1; i < taken.size(); ++i) {
    if (taken[i].first < taken[i - 1].second) {
      file.fail(taken[i].first, "two entries of the zip archive overlap");
    }
  }
  return entries;
}

void check_crc(std::string_view bytes, const ZipEntry& entry, const std::string& name,
               const std::string& source) {
  if (entry.crc == 0 || entry.method != 0) return;
  const std::string_view own = bytes.substr(entry.begin, entry.size);
  if (libdeflate_crc32(0, own.data(), own.size()) == entry.crc) return;
  throw CheckpointError(fmt::format("{}: byte {}: zip entry \"{}\" is damaged (checksum)", source,
                                    entry.begin, name));
}

namespace {

void append_numbers(std::string& text,
                    std::initializer_list<std::pair<std::uint64_t, int>> numbers) {
  for (const auto& [value, size] : numbers) {
    for (int i = 0; i < size; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  }
}

// Version 2.0, no flags, stored, the first day that the format can tell.
void append_facts(std::string& text, std::uint32_t crc, std::uint64_t size, std::size_t name) {
  append_numbers(
      text,
      {{20, 2}, {0, 2}, {0, 2}, {0, 2}, {0x21, 2}, {crc, 4}, {size, 4}, {size, 4}, {name, 2}});
}

}  // namespace

void ZipWriter::put(const std::string& bytes) {
  put_(bytes.data(), bytes.size());
  at_ += bytes.size();
}

void ZipWriter::add(const std::string& name, const void* bytes, std::uint64_t size) {
  const std::uint64_t begin = at_ + kLocalSize + name.size();
  // An extra field of two numbers and as many zeros as it takes.
  std::uint64_t padding = (kZipAlignment - begin % kZipAlignment) % kZipAlignment;
  if (padding > 0 && padding < 4) padding += kZipAlignment;
  if (size >= kSee64 || begin + padding + size >= kSee64 || count_ + 1 >= 0xffff) {
    throw CheckpointError(source_ +
                          ": grows beyond 4 GiB or 65534 tensors, more than this format "
                          "holds; write a .safetensors file");
  }
  const std::uint32_t crc = libdeflate_crc32(0, bytes, size);
  append_numbers(directory_, {{kCentral, 4}, {20, 2}});
  append_facts(directory_, crc, size, name.size());
  append_numbers(directory_, {{0, 2}, {0, 2}, {0, 2}, {0, 2}, {0, 4}, {at_, 4}});
  directory_ += name;
  ++count_;

  std::string header;
  append_numbers(header, {{kLocal, 4}});
  append_facts(header, crc, size, name.size());
  append_numbers(header, {{padding, 2}});
  header += name;
  if (padding > 0) {
    append_numbers(header, {{0x4246, 2}, {padding - 4, 2}});
    header.append(padding - 4, 'Z');
  }
  put(header);
  put_(bytes, size);
  at_ += size;
}

void ZipWriter::finish() {
  std::string end;
  append_numbers(end, {{kEnd, 4},
                       {0, 2},
                       {0, 2},
                       {count_, 2},
                       {count_, 2},
                       {directory_.size(), 4},
                       {at_, 4},
                       {0, 2}});
  if (at_ + directory_.size() + end.size() >= kSee64) {
    throw CheckpointError(source_ +
                          ": grows beyond 4 GiB, more than this format holds; write a "
                          ".safetensors file");
  }
  put(directory_ + end);
}

}  // namespace strata::io
