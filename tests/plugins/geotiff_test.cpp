// plugins/geotiff: what is written comes back, place and all; windows, nodata, bands; streaming.
#include <ATen/ATen.h>
#include <gdal_priv.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/base/error.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/predictor.hpp"
#include "framework/io/raster.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/weights.hpp"
#include "tests/framework/inference/stub_model.hpp"
#include "tests/plugins/parts.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

namespace fs = std::filesystem;

Registry& registry() {
  static Registry* made = [] {
    auto* own = new Registry;
    register_builtin_components(*own);
    load_plugin(plugin_file("geotiff"), *own);
    return own;
  }();
  return *made;
}

template <class Interface>
std::shared_ptr<Interface> make(const std::string& keys) {
  const config::Document document = config::load_text("part = {" + keys + "}\n", "test.toml");
  config::Binder binder(registry());
  Slot<Interface> slot;
  binder.inside("part",
                [&] { binder.bind_slot(Interface::kind, slot, *document.root.at("part")); });
  config::throw_if_any(binder.problems);
  return slot.build({});
}

std::shared_ptr<Reader> reader(const std::string& keys = "") {
  return make<Reader>("type = \"GeoTIFFReader\"" + keys);
}

io::GeoReference utm() {
  GDALAllRegister();
  OGRSpatialReference system;
  system.importFromEPSG(32633);
  char* text = nullptr;
  system.exportToWkt(&text);
  io::GeoReference place;
  place.transform = {500000, 0.5, 0, 4000000, 0, -0.5};
  place.wkt = text;
  CPLFree(text);
  return place;
}

void write(const std::string& path, const at::Tensor& planes, std::optional<double> nodata = {},
           const io::GeoReference& place = utm(), const std::string& keys = "") {
  Writer::Picture picture;
  picture.channels = planes.size(0);
  picture.height = planes.size(1);
  picture.width = planes.size(2);
  picture.bytes = planes.scalar_type() == at::kByte;
  picture.nodata = nodata;
  picture.place = place;
  if (picture.channels == 1 && picture.bytes) picture.palette = {{1, 2, 3}, {200, 100, 0}};
  const auto sink =
      make<Writer>("type = \"GeoTIFFWriter\", tile = 16" + keys)->create(path, picture);
  // Uneven strips, which are no tile rows.
  for (std::int64_t top = 0; top < picture.height; top += 11) {
    sink->write(planes.narrow(1, top, std::min<std::int64_t>(11, picture.height - top)));
  }
  sink->finish();
}

TEST(GeoTiff, BringsBackPixelsAndPlace) {
  const TempDir folder;
  at::manual_seed(1);
  const at::Tensor bytes = at::randint(0, 256, {3, 41, 53}, at::kByte);
  const at::Tensor numbers = at::randn({5, 41, 53});
  write(folder / "bytes.tif", bytes);
  write(folder / "numbers.tif", numbers);
  const auto first = reader()->open(folder / "bytes.tif");
  EXPECT_TRUE(at::equal(first->read(0, 0, 41, 53), bytes.permute({1, 2, 0})));
  EXPECT_TRUE(at::equal(first->read(7, 20, 9, 33),
                        bytes.permute({1, 2, 0}).narrow(0, 7, 9).narrow(1, 20, 33)));
  EXPECT_FALSE(first->missing(0, 0, 41, 53).defined());
  const auto second = reader()->open(folder / "numbers.tif");
  EXPECT_TRUE(at::equal(second->read(0, 0, 41, 53), numbers.permute({1, 2, 0})));
  for (const auto& source : {first, second}) {
    EXPECT_EQ(source->place().transform, utm().transform);
    EXPECT_EQ(source->place().name, "urn:ogc:def:crs:EPSG::32633");
  }
  const auto chosen = reader(", bands = [4, 2]")->open(folder / "numbers.tif");
  EXPECT_TRUE(at::equal(chosen->read(0, 0, 41, 53),
                        at::stack({numbers[3], numbers[1]}).permute({1, 2, 0})));
}

