// Listing, pairing and reading of folders: what is found, and the text of everything that is wrong.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/io/image.hpp"
#include "tests/framework/data/support.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

void image_file(const std::string& path, std::int64_t height = 4, std::int64_t width = 6,
                int value = 10) {
  io::write_png(path, at::full({height, width, 3}, value, at::kByte));
}

void label_file(const std::string& path, std::initializer_list<int> values, std::int64_t height = 4,
                std::int64_t width = 6) {
  at::Tensor map = at::zeros({height, width}, at::kByte);
  std::int64_t i = 0;
  for (const int value : values) map.view({-1})[i++] = value;
  io::write_png(path, map);
}

std::shared_ptr<Dataset> segmentation(
    const TempDir& dir, const std::string& more = "",
    const LabelSpecs& labels = label_specs({label_spec("semantic", 3)}), bool with_labels = true) {
  return make<Dataset>("{type = \"SegmentationFolder\", image_dir = \"" + dir.path() +
                           "/images\", label_dir = \"" + dir.path() + "/labels\"" + more + "}",
                       {labels, with_labels, 1});
}

std::shared_ptr<Dataset> change(const TempDir& dir, const std::string& more = "",
                                const LabelSpecs& labels = label_specs({label_spec("change", 2,
                                                                                   "change")}),
                                bool with_labels = true) {
  return make<Dataset>("{type = \"ChangeFolder\", data_root = \"" + dir.path() + "\"" + more + "}",
                       {labels, with_labels, 2});
}

TEST(SegmentationFolder, PairsByNameInSubFoldersAndSorts) {
  TempDir dir;
  for (const char* name : {"b/2", "a", "b/1"}) {
    image_file(dir / ("images/" + std::string(name) + ".png"));
    label_file(dir / ("labels/" + std::string(name) + ".png"), {0, 1, 2, 255});
  }
  write_file(dir / "images/.DS_Store", "x");
  const auto dataset = segmentation(dir);
  ASSERT_EQ(dataset->size(), 3);
  EXPECT_EQ(dataset->name(0), "a");
  EXPECT_EQ(dataset->name(1), "b/1");
  const Sample sample = dataset->read(1);
  EXPECT_EQ(sample.images.at(0).sizes(), (at::IntArrayRef{4, 6, 3}));
  EXPECT_EQ(sample.meta.name, "b/1");
  EXPECT_EQ(sample.meta.paths.at(0), dir.path() + "/images/b/1.png");
  EXPECT_EQ(sample.meta.original_height, 4);
  EXPECT_EQ(sample.meta.width, 6);
  const at::Tensor& map = sample.targets.at("semantic").map;
  EXPECT_TRUE(at::equal(map[0].narrow(0, 0, 4), at::tensor({0, 1, 2, 255}, at::kByte)));
}

TEST(SegmentationFolder, TakesSuffixesAsMmsegDoes) {
  TempDir dir;
  image_file(dir / "images/x_leftImg8bit.png");
  label_file(dir / "labels/x_gtFine_labelTrainIds.png", {1});
  label_file(dir / "labels/x_gtFine_color.png", {9});
  const auto dataset = segmentation(
      dir, ", img_suffix = \"_leftImg8bit.png\", seg_map_suffix = \"_gtFine_labelTrainIds.png\"");
  ASSERT_EQ(dataset->size(), 1);
  EXPECT_EQ(dataset->name(0), "x");
  EXPECT_EQ(dataset->read(0).targets.at("semantic").map[0][0].item<int>(), 1);
}

