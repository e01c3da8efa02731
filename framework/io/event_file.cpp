#include "framework/io/event_file.hpp"

#include <bit>
#include <cerrno>

#include "framework/base/crc32c.hpp"
#include "framework/base/stream.hpp"

namespace strata::io {
namespace {

// Field numbers of the messages Event, Summary, Summary.Value, Summary.Image and SessionLog.
enum : std::uint32_t {
  kWallTime = 1,
  kStep = 2,
  kFileVersion = 3,
  kSummary = 5,
  kSessionLog = 7,
  kSummaryValue = 1,
  kTag = 1,
  kSimpleValue = 2,
  kImage = 4,
  kHeight = 1,
  kWidth = 2,
  kColours = 3,
  kEncoded = 4,
  kStatus = 1,
};
constexpr std::uint64_t kRgb = 3;    // Summary.Image.colorspace
constexpr std::uint64_t kStart = 1;  // SessionLog.START

/// Little-endian, as files and protocol buffers have it.
template <class Integer>
std::string bytes_of(Integer value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    bytes += static_cast<char>((value >> (8 * i)) & 0xff);
  }
  return bytes;
}

/// A protocol buffer message, written field by field in rising order of their numbers.
class Message {
 public:
  Message& number(std::uint32_t field, std::uint64_t value) {
    if (value == 0) return *this;  // the default is not written
    key(field, 0);
    varint(value);
    return *this;
  }
  Message& real(std::uint32_t field, double value) {
    key(field, 1);
    text_ += bytes_of(std::bit_cast<std::uint64_t>(value));
    return *this;
  }
  Message& real(std::uint32_t field, float value) {
    key(field, 5);
    text_ += bytes_of(std::bit_cast<std::uint32_t>(value));
    return *this;
  }
  Message& bytes(std::uint32_t field, const std::string& value) {
    key(field, 2);
    varint(value.size());
    text_ += value;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  void key(std::uint32_t field, std::uint32_t wire_type) { varint(field << 3 | wire_type); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
    text_ += static_cast<char>(value);
  }
  std::string text_;
};

// A checksum of bytes that hold checksums themselves would be weak: it is rotated and shifted.
std::uint32_t masked_crc(const std::string& bytes) {
  const std::uint32_t crc = crc32c(bytes.data(), bytes.size());
  return std::rotr(crc, 15) + 0xa282ead8U;
}

Message event(std::int64_t step, double wall_time) {
  Message message;
  message.real(kWallTime, wall_time).number(kStep, static_cast<std::uint64_t>(step));
  return message;
}

}  // namespace

EventFile::EventFile(std::string path, double wall_time) : path_(std::move(path)) {
  errno = 0;
  file_.open(path_, std::ios::binary | std::ios::trunc);
  check_written(file_, path_);
  add(event(0, wall_time).bytes(kFileVersion, "brain.Event:2").text());
}

void EventFile::add_scalar(const std::string& tag, std::int64_t step, double wall_time,
                           double value) {
  Message one, summary;
  one.bytes(kTag, tag).real(kSimpleValue, static_cast<float>(value));
  summary.bytes(kSummaryValue, one.text());
  add(event(step, wall_time).bytes(kSummary, summary.text()).text());
}

void EventFile::add_picture(const std::string& tag, std::int64_t step, double wall_time,
                            std::int64_t height, std::int64_t width, const std::string& png) {
  Message image, one, summary;
  image.number(kHeight, static_cast<std::uint64_t>(height))
      .number(kWidth, static_cast<std::uint64_t>(width))
      .number(kColours, kRgb)
      .bytes(kEncoded, png);
  one.bytes(kTag, tag).bytes(kImage, image.text());
  summary.bytes(kSummaryValue, one.text());
  add(event(step, wall_time).bytes(kSummary, summary.text()).text());
}

void EventFile::forget_from(std::int64_t step, double wall_time) {
  Message log;
  log.number(kStatus, kStart);
  add(event(step, wall_time).bytes(kSessionLog, log.text()).text());
}

void EventFile::add(const std::string& event) {
  const std::string length = bytes_of(static_cast<std::uint64_t>(event.size()));
  errno = 0;
  file_ << length << bytes_of(masked_crc(length)) << event << bytes_of(masked_crc(event))
        << std::flush;
  check_written(file_, path_);
}

}  // namespace strata::io
