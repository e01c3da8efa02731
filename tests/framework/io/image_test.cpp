// Decoders against OpenCV's, palette indices, and every way in which a file can be bad.
#include "framework/io/image.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <filesystem>

#include <jpeglib.h>

#include "framework/base/error.hpp"
#include "framework/base/philox.hpp"
#include "framework/io/raster.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

// A smooth picture with some noise, BGR as OpenCV has it.
cv::Mat drawing(int height, int width, int type = CV_8UC3) {
  cv::Mat mat(height, width, type);
  Philox random(seed());
  const double top = mat.depth() == CV_16U ? 60000 : 255;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < mat.channels(); ++c) {
        const double value = std::fmod((0.3 + 0.2 * c) * y * top / height + 0.6 * x * top / width +
                                           random.uniform(0, top / 20),
                                       top);
        if (mat.depth() == CV_16U) {
          mat.ptr<std::uint16_t>(y)[x * mat.channels() + c] = static_cast<std::uint16_t>(value);
        } else {
          mat.ptr<std::uint8_t>(y)[x * mat.channels() + c] = static_cast<std::uint8_t>(value);
        }
      }
    }
  }
  return mat;
}

at::Tensor rgb_of(const cv::Mat& bgr) {
  cv::Mat rgb;
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
  return at::from_blob(rgb.data, {rgb.rows, rgb.cols, 3}, at::kByte).clone();
}

template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const DataError& error) {
    return error.what();
  }
  return "no DataError";
}

TEST(Image, DecodesWhatOpenCvDecodes) {
  TempDir dir;
  const cv::Mat picture = drawing(37, 53);
  for (const char* name : {"a.png", "a.jpg", "a.bmp", "a.tif"}) {
    const std::string path = dir / name;
    ASSERT_TRUE(cv::imwrite(path, picture));
    const at::Tensor image = io::read_image(path);
    EXPECT_EQ(image.scalar_type(), at::kByte);
    EXPECT_TRUE(at::equal(image, rgb_of(cv::imread(path, cv::IMREAD_COLOR)))) << name;
  }
  cv::Mat grey = drawing(9, 7, CV_8UC1), alpha = drawing(9, 7, CV_8UC4);
  for (const char* name : {"g.png", "g.jpg", "g.bmp"}) {
    ASSERT_TRUE(cv::imwrite(dir / name, grey));
    EXPECT_TRUE(
        at::equal(io::read_image(dir / name), rgb_of(cv::imread(dir / name, cv::IMREAD_COLOR))));
  }
  ASSERT_TRUE(cv::imwrite(dir / "alpha.png", alpha));
  EXPECT_TRUE(at::equal(io::read_image(dir / "alpha.png"),
                        rgb_of(cv::imread(dir / "alpha.png", cv::IMREAD_COLOR))));
  EXPECT_EQ(io::read_image(dir / "alpha.png", io::Channels::as_stored).size(2), 4);
}

TEST(Image, SixteenBitsComeAsFloat) {
  TempDir dir;
  const cv::Mat deep = drawing(5, 6, CV_16UC1);
  for (const char* name : {"deep.png", "deep.tif"}) {
    ASSERT_TRUE(cv::imwrite(dir / name, deep));
    const at::Tensor image = io::read_image(dir / name, io::Channels::as_stored);
    ASSERT_EQ(image.scalar_type(), at::kFloat);
    ASSERT_EQ(image.sizes(), (at::IntArrayRef{5, 6, 1}));
    EXPECT_EQ(image[4][5][0].item<float>(), static_cast<float>(deep.at<std::uint16_t>(4, 5)));
    EXPECT_EQ(image[2][1][0].item<float>(), static_cast<float>(deep.at<std::uint16_t>(2, 1)));
  }
  EXPECT_EQ(message_of([&] { io::read_image(dir / "deep.png"); }),
            (dir / "deep.png") +
                ": holds 16-bit values, expected 8-bit RGB; set color_type = \"unchanged\" to read "
                "them as they are");
}

