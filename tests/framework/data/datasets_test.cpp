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
  EXPECT_EQ(message_of([&] { segmentation(dir, ", ann_file = \"/dev/zero\""); }),
            "/dev/zero: list file cannot be read; check ann_file");
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
                "\"palette\" and data.labels.semantic.palette, or band where each band is a label "
                "of its own");
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

// Lists as ChangeCLIP's tools write them: paths that may hold single blanks, two between them.
TEST(ChangeFolder, ReadsListsOfPathsWithTwoSpacesBetweenThem) {
  TempDir dir, elsewhere;
  for (const char* name : {"a 1", "b"}) {
    for (const char* date : {"A", "B"}) {
      image_file(dir / ("train/" + std::string(date) + "/" + name + ".png"));
    }
    label_file(dir / ("train/label/" + std::string(name) + ".png"), {255, 0});
  }
  image_file(elsewhere / "A/c.png");
  const std::string b = dir.path() + "/train/";
  write_file(elsewhere / "lists/train.txt",
             "\ntrain/A/a 1.png  train/B/a 1.png  train/label/a 1.png\r\n\n" +  // from data_root
                 b + "A/b.png   " + b + "B/b.png  " + b + "label/b.png\n" +     // absolute
                 "../A/c.png  " + b + "B/b.png  " + b + "label/b.png\n");       // from the list
  const std::string list = ", ann_file = \"" + elsewhere.path() + "/lists/train.txt\"";
  for (const char* format : {"", ", list_format = \"two_spaces\""}) {
    const auto pairs = change(dir, list + format);
    ASSERT_EQ(pairs->size(), 3);
    EXPECT_EQ(pairs->name(0), "train/A/a 1");
    EXPECT_EQ(pairs->name(1), "train/A/b") << "results must not be written beside the data";
    EXPECT_EQ(pairs->name(2), "A/c");
    const Sample sample = pairs->read(0);
    EXPECT_EQ(sample.meta.paths.at(1), dir.path() + "/train/B/a 1.png");
    EXPECT_EQ(sample.targets.at("change").map[0][0].item<int>(), 1);
    EXPECT_EQ(pairs->read(2).meta.paths.at(0), elsewhere.path() + "/A/c.png");
  }
  EXPECT_EQ(message_of([&] { change(dir, list + ", list_format = \"blanks\""); }),
            elsewhere.path() + "/lists/train.txt:2: no such file, got " + dir.path() +
                "/train/A/a; paths are taken from the list's folder, else from data_root");
  // Columns that are merely lined up.
  write_file(dir / "train.txt", "train/A/b.png train/B/b.png   train/label/b.png\n");
  EXPECT_EQ(change(dir, ", ann_file = \"" + dir.path() + "/train.txt\"")->size(), 1);
  // As upstream names it, with other folders.
  for (const char* type : {"TXTCDDataset", "TXTCDDatasetJSON"}) {
    const auto pairs = make<Dataset>("{type = \"" + std::string(type) + "\", data_root = \"" +
                                         dir.path() + "/train\", image_dirs = [\"A\", \"B\"]}",
                                     {label_specs({label_spec("change", 2, "change")}), true, 2});
    EXPECT_EQ(pairs->size(), 2);
  }
}

