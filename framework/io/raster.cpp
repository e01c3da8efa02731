#include "framework/io/raster.hpp"

namespace strata::io {

std::array<double, 2> GeoReference::world(double x, double y) const {
  if (!transform) return {x, y};
  const std::array<double, 6>& t = *transform;
  return {t[0] + x * t[1] + y * t[2], t[3] + x * t[4] + y * t[5]};
}

RasterSource::~RasterSource() = default;
RasterSink::~RasterSink() = default;

at::Tensor RasterSource::missing(std::int64_t, std::int64_t, std::int64_t, std::int64_t) const {
  return {};
}

}  // namespace strata::io

namespace strata {

Reader::~Reader() = default;
Writer::~Writer() = default;

io::LazyImage Reader::picture(const std::string& path) const {
  const auto source = open(path);
  return source->read(0, 0, source->height(), source->width());
}

}  // namespace strata
