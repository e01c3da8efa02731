// Files that are whole or not there: what must survive a crash, a full disk or a kill.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "framework/base/export.hpp"

namespace strata {

/// Throws UserError "path: cannot be read: …".
STRATA_API std::string read_text(const std::string& path);

/// The same for what is too large for one string: `body` gets block after block.
STRATA_API void read_blocks(const std::string& path,
                            const std::function<void(const char* bytes, std::size_t size)>& body);

/// Writes `text` beside `path`, syncs it and renames it to `path`: a reader, and whoever comes
/// after a crash, sees the old file or the new one. Throws UserError "path: cannot be written: …"
/// and leaves nothing behind.
STRATA_API void write_text(const std::string& path, const std::string& text);

/// The same for what is too large for one string: `body` puts piece after piece.
using Put = std::function<void(const void* bytes, std::size_t size)>;
STRATA_API void write_whole(const std::string& path, const std::function<void(const Put&)>& body);

/// A file that grows, over several runs of the program if need be, until it is whole and takes its
/// place. One process at a time has it. Every call throws UserError "path: cannot be written: …".
class STRATA_API PartialFile {
 public:
  /// Opens `path`, with what an earlier run left in it, or makes it. `waits` is called when another
  /// process has it, before waiting for that one.
  PartialFile(std::string path, const std::function<void()>& waits);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const;
  void append(const void* bytes, std::size_t size);
  void clear();
  void remove();
  /// Syncs it and renames it to `path`, which is replaced.
  void become(const std::string& path);

 private:
  struct State;
  std::string path_;
  std::unique_ptr<State> state_;
};

/// Makes a file's contents, or a folder's entries, last beyond a power cut. Throws UserError.
STRATA_API void sync_path(const std::string& path);

/// Size and CRC-32C of a file.
struct FileSum {
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  bool operator==(const FileSum&) const = default;
};
/// Throws UserError "path: cannot be read: …".
STRATA_API FileSum sum_of(const std::string& path);

/// Creates a folder and those above it. Throws UserError "path: cannot be created: …".
STRATA_API void make_folder(const std::string& path);

}  // namespace strata
