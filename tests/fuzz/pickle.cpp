// The pickle inside of an archive that is whole otherwise, with three storages to speak of.
#include "framework/io/zip.hpp"
#include "tests/fuzz/weights.hpp"

namespace strata::fuzz {

int pickle(const std::uint8_t* data, std::size_t size) {
  std::string archive;
  const strata::Put put = [&](const void* bytes, std::size_t count) {
    archive.append(static_cast<const char*>(bytes), count);
  };
  const std::string values(96, 'a');
  strata::io::ZipWriter zip(put, "fuzz");
  zip.add("a/data.pkl", data, size);
  zip.add("a/data/0", values.data(), 96);
  zip.add("a/data/1", values.data(), 24);
  zip.add("a/data/2", values.data(), 0);
  zip.finish();
  read_weights(archive.data(), archive.size());
  return 0;
}

}  // namespace strata::fuzz
