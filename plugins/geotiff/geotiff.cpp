// Rasters through GDAL, for data sets and for predict: read in windows whatever their bands and
// types, with their place on the earth; written as tiled, compressed GeoTIFF from the top down.
#include <ATen/ATen.h>
#include <cpl_string.h>
#include <gdal_priv.h>
#include <ogr_spatialref.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/io/raster.hpp"
#include "registry/component.hpp"

namespace strata::geotiff {
namespace {

namespace fs = std::filesystem;

void start_gdal() {
  static const bool started = [] {
    GDALAllRegister();
    CPLSetErrorHandler(CPLQuietErrorHandler);  // messages go into our errors
    // GDAL's own limit is a share of the machine's memory.
    if (CPLGetConfigOption("GDAL_CACHEMAX", nullptr) == nullptr) GDALSetCacheMax64(128 << 20);
    return true;
  }();
  static_cast<void>(started);
}

std::string last_error() {
  std::string text = CPLGetLastErrorMsg();
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
  return text.empty() ? "GDAL does not say why" : text;
}

io::GeoReference place_of(GDALDataset& dataset) {
  io::GeoReference place;
  std::array<double, 6> transform{};
  if (dataset.GetGeoTransform(transform.data()) == CE_None) place.transform = transform;
  const OGRSpatialReference* system = dataset.GetSpatialRef();
  if (system == nullptr) return place;
  char* text = nullptr;
  system->exportToWkt(&text);
  place.wkt = text == nullptr ? "" : text;
  CPLFree(text);
  const char *authority = system->GetAuthorityName(nullptr),
             *code = system->GetAuthorityCode(nullptr);
  if (authority != nullptr && code != nullptr) {
    place.name = std::string("urn:ogc:def:crs:") + authority + "::" + code;
  }
  return place;
}

struct ReaderOptions {
  std::vector<std::int64_t> bands;
  std::optional<double> nodata;
  double fill = 0;
  std::vector<std::string> suffixes = {".tif", ".tiff", ".vrt", ".img", ".jp2"};
  static auto fields() {
    using config::field;
    using O = ReaderOptions;
    return std::tuple{
        field("bands", &O::bands, "bands to take, from 1, in this order; empty: all").at_least(1),
        field("nodata", &O::nodata,
              "value of pixels that hold nothing; left out: what the file says, its mask and alpha "
              "band included"),
        field("fill", &O::fill, "what the model is given in the place of such pixels"),
        field("suffixes", &O::suffixes, "ends of the names of files to take from a folder")
            .not_empty()};
  }
};

class Source final : public io::RasterSource {
 public:
  Source(const std::string& path, const ReaderOptions& options) : path_(path), options_(options) {
    CPLErrorReset();
    dataset_.reset(GDALDataset::Open(path.c_str(), GDAL_OF_RASTER | GDAL_OF_READONLY));
    if (!dataset_)
      throw DataError(path + ": is no raster that GDAL can read (" + last_error() + ")");
    const int count = dataset_->GetRasterCount();
    for (const std::int64_t band : options.bands) {
      if (band > count) {
        throw DataError(path + ": has " + std::to_string(count) +
                        (count == 1 ? " band" : " bands") + ", the reader's bands name band " +
                        std::to_string(band));
      }
      bands_.push_back(static_cast<int>(band));
    }
    for (int i = 1; bands_.size() < static_cast<std::size_t>(count) && options.bands.empty(); ++i) {
      if (i > count) break;
      const bool alpha = dataset_->GetRasterBand(i)->GetColorInterpretation() == GCI_AlphaBand;
      if (!alpha) bands_.push_back(i);  // says which pixels hold something
    }
    if (bands_.empty()) throw DataError(path + ": has no band to read");
    place_ = place_of(*dataset_);
    for (const int band : bands_) {
      GDALRasterBand& one = *dataset_->GetRasterBand(band);
      bytes_ = bytes_ && one.GetRasterDataType() == GDT_Byte;
      masked_ = masked_ || one.GetMaskFlags() != GMF_ALL_VALID;
      if (GDALDataTypeIsComplex(one.GetRasterDataType())) {
        throw DataError(path + ": band " + std::to_string(band) + " holds complex numbers");
      }
    }
    masked_ = masked_ || options.nodata.has_value();
  }

  std::int64_t height() const override { return dataset_->GetRasterYSize(); }
  std::int64_t width() const override { return dataset_->GetRasterXSize(); }
  io::GeoReference place() const override { return place_; }

  at::Tensor read(std::int64_t top, std::int64_t left, std::int64_t height,
                  std::int64_t width) const override {
    at::Tensor pixels = stored(top, left, height, width);
    if (masked_) {
      const at::Tensor gone = nothing_in(top, left, height, width, pixels);
      pixels.masked_fill_(gone.unsqueeze(2), options_.fill);
    }
    return pixels;
  }