TEST(SegmentationFolder, ReadsListsOfNamesAndOfPaths) {
  TempDir dir;
  for (const char* name : {"a", "b", "c"}) {
    image_file(dir / ("images/" + std::string(name) + ".png"));
    label_file(dir / ("labels/" + std::string(name) + ".png"), {1});
  }
  write_file(dir / "list.txt", "# chosen\nc\n\na.png\r\nimages/b.png labels/b.png\n");
  const auto dataset = segmentation(dir, ", ann_file = \"" + dir.path() + "/list.txt\"");
  ASSERT_EQ(dataset->size(), 3);
  EXPECT_EQ(dataset->name(0), "c");
  EXPECT_EQ(dataset->name(1), "a");
  EXPECT_EQ(dataset->name(2), "images/b");
  EXPECT_EQ(dataset->read(2).targets.count("semantic"), 1U);

  auto message = [&](const std::string& line) {
    write_file(dir / "list.txt", "c\n" + line + "\n");
    return message_of([&] { segmentation(dir, ", ann_file = \"" + dir.path() + "/list.txt\""); });
  };
  const std::string list = dir.path() + "/list.txt";
  EXPECT_EQ(message("d"),
            list + ":2: no image for \"d\" in " + dir.path() + "/images; check image_dir");
  EXPECT_EQ(message("images/a.png labels/d.png"),
            list + ":2: no such file, got " + dir.path() +
                "/labels/d.png; paths are taken from the list's folder");
  write_file(dir / "empty.txt", "# none\n");
  EXPECT_EQ(message_of([&] { segmentation(dir, ", ann_file = \"" + dir.path() + "/empty.txt\""); }),
            dir.path() + "/empty.txt: list file names no sample");
  EXPECT_EQ(message_of([&] { segmentation(dir, ", ann_file = \"" + dir.path() + "/no.txt\""); }),
            dir.path() + "/no.txt: list file cannot be read; check ann_file");
}

TEST(SegmentationFolder, FoldersThatGiveNothing) {
  TempDir dir;
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() + "/images: no such folder; check image_dir");
  std::filesystem::create_directory(dir / "images");
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() + "/images: folder is empty; check image_dir");
  image_file(dir / "images/a.png");
  image_file(dir / "images/b.png");
  write_file(dir / "images/notes.txt", "x");
  EXPECT_EQ(
      message_of([&] { segmentation(dir, ", img_suffix = \".jpg\""); }),
      dir.path() + "/images: no file ends with \".jpg\", found 2 .png, 1 .txt; check img_suffix");
  write_file(dir / "labels/a.npy", "x");
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() +
                "/labels: no picture (.bmp .jpeg .jpg .png .ppm .pgm .tif .tiff .webp), "
                "found 1 .npy; check label_dir");
  EXPECT_EQ(segmentation(dir, "", label_specs({label_spec("semantic", 3)}), false)->size(), 2)
      << "prediction does not look for labels";
}

TEST(SegmentationFolder, FilesWithoutPartner) {
  TempDir dir;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    image_file(dir / ("images/" + std::string(name) + ".png"));
  }
  label_file(dir / "labels/a.png", {1});
  label_file(dir / "labels/x.png", {1});
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() + "/labels: no label for 4 of 5 files in " + dir.path() +
                "/images: \"b.png\", \"c.png\", \"d.png\", …; no image for 1 of 2 files here: "
                "\"x.png\"; add the missing files or set skip_unpaired = true");
  EXPECT_EQ(segmentation(dir, ", skip_unpaired = true")->size(), 1);
}

TEST(SegmentationFolder, NearMissesOfSuffixesAreNamed) {
  TempDir dir;
  for (const char* name : {"r1", "r2"}) {
    image_file(dir / ("images/" + std::string(name) + "_sat.png"));
    label_file(dir / ("labels/" + std::string(name) + "_mask.png"), {1});
  }
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() + "/labels: no label for 2 of 2 files in " + dir.path() +
                "/images: \"r1_sat.png\", \"r2_sat.png\"; no image for 2 of 2 files here: "
                "\"r1_mask.png\", \"r2_mask.png\"; set img_suffix = \"_sat.png\" and "
                "seg_map_suffix = \"_mask.png\" to pair 2 of them");
  EXPECT_EQ(
      segmentation(dir, ", img_suffix = \"_sat.png\", seg_map_suffix = \"_mask.png\"")->size(), 2);
  image_file(dir / "images/r1_sat.bmp.png");
  write_file(dir / "images/r2_sat.jpg", file_content(dir / "images/r2_sat.png"));
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() +
                "/images/r2_sat.png: same name as \"r2_sat.jpg\", so its partner is not "
                "clear; set img_suffix");
}

