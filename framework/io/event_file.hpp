// TensorBoard's event files: records of protocol buffers, each with its length and checksums.
// Source: tensorflow/core/util/event.proto, summary.proto and lib/io/record_writer.h (formats
// only).
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

#include "framework/base/export.hpp"

namespace strata::io {

/// Appends to one event file. Every record reaches the file as it is added; each function throws
/// UserError when it cannot be written.
class STRATA_API EventFile {
 public:
  /// Makes `path` with its first record. `wall_time` in seconds since 1970, here and below.
  EventFile(std::string path, double wall_time);

  void add_scalar(const std::string& tag, std::int64_t step, double wall_time, double value);
  /// `png` is a whole PNG file of this size in pixels.
  void add_picture(const std::string& tag, std::int64_t step, double wall_time, std::int64_t height,
                   std::int64_t width, const std::string& png);
  /// Readers forget what earlier files of the folder hold of `step` and later ones: a run that goes
  /// on from before them says so.
  void forget_from(std::int64_t step, double wall_time);

 private:
  void add(const std::string& event);

  std::string path_;
  std::ofstream file_;
};

}  // namespace strata::io
