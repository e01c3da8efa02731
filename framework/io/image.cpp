#include "framework/io/image.hpp"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <limits>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/codecs.hpp"

namespace strata::io {

namespace detail {

struct Content {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
};

}  // namespace detail

namespace {

using detail::Bytes;
using detail::Content;
using detail::Decode;

Content read_file(const std::string& path) {
  // Not blocking: opening a pipe would wait for its other end.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  auto failed = [&](const char* cure) {
    const std::string reason = std::strerror(errno);
    if (file >= 0) ::close(file);
    throw DataError(path + ": cannot be read (" + reason + "); " + cure);
  };
  if (file < 0) {
    if (errno == ENOENT) {
      throw DataError(path + ": no such file; restore it or take it out of the data set");
    }
    failed("check its permissions");
  }
  struct stat status {};
  if (::fstat(file, &status) != 0) failed("check the disk");
  if (!S_ISREG(status.st_mode)) {
    ::close(file);
    throw DataError(path + (S_ISDIR(status.st_mode) ? ": is a folder" : ": is a device or a pipe") +
                    ", expected an image file");
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  Content content{std::make_unique_for_overwrite<std::uint8_t[]>(size)};
  while (content.size < size) {
    const ssize_t got = ::read(file, content.data.get() + content.size, size - content.size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed("check the disk");
    if (got == 0) break;  // shorter than a moment ago: the codec reports it
    content.size += static_cast<std::size_t>(got);
  }
  ::close(file);
  if (content.size == 0) throw DataError(path + ": file is empty; copy or make it again");
  return content;
}

at::Tensor tensor_of(const cv::Mat& mat) {
  const std::int64_t height = mat.rows, width = mat.cols, channels = mat.channels();
  const bool bytes = mat.depth() == CV_8U;
  at::Tensor image = at::empty({height, width, channels}, bytes ? at::kByte : at::kFloat);
  cv::Mat out(mat.rows, mat.cols, CV_MAKETYPE(bytes ? CV_8U : CV_32F, mat.channels()),
              image.mutable_data_ptr());
  if (channels == 3) {
    cv::Mat converted;
    if (!bytes) mat.convertTo(converted, CV_32F);
    cv::cvtColor(bytes ? mat : converted, out, cv::COLOR_BGR2RGB);
  } else if (channels == 4) {
    cv::Mat converted;
    if (!bytes) mat.convertTo(converted, CV_32F);
    cv::cvtColor(bytes ? mat : converted, out, cv::COLOR_BGRA2RGBA);
  } else if (bytes) {
    mat.copyTo(out);
  } else {
    mat.convertTo(out, CV_32F);
  }
  return image;
}

}  // namespace

void detail::check_size(const Bytes& bytes, const char* format, std::int64_t height,
                        std::int64_t width, std::int64_t size) {
  constexpr std::int64_t kMost = std::int64_t{1} << 33;  // 8 GiB
  if (size <= kMost) return;
  throw DataError(bytes.path + ": " + format + " file claims " + std::to_string(height) + " x " +
                  std::to_string(width) +
                  " pixels, more than can be read; copy or make it again, or cut it in tiles");
}

namespace {

[[noreturn]] void not_an_image(const Bytes& bytes) {
  throw DataError(bytes.path +
                  ": damaged, or no image that can be read; convert it to PNG, JPEG or TIFF");
}

at::Tensor decode_other(const Bytes& bytes, Decode decode) {
  quiet_opencv();
  if (bytes.size > std::numeric_limits<int>::max()) {
    throw DataError(bytes.path + ": has " + std::to_string(bytes.size) +
                    " bytes, this format is read up to 2 GiB; cut it in tiles");
  }
  cv::Mat mat;
  const cv::Mat data(1, static_cast<int>(bytes.size), CV_8U, const_cast<std::uint8_t*>(bytes.data));
  try {
    mat = cv::imdecode(data, cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception&) {
    not_an_image(bytes);
  }
  if (mat.empty()) not_an_image(bytes);
  if (decode == Decode::as_stored) return tensor_of(mat);
  if (decode == Decode::rgb) {
    if (mat.depth() != CV_8U) {
      throw DataError(bytes.path +
                      ": holds values of more than 8 bits, expected 8-bit RGB; set color_type = "
                      "\"unchanged\" to read them as they are");
    }
    cv::Mat bgr = mat;
    if (mat.channels() == 1) cv::cvtColor(mat, bgr, cv::COLOR_GRAY2BGR);
    if (mat.channels() == 4) cv::cvtColor(mat, bgr, cv::COLOR_BGRA2BGR);
    if (bgr.channels() != 3) {
      throw DataError(bytes.path + ": has " + std::to_string(mat.channels()) +
                      " channels, expected RGB; set color_type = \"unchanged\" to read them all");
    }
    return tensor_of(bgr);
  }
  at::Tensor map = tensor_of(mat);
  if (map.scalar_type() == at::kFloat) {
    const auto* in = map.const_data_ptr<float>();
    at::Tensor whole = at::empty(map.sizes(), at::kByte);
    auto* out = whole.mutable_data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < map.numel(); ++i) {
      const float value = in[i];
      if (!(value >= 0 && value <= 255 && value == static_cast<float>(static_cast<int>(value)))) {
        throw DataError(bytes.path + ": label holds value " + cv::format("%g", value) +
                        ", values are whole numbers up to 255; renumber the classes");
      }
      out[i] = static_cast<std::uint8_t>(value);
    }
    map = whole;
  }
  return map.size(2) == 1 ? map.squeeze(2) : map;
}

at::Tensor decode_bytes(const Bytes& bytes, Decode decode) {
  if (detail::is_png(bytes)) return detail::decode_png(bytes, decode);
  if (detail::is_jpeg(bytes)) {
    at::Tensor image = detail::decode_jpeg(bytes, decode);
    if (image.defined()) return image;
  }
  return decode_other(bytes, decode);
}

at::Tensor decode_file(const std::string& path, Decode decode) {
  const Content content = read_file(path);
  return decode_bytes({path, content.data.get(), content.size}, decode);
}

Decode decode_of(Channels channels) {
  return channels == Channels::rgb ? Decode::rgb : Decode::as_stored;
}

// A label saved as RGB with three equal channels is a grey label.
at::Tensor drop_equal_channels(const at::Tensor& map) {
  if (map.dim() == 2) return map;
  const std::int64_t channels = map.size(2), count = map.size(0) * map.size(1);
  const auto* in = map.const_data_ptr<std::uint8_t>();
  at::Tensor grey = at::empty({map.size(0), map.size(1)}, at::kByte);
  auto* out = grey.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < count; ++i, in += channels) {
    if (channels >= 3 && (in[0] != in[1] || in[0] != in[2])) return map;
    out[i] = in[0];
  }
  return grey;
}

}  // namespace

const std::vector<std::string>& image_suffixes() {
  static const std::vector<std::string> all = {".bmp", ".jpeg", ".jpg",  ".png", ".ppm",
                                               ".pgm", ".tif",  ".tiff", ".webp"};
  return all;
}

void quiet_opencv() {
  static const bool done = [] {
    cv::setNumThreads(1);
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    return true;
  }();
  static_cast<void>(done);
}

bool ends_with_one_of(const std::string& name, const std::vector<std::string>& endings) {
  const auto same = [](unsigned char a, unsigned char b) {
    return std::tolower(a) == std::tolower(b);
  };
  return std::any_of(endings.begin(), endings.end(), [&](const std::string& ending) {
    return name.size() > ending.size() &&
           std::equal(ending.rbegin(), ending.rend(), name.rbegin(), same);
  });
}

at::Tensor read_image(const std::string& path, Channels channels) {
  return decode_file(path, decode_of(channels));
}

struct LazyImage::File {
  std::string path;
  detail::Content content;
  Decode decode;
  Bytes bytes() const { return {path, content.data.get(), content.size}; }
};

LazyImage::LazyImage(const std::string& path, Channels channels) {
  File file{path, read_file(path), decode_of(channels)};
  const auto whole = detail::is_jpeg(file.bytes()) ? detail::jpeg_in_areas(file.bytes())
                                                   : std::optional<Area>{};
  if (!whole) {
    pixels_ = decode_bytes(file.bytes(), file.decode);
    return;
  }
  whole_ = *whole;
  file_ = std::make_shared<const File>(std::move(file));
}

at::Tensor LazyImage::whole() const {
  return file_ ? detail::decode_jpeg(file_->bytes(), file_->decode) : pixels_;
}

at::Tensor LazyImage::part(const Area& area) const {
  if (area.height == height() && area.width == width()) return whole();
  if (file_) return detail::decode_jpeg(file_->bytes(), file_->decode, area);
  return pixels_.narrow(0, area.top, area.height).narrow(1, area.left, area.width);
}

at::Tensor read_label(const std::string& path) {
  at::Tensor map = drop_equal_channels(decode_file(path, Decode::label));
  if (map.dim() == 2 || map.size(2) == 3) return map;
  at::Tensor colours = at::empty({map.size(0), map.size(1), 3}, at::kByte);
  auto* out = colours.mutable_data_ptr<std::uint8_t>();
  const auto* in = map.const_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < map.size(0) * map.size(1); ++i) {
    std::memcpy(out + 3 * i, in + map.size(2) * i, 3);
  }
  return colours;
}

