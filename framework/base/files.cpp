#include "framework/base/files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "framework/base/crc32c.hpp"
#include "framework/base/error.hpp"

namespace strata {
namespace {

/// What the user can do about a failed system call.
const char* cure(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "; free some space there, or choose another folder";
    case EROFS:
      return "; nothing can be written to that disk, choose another folder";
    case EACCES:
    case EPERM:
      return "; change its permissions, or choose another folder";
    default:
      return "";
  }
}

/// A file descriptor that closes itself.
class File {
 public:
  File(const std::string& path, int flags, const char* verb)
      : path_(path), verb_(verb), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail();
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  std::size_t read(char* bytes, std::size_t size) const {
    for (;;) {
      const ssize_t got = ::read(fd_, bytes, size);
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) fail();
    }
  }
  void write(const char* bytes, std::size_t size) const {
    while (size > 0) {
      const ssize_t put = ::write(fd_, bytes, size);
      if (put < 0) {
        if (errno == EINTR) continue;
        fail();
      }
      bytes += put;
      size -= static_cast<std::size_t>(put);
    }
  }
  void sync() const {
    // Some file systems cannot sync (EINVAL); that is not the user's error.
    if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail();
  }

 private:
  [[noreturn]] void fail() const {
    const int number = errno;
    throw UserError(path_ + ": cannot be " + verb_ + ": " + std::strerror(number) + cure(number));
  }

  std::string path_;
  const char* verb_;
  int fd_;
};

}  // namespace

std::string read_text(const std::string& path) {
  const File file(path, O_RDONLY, "read");
  std::string text;
  std::vector<char> block(1 << 16);
  while (const std::size_t got = file.read(block.data(), block.size())) {
    text.append(block.data(), got);
  }
  return text;
}

void write_text(const std::string& path, const std::string& text) {
  write_whole(path, [&](const Put& put) { put(text.data(), text.size()); });
}

void write_whole(const std::string& path, const std::function<void(const Put&)>& body) {
  const std::string beside = path + ".partial";
  try {
    {
      const File file(beside, O_WRONLY | O_CREAT | O_TRUNC, "written");
      body([&](const void* bytes, std::size_t size) {
        file.write(static_cast<const char*>(bytes), size);
      });
      file.sync();
    }
    std::error_code error;
    std::filesystem::rename(beside, path, error);
    if (error) {
      throw UserError(path + ": cannot be written: " + error.message() + cure(error.value()));
    }
  } catch (...) {
    ::unlink(beside.c_str());
    throw;
  }
}

void sync_path(const std::string& path) { File(path, O_RDONLY, "synced to disk").sync(); }

FileSum sum_of(const std::string& path) {
  const File file(path, O_RDONLY, "read");
  FileSum sum;
  std::vector<char> block(1 << 20);
  while (const std::size_t got = file.read(block.data(), block.size())) {
    sum.size += got;
    sum.crc = crc32c(block.data(), got, sum.crc);
  }
  return sum;
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error && !std::filesystem::is_directory(path)) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (error) {
    throw UserError(path + ": cannot be created: " + error.message() + cure(error.value()));
  }
}

}  // namespace strata
