#include "framework/io/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "framework/base/error.hpp"

namespace strata::io {

MappedFile map_file(const std::string& path) {
  const auto fail = [&](const std::string& what) { throw CheckpointError(path + ": " + what); };
  // Not blocking: a pipe of that name would never open.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) fail(std::string("cannot be opened: ") + std::strerror(errno));
  struct stat info {};
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(file);
    fail("is not a file");
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size == 0) {
    ::close(file);
    return {};
  }
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  const int why = errno;
  ::close(file);
  if (data == MAP_FAILED) fail(std::string("cannot be mapped: ") + std::strerror(why));
  return {{static_cast<char*>(data), [size](char* address) { ::munmap(address, size); }}, size};
}

}  // namespace strata::io