  at::Tensor missing(std::int64_t top, std::int64_t left, std::int64_t height,
                     std::int64_t width) const override {
    if (!masked_) return {};
    return nothing_in(top, left, height, width,
                      options_.nodata ? stored(top, left, height, width) : at::Tensor());
  }

 private:
  at::Tensor stored(std::int64_t top, std::int64_t left, std::int64_t height,
                    std::int64_t width) const {
    const auto channels = static_cast<std::int64_t>(bands_.size());
    at::Tensor pixels = at::empty({height, width, channels}, bytes_ ? at::kByte : at::kFloat);
    const std::int64_t size = pixels.element_size();
    const std::lock_guard lock(mutex_);  // a GDAL data set serves one thread at a time
    CPLErrorReset();
    std::vector<int> bands = bands_;
    const CPLErr error = dataset_->RasterIO(
        GF_Read, static_cast<int>(left), static_cast<int>(top), static_cast<int>(width),
        static_cast<int>(height), pixels.mutable_data_ptr(), static_cast<int>(width),
        static_cast<int>(height), bytes_ ? GDT_Byte : GDT_Float32, static_cast<int>(channels),
        bands.data(), channels * size, channels * size * width, size, nullptr);
    if (error != CE_None) throw DataError(path_ + ": cannot be read (" + last_error() + ")");
    return pixels;
  }

  // A pixel holds nothing when one of its bands says so.
  at::Tensor nothing_in(std::int64_t top, std::int64_t left, std::int64_t height,
                        std::int64_t width, const at::Tensor& pixels) const {
    if (options_.nodata) {
      const bool nan = std::isnan(*options_.nodata);
      return (nan ? pixels.isnan() : pixels == *options_.nodata).any(2);
    }
    at::Tensor any = at::zeros({height, width}, at::kBool);
    at::Tensor mask = at::empty({height, width}, at::kByte);
    const std::lock_guard lock(mutex_);
    for (const int band : bands_) {
      GDALRasterBand& one = *dataset_->GetRasterBand(band);
      if (one.GetMaskFlags() == GMF_ALL_VALID) continue;
      CPLErrorReset();
      const CPLErr error = one.GetMaskBand()->RasterIO(
          GF_Read, static_cast<int>(left), static_cast<int>(top), static_cast<int>(width),
          static_cast<int>(height), mask.mutable_data_ptr(), static_cast<int>(width),
          static_cast<int>(height), GDT_Byte, 0, 0, nullptr);
      if (error != CE_None) throw DataError(path_ + ": mask cannot be read (" + last_error() + ")");
      any.logical_or_(mask == 0);
    }
    return any;
  }

  std::string path_;
  ReaderOptions options_;
  GDALDatasetUniquePtr dataset_;
  std::vector<int> bands_;
  io::GeoReference place_;
  bool bytes_ = true, masked_ = false;
  mutable std::mutex mutex_;
};

class GeoTiffReader final : public Reader {
 public:
  GeoTiffReader(ReaderOptions options, const Context&) : options_(std::move(options)) {
    start_gdal();
  }
  std::vector<std::string> suffixes() const override { return options_.suffixes; }
  bool marks_missing() const override { return true; }
  std::shared_ptr<io::RasterSource> open(const std::string& path) const override {
    return std::make_shared<Source>(path, options_);
  }

 private:
  ReaderOptions options_;
};

struct WriterOptions {
  std::string compress = "DEFLATE";
  std::int64_t tile = 256;
  static auto fields() {
    using config::field;
    using O = WriterOptions;
    return std::tuple{field("compress", &O::compress, "compression of the tiles")
                          .one_of({"DEFLATE", "LZW", "ZSTD", "PACKBITS", "NONE"}),
                      field("tile", &O::tile, "height and width of a tile, a multiple of 16")
                          .at_least(16)
                          .at_most(4096)};
  }
};

class Sink final : public io::RasterSink {
 public:
  Sink(const std::string& path, const Writer::Picture& picture, const WriterOptions& options)
      : path_(path), partial_(path + ".partial"), picture_(picture), tile_(options.tile) {
    const fs::path folder = fs::path(path).parent_path();
    if (!folder.empty()) fs::create_directories(folder);
    GDALDriver* driver = GetGDALDriverManager()->GetDriverByName("GTiff");
    CPLStringList creation;
    creation.SetNameValue("TILED", "YES");
    creation.SetNameValue("BLOCKXSIZE", std::to_string(options.tile).c_str());
    creation.SetNameValue("BLOCKYSIZE", std::to_string(options.tile).c_str());
    creation.SetNameValue("COMPRESS", options.compress.c_str());
    creation.SetNameValue("INTERLEAVE", "BAND");
    creation.SetNameValue("BIGTIFF", "IF_SAFER");
    if (picture.channels > 1) {
      creation.SetNameValue("PHOTOMETRIC", picture.rgb ? "RGB" : "MINISBLACK");
    }
    CPLErrorReset();
    dataset_.reset(driver->Create(partial_.c_str(), static_cast<int>(picture.width),
                                  static_cast<int>(picture.height),
                                  static_cast<int>(picture.channels),
                                  picture.bytes ? GDT_Byte : GDT_Float32, creation.List()));
    if (!dataset_) fail();
    if (picture.place.transform) {
      std::array<double, 6> transform = *picture.place.transform;
      dataset_->SetGeoTransform(transform.data());
    }
    if (!picture.place.wkt.empty()) dataset_->SetProjection(picture.place.wkt.c_str());
    for (int i = 1; i <= static_cast<int>(picture.channels); ++i) describe(i);
  }