TEST(Image, OrientationOfTheCameraIsApplied) {
  TempDir dir;
  ASSERT_TRUE(cv::imwrite(dir / "a.jpg", drawing(16, 24)));
  const std::string plain = file_content(dir / "a.jpg");
  for (int orientation = 1; orientation <= 8; ++orientation) {
    // After the start marker: an EXIF block with the one tag.
    std::string exif(
        "\xFF\xE1\x00\x22"
        "Exif\0\0"
        "MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0",
        29);
    exif += std::string(1, static_cast<char>(orientation)) + std::string(6, '\0');
    write_file(dir / "o.jpg", plain.substr(0, 2) + exif + plain.substr(2));
    EXPECT_TRUE(at::equal(io::read_image(dir / "o.jpg"),
                          rgb_of(cv::imread(dir / "o.jpg", cv::IMREAD_COLOR))))
        << orientation;
    EXPECT_EQ(io::read_image(dir / "o.jpg").size(0), orientation < 5 ? 16 : 24);
  }
}

// A JPEG file whose colour is stored at 1 / across of the width and 1 / down of the height.
std::string jpeg_of(const cv::Mat& bgr, int across, int down, int quality, bool progressive) {
  const at::Tensor rgb = rgb_of(bgr);
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's type
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_height = static_cast<JDIMENSION>(bgr.rows);
  jpeg.image_width = static_cast<JDIMENSION>(bgr.cols);
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, quality, TRUE);
  jpeg.comp_info[0].h_samp_factor = across;
  jpeg.comp_info[0].v_samp_factor = down;
  if (progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<std::uint8_t*>(rgb.const_data_ptr<std::uint8_t>()) +
                static_cast<std::size_t>(jpeg.next_scanline) * 3 * jpeg.image_width;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string file(reinterpret_cast<const char*>(bytes), size);
  jpeg_destroy_compress(&jpeg);
  std::free(bytes);
  return file;
}

void expect_areas_of_the_whole(const std::string& path, io::Channels channels, Philox& random) {
  const at::Tensor whole = io::read_image(path, channels);
  const io::LazyImage lazy(path, channels);
  ASSERT_EQ(lazy.height(), whole.size(0));
  ASSERT_EQ(lazy.width(), whole.size(1));
  EXPECT_TRUE(at::equal(lazy.whole(), whole));
  for (int i = 0; i < 40; ++i) {
    const std::int64_t top = random.integer(0, lazy.height() - 1);
    const std::int64_t left = random.integer(0, lazy.width() - 1);
    const io::Area area{top, left, random.integer(1, lazy.height() - top),
                        random.integer(1, lazy.width() - left)};
    EXPECT_TRUE(at::equal(lazy.part(area), whole.narrow(0, area.top, area.height)
                                               .narrow(1, area.left, area.width)))
        << area.height << " x " << area.width << " at " << top << ", " << left;
  }
}