TEST(GeoTiff, IsTiledCompressedAndColoured) {
  const TempDir folder;
  write(folder / "map.tif", at::zeros({1, 64, 64}, at::kByte), 255.0);
  EXPECT_FALSE(fs::exists(folder / "map.tif.partial"));
  GDALDatasetUniquePtr file(GDALDataset::Open((folder / "map.tif").c_str()));
  ASSERT_TRUE(file);
  EXPECT_STREQ(file->GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE"), "DEFLATE");
  int width = 0, height = 0;
  file->GetRasterBand(1)->GetBlockSize(&width, &height);
  EXPECT_EQ(width, 16);
  EXPECT_EQ(height, 16);
  EXPECT_EQ(file->GetRasterBand(1)->GetNoDataValue(), 255);
  ASSERT_NE(file->GetRasterBand(1)->GetColorTable(), nullptr);
  EXPECT_EQ(file->GetRasterBand(1)->GetColorTable()->GetColorEntry(1)->c1, 200);
}

TEST(GeoTiff, KnowsWhichPixelsHoldNothing) {
  const TempDir folder;
  at::Tensor numbers = at::ones({2, 20, 20});
  numbers[1][3][4] = -9999;
  write(folder / "marked.tif", numbers, -9999.0);
  write(folder / "unmarked.tif", numbers);
  at::Tensor expected = at::zeros({20, 20}, at::kBool);
  expected[3][4] = true;
  for (const auto& source :
       {reader(", fill = 7.0")->open(folder / "marked.tif"),
        reader(", fill = 7.0, nodata = -9999.0")->open(folder / "unmarked.tif")}) {
    EXPECT_TRUE(at::equal(source->missing(0, 0, 20, 20), expected));
    EXPECT_TRUE(at::equal(source->missing(2, 2, 3, 3), expected.narrow(0, 2, 3).narrow(1, 2, 3)));
    EXPECT_EQ(source->read(3, 4, 1, 1).min().item<double>(), 7);
    EXPECT_EQ(source->read(0, 0, 20, 20).sum().item<double>(), 2 * 399 + 14);
  }
  at::Tensor holes = at::ones({1, 8, 8});
  holes[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  write(folder / "nan.tif", holes, std::numeric_limits<double>::quiet_NaN());
  const auto source = reader()->open(folder / "nan.tif");
  EXPECT_EQ(source->missing(0, 0, 8, 8).sum().item<int>(), 1);
  EXPECT_EQ(source->read(0, 0, 8, 8).sum().item<double>(), 63);
}

TEST(GeoTiff, SaysWhatIsWrong) {
  const TempDir folder;
  write_file(folder / "text.tif", "not a raster");
  const std::string what = message_of([&] { reader()->open(folder / "text.tif"); });
  EXPECT_TRUE(what.starts_with((folder / "text.tif") + ": is no raster that GDAL can read ("))
      << what;
  write(folder / "one.tif", at::zeros({1, 8, 8}, at::kByte));
  EXPECT_EQ(message_of([&] { reader(", bands = [2]")->open(folder / "one.tif"); }),
            (folder / "one.tif") + ": has 1 band, the reader's bands name band 2");
  // Cut in the middle: found when it is read.
  at::manual_seed(2);
  write(folder / "cut.tif", at::randint(0, 256, {3, 200, 200}, at::kByte));
  fs::resize_file(folder / "cut.tif", fs::file_size(folder / "cut.tif") / 2);
  EXPECT_THROW(
      {
        const auto source = reader()->open(folder / "cut.tif");
        source->read(0, 0, source->height(), source->width());
      },
      DataError);
  EXPECT_THROW(write("/proc/none/map.tif", at::zeros({1, 8, 8}, at::kByte)), std::exception);
}

TEST(GeoTiff, LeavesNothingBehindWhenStopped) {
  const TempDir folder;
  Writer::Picture picture;
  picture.height = picture.width = 64;
  {
    const auto sink = make<Writer>("type = \"GeoTIFFWriter\"")->create(folder / "map.tif", picture);
    sink->write(at::zeros({16, 64}, at::kByte));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

// A convolution that sees 5 pixels each way, over a raster in windows: where some window holds all
// that a pixel depends on, the result is that of the whole raster.
TEST(GeoTiff, PredictedInWindowsEqualsTheWhole) {
  const TempDir folder;
  at::manual_seed(5);
  write(folder / "in.tif", at::randint(0, 256, {3, 150, 131}, at::kByte));
  const at::Tensor kernel = at::randn({2, 3, 11, 11}) / 300;
  auto model = std::make_shared<StubModel>([&](const std::vector<at::Tensor>& images) -> Outputs {
    return {{"logits", output_of(at::conv2d(images[0], kernel, {}, 1, 5), Output::Kind::logits)}};
  });
  InferenceOptions options;
  options.mode = "slide";
  options.crop_size = {64, 48};
  options.stride = {54, 38};  // overlaps of 10: each pixel lies 5 deep in its window
  options.window_weights = "center";
  const inference::Predictor predictor({{model, options, {}, {}}}, {});
  const auto source = reader()->open(folder / "in.tif");
  auto window = [&](std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width) {
    return batch_of({source->read(top, left, height, width).permute({2, 0, 1}).unsqueeze(0)});
  };
  Writer::Picture picture;
  picture.height = 150;
  picture.width = 131;
  picture.channels = 2;
  picture.bytes = false;
  const auto sink = make<Writer>("type = \"GeoTIFFWriter\"")->create(folder / "out.tif", picture);
  predictor.predict(150, 131, window, [&](std::int64_t, std::int64_t, const Outputs& rows) {
    sink->write(rows.front().second.data[0]);
  });
  sink->finish();
  const at::Tensor whole = model->predict(window(0, 0, 150, 131)).front().second.data[0];
  const at::Tensor got =
      reader()->open(folder / "out.tif")->read(0, 0, 150, 131).permute({2, 0, 1});
  EXPECT_LE((got - whole).abs().max().item<double>(), 1e-5);
}

// A model of four bands and where they are read from; a config goes on inside [data].
std::string four_bands() {
  return "plugins = [\"" + plugin_file("geotiff") + R"("]
[model]
type = "EncoderDecoder"
preprocessor = {mean = [0, 0, 0, 0], std = [1000, 1000, 1000, 1000]}
backbone = {type = "ResNet", depth = 18, base_channels = 8}
decode_head = {type = "FCNHead", channels = 8}
[data]
channels = 4
reader = {type = "GeoTIFFReader"}
)";
}

// tools/predict on bands of any type: four of them, some pixels without a value, a place on earth.
TEST(GeoTiff, GoesThroughPredict) {
  const TempDir folder;
  at::manual_seed(7);
  at::Tensor bands = at::randn({4, 70, 90}) * 1000;
  bands[2].narrow(0, 10, 5).narrow(1, 20, 30).fill_(-9999);
  write(folder / "in/field.tif", bands, -9999.0);
  const std::string config = folder / "config.toml";
  write_file(config, four_bands() + R"(writer = {type = "GeoTIFFWriter"}
labels.land = {classes = ["field", "water"], palette = [[0, 200, 0], [0, 0, 200]]}
[evaluate]
inference = {mode = "slide", crop_size = [64, 64], stride = [32, 32]}
)");
  Registry own;
  register_builtin_components(own);
  const auto model = load_experiment(config, {}, own).build_model();
  io::write_safetensors(folder / "model.safetensors", io::state_of(*model));

  const auto predict = [&](const std::string& out, const std::string& flags) {
    const std::string command = std::string(STRATA_BINARY_DIR "/tools/predict ") + config + " " +
                                (folder / "model.safetensors") + " --in " + (folder / "in") +
                                " --out " + (folder / out) + " --polygons " + flags + " >/dev/null";
    return std::system(command.c_str());
  };
  ASSERT_EQ(predict("out", "--probabilities"), 0);
  const auto map = reader()->open(folder / "out/field.tif");
  EXPECT_EQ(map->place().name, "urn:ogc:def:crs:EPSG::32633");
  EXPECT_EQ(map->place().transform, utm().transform);
  const at::Tensor missing = map->missing(0, 0, 70, 90);
  EXPECT_EQ(missing.sum().item<int>(), 150);
  EXPECT_TRUE(missing.narrow(0, 10, 5).narrow(1, 20, 30).all().item<bool>());
  EXPECT_LE(map->read(0, 0, 70, 90).max().item<int>(), 1);
  const auto probabilities = reader()->open(folder / "out/field_probabilities.tif");
  const at::Tensor sums = probabilities->read(0, 0, 70, 90).sum(2);
  EXPECT_LE((sums.masked_select(missing.logical_not()) - 1).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(probabilities->missing(0, 0, 70, 90).equal(missing));
  const std::string polygons = file_content(folder / "out/field.geojson");
  EXPECT_NE(polygons.find("EPSG::32633"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder / "out/field_overlay.png"));

  // The same in panels, of which none has room for all columns; then the overlay is a raster, too.
  ASSERT_EQ(predict("small", "--set 'evaluate.inference.memory=\"48 KiB\"'"), 0);
  const auto again = reader()->open(folder / "small/field.tif");
  EXPECT_TRUE(at::equal(again->read(0, 0, 70, 90), map->read(0, 0, 70, 90)));
  EXPECT_TRUE(at::equal(again->missing(0, 0, 70, 90), missing));
  auto features = [&](const std::string& file) {
    std::multiset<std::string> all;
    for (const auto& feature : nlohmann::json::parse(file_content(file)).at("features")) {
      all.insert(feature.at("properties").dump() +
                 std::to_string(feature.at("geometry").at("coordinates").size()));
    }
    return all;
  };
  EXPECT_EQ(features(folder / "small/field.geojson"), features(folder / "out/field.geojson"));
  const auto overlay = reader()->open(folder / "small/field_overlay.tif");
  EXPECT_EQ(overlay->place().transform, utm().transform);
  EXPECT_EQ(overlay->read(0, 0, 70, 90).size(2), 3);
  for (const auto& entry : fs::directory_iterator(folder / "small")) {
    EXPECT_TRUE(entry.path().filename().string().starts_with("field")) << entry.path();
  }
}

// What stands in the files of a data set: chosen bands of any type, labels of any type, and where
// either holds nothing.
TEST(GeoTiff, IsReadByDataSets) {
  const TempDir folder;
  at::manual_seed(8);
  at::Tensor bands = at::randn({5, 20, 30}) * 1000, classes = at::randint(0, 3, {1, 20, 30});
  bands[3][4][5] = -9999;  // a band that is taken
  bands[0][6][7] = -9999;  // one that is not
  classes[0][8][9] = -1;
  write(folder / "img/tile.tif", bands, -9999.0);
  write(folder / "ann/tile.tif", classes.to(at::kFloat), -1.0);
  const std::string text = R"(
data.labels.land = {classes = ["a", "b", "c"]}
model = {type = "EncoderDecoder", backbone = {type = "ResNet"}, decode_head = {type = "FCNHead"}}
data.channels = 2
data.reader = {type = "GeoTIFFReader", bands = [4, 2]}
data.label_reader = {type = "GeoTIFFReader"}
data.train.dataset = {type = "SegmentationFolder", image_dir = ")" +
                           (folder / "img") + R"(", label_dir = ")" + (folder / "ann") + R"("}
)";
  const Experiment experiment =
      bind_experiment(config::load_text(text, "test.toml"), "test", registry());
  const auto dataset = engine::open_split(experiment, *experiment.data.train).dataset;
  ASSERT_EQ(dataset->size(), 1);
  EXPECT_EQ(dataset->name(0), "tile");
  const Sample sample = dataset->read(0);
  at::Tensor expected = at::stack({bands[3], bands[1]}).permute({1, 2, 0}).contiguous();
  expected[4][5] = 0;
  EXPECT_TRUE(at::equal(sample.images.front(), expected));
  at::Tensor labels = classes[0].clone();
  labels[4][5] = labels[8][9] = 255;
  EXPECT_TRUE(at::equal(sample.targets.at("land").map, labels.to(at::kByte)));
  EXPECT_TRUE(at::equal(dataset->read_targets(0).at("land").map, labels.to(at::kByte)));
  EXPECT_NE(dataset->target_state(0).find("img/tile.tif"), std::string::npos);

  write(folder / "ann/tile.tif", classes.to(at::kFloat) + 0.5, -0.5);
  EXPECT_EQ(message_of([&] { dataset->read(0); }).substr(0, (folder / "ann/tile.tif").size() + 20),
            (folder / "ann/tile.tif") + ": label holds value ");
}

// tools/train and tools/test on tiles of four bands, of which the third says what a pixel is.
TEST(GeoTiff, TrainsAndTests) {
  const TempDir folder;
  at::manual_seed(9);
  for (int i = 0; i < 4; ++i) {
    at::Tensor bands = at::randn({4, 48, 40}) * 1000;
    const at::Tensor wet = at::arange(40).view({1, 40}).expand({48, 40}) > 8 + 6 * i;
    bands[2] = at::where(wet, 2000.0, -2000.0);
    bands.narrow(1, 0, 4).fill_(-9999);  // and a wrong label, which nobody may count
    at::Tensor classes = wet.to(at::kByte).clone();
    classes.narrow(0, 0, 4).fill_(7);
    const std::string name = std::to_string(i) + ".tif";
    write(folder / ("img/" + name), bands, -9999.0);
    write(folder / ("ann/" + name), classes.unsqueeze(0), 7.0);
  }
  const std::string config = folder / "config.toml";
  write_file(config, four_bands() + R"(label_reader = {type = "GeoTIFFReader"}
labels.land = {classes = ["field", "water"]}
[data.train]
batch_size = 2
dataset = {type = "SegmentationFolder", image_dir = "img", label_dir = "ann"}
transforms = [{type = "RandomCrop", size = [32, 32]}, {type = "RandomFlip", prob = 0.5}]
[data.val]
dataset = "${data.train.dataset}"
[optimizer]
type = "AdamW"
lr = 0.01
[train]
steps = 4
[evaluate]
metrics.land = {type = "IoUMetric"}
[runtime]
work_dir = ")" + (folder / "run") +
                         "\"\n");
  const std::string tools = STRATA_BINARY_DIR "/tools/";
  ASSERT_EQ(std::system((tools + "train " + config + " >/dev/null").c_str()), 0);
  ASSERT_EQ(std::system((tools + "test " + config + " --per-image " + (folder / "images.csv") +
                         " --save " + (folder / "maps") + " >/dev/null")
                            .c_str()),
            0);
  const auto record = nlohmann::json::parse(file_content(folder / "run/validation.json"));
  const auto counts = record.at("sets")[0].at("metrics")[0].at("confusion").at("counts");
  std::int64_t pixels = 0;
  for (const auto& count : counts) pixels += count.get<std::int64_t>();
  EXPECT_EQ(pixels, 4 * 44 * 40) << "four rows of each tile hold nothing";
  EXPECT_TRUE(fs::exists(folder / "maps/land/3.png"));
}

// Two dates of one size from different places are no pair.
TEST(GeoTiff, RefusesDatesOfDifferentPlaces) {
  const TempDir folder;
  io::GeoReference east = utm();
  (*east.transform)[0] += 10;
  write(folder / "a.tif", at::zeros({3, 64, 64}, at::kByte));
  write(folder / "b.tif", at::zeros({3, 64, 64}, at::kByte), {}, east);
  const std::string config = folder / "config.toml";
  write_file(config, "_base_ = \"" STRATA_SOURCE_DIR
                     "/tests/configs/_base_/pair.toml\"\nplugins = [\"" +
                         plugin_file("geotiff") + "\"]\ndata.reader.type = \"GeoTIFFReader\"\n");
  Registry own;
  register_builtin_components(own);
  const auto model = load_experiment(config, {}, own).build_model();
  io::write_safetensors(folder / "model.safetensors", io::state_of(*model));
  const std::string a = folder / "a.tif", b = folder / "b.tif", log = folder / "log";
  const std::string command = std::string(STRATA_BINARY_DIR "/tools/predict ") + config + " " +
                              (folder / "model.safetensors") + " --in " + a + " " + b + " --out " +
                              (folder / "out") + " 2>" + log;
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
  const std::string said = file_content(log);
  EXPECT_TRUE(said.ends_with(b + ": lies elsewhere than the first date, " + a +
                             "; resample one to the grid of the other\n"))
      << said;
}

}  // namespace
}  // namespace strata::tests