std::string encode_png(const at::Tensor& image) {
  const at::Tensor pixels = image.contiguous();
  const int channels = image.dim() == 2 ? 1 : static_cast<int>(image.size(2));
  return detail::encode_png(pixels.const_data_ptr<std::uint8_t>(), image.size(0), image.size(1),
                            channels, {});
}

std::string jpeg_bytes(const at::Tensor& image, int quality) {
  quiet_opencv();
  const at::Tensor pixels = image.contiguous();
  // OpenCV takes no const data; cvtColor does not write to its input.
  auto* data = const_cast<std::uint8_t*>(pixels.const_data_ptr<std::uint8_t>());
  cv::Mat bgr;
  cv::cvtColor(
      cv::Mat(static_cast<int>(image.size(0)), static_cast<int>(image.size(1)), CV_8UC3, data), bgr,
      cv::COLOR_RGB2BGR);
  std::vector<std::uint8_t> bytes;
  cv::imencode(".jpg", bgr, bytes, {cv::IMWRITE_JPEG_QUALITY, quality});
  return {bytes.begin(), bytes.end()};
}

void write_png(const std::string& path, const at::Tensor& image) {
  write_text(path, encode_png(image));
}

void write_label_png(const std::string& path, const at::Tensor& map,
                     const std::vector<std::vector<std::int64_t>>& palette) {
  std::vector<std::uint8_t> colours(std::size_t{3} * 256, 0);
  for (std::size_t i = 0; i < std::min<std::size_t>(palette.size(), 256); ++i) {
    for (std::size_t c = 0; c < 3; ++c)
      colours[3 * i + c] = static_cast<std::uint8_t>(palette[i][c]);
  }
  const at::Tensor pixels = map.contiguous();
  write_text(path, detail::encode_png(pixels.const_data_ptr<std::uint8_t>(), map.size(0),
                                      map.size(1), 1, colours));
}

}  // namespace strata::io