// What a crop needs is decoded by itself, of every way to store colour.
TEST(Image, AreasOfAJpegAreCutFromTheWhole) {
  TempDir dir;
  Philox random(seed(), 3);
  for (const auto [height, width] : {std::array{83, 101}, {200, 64}, {9, 7}}) {
    for (const auto [across, down] : {std::array{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {4, 2}}) {
      for (const bool progressive : {false, true}) {
        SCOPED_TRACE(std::to_string(across) + " x " + std::to_string(down));
        write_file(dir / "a.jpg", jpeg_of(drawing(height, width), across, down,
                                          progressive ? 60 : 95, progressive));
        expect_areas_of_the_whole(dir / "a.jpg", io::Channels::rgb, random);
      }
    }
  }
  cv::imwrite(dir / "grey.jpg", drawing(50, 40, CV_8UC1));
  expect_areas_of_the_whole(dir / "grey.jpg", io::Channels::as_stored, random);
  expect_areas_of_the_whole(dir / "grey.jpg", io::Channels::rgb, random);
  cv::imwrite(dir / "a.png", drawing(50, 40));
  expect_areas_of_the_whole(dir / "a.png", io::Channels::rgb, random);
}

// Rows below an area are not looked at, but that the file ends where it should is.
TEST(Image, AFileCutShortIsFoundByAnyArea) {
  TempDir dir;
  const std::string whole = jpeg_of(drawing(80, 60), 1, 1, 90, false);
  write_file(dir / "cut.jpg", whole.substr(0, whole.size() * 3 / 4));
  EXPECT_TRUE(message_of([&] { io::LazyImage(dir / "cut.jpg", io::Channels::rgb); })
                  .starts_with((dir / "cut.jpg") + ": JPEG file is cut short, got "));
  std::string damaged = whole;
  damaged.replace(damaged.size() / 3, 6, "\xFF\xD0\xFF\xD1\xFF\xD2", 6);
  write_file(dir / "damaged.jpg", damaged);
  EXPECT_TRUE(
      message_of([&] { io::LazyImage(dir / "damaged.jpg", io::Channels::rgb).part({60, 0, 9, 9}); })
          .starts_with((dir / "damaged.jpg") + ": damaged JPEG file (libjpeg: "));
}

TEST(Image, PaletteFilesKeepTheirIndices) {
  TempDir dir;
  const at::Tensor map = at::tensor({0, 1, 2, 7, 255, 3}, at::kByte).view({2, 3});
  io::write_label_png(dir / "p.png", map, {{1, 2, 3}, {200, 100, 50}, {0, 255, 0}});
  EXPECT_TRUE(at::equal(io::read_label(dir / "p.png"), map));
  const at::Tensor colours = io::read_image(dir / "p.png");
  EXPECT_TRUE(at::equal(colours[0][1], at::tensor({200, 100, 50}, at::kByte)));
  EXPECT_TRUE(at::equal(colours[1][0], at::tensor({0, 0, 0}, at::kByte)));
  // What OpenCV makes of it, the reason why it does not read labels here.
  EXPECT_EQ(cv::imread(dir / "p.png", cv::IMREAD_UNCHANGED).channels(), 3);
}

TEST(Image, TransparencyOfAPaletteIsNoChannelOfRgb) {
  // Palette [red, green], the first half transparent (tRNS), one row [0, 1], not compressed.
  constexpr char kFile[] =
      "\211PNG\015\012\032\012"
      "\000\000\000\015IHDR\000\000\000\002\000\000\000\001\010\003\000\000\000\303\374\217\270"
      "\000\000\000\006PLTE\377\000\000\000\377\000\322\207\357q"
      "\000\000\000\001tRNS\200\255\136\133F"
      "\000\000\000\016IDATx\001\001\003\000\374\377\000\000\001\000\004\000\002\013\041\213q"
      "\000\000\000\000IEND\256B\140\202";
  TempDir dir;
  write_file(dir / "p.png", std::string(kFile, sizeof(kFile) - 1));
  EXPECT_TRUE(at::equal(io::read_image(dir / "p.png"),
                        at::tensor({255, 0, 0, 0, 255, 0}, at::kByte).view({1, 2, 3})));
  EXPECT_TRUE(
      at::equal(io::read_image(dir / "p.png", io::Channels::as_stored),
                at::tensor({255, 0, 0, 128, 0, 255, 0, 255}, at::kByte).view({1, 2, 4})));
  EXPECT_TRUE(
      at::equal(io::read_label(dir / "p.png"), at::tensor({0, 1}, at::kByte).view({1, 2})));
}

TEST(Image, EveryPngFilterIsUndone) {
  TempDir dir;
  // What libpng stores each row as is chosen by its content or forced by a strategy; odd widths,
  // one row, one column.
  for (const auto [height, width] : {std::array{37, 53}, {1, 9}, {9, 1}, {64, 64}}) {
    for (const int type : {CV_8UC1, CV_8UC3}) {
      const cv::Mat picture = drawing(height, width, type);
      cv::Mat smooth;
      cv::blur(picture, smooth, {7, 7});
      for (const cv::Mat& mat : {picture, smooth}) {
        cv::imwrite(dir / "a.png", mat);
        const at::Tensor same = type == CV_8UC3 ? rgb_of(mat)
                                                : at::from_blob(mat.data, {height, width}, at::kByte);
        if (type == CV_8UC3) {
          EXPECT_TRUE(at::equal(io::read_image(dir / "a.png"), same));
          io::write_png(dir / "b.png", same);  // libpng's own choice of filters
          EXPECT_TRUE(at::equal(io::read_image(dir / "b.png"), same));
        } else {
          EXPECT_TRUE(at::equal(io::read_label(dir / "a.png"), same));
        }
      }
    }
  }
}

TEST(Image, LabelsKeepGreyValues) {
  TempDir dir;
  const at::Tensor map = at::tensor({0, 3, 255, 10}, at::kByte).view({2, 2});
  io::write_png(dir / "grey.png", map);
  EXPECT_TRUE(at::equal(io::read_label(dir / "grey.png"), map));
  io::write_png(dir / "rgb.png", map.unsqueeze(2).repeat({1, 1, 3}));
  EXPECT_TRUE(at::equal(io::read_label(dir / "rgb.png"), map)) << "equal channels are grey";
  at::Tensor coloured = map.unsqueeze(2).repeat({1, 1, 3});
  coloured[1][1][2] = 9;
  io::write_png(dir / "colour.png", coloured);
  EXPECT_TRUE(at::equal(io::read_label(dir / "colour.png"), coloured));

  const cv::Mat one_bit = (cv::Mat_<std::uint8_t>(1, 3) << 0, 255, 255);
  cv::imwrite(dir / "bit.png", one_bit, {cv::IMWRITE_PNG_BILEVEL, 1});
  EXPECT_TRUE(
      at::equal(io::read_label(dir / "bit.png"), at::tensor({0, 1, 1}, at::kByte).view({1, 3})));
  cv::Mat deep = (cv::Mat_<std::uint16_t>(1, 2) << 4, 200);
  cv::imwrite(dir / "deep.png", deep);
  EXPECT_TRUE(
      at::equal(io::read_label(dir / "deep.png"), at::tensor({4, 200}, at::kByte).view({1, 2})));
  deep.at<std::uint16_t>(0, 1) = 300;
  cv::imwrite(dir / "deep.png", deep);
  EXPECT_EQ(message_of([&] { io::read_label(dir / "deep.png"); }),
            (dir / "deep.png") +
                ": 16-bit label holds value 300, values go up to 255; renumber the classes");
}

TEST(Image, BadFilesAreNamedWithTheirCure) {
  TempDir dir;
  auto message = [&](const std::string& name) {
    return message_of([&] { io::read_image(dir / name); });
  };
  const std::string at = dir.path() + "/";
  EXPECT_EQ(message("none.png"),
            at + "none.png: no such file; restore it or take it out of the data set");
  write_file(dir / "empty.png", "");
  EXPECT_EQ(message("empty.png"), at + "empty.png: file is empty; copy or make it again");
  std::filesystem::create_directory(dir / "folder.png");
  EXPECT_EQ(message("folder.png"), at + "folder.png: is a folder, expected an image file");
  std::filesystem::create_symlink("/dev/zero", dir / "zero.png");
  EXPECT_EQ(message("zero.png"), at + "zero.png: is a device or a pipe, expected an image file");
  ASSERT_EQ(::mkfifo((dir / "pipe.png").c_str(), 0600), 0);
  EXPECT_EQ(message("pipe.png"), at + "pipe.png: is a device or a pipe, expected an image file");
  write_file(dir / "text.png", "not a picture");
  EXPECT_EQ(
      message("text.png"),
      at + "text.png: damaged, or no image that can be read; convert it to PNG, JPEG or TIFF");

  ASSERT_TRUE(cv::imwrite(dir / "a.png", drawing(40, 40)));
  ASSERT_TRUE(cv::imwrite(dir / "a.jpg", drawing(40, 40)));
  const std::string png = file_content(dir / "a.png"), jpeg = file_content(dir / "a.jpg");
  // Cut anywhere behind the first marker, even only of the end marker: said, never half a picture.
  for (const double part : {0.02, 0.3, 0.7, 0.99}) {
    const auto size = static_cast<std::size_t>(part * static_cast<double>(png.size()));
    if (size < 8) continue;
    write_file(dir / "cut.png", png.substr(0, size));
    EXPECT_EQ(message("cut.png"), at + "cut.png: PNG file is cut short, got " +
                                      std::to_string(size) + " bytes; copy or make it again");
  }
  write_file(dir / "cut.png", png.substr(0, png.size() - 5));
  EXPECT_EQ(message("cut.png"), at + "cut.png: PNG file is cut short, got " +
                                    std::to_string(png.size() - 5) +
                                    " bytes; copy or make it again");
  for (const double part : {0.02, 0.3, 0.7, 0.95}) {
    const auto size = static_cast<std::size_t>(part * static_cast<double>(jpeg.size()));
    write_file(dir / "cut.jpg", jpeg.substr(0, size));
    EXPECT_EQ(message("cut.jpg"), at + "cut.jpg: JPEG file is cut short, got " +
                                      std::to_string(size) + " bytes; copy or make it again");
  }
  std::string flipped = png;
  flipped[png.size() / 2] = static_cast<char>(flipped[png.size() / 2] ^ 0x55);
  write_file(dir / "flipped.png", flipped);
  EXPECT_TRUE(message("flipped.png").starts_with(at + "flipped.png: damaged PNG file (libpng: "))
      << message("flipped.png");
  ASSERT_TRUE(cv::imwrite(dir / "a.tif", drawing(40, 40)));
  write_file(dir / "cut.tif", file_content(dir / "a.tif").substr(0, 200));
  EXPECT_EQ(message("cut.tif"),
            at + "cut.tif: damaged, or no image that can be read; convert it to PNG, JPEG or TIFF");
}

TEST(Image, HeadersThatClaimTooMuchTakeNoMemory) {
  // 60000 x 60000 in 65 bytes.
  constexpr char kPng[] =
      "\211PNG\015\012\032\012"
      "\000\000\000\015IHDR\000\000\352\140\000\000\352\140\010\000\000\000\000\245\271\052\236"
      "\000\000\000\016IDATx\001\001\003\000\374\377\000\000\001\000\004\000\002\013\041\213q"
      "\000\000\000\000IEND\256B\140\202";
  TempDir dir;
  write_file(dir / "a.png", std::string(kPng, sizeof(kPng) - 1));
  const std::string claim = ": PNG file claims 60000 x 60000 pixels, more than its 71 bytes can hold";
  EXPECT_EQ(message_of([&] { io::read_label(dir / "a.png"); }),
            (dir / "a.png") + claim + "; copy or make it again");

  ASSERT_TRUE(cv::imwrite(dir / "a.jpg", drawing(40, 40)));
  const std::string jpeg = file_content(dir / "a.jpg");
  const std::size_t size = jpeg.find("\xFF\xC0") + 5;  // height and width, in the start of frame
  auto claimed = [&](std::uint16_t side) {
    std::string file = jpeg;
    for (const std::size_t at : {size, size + 2}) {
      file[at] = static_cast<char>(side >> 8);
      file[at + 1] = static_cast<char>(side);
    }
    write_file(dir / "b.jpg", file);
    return message_of([&] { io::read_image(dir / "b.jpg"); }).substr((dir / "b.jpg").size());
  };
  EXPECT_EQ(claimed(65500),
            ": JPEG file claims 65500 x 65500 pixels, more than can be read; copy or make it again, "
            "or cut it in tiles");
  EXPECT_TRUE(claimed(20000).starts_with(": damaged JPEG file (libjpeg: ")) << claimed(20000);
}

TEST(Image, WritingFailsWithoutLeavingAnything) {
  TempDir dir;
  const at::Tensor map = at::zeros({2, 2}, at::kByte);
  EXPECT_THROW(io::write_png(dir.path() + "/none/a.png", map), UserError);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Image, RealPicturesDecodeAsOpenCvDoes) {
  const std::string camvid = shared_data("camvid");
  if (camvid.empty())
    GTEST_SKIP() << "no CamVid: set STRATA_SHARED to the folder that holds data/camvid";
  const std::string image = camvid + "/train/images/0001TP_006690.jpg";
  const std::string label = camvid + "/train/labels/0001TP_006690.png";
  EXPECT_TRUE(at::equal(io::read_image(image), rgb_of(cv::imread(image))));
  const cv::Mat map = cv::imread(label, cv::IMREAD_UNCHANGED);
  EXPECT_TRUE(
      at::equal(io::read_label(label), at::from_blob(map.data, {map.rows, map.cols}, at::kByte)));
}

TEST(PngWriter, WritesRowsAsTheyCome) {
  const TempDir dir;
  at::manual_seed(1);
  Writer::Picture picture;
  picture.height = 9;
  picture.width = 7;
  picture.palette = {{1, 2, 3}, {200, 100, 0}};
  const at::Tensor map = at::randint(0, 2, {9, 7}, at::kByte);
  const auto labels = io::png_writer()->create(dir / "map.png", picture);
  picture.channels = 3;
  const at::Tensor planes = at::randint(0, 256, {3, 9, 7}, at::kByte);
  const auto rgb = io::png_writer()->create(dir / "rgb.png", picture);
  for (std::int64_t top = 0; top < 9; top += 4) {
    const std::int64_t rows = std::min<std::int64_t>(4, 9 - top);
    labels->write(map.narrow(0, top, rows));
    rgb->write(planes.narrow(1, top, rows));
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "map.png"));
  labels->finish();
  rgb->finish();
  EXPECT_TRUE(at::equal(io::read_label(dir / "map.png"), map));
  EXPECT_TRUE(at::equal(io::read_image(dir / "map.png")[0][0],
                        at::tensor(picture.palette[map[0][0].item<int>()]).to(at::kByte)));
  EXPECT_TRUE(at::equal(io::read_image(dir / "rgb.png"), planes.permute({1, 2, 0})));
  { const auto given_up = io::png_writer()->create(dir / "none.png", picture); }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 2);
}

}  // namespace
}  // namespace strata::tests