TEST(ChangeFolder, RepeatsTheBandOfGreyPictures) {
  TempDir dir;
  const at::Tensor radar = at::arange(24, at::kByte).reshape({4, 6});
  for (const char* date : {"A", "B"}) io::write_png(dir / (std::string(date) + "/s.png"), radar);
  label_file(dir / "label/s.png", {1});
  const Sample sample = change(dir)->read(0);
  for (const at::Tensor& image : sample.images) {
    EXPECT_TRUE(at::equal(image, radar.unsqueeze(2).expand({4, 6, 3})));
  }
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

// ---------------------------------------------------------------------------------------------
// Semantic change: SECOND, Hi-UCD and dense maps.

LabelSpecs two_dates(std::int64_t classes) {
  LabelSpec after = label_spec("after", classes);
  after.date = 1;
  return label_specs({label_spec("before", classes), after, label_spec("change", 2, "change")});
}

at::Tensor first_row(const Sample& sample, const std::string& target) {
  return sample.targets.at(target).map[0];
}

at::Tensor bytes(std::initializer_list<int> values) {
  return at::tensor(std::vector<int>(values)).to(at::kByte);
}

// RGB labels, white where nothing changed; the change label is where a class is named.
TEST(SemanticChange, SecondNamesClassesWhereSomethingChanged) {
  TempDir dir;
  image_file(dir / "A/a.png", 1, 3);
  image_file(dir / "B/a.png", 1, 3);
  at::Tensor before = at::full({1, 3, 3}, 255, at::kByte), after = before.clone();
  before[0][1] = bytes({0, 0, 255});
  after[0][1] = bytes({128, 0, 0});
  after[0][2] = bytes({0, 0, 255});
  io::write_png(dir / "label1/a.png", before);
  io::write_png(dir / "label2/a.png", after);
  const std::string format =
      ", label_format = \"palette\", reduce_zero_label = true, "
      "file_palette = [[255, 255, 255], [0, 0, 255], [128, 0, 0]]}";
  const auto targets = [&](const std::string& change) {
    return ", targets = {before = {folder = \"label1\"" + format +
           ", after = {folder = \"label2\"" + format + ", change = " + change + "}";
  };
  const auto dataset = change(dir, targets("{implied = \"labelled\"}"), two_dates(2));
  const Sample sample = dataset->read(0);
  EXPECT_TRUE(at::equal(first_row(sample, "before"), bytes({255, 0, 255})));
  EXPECT_TRUE(at::equal(first_row(sample, "after"), bytes({255, 1, 0})));
  EXPECT_TRUE(at::equal(first_row(sample, "change"), bytes({0, 1, 1})));
  EXPECT_TRUE(at::equal(dataset->read_targets(0).at("change").map[0], bytes({0, 1, 1})));
  // "differs" knows nothing where a date names no class.
  EXPECT_TRUE(at::equal(
      first_row(change(dir, targets("{implied = \"differs\"}"), two_dates(2))->read(0), "change"),
      bytes({255, 1, 255})));
  EXPECT_NE(dataset->target_state(0),
            change(dir, targets("{implied = \"differs\"}"), two_dates(2))->target_state(0));

  io::write_png(dir / "label2/a.png", at::zeros({1, 4, 3}, at::kByte));
  EXPECT_EQ(message_of([&] { dataset->read_targets(0); }),
            dir.path() +
                "/label2/a.png: label \"after\" holds colour [0, 0, 0] (4 of 4 pixels), "
                "which file_palette does not hold");
  io::write_png(dir / "label2/a.png", at::full({1, 4, 3}, 255, at::kByte));
  EXPECT_EQ(message_of([&] { dataset->read_targets(0); }),
            dir.path() + "/label2/a.png: label is 1 x 4 pixels (height x width), but " +
                dir.path() + "/A/a.png is 1 x 3; resample one to the other");
}

// One picture whose bands are before, after and change (1 unchanged, 2 changed, 0 not labelled).
TEST(SemanticChange, HiUcdKeepsThreeLabelsInOneFile) {
  TempDir dir;
  image_file(dir / "A/a.png", 1, 3);
  image_file(dir / "B/a.png", 1, 3);
  at::Tensor mask = at::zeros({1, 3, 3}, at::kByte);
  mask[0][0] = bytes({1, 3, 2});
  mask[0][1] = bytes({2, 2, 1});
  io::write_png(dir / "mask/a.png", mask);
  const auto target = [](const std::string& name, int band) {
    return name +
           " = {folder = \"mask\", reduce_zero_label = true, band = " + std::to_string(band) + "}";
  };
  const std::string before_and_after = target("before", 1) + ", " + target("after", 2) + ", ";
  const auto read = [&](const std::string& change_target) {
    return change(dir, ", targets = {" + before_and_after + change_target + "}", two_dates(3))
        ->read(0);
  };
  const Sample sample = read(target("change", 3));
  EXPECT_TRUE(at::equal(first_row(sample, "before"), bytes({0, 1, 255})));
  EXPECT_TRUE(at::equal(first_row(sample, "after"), bytes({2, 1, 255})));
  EXPECT_TRUE(at::equal(first_row(sample, "change"), bytes({1, 0, 255})));
  EXPECT_EQ(message_of([&] { read(target("change", 4)); }),
            dir.path() + "/mask/a.png: label has 3 bands, band is 4");
  EXPECT_EQ(
      message_of([&] { read("change = {folder = \"mask\", label_format = \"index\"}"); }),
      dir.path() +
          "/mask/a.png: label is a picture in colours, expected class indices; set "
          "label_format = \"palette\" and data.labels.change.palette, or band where each band "
          "is a label of its own");
  // Bands that are all equal are one picture of grey values.
  io::write_png(dir / "mask/a.png", at::full({1, 3, 3}, 2, at::kByte));
  EXPECT_TRUE(at::equal(first_row(read(target("change", 3)), "change"), bytes({1, 1, 1})));
}

TEST(SemanticChange, DenseMapsImplyTheirChange) {
  TempDir dir;
  image_file(dir / "A/a.png", 1, 4);
  image_file(dir / "B/a.png", 1, 4);
  label_file(dir / "label_a/a.png", {0, 1, 2, 255}, 1, 4);
  label_file(dir / "label_b/a.png", {0, 2, 2, 1}, 1, 4);
  const auto read = [&](const std::string& more, const std::string& change_target) {
    return change(dir,
                  ", targets = {before = {folder = \"label_a\"" + more +
                      "}, after = {folder = \"label_b\"" + more + "}" + change_target + "}",
                  two_dates(3))
        ->read(0);
  };
  const std::string differs = ", change = {implied = \"differs\"}";
  Sample sample = read("", differs);
  EXPECT_TRUE(at::equal(first_row(sample, "change"), bytes({0, 1, 0, 255})));
  EXPECT_TRUE(at::equal(first_row(sample, "before"), bytes({0, 1, 2, 255})));
  // As SECOND would have it: classes where something changed.
  sample = read(", changed_only = true", differs);
  EXPECT_TRUE(at::equal(first_row(sample, "before"), bytes({255, 1, 255, 255})));
  EXPECT_TRUE(at::equal(first_row(sample, "after"), bytes({255, 2, 255, 1})));

  const auto mistake = [&](const std::string& targets, const LabelSpecs& labels) {
    const std::string text = message_of([&] { change(dir, ", targets = {" + targets, labels); });
    return text.substr(text.find("x.targets"));
  };
  EXPECT_EQ(
      mistake("before = \"label_a\", change = {implied = \"differs\"}}", two_dates(3)),
      "x.targets.change.implied: needs two semantic labels, one a date, among targets, got 1");
  EXPECT_EQ(mistake("before = {implied = \"differs\"}}", two_dates(3)),
            "x.targets.before.implied: needs a label of role \"change\" with 2 classes, got \"differs\"");
  EXPECT_EQ(mistake("change = {implied = \"differs\", folder = \"label\"}}", two_dates(3)),
            "x.targets.change.implied: does not go with folder, got \"differs\"");
  EXPECT_EQ(mistake("change = {label_format = \"index\"}}", two_dates(3)),
            "x.targets.change.folder: is missing; set it, or implied");
  EXPECT_EQ(mistake("before = {folder = \"label_a\", changed_only = true}}", two_dates(3)),
            "x.targets.before.changed_only: needs a change label among targets, got true");
  EXPECT_EQ(mistake("before = {folder = \"label_a\", file_palette = [[0, 0, 0]]}}", two_dates(3)),
            "x.targets.before.file_palette: needs label_format = \"palette\", got [[0, 0, 0]]");
  EXPECT_EQ(mistake("before = {folder = \"label_a\", label_format = \"palette\", file_palette = "
                    "[[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]}}",
                    two_dates(3)),
            "x.targets.before.file_palette: has 4 colours, label \"before\" has 3 classes (0 to 2) "
            "and 255 (ignored); say what value 3 is with reduce_zero_label or label_map, got "
            "[[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]");
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

// ---------------------------------------------------------------------------------------------
// Scene tags: files beside the folders of both dates.

std::string tag_line(const std::string& path, const std::string& classes) {
  return "{\"image_path\": \"" + path + "\", " + classes + "}";
}

std::shared_ptr<Dataset> tagged(const TempDir& dir, TagOptions options = {},
                                const std::string& more = "") {
  return make<Dataset>("{type = \"ChangeFolder\", data_root = \"" + dir.path() + "\"" + more + "}",
                       {.labels = label_specs({label_spec("change", 2, "change")}),
                        .dates = 2,
                        .tags = std::make_shared<SceneTags>(std::move(options))});
}

using Tags = std::vector<std::vector<std::string>>;

TEST(SceneTags, ComeFromTheFilesBesideBothFolders) {
  TempDir dir;
  for (const char* name : {"1", "2"}) {
    for (const char* date : {"A", "B"}) {
      image_file(dir / (std::string(date) + "/" + name + ".png"));
    }
    label_file(dir / ("label/" + std::string(name) + ".png"), {1});
  }
  // Written elsewhere, in another order of pictures, and by someone who sorted the keys.
  write_file(
      dir / "A_clipcls_56_vit16.json",
      "[" + tag_line("/mnt/A/2.png", R"("lake": "0.5000", "bare land": "0.3000", "sea": 0.1)") +
          "," + R"({"airport": 0.25, "image_path": "/mnt/A/1.png", "road": "0.75"})" + "]");
  write_file(dir / "B_clipcls_56_vit16.json", "[" + tag_line("/mnt/B/1.png", R"("tree": 1)") + "," +
                                                  R"({"image_path": "/mnt/B/2.png"})" + "]");
  const auto pairs = tagged(dir);
  EXPECT_EQ(pairs->read(0).meta.tags, (Tags{{"road", "airport"}, {"tree"}}));
  EXPECT_EQ(pairs->read(1).meta.tags, (Tags{{"lake", "bare land", "sea"}, {}}));
  EXPECT_EQ(tagged(dir, {.top = 2})->read(1).meta.tags, (Tags{{"lake", "bare land"}, {}}));
  EXPECT_TRUE(change(dir)->read(0).meta.tags.empty()) << "only where data.tags asks for them";

  // One picture is not named: an error, or no tags.
  write_file(dir / "B_clipcls_56_vit16.json", "[" + tag_line("B/1.png", R"("tree": 1)") + "]");
  EXPECT_EQ(message_of([&] { tagged(dir); }),
            dir.path() + "/B_clipcls_56_vit16.json: does not name " + dir.path() +
                "/B/2.png; write it again with tools/clip_tags, or set data.tags.missing = "
                "\"empty\"");
  EXPECT_EQ(tagged(dir, {.missing = "empty"})->read(1).meta.tags,
            (Tags{{"lake", "bare land", "sea"}, {}}));
  // No file at one date, then at none.
  std::filesystem::remove(dir / "B_clipcls_56_vit16.json");
  EXPECT_EQ(tagged(dir)->read(0).meta.tags, (Tags{{"road", "airport"}, {}}));
  EXPECT_TRUE(tagged(dir, {.suffix = ".json"})->read(0).meta.tags.empty());
}

TEST(SceneTags, EqualNamesAreToldApartByTheirFolders) {
  TempDir dir;
  write_file(dir / "A.json", "[" + tag_line("train/A/1.png", R"("lake": 1)") + "," +
                                 tag_line("test/A/1.png", R"("sea": 1)") + "," +
                                 tag_line("test/A/1.png", R"("road": 1)") + "]");
  std::filesystem::rename(dir / "A.json", dir / "test/A.json");
  const SceneTags tags({.suffix = ".json"});
  EXPECT_EQ(tags.of({dir / "test/A/1.png"}), (Tags{{"road"}})) << "the later entry counts";
  std::filesystem::rename(dir / "test/A.json", dir / "other/A.json");
  EXPECT_EQ(message_of([&] { tags.of({dir / "other/A/1.png"}); }),
            dir.path() + "/other/A.json: names several pictures \"1.png\"; which of them is " +
                dir.path() + "/other/A/1.png is not clear");
}

TEST(SceneTags, FilesThatAreWrongAreNamed) {
  TempDir dir;
  const std::string list = "expected a list of {\"image_path\": path, class: probability, …}";
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"{}", list},
           {"[3]", list},
           {"[[]]", list},
           {"3", list},
           {R"([{"image_path": "a", "lake": {"x": 1}}])", list},
           {R"([{"image_path": "a", "lake": []}])", list},
           {R"([{"image_path": "a"}, {"lake": 1}])", "entry 1: has no \"image_path\""},
           {R"([{"image_path": 3}])", "entry 0: \"image_path\" is not a path"},
           {R"([{"image_path": "a", "lake": "much"}])", "entry 0: \"lake\" has no probability"},
           {R"([{"image_path": "a", "lake": null}])", "entry 0: \"lake\" has no probability"},
           {R"([{"image_path": "a", "lake": "nan"}])", "entry 0: \"lake\" has no probability"},
           {R"([{"image_path": "a")", "not valid JSON at byte 20"},
           {"", "not valid JSON at byte 1"}}) {
    write_file(dir / "x.json", text);
    EXPECT_EQ(message_of([&] { read_tags(dir / "x.json"); }), dir.path() + "/x.json: " + message)
        << text;
  }
}