TEST(SegmentationFolder, OneMissingLabelIsNoMatterOfSuffixes) {
  TempDir dir;
  for (const char* name : {"seq_58", "seq_59", "seq_61"}) {
    image_file(dir / ("images/" + std::string(name) + ".jpg"));
  }
  label_file(dir / "labels/seq_58.png", {1});
  label_file(dir / "labels/seq_61.png", {1});
  EXPECT_EQ(message_of([&] { segmentation(dir); }),
            dir.path() + "/labels: no label for 1 of 3 files in " + dir.path() +
                "/images: \"seq_59.jpg\"; add the missing files or set skip_unpaired = true");
}

TEST(SegmentationFolder, LabelValuesAreChecked) {
  TempDir dir;
  image_file(dir / "images/a.png");
  label_file(dir / "labels/a.png", {0, 1, 2, 3, 3, 7, 255});
  EXPECT_EQ(message_of([&] { segmentation(dir)->read(0); }),
            dir.path() +
                "/labels/a.png: label \"semantic\" holds value 3 (2 of 24 pixels) and 1 "
                "more wrong values, declared are 3 classes (0 to 2) and 255 (ignored); mend "
                "the file or set label_map");
  const Sample mapped = segmentation(dir, ", label_map = {3 = 1, 7 = 255}")->read(0);
  EXPECT_TRUE(
      at::equal(mapped.targets.at("semantic").map[0], at::tensor({0, 1, 2, 1, 1, 255}, at::kByte)));
  EXPECT_EQ(message_of([&] { segmentation(dir, ", label_map = {3 = 9}"); }),
            "test.toml:1:" + std::to_string(98 + 2 * dir.path().size()) +
                ": x.label_map.3: label \"semantic\" has 3 classes (0 to 2) and 255 (ignored) "
                "only, got 9");
}

TEST(SegmentationFolder, ReducesTheZeroLabelAsMmsegDoes) {
  TempDir dir;
  image_file(dir / "images/a.png");
  label_file(dir / "labels/a.png", {0, 1, 2, 3, 255, 0});
  const Sample sample =
      segmentation(dir, ", reduce_zero_label = true, label_map = {2 = 0}")->read(0);
  EXPECT_TRUE(at::equal(sample.targets.at("semantic").map[0],
                        at::tensor({255, 0, 1, 0, 255, 255}, at::kByte)));
}

TEST(SegmentationFolder, ColourLabelsNeedThePalette) {
  TempDir dir;
  image_file(dir / "images/a.png", 1, 3);
  at::Tensor colours = at::zeros({1, 3, 3}, at::kByte);
  colours[0][1][0] = 200;
  colours[0][2][1] = 90;
  io::write_png(dir / "labels/a.png", colours);
  LabelSpec spec = label_spec("semantic", 3);
  spec.palette = {{0, 0, 0}, {200, 0, 0}, {0, 90, 0}};
  const std::string file = dir.path() + "/labels/a.png";
  EXPECT_EQ(message_of([&] { segmentation(dir, "", label_specs({spec}))->read(0); }),
            file +
                ": label is a picture in colours, expected class indices; set label_format = "
                "\"palette\" and data.labels.semantic.palette");
  const std::string palette = ", label_format = \"palette\"";
  EXPECT_TRUE(
      at::equal(segmentation(dir, palette, label_specs({spec}))->read(0).targets.at("semantic").map,
                at::tensor({0, 1, 2}, at::kByte).view({1, 3})));
  spec.palette[2] = {0, 91, 0};
  EXPECT_EQ(message_of([&] { segmentation(dir, palette, label_specs({spec}))->read(0); }),
            file +
                ": label \"semantic\" holds colour [0, 90, 0] (1 of 3 pixels), which "
                "data.labels.semantic.palette does not hold");
}

