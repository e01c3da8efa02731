#include "framework/base/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
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
  File(File&& other) noexcept
      : path_(std::move(other.path_)), verb_(other.verb_), fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&&) = delete;

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
  void clear() const {
    if (::ftruncate(fd_, 0) != 0) fail();
  }
  void sync() const {
    // Some file systems cannot sync (EINVAL); that is not the user's error.
    if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail();
  }
  /// What is no regular file may have no end (/dev/zero) or no beginning (a pipe).
  void expect_regular() const {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) fail();
    if (S_ISREG(info.st_mode)) return;
    throw UserError(path_ + ": cannot be " + verb_ + ": is not a regular file; give the path of one");
  }
  std::uint64_t size() const {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) fail();
    return static_cast<std::uint64_t>(info.st_size);
  }
  int descriptor() const { return fd_; }

 private:
  [[noreturn]] void fail() const {
    const int number = errno;
    throw UserError(path_ + ": cannot be " + verb_ + ": " + std::strerror(number) + cure(number));
  }

  std::string path_;
  const char* verb_;
  int fd_;
};

void rename_file(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error) {
    throw UserError(to + ": cannot be written: " + error.message() + cure(error.value()));
  }
}

}  // namespace

void read_blocks(const std::string& path,
                 const std::function<void(const char* bytes, std::size_t size)>& body) {
  // Not blocking: opening a pipe would wait for its other end.
  const File file(path, O_RDONLY | O_NONBLOCK, "read");
  file.expect_regular();
  std::vector<char> block(1 << 18);
  while (const std::size_t got = file.read(block.data(), block.size())) body(block.data(), got);
}

std::string read_text(const std::string& path) {
  std::string text;
  read_blocks(path, [&](const char* bytes, std::size_t size) { text.append(bytes, size); });
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
    rename_file(beside, path);
  } catch (...) {
    ::unlink(beside.c_str());
    throw;
  }
}

struct PartialFile::State {
  explicit State(File opened) : file(std::move(opened)) {}
  File file;
};

PartialFile::PartialFile(std::string path, const std::function<void()>& waits)
    : path_(std::move(path)) {
  for (bool told = false;;) {
    auto state = std::make_unique<State>(File(path_, O_WRONLY | O_CREAT | O_APPEND, "written"));
    const int fd = state->file.descriptor();
    // File systems without locks (some of networks) go on without one.
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      if (!std::exchange(told, true)) waits();
      while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) {
      }
    }
    struct stat held {};
    struct stat named {};
    const bool here = ::fstat(fd, &held) == 0 && ::stat(path_.c_str(), &named) == 0 &&
                      held.st_ino == named.st_ino && held.st_dev == named.st_dev;
    if (!here) continue;  // who had it has finished or removed it
    state_ = std::move(state);
    return;
  }
}
PartialFile::~PartialFile() = default;

// Asked each time: a disk that fills takes a part of what is appended.
std::uint64_t PartialFile::size() const { return state_->file.size(); }

void PartialFile::append(const void* bytes, std::size_t size) {
  state_->file.write(static_cast<const char*>(bytes), size);
}

void PartialFile::clear() { state_->file.clear(); }

void PartialFile::remove() { ::unlink(path_.c_str()); }

void PartialFile::become(const std::string& path) {
  state_->file.sync();
  rename_file(path_, path);
}

void sync_path(const std::string& path) { File(path, O_RDONLY, "synced to disk").sync(); }

FileSum sum_of(const std::string& path) {
  FileSum sum;
  read_blocks(path, [&](const char* bytes, std::size_t size) {
    sum.size += size;
    sum.crc = crc32c(bytes, size, sum.crc);
  });
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
