// Pictures that are read and written in parts: what data sets and tools need of a raster, whatever
// its format. A format is a component of kind "reader" or "writer"; plugins add more
// (plugins/geotiff).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/io/image.hpp"
#include "registry/component.hpp"

namespace strata::io {

/// Where a picture lies on the earth.
struct STRATA_API GeoReference {
  /// GDAL's: x = t[0] + column * t[1] + row * t[2], y = t[3] + column * t[4] + row * t[5].
  std::optional<std::array<double, 6>> transform{};
  std::string wkt;   // the reference system in well-known text
  std::string name;  // "urn:ogc:def:crs:EPSG::32633", "" when it has none

  bool known() const { return transform.has_value(); }
  /// World coordinates of a place in pixels; the same place when nothing is known.
  std::array<double, 2> world(double x, double y) const;
};

/// An open picture.
class STRATA_API RasterSource {
 public:
  virtual ~RasterSource();
  virtual std::int64_t height() const = 0;
  virtual std::int64_t width() const = 0;
  virtual GeoReference place() const { return {}; }
  /// Pixels [height, width, C] of a window inside the picture, uint8 or float32, contiguous.
  /// Throws DataError.
  virtual at::Tensor read(std::int64_t top, std::int64_t left, std::int64_t height,
                          std::int64_t width) const = 0;
  /// Which of these pixels hold nothing: [height, width] bool; undefined when all hold something.
  virtual at::Tensor missing(std::int64_t top, std::int64_t left, std::int64_t height,
                             std::int64_t width) const;
};

/// A picture under way: rows from the top down.
class STRATA_API RasterSink {
 public:
  virtual ~RasterSink();
  /// The next rows [C, rows, width] (or [rows, width]), uint8 or float32.
  virtual void write(const at::Tensor& rows) = 0;
  /// After the last row; a picture that is never finished leaves no file.
  virtual void finish() = 0;
};

}  // namespace strata::io

namespace strata {

/// Opens pictures of some formats.
class STRATA_API Reader {
 public:
  static constexpr const char* kind = "reader";
  struct Context {
    std::int64_t channels = 3;  // data.channels: what the model takes; of label files 1
  };
  virtual ~Reader();
  /// How the names of its files end, in any case: ".tif".
  virtual std::vector<std::string> suffixes() const = 0;
  bool takes(const std::string& path) const { return io::ends_with_one_of(path, suffixes()); }
  /// Whether what it opens may know of pixels that hold nothing.
  virtual bool marks_missing() const { return false; }
  /// Thread-safe; throws DataError.
  virtual std::shared_ptr<io::RasterSource> open(const std::string& path) const = 0;
  /// All of open(path)'s pixels, some of them perhaps decoded only when they are asked for.
  virtual io::LazyImage picture(const std::string& path) const;
};

namespace io {
/// The reader of pictures that are decoded whole; what there is when a config names none.
STRATA_API std::shared_ptr<const Reader> image_reader(Channels channels);
}  // namespace io

/// Makes pictures of results, rows from the top down.
class STRATA_API Writer {
 public:
  static constexpr const char* kind = "writer";
  struct Context {};
  struct Picture {
    std::int64_t height = 0, width = 0;
    std::int64_t channels = 1;
    bool bytes = true;                               // uint8, else float32
    bool rgb = false;                                // three channels of bytes are a picture
    std::vector<std::vector<std::int64_t>> palette;  // colours of uint8 values; may be empty
    std::vector<std::string> channel_names;          // may be empty
    std::optional<double> nodata;                    // value of pixels that hold nothing
    io::GeoReference place;
  };
  virtual ~Writer();
  /// The end of its file names, ".tif".
  virtual std::string suffix() const = 0;
  /// Throws UserError "path: cannot be written: …".
  virtual std::unique_ptr<io::RasterSink> create(const std::string& path,
                                                 const Picture& picture) const = 0;
};

namespace io {
/// What writes label maps and RGB pictures when a config names no writer.
STRATA_API std::shared_ptr<const Writer> png_writer();
}  // namespace io

}  // namespace strata