TEST(SceneTags, AreWrittenFromTheMostProbableOn) {
  TempDir dir;
  EXPECT_EQ(tags_file("data/A/", "_t.json"), "data/A_t.json");
  EXPECT_EQ(tags_file("./data/x/../A", "_t.json"), "data/A_t.json");
  EXPECT_EQ(tags_file(".", "_t.json"), std::filesystem::current_path().string() + "_t.json");
  write_tags(dir / "t.json",
             {{"A/\"1\".png", {{"sea", 0.25}, {"lake", 0.75004}, {"bay", 0.25}}}, {"A/2.png", {}}});
  EXPECT_EQ(file_content(dir / "t.json"),
            "[\n {\"image_path\": \"A/\\\"1\\\".png\", \"lake\": \"0.7500\", \"sea\": \"0.2500\", "
            "\"bay\": \"0.2500\"},\n {\"image_path\": \"A/2.png\"}\n]\n");
  const auto again = read_tags(dir / "t.json");
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[0].picture, "A/\"1\".png");
  EXPECT_EQ(again[0].classes[0], (std::pair<std::string, double>{"lake", 0.75}));
}

// Samples of LEVIR-CD and DSIFN in the layouts of VLCD's README: folders, and lists of absolute
// paths; labels hold 0 and 255.
TEST(RealData, PairsAreReadFromListsAsFromFolders) {
  const std::string levir = shared_data("levir_samples"), dsifn = shared_data("dsifn_samples");
  if (levir.empty() || dsifn.empty()) {
    GTEST_SKIP() << "no real data: set STRATA_SHARED to the folder that holds data/levir_samples "
                    "and data/dsifn_samples";
  }
  const LabelSpecs labels = label_specs({label_spec("change", 2, "change")});
  for (const std::string& root : {levir + "/train", levir + "/test", dsifn}) {
    const auto folder =
        make<Dataset>("{type = \"ChangeFolder\", data_root = \"" + root + "\"}", {labels, true, 2});
    TempDir dir;
    std::string lines;
    for (std::int64_t i = 0; i < folder->size(); ++i) {
      for (const char* part : {"/A/", "/B/", "/label/"}) {
        lines +=
            (*part == '/' && part[1] == 'A' ? "" : "  ") + root + part + folder->name(i) + ".png";
      }
      lines += "\n\n";
    }
    write_file(dir / "all.txt", lines);
    const auto listed = make<Dataset>(
        "{type = \"TXTCDDatasetJSON\", data_root = \"" + root + "\", ann_file = \"" + dir.path() +
            "/all.txt\"}",
        {.labels = labels, .dates = 2, .tags = std::make_shared<SceneTags>(TagOptions{})});
    ASSERT_EQ(listed->size(), folder->size());
    std::int64_t changed = 0;
    for (std::int64_t i = 0; i < folder->size(); ++i) {
      const Sample a = folder->read(i), b = listed->read(i);
      EXPECT_EQ("A/" + a.meta.name, b.meta.name);
      EXPECT_EQ(a.meta.paths, b.meta.paths);
      const at::Tensor map = b.targets.at("change").map;
      EXPECT_TRUE(at::equal(a.targets.at("change").map, map));
      EXPECT_EQ(map.sizes(), (at::IntArrayRef{256, 256}));
      EXPECT_LE(map.max().item<int>(), 1);
      changed += map.sum().item<std::int64_t>();
    }
    EXPECT_GT(changed, 0) << root;
  }
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
