// Zip archives as torch.save writes them: entries are stored, not compressed, and lie at aligned
// places, so that tensors can be used where they are. Source: the .ZIP file format specification.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "framework/base/export.hpp"
#include "framework/base/files.hpp"

namespace strata::io {

struct ZipEntry {
  std::uint64_t begin = 0, size = 0;  // of the bytes as they lie in the file
  std::uint32_t crc = 0;              // of the bytes once unpacked; 0: not computed by the writer
  int method = 0;                     // 0: stored
};

/// The entries of an archive by name. Every record, length and overlap is checked; nothing is
/// unpacked. Throws CheckpointError "source: byte N: what is wrong".
STRATA_API std::map<std::string, ZipEntry, std::less<>> read_zip_directory(
    std::string_view bytes, const std::string& source);

/// Throws CheckpointError when the bytes of an entry do not have its checksum.
STRATA_API void check_crc(std::string_view bytes, const ZipEntry& entry, const std::string& name,
                          const std::string& source);

/// Writes an archive piece by piece; data begins at multiples of 64 bytes.
class STRATA_API ZipWriter {
 public:
  ZipWriter(const Put& put, std::string source) : put_(put), source_(std::move(source)) {}
  /// Throws CheckpointError when the archive grows beyond the 4 GiB of the plain format.
  void add(const std::string& name, const void* bytes, std::uint64_t size);
  void finish();

 private:
  void put(const std::string& bytes);

  const Put& put_;
  std::string source_;
  std::string directory_;
  std::uint64_t at_ = 0, count_ = 0;
};

}  // namespace strata::io
