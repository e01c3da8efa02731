// bench_raster PLUGIN OUT.tif SIZE: draws a SIZE x SIZE raster of three bands for raster.py, row by
// row, so that it needs no memory.
// bench_raster PLUGIN --compare A.tif B.tif: the largest difference of two rasters of one
// size, and the range of the first.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "framework/io/raster.hpp"
#include "registry/builtin.hpp"
#include "registry/plugin_loader.hpp"

namespace {

using namespace strata;

template <class Interface>
std::shared_ptr<Interface> make(const Registry& registry, const char* name) {
  Slot<Interface> slot;
  slot.type = registry.find(Interface::kind, name);
  slot.options = slot.type->schema->make();
  return slot.build({});
}

void draw(const Registry& registry, const std::string& path, std::int64_t size) {
  Writer::Picture picture;
  picture.height = picture.width = size;
  picture.channels = 3;
  picture.place.transform = {500000, 0.5, 0, 4000000, 0, -0.5};
  const auto sink = make<Writer>(registry, "GeoTIFFWriter")->create(path, picture);
  constexpr std::int64_t kRows = 256;
  at::manual_seed(1);
  for (std::int64_t top = 0; top < size; top += kRows) {
    const std::int64_t rows = std::min(kRows, size - top);
    // Fields of 50 and 17 pixels and noise: something for the model to see, and to compress.
    const at::Tensor y = at::arange(top, top + rows, at::kFloat).unsqueeze(1);
    const at::Tensor x = at::arange(size, at::kFloat);
    std::vector<at::Tensor> bands;
    for (const double period : {50.0, 17.0, 230.0}) {
      const at::Tensor waves = at::sin(y / period) * at::cos(x / (period + 3)) * 90 + 128;
      bands.push_back((waves + at::randint(-8, 8, {rows, size})).to(at::kByte));
    }
    sink->write(at::stack(bands));
  }
  sink->finish();
}

void compare(const Registry& registry, const std::string& a, const std::string& b) {
  const auto reader = make<Reader>(registry, "GeoTIFFReader");
  const auto first = reader->open(a), second = reader->open(b);
  double largest = 0, low = 1e300, high = -1e300;
  for (std::int64_t top = 0; top < first->height(); top += 256) {
    const std::int64_t rows = std::min<std::int64_t>(256, first->height() - top);
    auto pixels = [&](const io::RasterSource& source) {
      return source.read(top, 0, rows, source.width()).to(at::kDouble);
    };
    const at::Tensor values = pixels(*first);
    largest = std::max(largest, (values - pixels(*second)).abs().max().item<double>());
    low = std::min(low, values.min().item<double>());
    high = std::max(high, values.max().item<double>());
  }
  std::printf("%.3g %.3g %.3g\n", largest, low, high);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr,
                 "usage: bench_raster PLUGIN OUT.tif SIZE | PLUGIN --compare A.tif B.tif\n");
    return 2;
  }
  Registry registry;
  register_builtin_components(registry);
  load_plugin(std::string(argv[1]), registry);
  if (std::string(argv[2]) == "--compare") {
    compare(registry, argv[3], argv[4]);
  } else {
    draw(registry, argv[2], std::stoll(argv[3]));
  }
}