  ~Sink() override {
    if (!dataset_) return;
    dataset_.reset();
    std::error_code ignored;
    fs::remove(partial_, ignored);
  }

  // Whole rows of tiles go to GDAL, which could otherwise write a compressed tile twice.
  void write(const at::Tensor& rows) override {
    const at::Tensor planes = rows.dim() == 2 ? rows.unsqueeze(0) : rows;
    held_ = held_.defined() ? at::cat({held_, planes}, 1) : planes;
    const bool last = next_ + held_.size(1) >= picture_.height;
    const std::int64_t ready = last ? held_.size(1) : held_.size(1) / tile_ * tile_;
    if (ready == 0) return;
    const at::Tensor block = held_.narrow(1, 0, ready).contiguous();
    CPLErrorReset();
    const CPLErr error = dataset_->RasterIO(
        GF_Write, 0, static_cast<int>(next_), static_cast<int>(picture_.width),
        static_cast<int>(ready), block.mutable_data_ptr(), static_cast<int>(picture_.width),
        static_cast<int>(ready), picture_.bytes ? GDT_Byte : GDT_Float32,
        static_cast<int>(picture_.channels), nullptr, 0, 0, 0, nullptr);
    if (error != CE_None) fail();
    next_ += ready;
    held_ = held_.narrow(1, ready, held_.size(1) - ready).clone();
  }

  void finish() override {
    CPLErrorReset();
    dataset_->FlushCache();
    const bool failed = CPLGetLastErrorType() >= CE_Failure;
    if (failed) fail();
    dataset_.reset();
    std::error_code error;
    fs::rename(partial_, path_, error);
    if (error) throw UserError(path_ + ": cannot be written: " + error.message());
  }

 private:
  [[noreturn]] void fail() const {
    throw UserError(path_ + ": cannot be written: " + last_error());
  }

  void describe(int number) {
    GDALRasterBand& band = *dataset_->GetRasterBand(number);
    if (picture_.nodata) band.SetNoDataValue(*picture_.nodata);
    const auto name = static_cast<std::size_t>(number - 1);
    if (name < picture_.channel_names.size()) {
      band.SetDescription(picture_.channel_names[name].c_str());
    }
    if (picture_.channels > 1 || !picture_.bytes || picture_.palette.empty()) return;
    GDALColorTable colours;
    for (std::size_t i = 0; i < picture_.palette.size(); ++i) {
      const auto& rgb = picture_.palette[i];
      const GDALColorEntry entry{static_cast<short>(rgb[0]), static_cast<short>(rgb[1]),
                                 static_cast<short>(rgb[2]), 255};
      colours.SetColorEntry(static_cast<int>(i), &entry);
    }
    band.SetColorTable(&colours);
  }

  std::string path_, partial_;
  Writer::Picture picture_;
  std::int64_t tile_, next_ = 0;
  at::Tensor held_;  // rows of a tile row that is not complete
  GDALDatasetUniquePtr dataset_;
};

class GeoTiffWriter final : public Writer {
 public:
  GeoTiffWriter(WriterOptions options, const Context&) : options_(std::move(options)) {
    if (options_.tile % 16 != 0) {
      throw OptionError("tile", "must be a multiple of 16, got " + std::to_string(options_.tile));
    }
    start_gdal();
  }
  std::string suffix() const override { return ".tif"; }
  std::unique_ptr<io::RasterSink> create(const std::string& path,
                                         const Picture& picture) const override {
    return std::make_unique<Sink>(path, picture, options_);
  }

 private:
  WriterOptions options_;
};

}  // namespace
}  // namespace strata::geotiff

STRATA_COMPONENTS(geotiff) {
  using namespace strata::geotiff;
  registry.add<strata::Reader, GeoTiffReader, ReaderOptions>(
      "GeoTIFFReader",
      "rasters in windows, through GDAL: any bands and types, nodata, their place");
  registry.add<strata::Writer, GeoTiffWriter, WriterOptions>(
      "GeoTIFFWriter", "tiled, compressed GeoTIFF with the place of the image");
}
