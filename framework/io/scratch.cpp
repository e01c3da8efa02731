#include "framework/io/scratch.hpp"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "framework/base/error.hpp"

namespace strata::io {

ScratchMap::ScratchMap(const std::string& folder, std::int64_t height, std::int64_t width)
    : folder_(folder), height_(height), width_(width) {
  std::string name = folder + "/.scratch_XXXXXX";
  file_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (file_ < 0) fail();
  ::unlink(name.c_str());
}

ScratchMap::~ScratchMap() {
  if (file_ >= 0) ::close(file_);
}

void ScratchMap::fail() const {
  throw UserError(folder_ + ": cannot be written: " + std::strerror(errno));
}

void ScratchMap::write(std::int64_t top, std::int64_t left, const at::Tensor& block) {
  const at::Tensor rows = block.contiguous();
  const bool whole = rows.size(1) == width_;
  const std::int64_t pieces = whole ? 1 : rows.size(0);
  const std::int64_t size = rows.numel() / std::max<std::int64_t>(pieces, 1);
  const auto* bytes = rows.const_data_ptr<std::uint8_t>();
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    for (std::int64_t done = 0; done < size;) {
      const ssize_t put =
          ::pwrite(file_, bytes + piece * size + done, static_cast<std::size_t>(size - done),
                   (top + piece) * width_ + left + done);
      if (put < 0 && errno != EINTR) fail();
      done += std::max<ssize_t>(put, 0);
    }
  }
}

at::Tensor ScratchMap::read(std::int64_t top, std::int64_t rows) const {
  at::Tensor map = at::empty({rows, width_}, at::kByte);
  auto* bytes = map.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t done = 0; done < map.numel();) {
    const ssize_t got = ::pread(file_, bytes + done, static_cast<std::size_t>(map.numel() - done),
                                top * width_ + done);
    if (got == 0) throw std::logic_error("a part of the map was never written");
    if (got < 0 && errno != EINTR) fail();
    done += std::max<ssize_t>(got, 0);
  }
  return map;
}

}  // namespace strata::io