TEST(SegmentationFolder, SizesMustAgree) {
  TempDir dir;
  image_file(dir / "images/a.png", 4, 6);
  label_file(dir / "labels/a.png", {1}, 6, 4);
  EXPECT_EQ(message_of([&] { segmentation(dir)->read(0); }),
            dir.path() + "/labels/a.png: label is 6 x 4 pixels (height x width), but " +
                dir.path() + "/images/a.png is 4 x 6; resample one to the other");
}

TEST(ChangeFolder, ReadsPairsAndTheirLabel) {
  TempDir dir;
  image_file(dir / "A/a.png", 4, 6, 1);
  image_file(dir / "B/a.png", 4, 6, 2);
  label_file(dir / "label/a.png", {0, 255, 255});
  const Sample sample = change(dir)->read(0);
  ASSERT_EQ(sample.images.size(), 2U);
  EXPECT_EQ(sample.images[0][0][0][0].item<int>(), 1);
  EXPECT_EQ(sample.images[1][0][0][0].item<int>(), 2);
  // Two classes, and files that hold 0 and 255: 255 is class 1.
  EXPECT_TRUE(
      at::equal(sample.targets.at("change").map[0], at::tensor({0, 1, 1, 0, 0, 0}, at::kByte)));
  EXPECT_EQ(change(dir, "", label_specs({label_spec("change", 2, "change")}), false)
                ->read(0)
                .targets.size(),
            0U);
}

TEST(ChangeFolder, A255BesideA1IsIgnored) {
  TempDir dir;
  for (const char* name : {"a", "b"}) {
    image_file(dir / ("A/" + std::string(name) + ".png"));
    image_file(dir / ("B/" + std::string(name) + ".png"));
  }
  label_file(dir / "label/a.png", {0, 255, 0});
  label_file(dir / "label/b.png", {0, 255, 1});
  EXPECT_TRUE(at::equal(change(dir)->read(0).targets.at("change").map[0],
                        at::tensor({0, 255, 0, 0, 0, 0}, at::kByte)))
      << "b.png has a 1, so 255 means ignored in all files";
  const std::string binary =
      ", targets = {change = {folder = \"label\", label_format = \"binary\"}}";
  EXPECT_TRUE(at::equal(change(dir, binary)->read(1).targets.at("change").map[0],
                        at::tensor({0, 1, 0, 0, 0, 0}, at::kByte)));
}

TEST(ChangeFolder, BinaryFilesAreCutAt128AndAutoSaysWhenTheyDisagree) {
  TempDir dir;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    image_file(dir / ("A/" + std::string(name) + ".png"));
    image_file(dir / ("B/" + std::string(name) + ".png"));
    label_file(dir / ("label/" + std::string(name) + ".png"), {0, 255});
  }
  label_file(dir / "label/f.png", {0, 255, 127, 128});  // not among the first four that are asked
  const std::string binary =
      ", targets = {change = {folder = \"label\", label_format = \"binary\"}}";
  EXPECT_TRUE(at::equal(change(dir, binary)->read(5).targets.at("change").map[0],
                        at::tensor({0, 1, 0, 1, 0, 0}, at::kByte)));
  EXPECT_EQ(message_of([&] { change(dir)->read(5); }),
            dir.path() +
                "/label/f.png: label \"change\" holds value 127 (1 of 24 pixels) and 1 "
                "more wrong values, other files hold 0 and 255 only; set label_format = "
                "\"index\"");
  label_file(dir / "label/a.png", {0, 1, 7});  // now the first file says: indices
  EXPECT_EQ(message_of([&] { change(dir)->read(0); }),
            dir.path() +
                "/label/a.png: label \"change\" holds value 7 (1 of 24 pixels), declared "
                "are 2 classes (0 to 1) and 255 (ignored); mend the file, set label_map, or "
                "label_format = \"binary\" when values from 128 on mean class 1");
}

