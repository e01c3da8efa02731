// Pictures that are decoded whole (PNG, JPEG, TIFF, BMP, WebP), and PNG files, as rasters.
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "framework/base/error.hpp"
#include "framework/io/codecs.hpp"
#include "framework/io/image.hpp"
#include "framework/io/raster.hpp"
#include "registry/component.hpp"

namespace strata::io {
namespace {

struct ImageReaderOptions {
  std::string color_type = "auto";
  std::vector<std::int64_t> bands;
  static auto fields() {
    using config::field;
    using O = ImageReaderOptions;
    return std::tuple{
        field("color_type", &O::color_type,
              "\"color\": 8-bit RGB; \"unchanged\": the file's channels, 16-bit values as float; "
              "\"auto\": color for a model of three channels, else unchanged")
            .one_of({"auto", "color", "unchanged"}),
        field("bands", &O::bands, "channels of the file to take, from 1; empty: all").at_least(1)};
  }
};

class DecodedImage final : public RasterSource {
 public:
  explicit DecodedImage(at::Tensor image) : image_(std::move(image)) {}
  std::int64_t height() const override { return image_.size(0); }
  std::int64_t width() const override { return image_.size(1); }
  at::Tensor read(std::int64_t top, std::int64_t left, std::int64_t height,
                  std::int64_t width) const override {
    return image_.narrow(0, top, height).narrow(1, left, width).contiguous();
  }

 private:
  at::Tensor image_;
};

class ImageReader final : public Reader {
 public:
  ImageReader(ImageReaderOptions options, const Context& context)
      : options_(std::move(options)),
        channels_(options_.color_type == "color" ||
                          (options_.color_type == "auto" && context.channels == 3 &&
                           options_.bands.empty())
                      ? Channels::rgb
                      : Channels::as_stored) {}

  std::vector<std::string> suffixes() const override { return image_suffixes(); }

  std::shared_ptr<RasterSource> open(const std::string& path) const override {
    at::Tensor image = read_image(path, channels_);
    if (!options_.bands.empty()) {
      std::vector<std::int64_t> chosen;
      for (const std::int64_t band : options_.bands) {
        if (band > image.size(2)) {
          throw DataError(path + ": has " + std::to_string(image.size(2)) +
                          " channels, the reader's bands name channel " + std::to_string(band));
        }
        chosen.push_back(band - 1);
      }
      image = image.index_select(2, at::tensor(chosen));
    }
    return std::make_shared<DecodedImage>(std::move(image));
  }

  LazyImage picture(const std::string& path) const override {
    return options_.bands.empty() ? LazyImage(path, channels_) : Reader::picture(path);
  }

 private:
  ImageReaderOptions options_;
  Channels channels_;
};

std::shared_ptr<const Reader> reader_of(Channels channels) {
  ImageReaderOptions options;
  options.color_type = channels == Channels::rgb ? "color" : "unchanged";
  return std::make_shared<ImageReader>(std::move(options), Reader::Context{});
}

class PngSink final : public RasterSink {
 public:
  PngSink(const std::string& path, const Writer::Picture& picture)
      : rows_(path, picture.height, picture.width, static_cast<int>(picture.channels),
              picture.palette) {}
  void write(const at::Tensor& rows) override {
    // From planes to pixels.
    const at::Tensor pixels = (rows.dim() == 3 ? rows.permute({1, 2, 0}) : rows).contiguous();
    rows_.write(pixels.const_data_ptr<std::uint8_t>(), pixels.size(0));
  }
  void finish() override { rows_.finish(); }

 private:
  detail::PngRows rows_;
};

class PngWriter final : public Writer {
 public:
  PngWriter(const NoOptions&, const Context&) {}
  std::string suffix() const override { return ".png"; }
  std::unique_ptr<RasterSink> create(const std::string& path,
                                     const Picture& picture) const override {
    if (!picture.bytes || (picture.channels != 1 && picture.channels != 3)) {
      throw UserError(path + ": cannot be written: PNG holds label maps and RGB, not " +
                      std::to_string(picture.channels) +
                      " channels of numbers; set data.writer to a writer that takes them");
    }
    return std::make_unique<PngSink>(path, picture);
  }
};

}  // namespace

std::shared_ptr<const Reader> image_reader(Channels channels) { return reader_of(channels); }

std::shared_ptr<const Writer> png_writer() {
  return std::make_shared<PngWriter>(NoOptions{}, Writer::Context{});
}

}  // namespace strata::io

STRATA_COMPONENTS(framework_io_image_raster) {
  using namespace strata::io;
  registry.add<strata::Reader, ImageReader, ImageReaderOptions>(
      "ImageReader", "pictures that are decoded whole: PNG, JPEG, TIFF, BMP, WebP");
  registry.add<strata::Writer, PngWriter, strata::NoOptions>("PNGWriter",
                                                             "label maps as palette PNG, RGB");
}