TEST(ChangeFolder, SeveralTargets) {
  TempDir dir;
  image_file(dir / "A/a.png");
  image_file(dir / "B/a.png");
  label_file(dir / "label/a.png", {0, 1});
  label_file(dir / "label_a/a.png", {1, 2, 3});
  label_file(dir / "label_b/a.png", {3, 2, 1});
  const LabelSpecs labels = label_specs(
      {label_spec("change", 2, "change"), label_spec("before", 3), label_spec("after", 4)});
  const Sample sample = change(dir,
                               ", targets = {change = \"label\", before = {folder = \"label_a\", "
                               "reduce_zero_label = true}, after = \"label_b\"}",
                               labels)
                            ->read(0);
  EXPECT_TRUE(at::equal(sample.targets.at("before").map[0],
                        at::tensor({0, 1, 2, 255, 255, 255}, at::kByte)));
  EXPECT_TRUE(
      at::equal(sample.targets.at("after").map[0], at::tensor({3, 2, 1, 0, 0, 0}, at::kByte)));
  EXPECT_EQ(sample.targets.at("after").spec->name, "after");
  EXPECT_EQ(message_of([&] { change(dir, ", targets = {chance = \"label\"}", labels); }),
            "test.toml:1:" + std::to_string(65 + dir.path().size()) +
                ": x.targets.chance: no such label is declared (there are \"change\", \"before\", "
                "\"after\"), got \"chance\"; did you mean \"change\"?");
}

TEST(ChangeFolder, EveryDateNeedsItsFile) {
  TempDir dir;
  image_file(dir / "A/a.png");
  image_file(dir / "A/b.png");
  image_file(dir / "B/a.png");
  image_file(dir / "B/c.png", 5, 5);
  label_file(dir / "label/a.png", {1});
  EXPECT_EQ(
      message_of([&] { change(dir); }),
      dir.path() + "/B: no image for 1 of 2 files in " + dir.path() +
          "/A: \"b.png\"; no image for 1 of 2 files here: \"c.png\"; add the missing files or "
          "set skip_unpaired = true");
  std::filesystem::rename(dir / "B/c.png", dir / "B/b.png");
  label_file(dir / "label/b.png", {1});
  EXPECT_EQ(message_of([&] { change(dir)->read(1); }),
            dir.path() + "/B/b.png: image is 5 x 5 pixels (height x width), but " + dir.path() +
                "/A/b.png is 4 x 6; resample one to the other");
}

TEST(RealData, FoldersAreReadAsTheyCome) {
  const std::string camvid = shared_data("camvid"), tunnel = shared_data("tunnel_crack"),
                    levir = shared_data("levir_samples");
  if (camvid.empty() || tunnel.empty() || levir.empty()) {
    GTEST_SKIP() << "no real data: set STRATA_SHARED to the folder that holds data/camvid, "
                    "data/tunnel_crack and data/levir_samples";
  }
  LabelSpec spec = label_spec("semantic", 11);
  spec.ignore_index = 11;
  const auto cars =
      make<Dataset>("{type = \"BaseSegDataset\", image_dir = \"" + camvid +
                        "/train/images\", label_dir = \"" + camvid + "/train/labels\"}",
                    {label_specs({spec}), true, 1});
  EXPECT_EQ(cars->size(), 367);
  for (std::int64_t i = 0; i < cars->size(); i += 73) {
    EXPECT_LE(cars->read(i).targets.at("semantic").map.max().item<int>(), 11);
  }
  for (const std::string& root : {tunnel + "/train", levir + "/train"}) {
    const auto pairs = make<Dataset>("{type = \"ChangeFolder\", data_root = \"" + root + "\"}",
                                     {label_specs({label_spec("change", 2, "change")}), true, 2});
    std::int64_t changed = 0;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(pairs->size(), 8); ++i) {
      const at::Tensor map = pairs->read(i).targets.at("change").map;
      EXPECT_LE(map.max().item<int>(), 1);
      changed += map.sum().item<std::int64_t>();
    }
    EXPECT_GT(changed, 0) << root;
  }
}

}  // namespace
}  // namespace strata::tests
